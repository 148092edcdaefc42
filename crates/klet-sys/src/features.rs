//! What the running kernel can do, found out by asking it and not by its version: vendors backport,
//! and a filter around this process may take calls away.

use crate::error::{Errno, SysError};
use crate::mount::FileSystem;

/// A call that nothing here works without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Required {
    /// Its name in the manual.
    pub call: &'static str,
    /// The first Linux that has it.
    pub since: &'static str,
    number: libc::c_long,
    arguments: [libc::c_long; 3],
}

/// Nothing, to a call that takes a descriptor.
const NONE: libc::c_long = -1;
/// A range of descriptors that has none in it.
const LAST: libc::c_long = u32::MAX as libc::c_long;
const CLOEXEC: libc::c_long = libc::CLOSE_RANGE_CLOEXEC as libc::c_long;

/// Oldest first. With the last one come all others; a filter may still forbid any of them.
const REQUIRED: [Required; 5] = [
    Required::new("fsopen", "5.2", libc::SYS_fsopen, [0, NONE, 0]),
    Required::new("clone3", "5.3", libc::SYS_clone3, [0, 0, 0]),
    Required::new("openat2", "5.6", libc::SYS_openat2, [NONE, 0, 0]),
    Required::new("close_range", "5.11", libc::SYS_close_range, [LAST, LAST, CLOEXEC]),
    Required::new("mount_setattr", "5.12", libc::SYS_mount_setattr, [NONE, 0, 0]),
];

impl Required {
    const fn new(
        call: &'static str,
        since: &'static str,
        number: libc::c_long,
        arguments: [libc::c_long; 3],
    ) -> Self {
        Self { call, since, number, arguments }
    }

    /// The kernel's answer to the call with arguments that let it do nothing.
    fn ask(&self) -> Option<Errno> {
        let [first, second, third] = self.arguments;
        // SAFETY: null pointers, sizes of 0 and descriptors that are none: each call refuses them
        // before it acts, and close_range finds no descriptor in its range.
        let answer = unsafe { libc::syscall(self.number, first, second, third, 0, 0) };
        (answer < 0).then(Errno::last)
    }

    /// What an answer means. Only close_range succeeds; before 5.11 it knows no flag.
    fn is_lacking(&self, answer: Option<Errno>) -> bool {
        match answer {
            None => false,
            Some(Errno(libc::EINVAL)) => self.call == "close_range",
            Some(Errno(errno)) => errno == libc::ENOSYS,
        }
    }
}

/// The first required call that the kernel lacks.
#[must_use]
pub fn lacking() -> Option<Required> {
    first_lacking(Required::ask)
}

fn first_lacking(ask: impl Fn(&Required) -> Option<Errno>) -> Option<Required> {
    REQUIRED.into_iter().find(|required| required.is_lacking(ask(required)))
}

/// What there is another way for. A value may be made by hand to take the other way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// Overlay takes its layers one by one, as parameters `lowerdir+` (Linux 6.8). Otherwise all are
    /// options of mount(2), a page of text together.
    pub overlay_layers: bool,
}

impl Features {
    /// Asks the kernel.
    #[must_use]
    pub fn probe() -> Self {
        Self { overlay_layers: overlay_layers().unwrap_or(false) }
    }
}

/// An overlay that is configured the old way accepts any parameter until it is mounted.
fn overlay_layers() -> Result<bool, SysError> {
    let overlay = FileSystem::open(c"overlay")?;
    let knows_parameters = overlay.set(c"no such parameter", c"").is_err();
    Ok(knows_parameters && overlay.set(c"lowerdir+", c"/").is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_has_what_is_required() {
        assert_eq!(lacking(), None);
    }

    #[test]
    fn a_lacking_call_is_named_and_a_refusal_is_no_lack() {
        let without = |name: &'static str, errno: i32| {
            let found = first_lacking(move |required| {
                Some(Errno(if required.call == name { errno } else { libc::EPERM }))
            });
            found.map(|required| (required.call, required.since))
        };
        assert_eq!(without("mount_setattr", libc::ENOSYS), Some(("mount_setattr", "5.12")));
        assert_eq!(without("close_range", libc::EINVAL), Some(("close_range", "5.11")));
        assert_eq!(without("openat2", libc::EINVAL), None);
        let all = first_lacking(|_| Some(Errno(libc::ENOSYS)));
        assert_eq!(all.map(|required| required.call), Some("fsopen"));
    }

    #[test]
    fn overlay_is_asked_and_not_believed() {
        // Root is needed to ask; the answer must agree with the attempt.
        let overlay = FileSystem::open(c"overlay").unwrap();
        overlay.set(c"lowerdir+", c"/usr").ok();
        overlay.set(c"lowerdir+", c"/etc").ok();
        assert_eq!(Features::probe().overlay_layers, overlay.mount(0).is_ok());
    }
}
