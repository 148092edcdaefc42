//! Loading of seccomp filters (seccomp(2)).

use crate::error::{SysError, check};

/// Puts a classic BPF filter on the calling thread, for ever.
///
/// `flags` are `SECCOMP_FILTER_FLAG_*`.
///
/// # Errors
/// `EACCES` without either no_new_privs or CAP_SYS_ADMIN, `EINVAL` for a malformed program.
pub fn load(program: &[libc::sock_filter], flags: u32) -> Result<(), SysError> {
    let Ok(len) = libc::c_ushort::try_from(program.len()) else {
        return Err(SysError::new("seccomp", libc::EINVAL));
    };
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: `program` describes a live slice of `len` instructions, which the kernel copies and does not write.
    let answer = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    };
    check("seccomp", answer).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_program_is_refused() {
        assert_eq!(load(&[], 0).unwrap_err().errno.0, libc::EINVAL);
    }
}
