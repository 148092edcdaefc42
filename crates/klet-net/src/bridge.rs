//! The bridge: made, checked against what the host uses already, and swept.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use klet_sys::netlink::Socket;

use crate::error::NetError;
use crate::link::{self, Address, Link, Route, errno};
use crate::model::NetConfig;

/// Of Ethernet, when the host has no default route to take it from.
const DEFAULT_MTU: u32 = 1500;
/// IPv4 must pass 576 bytes, IPv6 1280.
const MIN_MTU: u32 = 1280;
const MAX_MTU: u32 = 65_535;
const VETH_PREFIX: &str = "klet";
const VETH_DIGITS: usize = 10;

/// What the pod network attaches its pods to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bridge {
    pub(crate) index: u32,
    pub(crate) mtu: u32,
}

/// Make sure that the bridge exists, is up and has the gateway's address. True if something was
/// missing.
pub(crate) fn ensure(socket: &mut Socket, config: &NetConfig) -> Result<(Bridge, bool), NetError> {
    let kernel = |step| NetError::kernel(step, &config.bridge);
    let links = link::list(socket).map_err(kernel("list links for"))?;
    let addresses = link::addresses(socket).map_err(kernel("list addresses for"))?;
    let routes = link::routes(socket).map_err(kernel("list routes for"))?;
    let existing = links.iter().find(|l| l.name == config.bridge);
    if let Some(clash) =
        clash(config.pod_cidr, existing.map(|l| l.index), &links, &addresses, &routes)
    {
        return Err(NetError::Clash { cidr: config.pod_cidr, with: clash });
    }
    let mtu = uplink_mtu(&links, &routes);
    let (index, created) = match existing {
        Some(link) if link.kind == "bridge" => (link.index, false),
        Some(link) => {
            let text =
                format!("interface {} exists and is not a bridge but {:?}", link.name, link.kind);
            return Err(NetError::Config(text));
        }
        None => (create(socket, config, mtu)?, true),
    };
    let net = Ipv4Net::new_assert(config.gateway(), config.pod_cidr.prefix_len());
    let addressed = addresses.contains(&Address { index, net });
    if !addressed {
        socket
            .request(link::add_address(index, config.gateway(), net))
            .map_err(kernel("give an address to"))?;
    }
    let up = created || existing.is_some_and(|l| l.up);
    if !up {
        socket.request(link::set_up(index)).map_err(kernel("bring up"))?;
    }
    Ok((Bridge { index, mtu }, created || !addressed || !up))
}

/// Put the pods' interfaces back on the bridge and remove those of pods that are gone. Returns the
/// names of the removed ones.
pub(crate) fn sweep(
    socket: &mut Socket,
    bridge: &Bridge,
    owned: &BTreeSet<String>,
) -> Result<Vec<String>, NetError> {
    let links = link::list(socket).map_err(NetError::kernel("list links of", "the pod network"))?;
    let (mut messages, mut names, mut removed) = (Vec::new(), Vec::new(), Vec::new());
    for link in links.iter().filter(|l| is_ours(l, bridge)) {
        if !owned.contains(&link.name) {
            removed.push(link.name.clone());
            messages.push(link::delete(link.index));
        } else if link.master == 0 {
            messages.push(link::set_master(link.index, bridge.index));
            names.push(link.name.as_str());
            messages.push(link::allow_hairpin(link.index));
        } else {
            continue;
        }
        names.push(link.name.as_str());
    }
    let results = socket.apply(messages).map_err(NetError::kernel("repair", "the pod network"))?;
    for (result, name) in results.into_iter().zip(names) {
        match result {
            // It died with its namespace in the meantime.
            Err(error) if error.errno() == Some(errno::ENODEV) => {}
            other => other.map_err(NetError::kernel("repair", name))?,
        }
    }
    Ok(removed)
}

/// The name of a pod's interface on the host: `klet` and ten digits derived from its UID.
pub(crate) fn veth_name(pod_uid: &str) -> String {
    // FNV-1a, folded to 40 bits: a name, not a secret.
    let hash = pod_uid
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let folded = (hash ^ hash >> 40) & 0xff_ffff_ffff;
    format!("{VETH_PREFIX}{folded:0VETH_DIGITS$x}")
}

/// A hardware address that belongs to the IP address, so that an old entry in somebody's neighbour
/// table is never wrong. Locally administered, unicast.
pub(crate) fn mac_of(ip: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = ip.octets();
    [0x0a, 0x58, a, b, c, d]
}

