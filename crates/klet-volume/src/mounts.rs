//! Mounts below a pod's directory: made, found again, taken down.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::{PodDirs, VolumeError};

/// Mounts a tmpfs at `path` unless there is one already.
pub(crate) fn tmpfs(path: &Path, bytes: Option<u64>, mode: u32) -> io::Result<()> {
    std::fs::create_dir_all(path)?;
    if below(path)?.iter().any(|mounted| mounted == path) {
        return Ok(());
    }
    let size = bytes.map(|bytes| format!(",size={bytes}")).unwrap_or_default();
    let options = std::ffi::CString::new(format!("mode={mode:o}{size}"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", path, "tmpfs", flags, Some(options.as_c_str()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// Mount points at or below `directory`, deepest first.
pub(crate) fn below(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    let mut found: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(unescape)
        .filter(|path| path.starts_with(directory))
        .collect();
    found.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    Ok(found)
}

/// mountinfo writes space, tab, newline and backslash as `\ooo`.
fn unescape(field: &str) -> PathBuf {
    let mut text = field.to_owned();
    for (escape, character) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        text = text.replace(escape, character);
    }
    PathBuf::from(text)
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
    let base = dirs.base();
    if !base.exists() {
        return Ok(());
    }
    for path in below(base).map_err(|error| failed(base, error))? {
        unmount(&path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
            .map_err(|errno| failed(&path, errno.into()))?;
    }
    for name in ["volume-subpaths", "volumes"] {
        let path = base.join(name);
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(&path, error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}
