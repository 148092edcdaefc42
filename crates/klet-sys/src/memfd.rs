//! Sealed anonymous files (memfd_create(2)): program images that nobody can change any more.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags};

use crate::error::{Named, SysError, retry};

/// An anonymous file with `content`, sealed against writing, growing and shrinking.
///
/// # Errors
/// Those of memfd_create(2), write(2) and fcntl(2).
pub fn sealed(name: &CStr, content: &[u8]) -> Result<OwnedFd, SysError> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = match rustix::fs::memfd_create(name, flags | MemfdFlags::EXEC) {
        // MFD_EXEC is unknown before Linux 6.3, where every memfd is executable.
        Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create(name, flags),
        other => other,
    }
    .named("memfd_create")?;
    let mut rest = content;
    while !rest.is_empty() {
        let written = retry(|| rustix::io::write(&file, rest).named("write"))?;
        rest = &rest[written..];
    }
    // Nobody has it mapped, so what is to come is all there is; sealing what is there (`WRITE`) fails
    // with EBUSY while the kernel itself looks at a page.
    let seals = SealFlags::FUTURE_WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals).named("fcntl(F_ADD_SEALS)")?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_file_cannot_be_changed() {
        let file = sealed(c"test", b"content").unwrap();
        assert_eq!(rustix::fs::fstat(&file).unwrap().st_size, 7);
        assert_eq!(rustix::io::write(&file, b"x").unwrap_err(), rustix::io::Errno::PERM);
        assert_eq!(rustix::fs::ftruncate(&file, 0).unwrap_err(), rustix::io::Errno::PERM);
    }
}
