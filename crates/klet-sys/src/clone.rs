//! clone3(2), the fork-like way: a copy-on-write child that walks prepared steps and execs.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::error::{SysError, check};

/// `CLONE_INTO_CGROUP` of `<linux/sched.h>`; wider than the `c_int` that libc gives it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Both sides of a clone.
#[derive(Debug)]
pub enum Cloned {
    /// In the caller: the child as the caller's pid namespace numbers it, and a handle on it.
    Parent {
        /// The child's number.
        pid: i32,
        /// The child's handle; readable once it has ended.
        pidfd: OwnedFd,
    },
    /// In the child.
    Child,
}

/// Copies the calling process into new namespaces (`CLONE_NEW*` flags), optionally directly into the
/// v2 cgroup whose directory is given.
///
/// The caller must be single-threaded, or the child must confine itself to calls that neither
/// allocate nor take a lock: a lock held by another thread stays held for ever in the child. The
/// child must end with an exec or [`crate::process::exit_now`] and must not return further than its
/// caller's frame.
///
/// # Errors
/// Those of clone3(2); `EBUSY` or `EOPNOTSUPP` for an unusable cgroup.
pub fn fork_like(namespaces: i32, cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned, SysError> {
    let mut pidfd: libc::c_int = -1;
    let mut args = libc::clone_args {
        flags: namespaces.cast_unsigned().into(),
        pidfd: (&raw mut pidfd) as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: libc::SIGCHLD.cast_unsigned().into(),
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    };
    args.flags |= libc::CLONE_PIDFD.cast_unsigned() as u64;
    if let Some(directory) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = directory.as_raw_fd().cast_unsigned().into();
    }
    // SAFETY: `args` is a valid clone_args of the size given, and `args.pidfd` points at a live
    // c_int. Without CLONE_VM and without a stack the child continues on its own copy of this stack.
    let answer =
        unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match check("clone3", answer)? {
        0 => Ok(Cloned::Child),
        pid => {
            // SAFETY: on success with CLONE_PIDFD the kernel stored a new descriptor that only we hold.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent { pid: pid as i32, pidfd })
        }
    }
}

/// Room for the calls a child makes before it executes a program, bytes.
const STACK: usize = 64 << 10;

/// Runs `child` in a new process that shares the caller's memory, as vfork(2) does: nothing of the
/// caller is copied, however large it is. The calling thread waits until the child has executed a
/// program or ended, which it does when `child` returns.
///
/// Gives the child's number and a handle on it. The child must make async-signal-safe calls only and
/// run with all signals blocked, like any child of a threaded process; what it changes in memory, the
/// caller sees.
///
/// # Errors
/// Those of clone(2).
pub fn vfork_like<F: FnMut()>(mut child: F) -> Result<(i32, OwnedFd), SysError> {
    extern "C" fn enter<F: FnMut()>(child: *mut libc::c_void) -> libc::c_int {
        // SAFETY: the caller passes a live `F` and does not touch it while the child runs.
        let child = unsafe { &mut *child.cast::<F>() };
        child();
        crate::process::exit_now(127)
    }
    let mut stack = vec![0u128; STACK / size_of::<u128>()];
    let mut pidfd: libc::c_int = -1;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let top = stack.as_mut_ptr_range().end.cast();
    // SAFETY: `top` is the aligned end of a live stack, which together with `child` outlives the child's
    // stay in this memory, because CLONE_VFORK keeps this thread waiting; `pidfd` is a live c_int.
    let answer =
        unsafe { libc::clone(enter::<F>, top, flags, (&raw mut child).cast(), &raw mut pidfd) };
    let pid = check("clone", answer.into())?;
    // SAFETY: on success with CLONE_PIDFD the kernel stored a new descriptor that only we hold.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok((pid as i32, pidfd))
}
