//! Our nftables table, as data: what it holds follows from the configuration and the host ports.
//!
//! Host ports are elements of two maps, so a pod costs two elements and no rule, and a packet one
//! lookup. Other tables are never touched.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use klet_sys::netlink::{Error, Message, Socket};

use crate::link::errno;
use crate::model::{HostPort, NetConfig};
use crate::nft::{self, Chain, Element, Expr, Field, Is, Map};
use crate::ports::specific_address;

const HOOK_PREROUTING: u32 = 0;
const HOOK_OUTPUT: u32 = 3;
const HOOK_POSTROUTING: u32 = 4;
const PRIORITY_RAW: i32 = -300;
const PRIORITY_DNAT: i32 = -100;
const PRIORITY_SNAT: i32 = 100;

const META_IIFNAME: u32 = 6;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
const CT_STATUS: u32 = 2;
/// `IPS_DST_NAT`: the connection's destination was rewritten.
const STATUS_DNAT: u32 = 1 << 5;
const RTN_LOCAL: u32 = 2;
const NFPROTO_IPV4: u8 = 2;
const SOURCE_OFFSET: u32 = 12;
const DESTINATION_OFFSET: u32 = 16;
const INTERFACE_NAME: usize = 16;
/// Elements per message: an attribute holds 64 KiB, an element takes less than 80 bytes.
const CHUNK: usize = 500;

/// Host ports on every address of the host.
const ANY_ADDRESS: Map = Map {
    name: "hostports",
    id: 1,
    key: &[Field::Protocol, Field::Port],
    data: &[Field::Address, Field::Port],
};
/// Host ports on one address of the host.
const ONE_ADDRESS: Map = Map {
    name: "hostports_ip",
    id: 2,
    key: &[Field::Address, Field::Protocol, Field::Port],
    data: &[Field::Address, Field::Port],
};

const ANTISPOOF: Chain =
    Chain { name: "antispoof", kind: "filter", hook: HOOK_PREROUTING, priority: PRIORITY_RAW };
const PREROUTING: Chain =
    Chain { name: "prerouting", kind: "nat", hook: HOOK_PREROUTING, priority: PRIORITY_DNAT };
const OUTPUT: Chain =
    Chain { name: "output", kind: "nat", hook: HOOK_OUTPUT, priority: PRIORITY_DNAT };
const POSTROUTING: Chain =
    Chain { name: "postrouting", kind: "nat", hook: HOOK_POSTROUTING, priority: PRIORITY_SNAT };

/// A host port and the pod behind it.
pub(crate) type Target = (HostPort, Ipv4Addr);

/// Write the whole table in one transaction; nobody sees it missing or half done.
pub(crate) fn rebuild(
    socket: &mut Socket,
    config: &NetConfig,
    targets: &[Target],
) -> Result<(), Error> {
    let table = config.table.as_str();
    // Deleting needs something to delete: create (no effect if there), delete, create.
    let mut messages = vec![nft::new_table(table), nft::delete_table(table), nft::new_table(table)];
    messages.extend([ANY_ADDRESS, ONE_ADDRESS].iter().map(|map| nft::new_map(table, map)));
    for (chain, rules) in chains(config) {
        messages.push(nft::new_chain(table, &chain));
        messages.extend(rules.iter().map(|rule| nft::new_rule(table, chain.name, rule)));
    }
    messages.extend(changes(table, targets, nft::add_elements));
    socket.transaction(nft::SUBSYSTEM, messages)
}

/// Add host ports. Repeatable.
pub(crate) fn add(
    socket: &mut Socket,
    config: &NetConfig,
    targets: &[Target],
) -> Result<(), Error> {
    socket.transaction(nft::SUBSYSTEM, changes(&config.table, targets, nft::add_elements))
}

