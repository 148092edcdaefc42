//! Hearing that somebody else changed the pod network, without looking again and again.

use std::os::fd::{AsFd, BorrowedFd};

use klet_sys::netlink::{Protocol, Reply, Socket};

use crate::error::NetError;
use crate::model::NetConfig;

/// `RTMGRP_LINK` and `RTMGRP_IPV4_IFADDR` (rtnetlink(7)).
const ROUTE_GROUPS: u32 = 0x1 | 0x10;
/// `1 << (NFNLGRP_NFTABLES - 1)`.
const FILTER_GROUPS: u32 = 1 << 6;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_DELADDR: u16 = 21;
const IFF_UP: u32 = 1;
const IFLA_IFNAME: u16 = 3;
const IFINFOMSG: usize = 16;
const IFADDRMSG: usize = 8;
const IFA_LABEL: u16 = 3;

const NFTABLES: u16 = 10;
/// `NFT_MSG_DELTABLE`, `DELCHAIN`, `DELRULE`, `DELSET`, `DELSETELEM`.
const REMOVALS: [u16; 5] = [2, 5, 8, 11, 14];
/// The name of the table: attribute 1 of all of them.
const TABLE: u16 = 1;
const NFGENMSG: usize = 4;

/// Hears of changes to the bridge and of removals from the table.
#[derive(Debug)]
pub struct Monitor {
    route: Socket,
    filter: Socket,
    bridge: String,
    table: String,
}

impl Monitor {
    /// Begins to listen, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`NetError::Kernel`].
    pub fn open(config: &NetConfig) -> Result<Self, NetError> {
        let failed = NetError::kernel("listen to", "the pod network");
        let route = Socket::listen(Protocol::Route, ROUTE_GROUPS).map_err(failed)?;
        let failed = NetError::kernel("listen to", "the packet filter");
        let filter = Socket::listen(Protocol::Netfilter, FILTER_GROUPS).map_err(failed)?;
        Ok(Self { route, filter, bridge: config.bridge.clone(), table: config.table.clone() })
    }

    /// What to poll for: readable when something may have happened.
    #[must_use]
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.route.as_fd(), self.filter.as_fd()]
    }

    /// Takes what was heard; true if any of it may have damaged the pod network. Our own changes
    /// are heard as well: [`crate::Network::repair`] finds nothing to do then.
    pub fn damaged(&mut self) -> bool {
        // What could not be heard may have been damage.
        let links = self
            .route
            .heard()
            .map(|events| events.iter().any(|event| touches_bridge(event, &self.bridge)));
        let filter = self
            .filter
            .heard()
            .map(|events| events.iter().any(|event| removes_from(event, &self.table)));
        links.unwrap_or(true) | filter.unwrap_or(true)
    }
}

fn touches_bridge(event: &Reply, bridge: &str) -> bool {
    match event.kind {
        RTM_NEWLINK if is_up(event) => false,
        RTM_NEWLINK | RTM_DELLINK => {
            event.attributes(IFINFOMSG).get_str(IFLA_IFNAME) == Some(bridge)
        }
        RTM_DELADDR => event.attributes(IFADDRMSG).get_str(IFA_LABEL) == Some(bridge),
        _ => false,
    }
}

/// `ifi_flags` of a `struct ifinfomsg`.
fn is_up(event: &Reply) -> bool {
    let flags = event.payload.get(8..12).and_then(|bytes| bytes.first_chunk::<4>());
    flags.is_some_and(|flags| u32::from_ne_bytes(*flags) & IFF_UP != 0)
}

fn removes_from(event: &Reply, table: &str) -> bool {
    let [message, subsystem] = event.kind.to_le_bytes();
    u16::from(subsystem) == NFTABLES
        && REMOVALS.contains(&u16::from(message))
        && event.attributes(NFGENMSG).get_str(TABLE) == Some(table)
}
