//! File system entries made relative to an open directory: device nodes, directories, symlinks.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid};

use crate::error::{Named, SysError};

/// A device node to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Character, block device or FIFO.
    pub kind: FileType,
    /// Permission bits.
    pub mode: u32,
    /// Major device number.
    pub major: u32,
    /// Minor device number.
    pub minor: u32,
}

/// Makes a device node; the caller's umask applies.
///
/// # Errors
/// Those of mknod(2).
pub fn make_device(directory: BorrowedFd<'_>, name: &CStr, device: Device) -> Result<(), SysError> {
    let number = rustix::fs::makedev(device.major, device.minor);
    rustix::fs::mknodat(directory, name, device.kind, Mode::from_raw_mode(device.mode), number)
        .named("mknodat")
}

/// Makes a directory.
///
/// # Errors
/// Those of mkdir(2).
pub fn make_directory(directory: BorrowedFd<'_>, name: &CStr, mode: u32) -> Result<(), SysError> {
    rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(mode)).named("mkdir")
}

/// Makes a symbolic link.
///
/// # Errors
/// Those of symlink(2).
pub fn make_symlink(target: &CStr, directory: BorrowedFd<'_>, name: &CStr) -> Result<(), SysError> {
    rustix::fs::symlinkat(target, directory, name).named("symlink")
}

/// Gives an entry, not what it may point to, to a user and group.
///
/// # Errors
/// Those of fchownat(2).
pub fn change_owner(
    directory: BorrowedFd<'_>,
    name: &CStr,
    user: u32,
    group: u32,
) -> Result<(), SysError> {
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    rustix::fs::chownat(directory, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)
        .named("fchownat")
}
