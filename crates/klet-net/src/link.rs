//! Links, addresses and routes: the rtnetlink messages that the pod network needs. rtnetlink(7).

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use ipnet::Ipv4Net;
use klet_sys::netlink::{Attributes, Error, Message, Reply, Socket, flag};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
/// Hairpin mode of a bridge port.
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BR_FORWARD_DELAY: u16 = 1;
const IFLA_BR_STP_STATE: u16 = 5;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_TABLE: u16 = 15;

const AF_INET: u8 = 2;
const IFF_UP: u32 = 1;
const RT_TABLE_MAIN: u8 = 254;
const RTN_UNICAST: u8 = 1;
const RTPROT_BOOT: u8 = 3;
const IFINFOMSG: usize = 16;
const IFADDRMSG: usize = 8;
const RTMSG: usize = 12;
/// The loopback device is the first of every network namespace.
const LOOPBACK_INDEX: u32 = 1;
/// Name of the pod's interface inside the pod.
pub(crate) const POD_INTERFACE: &str = "eth0";

/// What is known about a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) up: bool,
    pub(crate) mtu: u32,
    pub(crate) master: u32,
    pub(crate) kind: String,
}

/// An address on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) index: u32,
    pub(crate) net: Ipv4Net,
}

/// A unicast route of the main table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) to: Ipv4Net,
    pub(crate) interface: u32,
}

/// A veth pair to be made: one end here on the bridge, the other as `eth0` in `netns`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Veth<'a> {
    pub(crate) name: &'a str,
    pub(crate) bridge: u32,
    pub(crate) mtu: u32,
    pub(crate) mac: [u8; 6],
    pub(crate) netns: BorrowedFd<'a>,
}

/// All links of the socket's network namespace.
pub(crate) fn list(socket: &mut Socket) -> Result<Vec<Link>, Error> {
    let mut message = Message::new(RTM_GETLINK, flag::DUMP);
    message.raw(&[0; IFINFOMSG]);
    Ok(socket.query(message)?.iter().filter_map(parse_link).collect())
}

