//! Steps that build the container's file system.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use klet_sys::in_root::{Symlinks, open};
use klet_sys::mount::{self, attach, clone_tree_at, set_attributes};
use klet_sys::node::{Device, change_owner, make_device, make_directory, make_symlink};
use klet_sys::{SysError, fd, process};
use rustix::fs::OFlags;

use super::{Child, borrowed};
use crate::prepare::{MountOp, Op, READONLY, Source, Streams, Target};

impl<'a> Child<'a> {
    pub(super) fn filesystem(&mut self, op: &'a Op) -> Result<(), SysError> {
        match op {
            Op::SlavePropagation => mount::make_all_slave(),
            Op::AttachRoot(root) => self.attach_root(root),
            Op::Mount(op) => self.mount(op),
            Op::Device(target, device, owner) => self.device(target, *device, *owner),
            Op::Link(target, text) => {
                let (directory, name) = target.path.parent(self.root()?, target.symlinks)?;
                tolerate(make_symlink(text, directory.as_fd(), name), libc::EEXIST)
            }
            Op::Console(target) => self.console(target),
            Op::MakeDirectory(target) => {
                target.path.directory(self.root()?, target.symlinks).map(drop)
            }
            Op::Mask(target) => self.mask(target),
            Op::Readonly(target) => self.readonly(target),
            Op::Pivot => self.pivot(),
            _ => set_attributes(self.root()?, READONLY, false),
        }
    }

    /// Any directory will do to attach the root to: the mount namespace is the child's own, and what
    /// is covered goes away with the old root. `/proc` is there on every machine.
    fn attach_root(&mut self, root: &'a OwnedFd) -> Result<(), SysError> {
        let place = fd::open(c"/proc", OFlags::PATH | OFlags::DIRECTORY)?;
        attach(root, place)?;
        self.root = Some(borrowed(root));
        Ok(())
    }

    fn mount(&mut self, op: &MountOp) -> Result<(), SysError> {
        let (root, target) = (self.root()?, &op.target);
        let place = if op.directory {
            target.path.directory(root, target.symlinks)?
        } else {
            target.path.file(root, target.symlinks)?
        };
        // The kernel calls this an invalid argument; users know it as what it is.
        if fd::is_directory(&place)? != op.directory {
            return Err(SysError::new("mount", libc::ENOTDIR));
        }
        match &op.source {
            Source::Ready(made) => attach(made, place),
            Source::FileSystem(description) => attach(description.make()?, place),
            Source::Hierarchies(directory, hierarchies) => {
                attach(directory, place)?;
                for (name, hierarchy) in hierarchies {
                    make_directory(directory.as_fd(), name, 0o755)?;
                    let place = open(directory.as_fd(), name, OFlags::PATH, Symlinks::Refused)?;
                    attach(hierarchy.make()?, place)?;
                }
                set_attributes(directory.as_fd(), READONLY, false)
            }
        }
    }

    /// A node that is there already must be the very device: an image may bring its own `/dev`.
    fn device(
        &self,
        target: &Target,
        device: Device,
        (user, group): (u32, u32),
    ) -> Result<(), SysError> {
        let root = self.root()?;
        let (directory, name) = target.path.parent(root, target.symlinks)?;
        match make_device(directory.as_fd(), name, device) {
            Err(error) if error.errno.0 == libc::EEXIST => {
                let present = target.path.place(root, Symlinks::Refused)?;
                let number = fd::status(&present)?.st_rdev;
                return if number == rustix::fs::makedev(device.major, device.minor) {
                    Ok(())
                } else {
                    Err(error)
                };
            }
            other => other?,
        }
        if (user, group) == (0, 0) {
            Ok(())
        } else {
            change_owner(directory.as_fd(), name, user, group)
        }
    }

    fn console(&self, target: &Target) -> Result<(), SysError> {
        let Streams::Terminal(slave) = self.streams else { return Ok(()) };
        let place = target.path.file(self.root()?, target.symlinks)?;
        attach(clone_tree_at(slave, false)?, place)
    }

    /// Hides a directory behind an empty one and anything else behind the null device.
    fn mask(&mut self, target: &Target) -> Result<(), SysError> {
        let Some(place) = self.existing(target)? else { return Ok(()) };
        if !fd::is_directory(&place)? {
            return attach(clone_tree_at(self.null()?, false)?, place);
        }
        let Some(cover) = &self.prepared.cover else {
            return Err(SysError::new("move_mount", libc::ENOENT));
        };
        if self.cover_attached {
            return attach(clone_tree_at(cover, false)?, place);
        }
        self.cover_attached = true;
        attach(cover, place)
    }

    fn readonly(&self, target: &Target) -> Result<(), SysError> {
        let Some(place) = self.existing(target)? else { return Ok(()) };
        let tree = clone_tree_at(&place, true)?;
        set_attributes(tree.as_fd(), READONLY, true)?;
        attach(tree, place)
    }

    fn existing(&self, target: &Target) -> Result<Option<OwnedFd>, SysError> {
        match target.path.place(self.root()?, target.symlinks) {
            Ok(place) => Ok(Some(place)),
            Err(error) if error.errno.0 == libc::ENOENT => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The container's null device, known by its number and not by its name (CVE-2025-31133).
    fn null(&mut self) -> Result<BorrowedFd<'_>, SysError> {
        if self.null.is_none() {
            let null = open(self.root()?, c"dev/null", OFlags::PATH, Symlinks::Refused)?;
            if !fd::is_null_device(&null)? {
                return Err(SysError::new("open", libc::ENODEV));
            }
            self.null = Some(null);
        }
        self.null.as_ref().map(AsFd::as_fd).ok_or(SysError::new("open", libc::ENODEV))
    }

    fn pivot(&self) -> Result<(), SysError> {
        process::change_directory_to(self.root()?)?;
        process::pivot_root_here()?;
        // The old root now lies over the new one; "." means the uppermost mount there.
        mount::detach(c".")?;
        process::change_directory(c"/")
    }
}

fn tolerate(result: Result<(), SysError>, errno: i32) -> Result<(), SysError> {
    match result {
        Err(error) if error.errno.0 == errno => Ok(()),
        other => other,
    }
}
