//! Namespaces (unshare(2), setns(2)).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use crate::error::{SysError, check};

/// Moves the caller into the namespaces (`CLONE_NEW*` flags) of another process, all or none.
/// `CLONE_NEWPID` concerns the caller's future children only.
///
/// # Errors
/// `EINVAL` if the caller is multi-threaded (mount, user) or the flags are unknown, `ESRCH` if the
/// process is gone, `EPERM`.
pub fn join_process(pidfd: BorrowedFd<'_>, namespaces: i32) -> Result<(), SysError> {
    // SAFETY: setns takes plain numbers.
    let answer = unsafe { libc::setns(pidfd.as_raw_fd(), namespaces) };
    check("setns", answer.into()).map(drop)
}

/// Moves the caller into one namespace, given by its `/proc/PID/ns` file.
///
/// # Errors
/// Those of setns(2).
pub fn join(namespace: impl AsFd) -> Result<(), SysError> {
    // SAFETY: setns takes plain numbers.
    let answer = unsafe { libc::setns(namespace.as_fd().as_raw_fd(), 0) };
    check("setns", answer.into()).map(drop)
}

/// Gives the caller namespaces of its own (`CLONE_NEW*` flags).
///
/// # Errors
/// `EPERM`, `ENOSPC` when a namespace limit is reached, `EINVAL` for unknown flags.
pub fn unshare(namespaces: i32) -> Result<(), SysError> {
    // SAFETY: only CLONE_NEW* flags are meant to be passed; none of them invalidates memory or the
    // descriptors of this process.
    let answer = unsafe { libc::unshare(namespaces) };
    check("unshare", answer.into()).map(drop)
}
