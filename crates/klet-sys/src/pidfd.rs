//! Processes by handle (pidfd_open(2)): signals and waiting that cannot hit another process.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::error::{Errno, Named, SysError, check, retry};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this status.
    Code(i32),
    /// It was killed by this signal.
    Signal {
        /// The signal's number.
        signal: i32,
        /// Whether a core file was written.
        core: bool,
    },
}

/// A handle on the process with this number.
///
/// # Errors
/// `ESRCH` if there is none.
pub fn open(pid: i32) -> Result<OwnedFd, SysError> {
    let Some(pid) = rustix::process::Pid::from_raw(pid) else {
        return Err(SysError::new("pidfd_open", libc::EINVAL));
    };
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).named("pidfd_open")
}

/// Sends a signal.
///
/// # Errors
/// `ESRCH` if the process was reaped, `EPERM`, `EINVAL` for an unknown signal.
pub fn send_signal(process: BorrowedFd<'_>, signal: i32) -> Result<(), SysError> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo asks the kernel to fill it as kill(2) does; the rest are plain numbers.
    let answer =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, none, 0) };
    check("pidfd_send_signal", answer).map(drop)
}

/// How a child ended, or `None` if it runs. With `keep`, it stays to be waited for (`WNOWAIT`).
///
/// # Errors
/// `ECHILD` if it is not a child of the caller or was reaped.
pub fn try_wait(process: BorrowedFd<'_>, keep: bool) -> Result<Option<Exit>, SysError> {
    let keep = if keep { libc::WNOWAIT } else { 0 };
    wait_with(process, libc::WEXITED | libc::WNOHANG | keep)
}

/// Waits until a child has ended, and reaps it.
///
/// # Errors
/// `ECHILD` if it is not a child of the caller or was reaped.
pub fn wait(process: BorrowedFd<'_>) -> Result<Exit, SysError> {
    wait_with(process, libc::WEXITED)?.ok_or(SysError {
        call: "waitid",
        object: String::new(),
        errno: Errno(libc::ECHILD),
    })
}

fn wait_with(process: BorrowedFd<'_>, options: i32) -> Result<Option<Exit>, SysError> {
    let id = process.as_raw_fd().cast_unsigned();
    let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    retry(|| {
        // SAFETY: the result points at a live siginfo_t, which is what waitid fills.
        let answer = unsafe { libc::waitid(libc::P_PIDFD, id, info.as_mut_ptr(), options) };
        check("waitid", answer.into())
    })?;
    // SAFETY: siginfo_t is plain numbers, for which the zeroes it started with are valid.
    let info = unsafe { info.assume_init() };
    if info.si_signo == 0 {
        return Ok(None);
    }
    // SAFETY: waitid filled the child's part of the union, as si_signo (SIGCHLD) shows.
    let status = unsafe { info.si_status() };
    Ok(Some(match info.si_code {
        libc::CLD_EXITED => Exit::Code(status),
        code => Exit::Signal { signal: status, core: code == libc::CLD_DUMPED },
    }))
}

/// The number of the process, as the caller's procfs shows it.
///
/// # Errors
/// `ESRCH` if it was reaped; those of reading `/proc`.
pub fn number(process: BorrowedFd<'_>) -> Result<i32, SysError> {
    let path = format!("/proc/self/fdinfo/{}", process.as_fd().as_raw_fd());
    let text = std::fs::read_to_string(&path).map_err(|error| {
        SysError::new("read", error.raw_os_error().unwrap_or(libc::EIO)).on(path)
    })?;
    let number =
        text.lines().find_map(|line| line.strip_prefix("Pid:")).and_then(|n| n.trim().parse().ok());
    match number {
        Some(pid) if pid > 0 => Ok(pid),
        _ => Err(SysError::new("pidfd", libc::ESRCH)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(command: &str) -> (std::process::Child, OwnedFd) {
        let child = std::process::Command::new("/bin/sh").args(["-c", command]).spawn().unwrap();
        let handle = open(child.id() as i32).unwrap();
        (child, handle)
    }

    #[test]
    fn an_exit_code_is_seen_twice_when_kept() {
        let (_child, handle) = child("exit 7");
        let kept = wait_with(handle.as_fd(), libc::WEXITED | libc::WNOWAIT).unwrap();
        assert_eq!(kept, Some(Exit::Code(7)));
        assert_eq!(wait(handle.as_fd()).unwrap(), Exit::Code(7));
        assert_eq!(wait(handle.as_fd()).unwrap_err().errno.0, libc::ECHILD);
        assert_eq!(send_signal(handle.as_fd(), 0).unwrap_err().errno.0, libc::ESRCH);
    }

    #[test]
    fn a_signal_ends_a_running_process() {
        let (child, handle) = child("exec sleep 1000");
        assert_eq!(number(handle.as_fd()).unwrap(), child.id() as i32);
        assert_eq!(try_wait(handle.as_fd(), false).unwrap(), None);
        send_signal(handle.as_fd(), libc::SIGKILL).unwrap();
        assert_eq!(
            wait(handle.as_fd()).unwrap(),
            Exit::Signal { signal: libc::SIGKILL, core: false }
        );
    }

    #[test]
    fn there_is_no_process_zero() {
        assert_eq!(open(0).unwrap_err().errno.0, libc::EINVAL);
    }
}
