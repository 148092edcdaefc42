//! Paths inside a container's root, resolved by openat2(2) so that no symlink leads out of it.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::error::{Named, SysError, retry};

/// A racing rename makes openat2 answer EAGAIN; past this many the resolution fails closed.
const ATTEMPTS: u32 = 128;

/// Whether symlinks on the way are followed (always inside the root) or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symlinks {
    /// Followed; an absolute target starts at the container's root.
    Inside,
    /// `ELOOP` on any symlink. For `/proc`, `/sys` and `/dev`, where a link is an attack.
    Refused,
}

/// A path below a root, taken apart in advance so that creating it later needs no memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InRootPath {
    /// `a`, `a/b`, `a/b/c` of `/a/b/c`; empty for the root itself.
    prefixes: Vec<CString>,
    /// `a`, `b`, `c`.
    names: Vec<CString>,
}

impl InRootPath {
    /// Cleans `path` lexically (`.`, `..`, repeated slashes), as OCI runtimes treat mount destinations.
    /// `None` for a path that contains a NUL.
    #[must_use]
    pub fn new(path: &str) -> Option<Self> {
        let mut parts: Vec<&str> = Vec::new();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                name => parts.push(name),
            }
        }
        let names =
            parts.iter().map(|name| CString::new(*name).ok()).collect::<Option<Vec<_>>>()?;
        let prefixes = (1..=parts.len())
            .map(|length| CString::new(parts[..length].join("/")).ok())
            .collect::<Option<Vec<_>>>()?;
        Some(Self { prefixes, names })
    }

    /// Whether this is the root itself.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.names.is_empty()
    }

    /// The first component: `proc` of `/proc/sys`.
    #[must_use]
    pub fn first(&self) -> Option<&CStr> {
        self.names.first().map(CString::as_c_str)
    }

    fn whole(&self) -> &CStr {
        self.prefixes.last().map_or(c".", CString::as_c_str)
    }

    /// Opens the path as a place (`O_PATH`).
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `ELOOP` for a refused symlink, `EAGAIN` for a directory that is renamed all the time.
    pub fn place(&self, root: BorrowedFd<'_>, symlinks: Symlinks) -> Result<OwnedFd, SysError> {
        open(root, self.whole(), OFlags::PATH, symlinks)
    }

    /// Opens the path; a missing one becomes a directory with missing parents made (mode 0755).
    ///
    /// # Errors
    /// As [`Self::place`], and those of mkdir(2); `ENOTDIR` if it exists as something else.
    pub fn directory(&self, root: BorrowedFd<'_>, symlinks: Symlinks) -> Result<OwnedFd, SysError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match open(root, self.whole(), flags, symlinks) {
            Err(error) if error.errno.0 == libc::ENOENT => {
                self.make_directories(root, self.names.len(), symlinks)?;
                open(root, self.whole(), flags, symlinks)
            }
            other => other,
        }
    }

    /// Opens the path; a missing one becomes an empty file with missing parents made.
    ///
    /// # Errors
    /// As [`Self::place`], and those of open(2).
    pub fn file(&self, root: BorrowedFd<'_>, symlinks: Symlinks) -> Result<OwnedFd, SysError> {
        match self.place(root, symlinks) {
            Err(error) if error.errno.0 == libc::ENOENT => {
                let parents = self.names.len().saturating_sub(1);
                self.make_directories(root, parents, symlinks)?;
                create(root, self.whole(), symlinks).map(drop)?;
                self.place(root, symlinks)
            }
            other => other,
        }
    }

    /// Opens the directory the path lies in, made if missing, and gives it with the last name.
    ///
    /// # Errors
    /// As [`Self::directory`]; `EINVAL` for the root itself.
    pub fn parent(
        &self,
        root: BorrowedFd<'_>,
        symlinks: Symlinks,
    ) -> Result<(OwnedFd, &CStr), SysError> {
        let Some(name) = self.names.last() else {
            return Err(SysError::new("openat2", libc::EINVAL));
        };
        let depth = self.names.len() - 1;
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let parent = match open(root, self.prefix(depth), flags, symlinks) {
            Err(error) if error.errno.0 == libc::ENOENT => {
                self.make_directories(root, depth, symlinks)?;
                open(root, self.prefix(depth), flags, symlinks)?
            }
            other => other?,
        };
        Ok((parent, name))
    }

    fn prefix(&self, depth: usize) -> &CStr {
        if depth == 0 { c"." } else { &self.prefixes[depth - 1] }
    }

    /// Makes the first `depth` components that are missing, from the top.
    fn make_directories(
        &self,
        root: BorrowedFd<'_>,
        depth: usize,
        symlinks: Symlinks,
    ) -> Result<(), SysError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        for level in 1..=depth {
            match open(root, self.prefix(level), flags, symlinks) {
                Ok(_) => continue,
                Err(error) if error.errno.0 == libc::ENOENT => {}
                Err(error) => return Err(error),
            }
            let parent = open(root, self.prefix(level - 1), flags, symlinks)?;
            crate::node::make_directory(parent.as_fd(), &self.names[level - 1], 0o755)?;
        }
        Ok(())
    }
}

fn resolve(symlinks: Symlinks) -> ResolveFlags {
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    match symlinks {
        Symlinks::Inside => inside,
        Symlinks::Refused => inside | ResolveFlags::NO_SYMLINKS,
    }
}

/// Opens a path that is resolved inside `root`.
///
/// # Errors
/// Those of openat2(2).
pub fn open(
    root: BorrowedFd<'_>,
    path: &CStr,
    flags: OFlags,
    symlinks: Symlinks,
) -> Result<OwnedFd, SysError> {
    openat2(root, path, flags, Mode::empty(), resolve(symlinks))
}

fn create(root: BorrowedFd<'_>, path: &CStr, symlinks: Symlinks) -> Result<OwnedFd, SysError> {
    // A dangling link as the last component is followed: the kernel keeps it inside the root.
    let flags = OFlags::CREATE | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::RDONLY;
    openat2(root, path, flags, Mode::from_raw_mode(0o644), resolve(symlinks))
}

/// Opens a path beneath a directory of our own: no symlinks, no way up.
///
/// # Errors
/// Those of openat2(2); `EXDEV` for a way up, `ELOOP` for a symlink.
pub fn open_beneath(
    directory: BorrowedFd<'_>,
    path: &CStr,
    flags: OFlags,
) -> Result<OwnedFd, SysError> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(directory, path, flags, Mode::empty(), resolve)
}

fn openat2(
    directory: BorrowedFd<'_>,
    path: &CStr,
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> Result<OwnedFd, SysError> {
    let mut attempts = 0;
    loop {
        let opened = retry(|| {
            rustix::fs::openat2(directory, path, flags | OFlags::CLOEXEC, mode, resolve)
                .named("openat2")
        });
        match opened {
            Err(error) if error.errno.0 == libc::EAGAIN && attempts < ATTEMPTS => attempts += 1,
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests;
