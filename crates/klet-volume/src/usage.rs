//! How much a pod's emptyDirs hold, for their size limits and the node's summary.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, open, openat2, statat};
use rustix::io::Errno;

use crate::PodDirs;

/// Bytes of one block in `st_blocks` (stat(2)).
const BLOCK: u64 = 512;
/// Directories open at the same time; what is nested deeper is not counted.
const MAX_OPEN: usize = 256;
/// Entries looked at in one volume, so that a container cannot keep the node busy.
const MAX_ENTRIES: u64 = 1_000_000;

/// What a volume holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes on disk or in memory, not apparent size; a file with several names counts once.
    pub bytes: u64,
    /// Files and directories.
    pub inodes: u64,
}

/// The usage of every emptyDir of the pod, by name.
///
/// # Errors
/// What the file system answers; what a container removes at the same time is no error.
pub fn usage(dirs: &PodDirs) -> io::Result<BTreeMap<String, Usage>> {
    let parent = dirs.base().join("volumes").join("kubernetes.io~empty-dir");
    let entries = match std::fs::read_dir(&parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        other => other?,
    };
    let mut all = BTreeMap::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        all.insert(name, measure(&entry.path())?);
    }
    Ok(all)
}

fn measure(volume: &Path) -> io::Result<Usage> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let root = open(volume, flags, Mode::empty())?;
    let mut usage = Usage::default();
    let mut counted = HashSet::new();
    let mut pending: Vec<OwnedFd> = vec![root];
    while let Some(directory) = pending.pop() {
        for entry in Dir::read_from(directory.as_fd())? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_bytes() == b".." || usage.inodes >= MAX_ENTRIES {
                continue;
            }
            let status = match statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                other => other?,
            };
            let is_directory = FileType::from_raw_mode(status.st_mode) == FileType::Directory;
            if is_directory && name.to_bytes() != b"." {
                // It counts itself, as its own ".".
                if pending.len() < MAX_OPEN {
                    pending.extend(openat2(&directory, name, flags, Mode::empty(), resolve).ok());
                }
                continue;
            }
            if status.st_nlink > 1 && !is_directory && !counted.insert(status.st_ino) {
                continue;
            }
            usage.inodes += 1;
            usage.bytes += u64::try_from(status.st_blocks).unwrap_or(0) * BLOCK;
        }
    }
    Ok(usage)
}
