//! Containers from an OCI runtime spec: steps first, effects second, undo always.
//!
//! [`plan::plan`] turns a spec into an ordered list of steps without touching the machine. [`start()`]
//! prepares everything those steps need (descriptors, C strings, compiled filters), clones once, and
//! lets the child walk the list; a failure in the child comes back through one close-on-exec pipe as
//! the number of the step and its errno. [`exec()`] and [`start_sandbox`] are built of the same steps.
//!
//! The caller must be single-threaded: the child is a copy-on-write fork of it.

pub use klet_cgroup as cgroup;
mod child;
mod error;
mod exec;
mod handshake;
mod input;
mod launch;
pub mod plan;
mod prepare;
mod sandbox;
pub mod seccomp;
mod shim_mounts;
mod start;

pub use error::{Phase, StartError};
pub use exec::exec;
pub use input::{
    ContainerInput, ExecInput, Execed, JoinSandbox, RootfsInput, SandboxInput, Started,
    StartedSandbox, Stdio,
};
pub use sandbox::start_sandbox;
pub use shim_mounts::prepare_shim_mounts;
pub use start::start;
