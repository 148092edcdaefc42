//! Kernel keyrings (keyctl(2)).

use crate::error::{SysError, check};

/// Joins a new anonymous session keyring, so that the caller's keys are out of reach.
///
/// # Errors
/// `EDQUOT` when the user's key quota is used up, `ENOSYS` without keyrings.
pub fn join_new_session() -> Result<(), SysError> {
    let anonymous: *const libc::c_char = std::ptr::null();
    // SAFETY: a null name asks for an anonymous keyring; nothing is read or written.
    let answer =
        unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, anonymous) };
    check("keyctl(KEYCTL_JOIN_SESSION_KEYRING)", answer).map(drop)
}
