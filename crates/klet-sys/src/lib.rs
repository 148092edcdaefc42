//! Linux, typed: the only crate of the workspace that may write unsafe.
//!
//! One module per kernel object, one call per function. Descriptors are owned and close-on-exec,
//! interrupted calls are repeated, and an error says which call failed on what ([`SysError`]).
//! Functions that take `&CStr` neither allocate nor lock, so they may run in a child between
//! [`clone::fork_like`] and the exec.
#![expect(unsafe_code, reason = "this crate is where the workspace's unsafe lives")]

pub mod bpf;
pub mod capability;
pub mod clone;
mod error;
pub mod exec;
pub mod fd;
pub mod features;
pub mod in_root;
pub mod keyring;
pub mod limits;
pub mod memfd;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod node;
pub mod pidfd;
pub mod process;
pub mod pty;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod spawn;

#[cfg(test)]
mod tests;

pub use error::{Errno, SysError};
