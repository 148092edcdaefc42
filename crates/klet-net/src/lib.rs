//! The pod network of one machine: a bridge with the pods' gateway, a veth pair and an address per
//! pod, host ports and masquerading in an nftables table of our own, and the texts of the files
//! (`/etc/hosts`, `/etc/resolv.conf`) that pods see.
//!
//! Everything is done by netlink from this process: no program is executed and nobody enters a pod's
//! namespace. Its inside is configured through a socket that was opened there.
//!
//! Who owns what: the address leases on disk are the truth. Interfaces and nftables elements carry
//! names derived from them, so whatever has no lease is an orphan, and [`Network::reconcile`] can put
//! back what somebody else removed.
//!
//! Known limits: a `hostPort` is not reachable through 127.0.0.1 (that would take
//! `route_localnet`, which opens the host's loopback services to the pods, CVE-2020-8558); a drop
//! policy for forwarded packets in somebody else's table wins over ours.
#![forbid(unsafe_code)]

mod bridge;
mod error;
pub mod files;
mod lease;
mod link;
mod model;
mod monitor;
mod network;
mod nft;
mod ports;
mod ruleset;
mod sysctl;

pub use error::NetError;
pub use model::{Attachment, HostPort, Lease, NetConfig, Protocol, Report};
pub use monitor::Monitor;
pub use network::Network;
pub use ports::host_port_conflict;
