//! Mounts and directories below a pod's directory: made, found again, taken down.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount,
    fsopen, mount_change, move_mount, open_tree, unmount,
};

use crate::{PodDirs, VolumeError, remove};

/// The directories between the pod's and a volume are for the node alone.
const PRIVATE: u32 = 0o750;

/// Makes the directory at `path` with exactly this mode, unless it is there.
pub(crate) fn directory(path: &Path, mode: u32) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(PRIVATE).create(parent)?;
    }
    match DirBuilder::new().mode(mode).create(path) {
        // Made before, perhaps by an attempt that did not come to the mode: fsGroup adds bits, so
        // those that are missing are what counts.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let present = path.symlink_metadata()?.permissions().mode();
            if present & mode == mode { Ok(()) } else { set_mode(path, present | mode) }
        }
        other => other.and_then(|()| set_mode(path, mode)),
    }
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    std::fs::set_permissions(path, Permissions::from_mode(mode & 0o7777))
}

/// Mounts a tmpfs at `path` unless there is a mount already.
pub(crate) fn tmpfs(path: &Path, bytes: Option<u64>, mode: u32) -> io::Result<()> {
    directory(path, mode)?;
    if is_mount_point(path)? {
        return Ok(());
    }
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", "tmpfs")?;
    fsconfig_set_string(&context, "mode", format!("{mode:o}"))?;
    if let Some(bytes) = bytes {
        fsconfig_set_string(&context, "size", bytes.to_string())?;
    }
    // Since Linux 6.4; before, the node's swap decides.
    fsconfig_set_flag(&context, "noswap").ok();
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    move_mount(&mount, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    Ok(())
}

/// Lets what is mounted below `directory` later be seen in mount namespaces that were made before:
/// a pod's supervisor has one, and a subPath is bound when a container starts. Most hosts share all
/// their mounts; where they do not, the directory becomes a shared mount of its own. May be repeated.
///
/// # Errors
/// The mounts cannot be read or changed.
pub fn share(directory: &Path) -> io::Result<()> {
    let directory = directory.canonicalize()?;
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    let (point, shared) = containing(&table, &directory).unwrap_or_default();
    if shared {
        return Ok(());
    }
    if point != directory {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE;
        let tree = open_tree(CWD, &directory, flags)?;
        move_mount(&tree, "", CWD, &directory, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    }
    mount_change(&directory, MountPropagationFlags::SHARED)?;
    Ok(())
}

/// The mount that holds `path`, and whether it is shared, as proc_pid_mountinfo(5) tells.
fn containing(table: &str, path: &Path) -> Option<(PathBuf, bool)> {
    let mount = |line: &str| {
        let (fields, _) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(4);
        let point = unescape(fields.next()?.as_bytes());
        let shared = fields.skip(1).any(|field| field.starts_with("shared:"));
        Some((point, shared))
    };
    let holding = table.lines().filter_map(mount).filter(|(point, _)| path.starts_with(point));
    // The deepest one, and of those at one place the latest.
    holding.max_by_key(|(point, _)| point.components().count())
}

/// Whether something is mounted at `path`.
pub(crate) fn is_mount_point(path: &Path) -> io::Result<bool> {
    let status = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty())?;
    Ok(status.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Removes all mounts at `path`, which is ours.
pub(crate) fn unmount_all(path: &Path) -> io::Result<()> {
    loop {
        match unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            // No mount (any more), or nothing at all.
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Mount points below `directory`, which has no link in its path. The latest mount comes first, so
/// that what lies over another goes before it.
fn below(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let table = std::fs::read("/proc/thread-self/mountinfo")?;
    let mut found: Vec<PathBuf> = table
        .split(|&byte| byte == b'\n')
        .filter_map(|line| line.split(|&byte| byte == b' ').nth(4))
        .map(unescape)
        .filter(|path| path != directory && path.starts_with(directory))
        .collect();
    found.reverse();
    Ok(found)
}

/// mountinfo writes space, tab, newline and backslash as `\ooo`.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.first_chunk::<3>().filter(|_| first == b'\\');
        let code = digits.and_then(|d| u8::from_str_radix(std::str::from_utf8(d).ok()?, 8).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &tail[3..] } else { tail };
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

/// Unmounts everything below the pod's directory and removes its volumes. May be repeated.
///
/// # Errors
/// A mount or file that resists.
pub fn tear_down(dirs: &PodDirs) -> Result<(), VolumeError> {
    let failed = |path: &Path, error: io::Error| VolumeError::TearDown {
        path: path.display().to_string(),
        why: error.to_string(),
    };
    // The kernel's table of mounts knows no links.
    let base = match dirs.base().canonicalize() {
        Ok(base) => base,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(dirs.base(), error)),
    };
    let ours = PodDirs::new(base);
    for part in [ours.sub_paths(), ours.base().join("volumes")] {
        for path in below(&part).map_err(|error| failed(&part, error))? {
            unmount_all(&path).map_err(|error| failed(&path, error))?;
        }
        remove::tree(&part).map_err(|error| failed(&part, error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_that_holds_a_path_is_found() {
        let table = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
            30 22 0:20 / /var/lib rw - tmpfs tmpfs rw\n\
            31 30 0:21 / /var/lib/k\\040x rw shared:7 master:2 - tmpfs tmpfs rw\n";
        let holding = |path: &str| containing(table, Path::new(path));
        assert_eq!(holding("/etc"), Some((PathBuf::from("/"), true)));
        assert_eq!(holding("/var/lib/klet"), Some((PathBuf::from("/var/lib"), false)));
        assert_eq!(holding("/var/lib/k x/y"), Some((PathBuf::from("/var/lib/k x"), true)));
    }

    #[test]
    fn mountinfo_escapes_are_undone() {
        assert_eq!(unescape(b"/a\\040b\\134c"), Path::new("/a b\\c"));
        assert_eq!(unescape(b"/a\\"), Path::new("/a\\"));
        assert_eq!(unescape(b"/a\\9zz"), Path::new("/a\\9zz"));
    }
}