/// The link called `name`, if there is one.
pub(crate) fn find(socket: &mut Socket, name: &str) -> Result<Option<Link>, Error> {
    let mut message = Message::new(RTM_GETLINK, 0);
    message.raw(&[0; IFINFOMSG]).put_str(IFLA_IFNAME, name);
    match socket.query(message) {
        Ok(replies) => Ok(replies.first().and_then(parse_link)),
        Err(error) if error.errno() == Some(errno::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// All IPv4 addresses.
pub(crate) fn addresses(socket: &mut Socket) -> Result<Vec<Address>, Error> {
    let mut message = Message::new(RTM_GETADDR, flag::DUMP);
    message.raw(&[AF_INET, 0, 0, 0, 0, 0, 0, 0]);
    Ok(socket.query(message)?.iter().filter_map(parse_address).collect())
}

/// All IPv4 unicast routes of the main table.
pub(crate) fn routes(socket: &mut Socket) -> Result<Vec<Route>, Error> {
    let mut message = Message::new(RTM_GETROUTE, flag::DUMP);
    message.raw(&[AF_INET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    Ok(socket.query(message)?.iter().filter_map(parse_route).collect())
}

/// A bridge without spanning tree and without the delay before it forwards.
pub(crate) fn new_bridge(name: &str, mac: [u8; 6], mtu: u32) -> Message {
    let mut message = Message::new(RTM_NEWLINK, flag::CREATE | flag::EXCL);
    message
        .raw(&interface(0, true))
        .put_str(IFLA_IFNAME, name)
        .put(IFLA_ADDRESS, &mac)
        .put_u32(IFLA_MTU, mtu)
        .nest(IFLA_LINKINFO, |info| {
            info.put_str(IFLA_INFO_KIND, "bridge").nest(IFLA_INFO_DATA, |data| {
                data.put_u32(IFLA_BR_FORWARD_DELAY, 0).put_u32(IFLA_BR_STP_STATE, 0);
            });
        });
    message
}

/// A veth pair. The peer cannot be created up (ENOTCONN), so its own side brings it up.
pub(crate) fn new_veth(veth: &Veth<'_>) -> Message {
    let mut message = Message::new(RTM_NEWLINK, flag::CREATE | flag::EXCL);
    message
        .raw(&interface(0, true))
        .put_str(IFLA_IFNAME, veth.name)
        .put_u32(IFLA_MTU, veth.mtu)
        .put_u32(IFLA_MASTER, veth.bridge)
        .nest(IFLA_LINKINFO, |info| {
            info.put_str(IFLA_INFO_KIND, "veth").nest(IFLA_INFO_DATA, |data| {
                data.nest(VETH_INFO_PEER, |peer| {
                    peer.raw(&interface(0, false))
                        .put_str(IFLA_IFNAME, POD_INTERFACE)
                        .put(IFLA_ADDRESS, &veth.mac)
                        .put_u32(IFLA_MTU, veth.mtu)
                        .put(IFLA_NET_NS_FD, &veth.netns.as_raw_fd().to_ne_bytes());
                });
            });
        });
    message
}

/// Bring a link up.
pub(crate) fn set_up(index: u32) -> Message {
    let mut message = Message::new(RTM_NEWLINK, 0);
    message.raw(&interface(index, true));
    message
}

/// Let a bridge send a pod's packets back through the port they came from: a pod that speaks to
/// itself over a host port does so when bridged packets pass the firewall (`bridge-nf-call-iptables`).
pub(crate) fn allow_hairpin(index: u32) -> Message {
    let mut message = Message::new(RTM_NEWLINK, 0);
    message.raw(&interface(index, true)).nest(IFLA_LINKINFO, |info| {
        info.put_str(IFLA_INFO_SLAVE_KIND, "bridge").nest(IFLA_INFO_SLAVE_DATA, |data| {
            data.put(IFLA_BRPORT_MODE, &[1]);
        });
    });
    message
}

/// Bring the loopback device up (the kernel adds 127.0.0.1 and ::1 by itself).
pub(crate) fn loopback_up() -> Message {
    set_up(LOOPBACK_INDEX)
}

/// Make a link a port of a bridge.
pub(crate) fn set_master(index: u32, bridge: u32) -> Message {
    let mut message = set_up(index);
    message.put_u32(IFLA_MASTER, bridge);
    message
}

/// Remove a link.
pub(crate) fn delete(index: u32) -> Message {
    let mut message = Message::new(RTM_DELLINK, 0);
    message.raw(&interface(index, false));
    message
}

/// Give a link an address. Repeatable.
pub(crate) fn add_address(index: u32, ip: Ipv4Addr, net: Ipv4Net) -> Message {
    let mut message = Message::new(RTM_NEWADDR, flag::CREATE | flag::REPLACE);
    let mut header = [0; IFADDRMSG];
    header[0] = AF_INET;
    header[1] = net.prefix_len();
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    message
        .raw(&header)
        .put(IFA_LOCAL, &ip.octets())
        .put(IFA_ADDRESS, &ip.octets())
        .put(IFA_BROADCAST, &net.broadcast().octets());
    message
}

/// The default route over `gateway`. Repeatable.
pub(crate) fn default_route(index: u32, gateway: Ipv4Addr) -> Message {
    let mut message = Message::new(RTM_NEWROUTE, flag::CREATE | flag::REPLACE);
    let mut header = [0; RTMSG];
    header[0] = AF_INET;
    header[4] = RT_TABLE_MAIN;
    header[5] = RTPROT_BOOT;
    header[7] = RTN_UNICAST;
    message.raw(&header).put(RTA_GATEWAY, &gateway.octets()).put_u32(RTA_OIF, index);
    message
}

/// struct ifinfomsg.
fn interface(index: u32, up: bool) -> [u8; IFINFOMSG] {
    let mut header = [0; IFINFOMSG];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    if up {
        header[8..12].copy_from_slice(&IFF_UP.to_ne_bytes());
        header[12..16].copy_from_slice(&IFF_UP.to_ne_bytes());
    }
    header
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|b| u32::from_ne_bytes(*b))
}

fn parse_link(reply: &Reply) -> Option<Link> {
    if reply.kind != RTM_NEWLINK {
        return None;
    }
    let attributes = reply.attributes(IFINFOMSG);
    let kind = attributes
        .get(IFLA_LINKINFO)
        .and_then(|info| Attributes::new(info).get_str(IFLA_INFO_KIND));
    Some(Link {
        index: u32_at(&reply.payload, 4)?,
        name: attributes.get_str(IFLA_IFNAME)?.to_owned(),
        up: u32_at(&reply.payload, 8)? & IFF_UP != 0,
        mtu: attributes.get_u32(IFLA_MTU).unwrap_or(0),
        master: attributes.get_u32(IFLA_MASTER).unwrap_or(0),
        kind: kind.unwrap_or_default().to_owned(),
    })
}

fn address_of(bytes: Option<&[u8]>) -> Option<Ipv4Addr> {
    bytes?.try_into().ok().map(|octets: [u8; 4]| Ipv4Addr::from(octets))
}

fn parse_address(reply: &Reply) -> Option<Address> {
    let attributes = reply.attributes(IFADDRMSG);
    let ip = address_of(attributes.get(IFA_LOCAL))
        .or_else(|| address_of(attributes.get(IFA_ADDRESS)))?;
    let net = Ipv4Net::new(ip, *reply.payload.get(1)?).ok()?;
    (reply.kind == RTM_NEWADDR).then_some(Address { index: u32_at(&reply.payload, 4)?, net })
}

fn parse_route(reply: &Reply) -> Option<Route> {
    let header = reply.payload.first_chunk::<RTMSG>()?;
    let attributes = reply.attributes(RTMSG);
    let table = attributes.get_u32(RTA_TABLE).unwrap_or(u32::from(header[4]));
    let unicast_in_main = table == u32::from(RT_TABLE_MAIN) && header[7] == RTN_UNICAST;
    let to = address_of(attributes.get(RTA_DST)).unwrap_or(Ipv4Addr::UNSPECIFIED);
    (reply.kind == RTM_NEWROUTE && unicast_in_main).then(|| {
        Some(Route {
            to: Ipv4Net::new(to, header[1]).ok()?,
            interface: attributes.get_u32(RTA_OIF)?,
        })
    })?
}

/// The error numbers that decide something here.
pub(crate) mod errno {
    use rustix::io::Errno;

    pub(crate) const ENOENT: i32 = Errno::NOENT.raw_os_error();
    pub(crate) const EEXIST: i32 = Errno::EXIST.raw_os_error();
    pub(crate) const ENODEV: i32 = Errno::NODEV.raw_os_error();
}
