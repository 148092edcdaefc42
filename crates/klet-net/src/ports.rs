//! Which host ports exclude each other.

use std::net::Ipv4Addr;

use crate::model::HostPort;

/// The first of `wanted` that cannot coexist with one of `taken`.
///
/// As the Kubernetes scheduler sees it: same protocol and port, and the same host address or a
/// wildcard on either side.
#[must_use]
pub fn host_port_conflict(wanted: &[HostPort], taken: &[HostPort]) -> Option<HostPort> {
    wanted.iter().copied().find(|w| taken.iter().any(|t| excludes(w, t)))
}

/// The host address a rule is limited to; 0.0.0.0 is the same as none.
pub(crate) fn specific_address(port: &HostPort) -> Option<Ipv4Addr> {
    port.host_ip.filter(|ip| !ip.is_unspecified())
}

fn excludes(a: &HostPort, b: &HostPort) -> bool {
    let same_address = match (specific_address(a), specific_address(b)) {
        (Some(x), Some(y)) => x == y,
        _ => true,
    };
    a.protocol == b.protocol && a.host_port == b.host_port && same_address
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Protocol;

    fn port(ip: Option<[u8; 4]>, host_port: u16, protocol: Protocol) -> HostPort {
        HostPort { host_ip: ip.map(Ipv4Addr::from), host_port, container_port: 80, protocol }
    }

    #[test]
    fn conflicts_as_the_scheduler_sees_them() {
        let any = port(None, 80, Protocol::Tcp);
        let zero = port(Some([0, 0, 0, 0]), 80, Protocol::Tcp);
        let one = port(Some([127, 0, 0, 1]), 80, Protocol::Tcp);
        let two = port(Some([10, 0, 0, 1]), 80, Protocol::Tcp);
        assert_eq!(host_port_conflict(&[one], &[any]), Some(one));
        assert_eq!(host_port_conflict(&[zero], &[one]), Some(zero));
        assert_eq!(host_port_conflict(&[one], &[two]), None);
        assert_eq!(host_port_conflict(&[port(None, 80, Protocol::Udp)], &[any]), None);
        assert_eq!(host_port_conflict(&[port(None, 81, Protocol::Tcp)], &[any]), None);
        assert_eq!(host_port_conflict(&[], &[any]), None);
    }
}