fn create(socket: &mut Socket, config: &NetConfig, mtu: u32) -> Result<u32, NetError> {
    let name = config.bridge.as_str();
    match socket.request(link::new_bridge(name, mac_of(config.gateway()), mtu)) {
        Err(error) if error.errno() != Some(errno::EEXIST) => {
            return Err(NetError::kernel("create bridge", name)(error));
        }
        _ => {}
    }
    let found = link::find(socket, name).map_err(NetError::kernel("find bridge", name))?;
    found
        .map(|l| l.index)
        .ok_or_else(|| NetError::Config(format!("bridge {name} vanished as it was made")))
}

/// A veth of our naming on our bridge, or on none because the bridge was removed.
fn is_ours(link: &Link, bridge: &Bridge) -> bool {
    let digits = link.name.strip_prefix(VETH_PREFIX).unwrap_or_default();
    let named = digits.len() == VETH_DIGITS && digits.bytes().all(|b| b.is_ascii_hexdigit());
    named && link.kind == "veth" && (link.master == bridge.index || link.master == 0)
}

/// What on this host excludes the pod range: an address whose network overlaps it, or a route to a
/// part of it. A wider route (a VPN's 10.0.0.0/8, say) does not: the bridge's is more specific.
fn clash(
    pods: Ipv4Net,
    bridge: Option<u32>,
    links: &[Link],
    addresses: &[Address],
    routes: &[Route],
) -> Option<String> {
    let name =
        |index: u32| links.iter().find(|l| l.index == index).map_or("?", |l| l.name.as_str());
    let overlaps = |a: Ipv4Net| a.contains(&pods.network()) || pods.contains(&a.network());
    let address = addresses.iter().find(|a| Some(a.index) != bridge && overlaps(a.net));
    if let Some(a) = address {
        return Some(format!("address {} of {}", a.net, name(a.index)));
    }
    let route = routes.iter().find(|r| Some(r.interface) != bridge && pods.contains(&r.to));
    route.map(|r| format!("route {} over {}", r.to, name(r.interface)))
}

fn uplink_mtu(links: &[Link], routes: &[Route]) -> u32 {
    let uplink = routes.iter().find(|r| r.to.prefix_len() == 0).map(|r| r.interface);
    let mtu = links.iter().find(|l| Some(l.index) == uplink).map_or(DEFAULT_MTU, |l| l.mtu);
    mtu.clamp(MIN_MTU, MAX_MTU)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str) -> Link {
        Link { index, name: name.into(), up: true, mtu: 9000, master: 0, kind: String::new() }
    }

    #[test]
    fn a_clash_names_what_is_in_the_way() {
        let pods: Ipv4Net = "10.88.0.0/16".parse().unwrap();
        let links = [link(2, "eth0"), link(3, "klet0")];
        let address = |index, net: &str| Address { index, net: net.parse().unwrap() };
        let route = |interface, to: &str| Route { interface, to: to.parse().unwrap() };
        let check = |a: &[Address], r: &[Route]| clash(pods, Some(3), &links, a, r);
        assert_eq!(
            check(&[address(2, "10.88.4.1/24")], &[]).unwrap(),
            "address 10.88.4.1/24 of eth0"
        );
        assert_eq!(check(&[address(2, "10.1.2.3/8")], &[]).unwrap(), "address 10.1.2.3/8 of eth0");
        assert_eq!(
            check(&[], &[route(2, "10.88.9.0/24")]).unwrap(),
            "route 10.88.9.0/24 over eth0"
        );
        assert_eq!(
            check(&[address(3, "10.88.0.1/16")], &[route(3, "10.88.0.0/16")]),
            None,
            "our own"
        );
        assert_eq!(
            check(
                &[address(2, "192.168.1.2/24")],
                &[route(2, "0.0.0.0/0"), route(2, "10.0.0.0/8")]
            ),
            None
        );
    }

    #[test]
    fn the_mtu_is_the_uplinks() {
        let default = Route { interface: 2, to: "0.0.0.0/0".parse().unwrap() };
        assert_eq!(uplink_mtu(&[link(2, "eth0")], &[default]), 9000);
        assert_eq!(uplink_mtu(&[link(2, "eth0")], &[]), DEFAULT_MTU);
    }

    #[test]
    fn names_fit_and_differ() {
        let names: BTreeSet<_> = (0..10_000).map(|i| veth_name(&format!("uid-{i}"))).collect();
        assert_eq!(names.len(), 10_000);
        assert!(names.iter().all(|n| n.len() == 14));
        assert_eq!(mac_of(Ipv4Addr::new(10, 88, 1, 2)), [0x0a, 0x58, 10, 88, 1, 2]);
    }
}
