//! Resource limits (prlimit(2)) of the calling process.

use crate::error::{SysError, check};

/// A resource limit as the kernel numbers and counts it; `u64::MAX` is "unlimited".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// `RLIMIT_*`.
    pub resource: u32,
    /// The limit that is enforced.
    pub soft: u64,
    /// The ceiling up to which the process itself may raise the soft limit.
    pub hard: u64,
}

/// The limit in force.
///
/// # Errors
/// `EINVAL` for an unknown resource.
pub fn get(resource: u32) -> Result<Limit, SysError> {
    let mut current = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: pid 0 is the caller; the result points at a live rlimit64, which is what the call fills.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            resource,
            std::ptr::null::<libc::rlimit64>(),
            &raw mut current,
        )
    };
    check("prlimit", answer)?;
    Ok(Limit { resource, soft: current.rlim_cur, hard: current.rlim_max })
}

/// Sets a limit of the caller.
///
/// # Errors
/// `EPERM` for raising a hard limit without CAP_SYS_RESOURCE, `EINVAL` for soft above hard.
pub fn set(limit: Limit) -> Result<(), SysError> {
    let wanted = libc::rlimit64 { rlim_cur: limit.soft, rlim_max: limit.hard };
    let none = std::ptr::null_mut::<libc::rlimit64>();
    // SAFETY: pid 0 is the caller; the new limit points at a live rlimit64 that the call only reads.
    let answer =
        unsafe { libc::syscall(libc::SYS_prlimit64, 0, limit.resource, &raw const wanted, none) };
    check("prlimit", answer).map(drop)
}

/// Sets a limit as far as the caller may: a hard limit above the present one is cut to it.
/// Answers whether the limit was set as asked.
///
/// # Errors
/// As [`set`], but not `EPERM`.
pub fn set_clamped(limit: Limit) -> Result<bool, SysError> {
    match set(limit) {
        Err(error) if error.errno.0 == libc::EPERM => {
            let hard = limit.hard.min(get(limit.resource)?.hard);
            set(Limit { hard, soft: limit.soft.min(hard), ..limit })?;
            Ok(false)
        }
        other => other.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_present_limit_can_be_set_again() {
        let limit = get(libc::RLIMIT_CORE).unwrap();
        set(limit).unwrap();
        assert_eq!(get(libc::RLIMIT_CORE).unwrap(), limit);
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(get(9999).unwrap_err().errno.0, libc::EINVAL);
        let upside_down = Limit { resource: libc::RLIMIT_CORE, soft: 2, hard: 1 };
        assert_eq!(set(upside_down).unwrap_err().errno.0, libc::EINVAL);
    }
}
