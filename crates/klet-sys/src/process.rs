//! The calling process itself: end, session, directory, user and group, umask, keep-capabilities.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::thread::Gid;

use crate::error::{Named, SysError, check};

/// Ends the process at once: no destructors, no exit handlers, no flushing. For a child that has not
/// executed its program.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Starts a session (setsid(2)).
///
/// # Errors
/// `EPERM` if the caller leads a process group.
pub fn new_session() -> Result<(), SysError> {
    rustix::process::setsid().named("setsid").map(drop)
}

/// Changes the working directory.
///
/// # Errors
/// Those of chdir(2).
pub fn change_directory(path: &CStr) -> Result<(), SysError> {
    rustix::process::chdir(path).named("chdir")
}

/// Changes the working directory to an open one.
///
/// # Errors
/// Those of fchdir(2).
pub fn change_directory_to(directory: impl AsFd) -> Result<(), SysError> {
    rustix::process::fchdir(directory).named("fchdir")
}

/// Whether the working directory is reachable from the root, which getcwd(2) tells by the leading
/// slash. A directory outside the root would be an escape (CVE-2024-21626).
///
/// # Errors
/// `ENOENT` if the directory was removed or cannot be reached.
pub fn verify_directory_is_reachable() -> Result<(), SysError> {
    let mut path = [0u8; libc::PATH_MAX as usize];
    // SAFETY: the buffer is valid for writes of the length given.
    let answer = unsafe { libc::syscall(libc::SYS_getcwd, path.as_mut_ptr(), path.len()) };
    check("getcwd", answer)?;
    if path[0] == b'/' { Ok(()) } else { Err(SysError::new("getcwd", libc::ENOENT)) }
}

/// Sets the file mode creation mask.
pub fn set_umask(mask: u32) {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
}

/// Sets the supplementary groups.
///
/// # Errors
/// `EPERM` without CAP_SETGID; `EINVAL` for more than 65536.
pub fn set_groups(groups: &[Gid]) -> Result<(), SysError> {
    rustix::thread::set_thread_groups(groups).named("setgroups")
}

/// Sets the real, effective and saved group of the calling thread.
///
/// # Errors
/// `EPERM` without CAP_SETGID; `EINVAL` for an id without a mapping.
pub fn set_group(id: u32) -> Result<(), SysError> {
    let id = Gid::from_raw(id);
    rustix::thread::set_thread_res_gid(id, id, id).named("setresgid")
}

/// Sets the real, effective and saved user of the calling thread.
///
/// # Errors
/// `EPERM` without CAP_SETUID; `EINVAL` for an id without a mapping.
pub fn set_user(id: u32) -> Result<(), SysError> {
    let id = rustix::thread::Uid::from_raw(id);
    rustix::thread::set_thread_res_uid(id, id, id).named("setresuid")
}

/// Keeps the permitted capabilities over the next change of user (`PR_SET_KEEPCAPS`).
///
/// # Errors
/// `EPERM` if the securebit is locked.
pub fn keep_capabilities(keep: bool) -> Result<(), SysError> {
    rustix::thread::set_keep_capabilities(keep).named("prctl(PR_SET_KEEPCAPS)")
}

/// Gives up the gaining of privileges by exec, for ever (`PR_SET_NO_NEW_PRIVS`).
///
/// # Errors
/// None on Linux 3.5 and later.
pub fn set_no_new_privileges() -> Result<(), SysError> {
    rustix::thread::set_no_new_privs(true).named("prctl(PR_SET_NO_NEW_PRIVS)")
}

/// Whether other processes of the same user may trace this one or open its `/proc` files.
///
/// # Errors
/// None in practice.
pub fn set_dumpable(dumpable: bool) -> Result<(), SysError> {
    let behaviour = if dumpable {
        rustix::process::DumpableBehavior::Dumpable
    } else {
        rustix::process::DumpableBehavior::NotDumpable
    };
    rustix::process::set_dumpable_behavior(behaviour).named("prctl(PR_SET_DUMPABLE)")
}

/// Makes the caller adopt the orphans among its descendants (`PR_SET_CHILD_SUBREAPER`).
///
/// # Errors
/// None in practice.
pub fn become_subreaper() -> Result<(), SysError> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .named("prctl(PR_SET_CHILD_SUBREAPER)")
}

/// Sets the host name of the calling process's UTS namespace.
///
/// # Errors
/// `EINVAL` for more than 64 bytes, `EPERM` without CAP_SYS_ADMIN.
pub fn set_host_name(name: &[u8]) -> Result<(), SysError> {
    rustix::system::sethostname(name).named("sethostname")
}

/// Sets the NIS domain name of the calling process's UTS namespace.
///
/// # Errors
/// `EINVAL` for more than 64 bytes, `EPERM` without CAP_SYS_ADMIN.
pub fn set_domain_name(name: &[u8]) -> Result<(), SysError> {
    rustix::system::setdomainname(name).named("setdomainname")
}

/// Makes `new_root`, the working directory, the root of the mount namespace and detaches the old one.
///
/// # Errors
/// `EINVAL` if the working directory is not a mount, or the present root is the initial ramfs.
pub fn pivot_root_here() -> Result<(), SysError> {
    rustix::process::pivot_root(c".", c".").named("pivot_root")
}

/// Writes all of `bytes` (one write(2); a shorter one is an error, as for `/proc` files).
///
/// # Errors
/// Those of write(2); `EIO` for a short write.
pub fn write_once(file: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), SysError> {
    let written = crate::error::retry(|| rustix::io::write(file, bytes).named("write"))?;
    if written == bytes.len() { Ok(()) } else { Err(SysError::new("write", libc::EIO)) }
}
