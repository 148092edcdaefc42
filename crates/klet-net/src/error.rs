//! Why the pod network could not do what it was asked.

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use klet_sys::netlink;

use crate::model::HostPort;

/// An error of the pod network.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The configuration cannot work.
    #[error("pod network: {0}")]
    Config(String),
    /// The pod network overlaps one that the host uses already.
    #[error("pod network {cidr} clashes with {with}: choose another range with --pod-cidr")]
    Clash {
        /// The configured range.
        cidr: Ipv4Net,
        /// The address or route in the way.
        with: String,
    },
    /// The pod's UID cannot name a lease.
    #[error("pod UID {0:?} is not usable as a name")]
    PodUid(String),
    /// Every address of the range is taken.
    #[error("no free address in pod network {cidr} ({used} in use)")]
    Exhausted {
        /// The range.
        cidr: Ipv4Net,
        /// Leases in use.
        used: usize,
    },
    /// The pod has no lease, or another one than the caller believes.
    #[error("pod {pod_uid} does not hold a lease of {ip}")]
    NotLeased {
        /// The pod.
        pod_uid: String,
        /// The address.
        ip: Ipv4Addr,
    },
    /// Another pod has the host port.
    #[error("host port {port} is in use by pod {owner}")]
    HostPort {
        /// The port asked for.
        port: HostPort,
        /// UID of the pod that has it.
        owner: String,
    },
    /// A process of the host listens on the host port.
    #[error("host port {0} is in use by another process of this node")]
    HostPortTaken(HostPort),
    /// A file could not be read or written.
    #[error("pod network: {step} {}", path.display())]
    File {
        /// The step.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The kernel refused a change.
    #[error("pod network: {step} {object}")]
    Kernel {
        /// The step.
        step: &'static str,
        /// Interface, table or address.
        object: String,
        /// The cause.
        #[source]
        source: netlink::Error,
    },
}

impl NetError {
    pub(crate) fn kernel(
        step: &'static str,
        object: &str,
    ) -> impl FnOnce(netlink::Error) -> Self + use<> {
        let object = object.to_owned();
        move |source| Self::Kernel { step, object, source }
    }

    pub(crate) fn file(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { step, path, source }
    }
}
