//! Removes directory trees that strangers filled: through descriptors, never following links,
//! with few descriptors and little stack however deep the tree is.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{self, AtFlags, Dir, FileType, RenameFlags};
use rustix::io::Errno;

use crate::merged::open_dir;

/// Directories deeper than this are moved to the top of the tree first.
const MAX_DEPTH: usize = 64;

/// Removes `name` in `parent`, whatever it is. It is no error if it does not exist.
pub(crate) fn remove_tree(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::Directory => {
            return absent_is_fine(fs::unlinkat(parent, name, AtFlags::empty()));
        }
        Ok(_) => {}
    }
    let top = open_dir(parent, name)?;
    let mut removal = Removal { top: top.as_fd(), moved: 0 };
    // Each pass shortens every path by MAX_DEPTH, so this ends.
    while removal.empty(top.as_fd(), 0)? {}
    absent_is_fine(fs::unlinkat(parent, name, AtFlags::REMOVEDIR))
}

struct Removal<'a> {
    top: BorrowedFd<'a>,
    moved: u64,
}

impl Removal<'_> {
    /// Empties a directory; tells whether deep directories were moved to the top meanwhile.
    fn empty(&mut self, directory: BorrowedFd<'_>, depth: usize) -> io::Result<bool> {
        let mut moved = false;
        for (name, file_type) in entries(directory)? {
            match fs::unlinkat(directory, &name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(Errno::ISDIR | Errno::PERM) if file_type != Some(false) => {}
                Err(error) => return Err(error.into()),
            }
            if depth >= MAX_DEPTH {
                self.move_to_top(directory, &name)?;
                moved = true;
            } else {
                let child = open_dir(directory, &name)?;
                moved |= self.empty(child.as_fd(), depth + 1)?;
                absent_is_fine(fs::unlinkat(directory, &name, AtFlags::REMOVEDIR))?;
            }
        }
        Ok(moved)
    }

    fn move_to_top(&mut self, directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
        loop {
            self.moved += 1;
            let target = format!(".klet-deep-{}", self.moved);
            match fs::renameat_with(directory, name, self.top, target, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                other => return Ok(other?),
            }
        }
    }
}

/// Names in a directory, with whether each is a directory if the file system tells.
pub(crate) fn entries(directory: BorrowedFd<'_>) -> io::Result<Vec<(OsString, Option<bool>)>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            let is_dir = match entry.file_type() {
                FileType::Unknown => None,
                other => Some(other == FileType::Directory),
            };
            names.push((name.to_owned(), is_dir));
        }
    }
    Ok(names)
}

fn absent_is_fine(result: Result<(), Errno>) -> io::Result<()> {
    match result {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
