//! Mounts by descriptor: the mount API of Linux 5.2 with `mount_setattr` of 5.12.
//!
//! A mount is made detached, given its attributes, and attached last, so nobody sees a half-made
//! one. Descriptors on both sides leave no path to be exchanged by an attacker.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags,
};

use crate::error::{Named, SysError, check};

/// Mount attributes to set and clear, as mount_setattr(2) takes them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED` or `MS_UNBINDABLE`, or 0 to leave the propagation alone.
    pub propagation: u64,
}

impl Attributes {
    /// Nothing to change.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.set == 0 && self.clear == 0 && self.propagation == 0
    }
}

/// A file system being configured (fsopen(2)).
#[derive(Debug)]
pub struct FileSystem(OwnedFd);

impl FileSystem {
    /// Begins to configure a file system of this type.
    ///
    /// # Errors
    /// `ENODEV` for an unknown type, `EPERM` without CAP_SYS_ADMIN.
    pub fn open(kind: &CStr) -> Result<Self, SysError> {
        rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).named("fsopen").map(Self)
    }

    /// Sets a parameter with a value.
    ///
    /// # Errors
    /// `EINVAL` for an unknown key or a bad value.
    pub fn set(&self, key: &CStr, value: &CStr) -> Result<(), SysError> {
        rustix::mount::fsconfig_set_string(&self.0, key, value).named("fsconfig")
    }

    /// Sets a parameter that has no value.
    ///
    /// # Errors
    /// `EINVAL` for an unknown key.
    pub fn set_flag(&self, key: &CStr) -> Result<(), SysError> {
        rustix::mount::fsconfig_set_flag(&self.0, key).named("fsconfig")
    }

    /// Creates the file system and makes a detached mount of it. `attributes` are `MOUNT_ATTR_*`.
    ///
    /// # Errors
    /// Those of the file system, fsconfig(2) and fsmount(2).
    pub fn mount(self, attributes: u64) -> Result<OwnedFd, SysError> {
        rustix::mount::fsconfig_create(&self.0).named("fsconfig")?;
        let attributes = MountAttrFlags::from_bits_retain(attributes as u32);
        rustix::mount::fsmount(self.0, FsMountFlags::FSMOUNT_CLOEXEC, attributes).named("fsmount")
    }
}

/// A file system made with mount(2) and its options in one text of less than a page, detached. It lies
/// at `place`, a directory of our own, for a moment.
///
/// # Errors
/// Those of the file system, mount(2) and open_tree(2).
pub fn mount_detached(kind: &CStr, place: &CStr, options: &CStr) -> Result<OwnedFd, SysError> {
    rustix::mount::mount(kind, place, kind, MountFlags::empty(), options).named("mount")?;
    let tree = clone_tree(place, false);
    detach(place)?;
    tree
}

/// A detached copy of the mount at `path`, a path of our own.
///
/// # Errors
/// Those of open_tree(2).
pub fn clone_tree(path: &CStr, recursive: bool) -> Result<OwnedFd, SysError> {
    rustix::mount::open_tree(CWD, path, tree_flags(recursive)).named("open_tree")
}

/// A detached copy of the mount under an open file or directory.
///
/// # Errors
/// `EINVAL` if the mount is not in the caller's mount namespace.
pub fn clone_tree_at(place: impl AsFd, recursive: bool) -> Result<OwnedFd, SysError> {
    let flags = tree_flags(recursive) | OpenTreeFlags::AT_EMPTY_PATH;
    rustix::mount::open_tree(place, c"", flags).named("open_tree")
}

fn tree_flags(recursive: bool) -> OpenTreeFlags {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive { flags | OpenTreeFlags::AT_RECURSIVE } else { flags }
}

/// Attaches a detached mount over an open file or directory.
///
/// # Errors
/// `ENOTDIR` if one is a directory and the other is not; `EINVAL` if the place lies in another mount namespace.
pub fn attach(mount: impl AsFd, place: impl AsFd) -> Result<(), SysError> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, c"", place, c"", flags).named("move_mount")
}

/// Changes the attributes of the mount under an open file.
///
/// # Errors
/// `EPERM` for attributes locked by another user namespace, `EINVAL` if the file is not a mount's root.
pub fn set_attributes(
    mount: BorrowedFd<'_>,
    attributes: Attributes,
    recursive: bool,
) -> Result<(), SysError> {
    let attr = libc::mount_attr {
        attr_set: attributes.set,
        attr_clr: attributes.clear,
        propagation: attributes.propagation,
        userns_fd: 0,
    };
    let recursive = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a C string and `attr` is a live mount_attr of the size given; both are only read.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    check("mount_setattr", answer).map(drop)
}

/// Makes every mount of the caller's namespace receive the host's changes and pass none on.
///
/// # Errors
/// `EINVAL` if the root is not a mount.
pub fn make_all_slave() -> Result<(), SysError> {
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change(c"/", flags).named("mount(MS_SLAVE)")
}

/// Detaches the mount at `path` and everything below it (`MNT_DETACH`).
///
/// # Errors
/// `EINVAL` if `path` is not a mount.
pub fn detach(path: &CStr) -> Result<(), SysError> {
    rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).named("umount2")
}
