//! subPath: a part of a volume, found without following a link out of it.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, open, openat2};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, mount_bind, unmount};

use crate::{PodDirs, VolumeError, mounts};

/// Which part of which volume is asked for, by which mount.
#[derive(Debug, Clone, Copy)]
pub struct SubPath<'a> {
    /// The volume's directory on the host.
    pub volume: &'a Path,
    pub volume_name: &'a str,
    pub container: &'a str,
    /// Place in the container's `volumeMounts`.
    pub index: usize,
    pub sub_path: &'a str,
}

/// Finds the part (making missing directories) and binds it to a place in the pod's directory that
/// nobody in a container can exchange. May be repeated: the old bind mount is replaced.
///
/// # Errors
/// A path that leads out of the volume, or cannot be made.
pub fn sub_path(dirs: &PodDirs, asked: &SubPath<'_>) -> Result<PathBuf, VolumeError> {
    let (volume, container) = (asked.volume_name.to_owned(), asked.container.to_owned());
    let escape = VolumeError::SubPath { volume: volume.clone(), container: container.clone() };
    let relative = Path::new(asked.sub_path);
    let plain =
        relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !plain {
        return Err(escape);
    }
    let part = match find(asked.volume, relative) {
        Ok(part) => part,
        Err(Errno::ACCESS | Errno::ROFS | Errno::NOSPC) => {
            return Err(VolumeError::SubPathDirectory { volume, container });
        }
        Err(_) => return Err(escape),
    };
    bind(dirs, asked, &part).map_err(|_| escape)
}

/// Opens the part component by component; the kernel refuses to leave the volume.
fn find(volume: &Path, relative: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = open(volume, flags | OFlags::DIRECTORY, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let enter = |path: &Path| openat2(&root, path, flags, Mode::empty(), resolve);
    match enter(relative) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    let mode = rustix::fs::fstat(&root)?.st_mode & 0o7777;
    let mut path = PathBuf::new();
    for name in relative.iter().filter(|name| *name != OsStr::new(".")) {
        let parent = if path.as_os_str().is_empty() {
            root.try_clone().map_err(|_| Errno::MFILE)?
        } else {
            enter(&path)?
        };
        match mkdirat(&parent, name, Mode::from_raw_mode(mode)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        path.push(name);
    }
    enter(relative)
}

fn bind(dirs: &PodDirs, asked: &SubPath<'_>, part: &OwnedFd) -> std::io::Result<PathBuf> {
    let directory =
        dirs.base().join("volume-subpaths").join(asked.volume_name).join(asked.container);
    std::fs::create_dir_all(&directory)?;
    let target = directory.join(asked.index.to_string());
    for mounted in mounts::below(&target)? {
        unmount(mounted, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?;
    }
    let is_directory = rustix::fs::fstat(part)?.st_mode & libc_mode::TYPE == libc_mode::DIRECTORY;
    if target.symlink_metadata().is_ok() {
        if target.is_dir() { std::fs::remove_dir(&target)? } else { std::fs::remove_file(&target)? }
    }
    if is_directory {
        std::fs::create_dir(&target)?
    } else {
        std::fs::write(&target, b"")?
    }
    let source = format!("/proc/self/fd/{}", part.as_fd().as_raw_fd());
    mount_bind(source, &target)?;
    Ok(target)
}

/// File type bits of `st_mode` (inode(7)).
mod libc_mode {
    pub(super) const TYPE: u32 = 0o170_000;
    pub(super) const DIRECTORY: u32 = 0o040_000;
}
