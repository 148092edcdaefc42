//! The words `kletd` and a pod's shim say to each other, and the CRI log format.
//!
//! Pure: values and bytes in, values and bytes out; no I/O, no clock. This is the
//! only crate that `kletd` and `klet-shim` share, so everything they must agree on
//! stands here: messages ([`message`]), their framing on the socket ([`frame`]),
//! the log line format ([`log`]), file names below the runtime directory
//! ([`paths`]) and the bounds of all of them ([`limits`]).
#![forbid(unsafe_code)]

pub mod frame;
pub mod limits;
pub mod log;
pub mod message;
pub mod paths;

pub use message::{
    ContainerConfig, ContainerSnapshot, ContainerState, Event, ExecConfig, ExecIo, ExecOutcome,
    ExitRecord, FromShim, LogConfig, Namespace, NetworkMode, PROTOCOL, PodSnapshot, Reply, Request,
    Rootfs, SandboxConfig, ShimError, ShimErrorKind, ToShim, Versions,
};
