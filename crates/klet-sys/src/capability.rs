//! Capability sets (capabilities(7)) of the calling thread.

use rustix::thread::CapabilitySet;

use crate::error::{Named, SysError, check};

/// A set of capabilities; bit n is capability n of `<linux/capability.h>`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Set(pub u64);

impl Set {
    /// Whether capability `number` is a member.
    #[must_use]
    pub const fn contains(self, number: u32) -> bool {
        number < 64 && self.0 >> number & 1 == 1
    }

    /// The members of both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// What the thread may do now, may take up, and hands on to programs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sets {
    /// Checked by the kernel now.
    pub effective: Set,
    /// May be made effective.
    pub permitted: Set,
    /// Kept over exec of programs that have them in their own inheritable set.
    pub inheritable: Set,
}

/// The calling thread's sets.
///
/// # Errors
/// None in practice.
pub fn get() -> Result<Sets, SysError> {
    let sets = rustix::thread::capabilities(None).named("capget")?;
    Ok(Sets {
        effective: Set(sets.effective.bits()),
        permitted: Set(sets.permitted.bits()),
        inheritable: Set(sets.inheritable.bits()),
    })
}

/// Sets the calling thread's sets.
///
/// # Errors
/// `EPERM` for a capability that is not permitted.
pub fn set(sets: Sets) -> Result<(), SysError> {
    let sets = rustix::thread::CapabilitySets {
        effective: CapabilitySet::from_bits_retain(sets.effective.0),
        permitted: CapabilitySet::from_bits_retain(sets.permitted.0),
        inheritable: CapabilitySet::from_bits_retain(sets.inheritable.0),
    };
    rustix::thread::set_capabilities(None, sets).named("capset")
}

/// Drops every capability that is not in `kept` from the bounding set, up to the kernel's last one.
///
/// # Errors
/// `EPERM` without CAP_SETPCAP.
pub fn bound(kept: Set) -> Result<(), SysError> {
    for number in 0..64u32 {
        if kept.contains(number) {
            continue;
        }
        // SAFETY: PR_CAPBSET_DROP takes plain numbers.
        let answer =
            unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) };
        match check("prctl(PR_CAPBSET_DROP)", answer.into()) {
            Err(error) if error.errno.0 == libc::EINVAL => break,
            other => other?,
        };
    }
    Ok(())
}

/// Makes exactly `raised` ambient: kept over exec for users other than root.
///
/// # Errors
/// `EPERM` for a capability that is not both permitted and inheritable.
pub fn set_ambient(raised: Set) -> Result<(), SysError> {
    rustix::thread::clear_ambient_capability_set().named("prctl(PR_CAP_AMBIENT)")?;
    for number in (0..64u32).filter(|number| raised.contains(*number)) {
        let (raise, number) =
            (libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong, libc::c_ulong::from(number));
        // SAFETY: PR_CAP_AMBIENT_RAISE takes plain numbers.
        let answer = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, raise, number, 0, 0) };
        check("prctl(PR_CAP_AMBIENT)", answer.into())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_present_sets_can_be_set_again() {
        let sets = get().unwrap();
        set(sets).unwrap();
        assert_eq!(get().unwrap(), sets);
    }

    #[test]
    fn effective_beyond_permitted_is_refused() {
        let sets = Sets { effective: Set(1), permitted: Set(0), inheritable: Set(0) };
        assert_eq!(set(sets).unwrap_err().errno.0, libc::EPERM);
    }

    #[test]
    fn membership() {
        assert!(Set(0b100).contains(2));
        assert!(!Set(0b100).contains(1));
        assert!(!Set(u64::MAX).contains(64));
        assert_eq!(Set(0b110).and(Set(0b011)), Set(0b010));
    }
}