/// Remove host ports. Repeatable: what is not there is removed.
pub(crate) fn remove(
    socket: &mut Socket,
    config: &NetConfig,
    targets: &[Target],
) -> Result<(), Error> {
    let gone = |error: &Error| error.errno() == Some(errno::ENOENT);
    let all = changes(&config.table, targets, nft::delete_elements);
    match socket.transaction(nft::SUBSYSTEM, all) {
        Err(error) if gone(&error) => {}
        other => return other,
    }
    // One was missing and the transaction had no effect: one by one, then.
    for target in targets {
        let one = changes(&config.table, std::slice::from_ref(target), nft::delete_elements);
        match socket.transaction(nft::SUBSYSTEM, one) {
            Err(error) if !gone(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Remove the table.
pub(crate) fn drop_table(socket: &mut Socket, config: &NetConfig) -> Result<(), Error> {
    let table = config.table.as_str();
    socket.transaction(nft::SUBSYSTEM, vec![nft::new_table(table), nft::delete_table(table)])
}

/// Whether the table has the rules and elements it should have.
pub(crate) fn is_intact(
    socket: &mut Socket,
    config: &NetConfig,
    targets: &[Target],
) -> Result<bool, Error> {
    let rules = match socket.query(nft::dump_rules(&config.table)) {
        Err(error) if error.errno() == Some(errno::ENOENT) => return Ok(false),
        other => other?,
    };
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for chain in rules.iter().filter_map(|reply| nft::chain_of(reply, &config.table)) {
        *found.entry(chain).or_default() += 1;
    }
    let expected: BTreeMap<&str, usize> =
        chains(config).iter().map(|(c, rules)| (c.name, rules.len())).collect();
    if found != expected {
        return Ok(false);
    }
    for (map, mut wanted) in elements(targets) {
        let mut present: Vec<Element> = socket
            .query(nft::dump_elements(&config.table, map))?
            .iter()
            .flat_map(nft::elements_of)
            .collect();
        present.sort();
        wanted.sort();
        if present != wanted {
            return Ok(false);
        }
    }
    Ok(true)
}

fn changes(
    table: &str,
    targets: &[Target],
    encode: fn(&str, &str, &[Element]) -> Message,
) -> Vec<Message> {
    let maps = elements(targets);
    maps.iter()
        .flat_map(|(map, list)| list.chunks(CHUNK).map(|chunk| encode(table, map, chunk)))
        .collect()
}

/// The elements of both maps.
fn elements(targets: &[Target]) -> [(&'static str, Vec<Element>); 2] {
    let (mut any, mut one) = (Vec::new(), Vec::new());
    for (port, pod) in targets {
        let mut key = vec![port.protocol.number(), 0, 0, 0];
        key.extend(padded_port(port.host_port));
        let data = [pod.octets(), padded_port(port.container_port)].concat();
        match specific_address(port) {
            Some(ip) => one.push(([&ip.octets()[..], &key].concat(), data)),
            None => any.push((key, data)),
        }
    }
    [(ANY_ADDRESS.name, any), (ONE_ADDRESS.name, one)]
}

fn padded_port(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

type Rules = Vec<Vec<Expr>>;

fn chains(config: &NetConfig) -> [(Chain, Rules); 4] {
    let loopback = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
    let pods = config.pod_cidr;
    // Without route_localnet nothing can come back to 127.0.0.1: better refused at once than lost.
    let not_loopback = destination(Is::Different, loopback);
    let to_host_port = [host_port_on_one_address(), host_port_on_any_address()];
    let from_inside =
        to_host_port.iter().map(|rule| [not_loopback.clone(), rule.clone()].concat()).collect();
    [
        (ANTISPOOF, antispoof(&config.bridge, pods, loopback)),
        (PREROUTING, to_host_port.to_vec()),
        (OUTPUT, from_inside),
        (POSTROUTING, masquerade(pods)),
    ]
}

/// From the bridge come only packets of pods, and never for the host's loopback.
fn antispoof(bridge: &str, pods: Ipv4Net, loopback: Ipv4Net) -> Rules {
    let mut name = bridge.as_bytes().to_vec();
    name.resize(INTERFACE_NAME, 0);
    let from_bridge =
        vec![Expr::Meta { key: META_IIFNAME, slot: 0 }, Expr::Compare(Is::Equal, name)];
    [source(Is::Different, pods), destination(Is::Equal, loopback)]
        .into_iter()
        .map(|bad| [from_bridge.clone(), bad, vec![Expr::Drop]].concat())
        .collect()
}

/// Pods speak to the world with the host's address. A connection from pod to pod that went over a
/// host port has to come back through the host, so it is rewritten as well.
fn masquerade(pods: Ipv4Net) -> Rules {
    let rewritten = vec![
        Expr::Conntrack { key: CT_STATUS, slot: 0 },
        Expr::Mask(STATUS_DNAT.to_ne_bytes().to_vec()),
        Expr::Compare(Is::Different, vec![0; 4]),
    ];
    let outwards =
        [source(Is::Equal, pods), destination(Is::Different, pods), vec![Expr::Masquerade]];
    let hairpin =
        [source(Is::Equal, pods), destination(Is::Equal, pods), rewritten, vec![Expr::Masquerade]];
    vec![outwards.concat(), hairpin.concat()]
}

fn host_port_on_one_address() -> Vec<Expr> {
    let mut rule = ipv4();
    rule.push(Expr::Payload { base: 1, offset: DESTINATION_OFFSET, length: 4, slot: 0 });
    rule.extend(translate(ONE_ADDRESS.name, 1));
    rule
}

fn host_port_on_any_address() -> Vec<Expr> {
    let mut rule = ipv4();
    rule.push(Expr::DestinationType { slot: 0 });
    rule.push(Expr::Compare(Is::Equal, RTN_LOCAL.to_ne_bytes().to_vec()));
    rule.extend(translate(ANY_ADDRESS.name, 0));
    rule
}

fn translate(map: &'static str, slot: u32) -> [Expr; 4] {
    [
        Expr::Meta { key: META_L4PROTO, slot },
        Expr::Payload { base: 2, offset: 2, length: 2, slot: slot + 1 },
        Expr::Lookup(map),
        Expr::DestinationNat,
    ]
}

fn ipv4() -> Vec<Expr> {
    vec![Expr::Meta { key: META_NFPROTO, slot: 0 }, Expr::Compare(Is::Equal, vec![NFPROTO_IPV4])]
}

fn source(is: Is, net: Ipv4Net) -> Vec<Expr> {
    address(SOURCE_OFFSET, is, net)
}

fn destination(is: Is, net: Ipv4Net) -> Vec<Expr> {
    address(DESTINATION_OFFSET, is, net)
}

fn address(offset: u32, is: Is, net: Ipv4Net) -> Vec<Expr> {
    let mut steps = ipv4();
    steps.push(Expr::Payload { base: 1, offset, length: 4, slot: 0 });
    steps.push(Expr::Mask(net.netmask().octets().to_vec()));
    steps.push(Expr::Compare(is, net.network().octets().to_vec()));
    steps
}
