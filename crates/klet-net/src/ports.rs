//! Which host ports exclude each other.

use std::net::{Ipv4Addr, SocketAddrV4};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, socket_with, sockopt};

use crate::error::NetError;
use crate::model::{HostPort, Protocol};

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

/// Our rule would take the port away from a process of the host that listens on it: tried by
/// binding it for a moment. Whatever else keeps us from binding it is no reason to refuse.
///
/// # Errors
/// [`NetError::HostPortTaken`].
pub(crate) fn must_be_free(port: &HostPort) -> Result<(), NetError> {
    let (kind, protocol) = match port.protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => return Ok(()),
    };
    let address = specific_address(port).unwrap_or(Ipv4Addr::UNSPECIFIED);
    let bound = socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, Some(protocol))
        .and_then(|socket| {
            if port.protocol == Protocol::Tcp {
                // Connections that linger after their listener are in nobody's way.
                sockopt::set_socket_reuseaddr(&socket, true)?;
            }
            bind(&socket, &SocketAddrV4::new(address, port.host_port))
        });
    match bound {
        Err(Errno::ADDRINUSE) => Err(NetError::HostPortTaken(*port)),
        Ok(()) | Err(_) => Ok(()),
    }
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
    fn a_port_that_a_process_listens_on_is_not_free() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let number = listener.local_addr().unwrap().port();
        let here = port(Some([127, 0, 0, 1]), number, Protocol::Tcp);
        let everywhere = port(None, number, Protocol::Tcp);
        for taken in [here, everywhere] {
            assert!(matches!(must_be_free(&taken), Err(NetError::HostPortTaken(_))), "{taken}");
        }
        assert!(must_be_free(&port(Some([127, 0, 0, 2]), number, Protocol::Tcp)).is_ok());
        drop(listener);
        assert!(must_be_free(&here).is_ok());
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
