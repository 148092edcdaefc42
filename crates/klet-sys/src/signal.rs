//! Signal masks, dispositions and signalfd(2).

use std::os::fd::OwnedFd;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::error::{Named, SysError};

/// Blocks every signal of the calling thread and gives the former mask.
///
/// # Errors
/// None in practice.
pub fn block_all() -> Result<SigSet, SysError> {
    let mut former = SigSet::empty();
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut former))
        .named("sigprocmask")?;
    Ok(former)
}

/// Restores a mask.
///
/// # Errors
/// None in practice.
pub fn restore(mask: &SigSet) -> Result<(), SysError> {
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(mask), None).named("sigprocmask")
}

/// Gives every signal its default action, then unblocks them all: what a program expects at its start.
///
/// # Errors
/// None in practice.
pub fn reset_for_exec() -> Result<(), SysError> {
    // A kernel sigaction of zeroes is SIG_DFL without flags on every architecture (at most 32 bytes).
    // The C library would refuse its own two signals, which a caller may have ignored all the same.
    let default_action = [0u64; 4];
    let none = std::ptr::null_mut::<u64>();
    for number in 1..=64 {
        // SAFETY: the action is a live, long enough kernel sigaction that is only read; SIG_DFL runs
        // no code of ours. SIGKILL and SIGSTOP are refused, harmlessly.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                default_action.as_ptr(),
                none,
                size_of::<u64>(),
            )
        };
    }
    restore(&SigSet::empty())
}

/// A descriptor that is readable when one of the signals is pending. They must be blocked.
///
/// # Errors
/// `EMFILE`, `ENFILE`.
pub fn descriptor(signals: &[Signal]) -> Result<OwnedFd, SysError> {
    let set: SigSet = signals.iter().copied().collect();
    let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .named("signalfd")?;
    Ok(signals.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocked_signals_stay_pending() {
        let former = block_all().unwrap();
        let mut mask = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_BLOCK, None, Some(&mut mask)).unwrap();
        assert!(mask.contains(Signal::SIGTERM));
        restore(&former).unwrap();
        pthread_sigmask(SigmaskHow::SIG_BLOCK, None, Some(&mut mask)).unwrap();
        assert_eq!(mask, former);
    }

    #[test]
    fn a_signal_is_read_from_a_descriptor() {
        let former = block_all().unwrap();
        let descriptor = descriptor(&[Signal::SIGUSR1]).unwrap();
        let mut info = [0u8; 128];
        assert_eq!(crate::fd::read(&descriptor, &mut info).unwrap_err().errno.0, libc::EAGAIN);
        nix::sys::pthread::pthread_kill(nix::sys::pthread::pthread_self(), Signal::SIGUSR1)
            .unwrap();
        assert_eq!(crate::fd::read(&descriptor, &mut info).unwrap(), 128);
        assert_eq!(i32::from(info[0]), libc::SIGUSR1);
        restore(&former).unwrap();
    }
}
