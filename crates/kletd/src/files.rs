//! Small files that must never be seen half-written.

use std::fs::File;
use std::io;
use std::path::Path;

/// Replaces `path` by a file with this content: a temporary file beside it, renamed.
///
/// # Errors
/// What the file system answers.
pub fn write_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    std::fs::write(&temporary, content)?;
    std::fs::rename(&temporary, path)
}

/// The same, on the disk when this returns.
///
/// # Errors
/// What the file system answers.
pub fn write_durably(path: &Path, content: &[u8]) -> io::Result<()> {
    write_atomically(path, content)?;
    sync(path)
}

/// Returns when a file and its name are on the disk.
///
/// # Errors
/// What the file system answers.
pub fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// Removes a file or directory tree; one that is not there is removed already.
///
/// # Errors
/// What the file system answers.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
