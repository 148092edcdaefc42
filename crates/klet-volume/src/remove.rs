//! Removing what containers left: by handles, without following links, without entering other
//! mounts, and in bounded memory and descriptors however deep it is nested.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, Mode, OFlags, RenameFlags, ResolveFlags, open, openat2, renameat_with, unlinkat,
};
use rustix::io::Errno;

const FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Remove the directory at `path` and everything in it. `path` itself is ours. Repeatable.
///
/// # Errors
/// `EBUSY` or `EXDEV` for a mount that is still there: nothing of it is touched.
pub(crate) fn tree(path: &Path) -> io::Result<()> {
    let root = match open(path, FLAGS, Mode::empty()) {
        Ok(root) => root,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    empty(root.as_fd())?;
    std::fs::remove_dir(path)
}

/// Remove `name` in `parent`, whatever it is, and everything in it.
pub(crate) fn tree_at(parent: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let name = CString::new(name)?;
    if !removed(parent, &name)? {
        empty(enter(parent, &name)?.as_fd())?;
        removed(parent, &name)?;
    }
    Ok(())
}

/// Nested directories are lifted to the top before they are emptied, so nothing recurses: a
/// container can nest deeper than any stack or descriptor table.
fn empty(root: BorrowedFd<'_>) -> io::Result<()> {
    let mut lifted = 0;
    loop {
        let mut found = false;
        for entry in Dir::read_from(root)? {
            let entry = entry?;
            if is_real(entry.file_name()) {
                found = true;
                discard(root, entry.file_name(), &mut lifted)?;
            }
        }
        if !found {
            return Ok(());
        }
    }
}

fn discard(root: BorrowedFd<'_>, name: &CStr, lifted: &mut u64) -> io::Result<()> {
    if removed(root, name)? {
        return Ok(());
    }
    let directory = enter(root, name)?;
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        if is_real(entry.file_name()) && !removed(directory.as_fd(), entry.file_name())? {
            lift(directory.as_fd(), entry.file_name(), root, lifted)?;
        }
    }
    removed(root, name).map(drop)
}

/// Remove a file or an empty directory. False for a directory with something in it.
fn removed(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
    let outcome = match unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => unlinkat(parent, name, AtFlags::REMOVEDIR),
        other => other,
    };
    match outcome {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn lift(
    from: BorrowedFd<'_>,
    name: &CStr,
    root: BorrowedFd<'_>,
    lifted: &mut u64,
) -> io::Result<()> {
    loop {
        *lifted += 1;
        match renameat_with(
            from,
            name,
            root,
            format!(".klet-removed-{lifted}"),
            RenameFlags::NOREPLACE,
        ) {
            // The container may have used the name itself.
            Err(Errno::EXIST) => {}
            other => return other.map_err(Into::into),
        }
    }
}

fn enter(parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    openat2(parent, name, FLAGS, Mode::empty(), resolve)
}

fn is_real(name: &CStr) -> bool {
    !matches!(name.to_bytes(), b"." | b"..")
}
