//! subPath: a part of a volume, found without following a link out of it.
//!
//! The volume belongs to containers, which may exchange a directory for a link at any moment. So the
//! part is found and made by handles, and what is mounted is the handle, not a path.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    CWD, FileType, Mode, OFlags, ResolveFlags, fchmod, fstat, mkdirat, open, openat2,
};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use crate::{PodDirs, VolumeError, mounts};

const PERMISSIONS: u32 = 0o7777;
/// openat2(2) gives up with EAGAIN when something is renamed meanwhile.
const ATTEMPTS: usize = 128;

/// Which part of which volume is asked for, by which mount.
#[derive(Debug, Clone, Copy)]
pub struct SubPath<'a> {
    /// The volume's directory on the host.
    pub volume: &'a Path,
    /// The volume's name in the pod.
    pub volume_name: &'a str,
    /// The container's name.
    pub container: &'a str,
    /// Place in the container's `volumeMounts`.
    pub index: usize,
    /// What the mount asks for, relative to the volume.
    pub sub_path: &'a str,
}

/// Finds the part (making missing directories, with the mode of the volume's root) and binds it to a
/// place in the pod's directory that nobody in a container can exchange. May be repeated: the part
/// is found anew and the old bind mount replaced.
///
/// # Errors
/// A path that leads out of the volume, or cannot be made. The details go to the daemon's log: they
/// may tell a pod about the host.
pub fn sub_path(dirs: &PodDirs, asked: &SubPath<'_>) -> Result<PathBuf, VolumeError> {
    let (volume, container) = (asked.volume_name.to_owned(), asked.container.to_owned());
    let part = match find(asked.volume, Path::new(asked.sub_path)) {
        Ok(part) => part,
        Err(Failure::Make(errno)) => {
            tracing::warn!(%errno, volume, container, sub_path = asked.sub_path, "cannot make a subPath");
            return Err(VolumeError::SubPathDirectory { volume, container });
        }
        Err(Failure::Find(errno)) => {
            tracing::warn!(%errno, volume, container, sub_path = asked.sub_path, "refused a subPath");
            return Err(VolumeError::SubPath { volume, container });
        }
    };
    bind(dirs, asked, &part).map_err(|error| {
        tracing::warn!(%error, volume, container, sub_path = asked.sub_path, "cannot bind a subPath");
        VolumeError::SubPath { volume, container }
    })
}

/// Which of the two texts a failure gets.
#[derive(Debug)]
enum Failure {
    Find(Errno),
    Make(Errno),
}

fn find(volume: &Path, relative: &Path) -> Result<OwnedFd, Failure> {
    // A link that stays inside the volume may contain "..", what the manifest says may not.
    let plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if !relative.components().all(plain) {
        return Err(Failure::Find(Errno::INVAL));
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = open(volume, flags, Mode::empty()).map_err(Failure::Find)?;
    if relative.as_os_str().is_empty() {
        return Ok(root);
    }
    match inside(root.as_fd(), relative) {
        Err(Errno::NOENT) => make(root.as_fd(), relative),
        other => other.map_err(Failure::Find),
    }
}

/// Open without leaving the volume: the kernel checks every step, links included.
fn inside(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let attempt = || openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve);
    let mut outcome = attempt();
    for _ in 1..ATTEMPTS {
        if !matches!(outcome, Err(Errno::AGAIN | Errno::INTR)) {
            break;
        }
        outcome = attempt();
    }
    outcome
}

/// Make the missing directories one by one, each in the handle of the one before.
fn make(root: BorrowedFd<'_>, relative: &Path) -> Result<OwnedFd, Failure> {
    let mode = fstat(root).map_err(Failure::Find)?.st_mode & PERMISSIONS;
    let mut reached = PathBuf::new();
    let mut directory = inside(root, Path::new(".")).map_err(Failure::Find)?;
    let names = relative.components().filter(|part| matches!(part, Component::Normal(_)));
    let last = names.clone().count().saturating_sub(1);
    for (place, name) in names.enumerate() {
        reached.push(name);
        // Only the last gets the mode of the volume's root in full.
        let mode = if place == last { mode } else { mode & !0o022 };
        directory = match inside(root, &reached) {
            Err(Errno::NOENT) => make_one(directory.as_fd(), name, mode).map_err(Failure::Make)?,
            other => other.map_err(Failure::Find)?,
        };
    }
    Ok(directory)
}

fn make_one(parent: BorrowedFd<'_>, name: Component<'_>, mode: u32) -> Result<OwnedFd, Errno> {
    match mkdirat(parent, name.as_os_str(), Mode::from_raw_mode(mode)) {
        // Two containers with the same subPath, or a link to nowhere, which the open refuses.
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = openat2(parent, name.as_os_str(), flags, Mode::empty(), resolve)?;
    // The process's umask has no say.
    fchmod(&made, Mode::from_raw_mode(mode))?;
    Ok(made)
}

fn bind(dirs: &PodDirs, asked: &SubPath<'_>, part: &OwnedFd) -> io::Result<PathBuf> {
    let target = dirs
        .sub_paths()
        .join(asked.volume_name)
        .join(asked.container)
        .join(asked.index.to_string());
    mounts::unmount_all(&target)?;
    let is_directory = FileType::from_raw_mode(fstat(part)?.st_mode) == FileType::Directory;
    make_target(&target, is_directory)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let mount = open_tree(part, "", flags)?;
    move_mount(&mount, "", CWD, &target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    Ok(target)
}

/// A place of the right kind to mount on: ours, and empty after the unmount.
fn make_target(target: &Path, directory: bool) -> io::Result<()> {
    match target.symlink_metadata() {
        Ok(present) if present.is_dir() == directory => return Ok(()),
        Ok(present) if present.is_dir() => std::fs::remove_dir(target)?,
        Ok(_) => std::fs::remove_file(target)?,
        Err(_) => {}
    }
    if directory {
        return mounts::directory(target, 0o700);
    }
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::File::create_new(target).map(drop)
}
