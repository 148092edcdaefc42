//! Whose log directories these are.
//!
//! Pods' logs outlive everything else of a pod but its object, and their directory may be shared
//! with others (`/var/log/pods`). So each one that klet makes is claimed first: a file
//! `<root>/logs/<ns>_<pod>_<uid>` that holds its path. Only what is claimed is ever removed.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::orphans::names;
use crate::files::remove_tree;

fn claims(root: &Path) -> PathBuf {
    root.join("logs")
}

/// Makes the log directory of a pod.
///
/// # Errors
/// What the file system answers.
pub fn claim(root: &Path, directory: &Path) -> io::Result<()> {
    let name = directory.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    std::fs::create_dir_all(claims(root))?;
    std::fs::write(claims(root).join(name), directory.as_os_str().as_bytes())?;
    std::fs::create_dir_all(directory)
}

/// Removes the log directory of a pod that is gone. What resists is removed by a later
/// [`sweep`].
pub fn remove(root: &Path, directory: &Path) {
    let Some(name) = directory.file_name() else { return };
    let removed =
        remove_tree(directory).and_then(|()| match std::fs::remove_file(claims(root).join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        });
    if let Err(error) = removed {
        tracing::warn!(%error, "cannot remove the logs {}", directory.display());
    }
}

/// Removes the claimed log directories of pods that are not live.
pub fn sweep(root: &Path, live: impl Fn(&str) -> bool) {
    for name in names(&claims(root)) {
        let uid = name.rsplit('_').next().unwrap_or_default();
        if live(uid) {
            continue;
        }
        let path = std::fs::read(claims(root).join(&name)).unwrap_or_default();
        let path = Path::new(OsStr::from_bytes(&path));
        // A claim cut short by a full disk or a power failure claims nothing.
        if path.file_name() == Some(OsStr::new(&name)) {
            remove(root, path);
        } else if let Err(error) = std::fs::remove_file(claims(root).join(&name)) {
            tracing::warn!(%error, name, "cannot remove a broken claim on logs");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_claimed_directories_of_dead_pods_go() {
        let dir = tempfile::tempdir().unwrap();
        let (root, logs) = (dir.path().join("root"), dir.path().join("logs"));
        for name in ["default_a_1", "default_b_2"] {
            claim(&root, &logs.join(name)).unwrap();
            std::fs::write(logs.join(name).join("0.log"), b"x").unwrap();
        }
        std::fs::create_dir(logs.join("default_foreign_3")).unwrap();
        sweep(&root, |uid| uid == "2");
        let left: Vec<_> = names(&logs).into_iter().collect();
        assert_eq!(left, ["default_b_2", "default_foreign_3"]);
        assert_eq!(names(&root.join("logs")).len(), 1);
        remove(&root, &logs.join("default_b_2"));
        assert!(names(&root.join("logs")).is_empty());
    }

    #[test]
    fn a_claim_that_was_cut_short_claims_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (root, logs) = (dir.path().join("root"), dir.path().join("logs"));
        claim(&root, &logs.join("default_a_1")).unwrap();
        std::fs::write(root.join("logs/default_a_1"), logs.as_os_str().as_bytes()).unwrap();
        sweep(&root, |_| false);
        assert!(logs.join("default_a_1").exists());
        assert!(names(&root.join("logs")).is_empty());
    }
}
