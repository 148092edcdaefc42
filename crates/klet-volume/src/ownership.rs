//! `fsGroup`: who may read and write the files of a volume.

use std::os::fd::AsFd;

use klet_api::Pod;
use rustix::fs::{Gid, Mode, fchmod, fchown, fstat};

use crate::payload::Files;

const READ: u32 = 0o440;
const READ_WRITE: u32 = 0o660;
const SEARCH: u32 = 0o110;
const SET_GROUP_ID: u32 = 0o2000;
const PERMISSIONS: u32 = 0o7777;

/// The group that owns a volume, and what it may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ownership {
    group: Option<u32>,
    mask: u32,
}

impl Ownership {
    /// For a volume that containers only read.
    pub(crate) fn read_only(pod: &Pod) -> Self {
        Self { group: fs_group(pod), mask: READ }
    }

    /// For a volume that containers write.
    pub(crate) fn read_write(pod: &Pod) -> Self {
        Self { group: fs_group(pod), mask: READ_WRITE }
    }

    /// The files with the modes that they are to have in the end.
    pub(crate) fn files(self, mut files: Files) -> Files {
        if self.group.is_some() {
            files.values_mut().for_each(|content| content.mode |= self.mask);
        }
        files
    }

    /// The mode that a directory with `mode` is to have.
    pub(crate) fn directory_mode(self, mode: u32) -> u32 {
        if self.group.is_some() { mode | self.mask | SEARCH | SET_GROUP_ID } else { mode }
    }

    /// Give an open file or directory to the group, then set exactly this mode (changing the owner
    /// may clear bits of it).
    pub(crate) fn apply(self, file: impl AsFd, mode: u32) -> rustix::io::Result<()> {
        if let Some(group) = self.group {
            fchown(&file, None, Some(Gid::from_raw(group)))?;
        }
        fchmod(&file, Mode::from_raw_mode(mode))
    }

    /// Give an open directory to the group, its mode extended accordingly. Nothing without one.
    pub(crate) fn apply_to_directory(self, directory: impl AsFd) -> rustix::io::Result<()> {
        let Some(group) = self.group else { return Ok(()) };
        let status = fstat(&directory)?;
        let mode = status.st_mode & PERMISSIONS;
        let wanted = self.directory_mode(mode);
        if status.st_gid == group && mode == wanted {
            Ok(())
        } else {
            self.apply(directory, wanted)
        }
    }

    /// Whether something with this group is as it should be.
    pub(crate) fn fits(self, group: u32) -> bool {
        self.group.is_none_or(|wanted| wanted == group)
    }
}

fn fs_group(pod: &Pod) -> Option<u32> {
    let context = pod.spec.as_ref()?.security_context.as_ref()?;
    context.fs_group.and_then(|group| u32::try_from(group).ok())
}
