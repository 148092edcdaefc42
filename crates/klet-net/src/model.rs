//! The plain data of the pod network.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// Where and how the pod network lives on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetConfig {
    /// Name of the bridge (at most 15 bytes), `klet0` by default.
    pub bridge: String,
    /// Addresses of the pods. The first one is the gateway, on the bridge.
    pub pod_cidr: Ipv4Net,
    /// Directory for leases and for what has to be remembered about the host.
    pub state_dir: PathBuf,
    /// Name of the nftables table in the `inet` family.
    pub table: String,
}

impl NetConfig {
    /// The defaults, with state below `state_dir`.
    #[must_use]
    pub fn new(state_dir: PathBuf) -> Self {
        Self {
            bridge: "klet0".into(),
            pod_cidr: Ipv4Net::new_assert(Ipv4Addr::new(10, 88, 0, 0), 16),
            state_dir,
            table: "klet".into(),
        }
    }

    /// The bridge's own address: the first of the range.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.pod_cidr.network().to_bits() | 1)
    }
}

/// An address reserved for one pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The pod's address.
    pub ip: Ipv4Addr,
    /// Prefix length of the pod network.
    pub prefix: u8,
    /// The default gateway: the bridge's address.
    pub gateway: Ipv4Addr,
}

/// A transport protocol of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The IP protocol number (IANA).
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

/// A port of the host that leads to a port of the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostPort {
    /// Only this address of the host; `None` (or 0.0.0.0 in the pod) means all of them.
    pub host_ip: Option<Ipv4Addr>,
    /// Port on the host, not 0.
    pub host_port: u16,
    /// Port in the pod, not 0.
    pub container_port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(ip) = self.host_ip {
            write!(f, "{ip}:")?;
        }
        write!(f, "{}/{}", self.host_port, self.protocol)
    }
}

/// A pod that is on the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The host's end of the pair.
    pub host_interface: String,
    /// The pod's addresses, the primary one first (`status.podIPs`).
    pub ips: Vec<Ipv4Addr>,
}

/// What a reconciliation found and repaired.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Pods whose lease was removed because they no longer exist.
    pub leases_removed: Vec<String>,
    /// Interfaces without a pod that were removed.
    pub interfaces_removed: Vec<String>,
    /// The bridge, its address or its state had to be restored.
    pub bridge_restored: bool,
    /// The nftables table was missing or different and was written again.
    pub table_restored: bool,
}
