//! Looks at a stack of overlay-format layers as overlayfs would show it, without mounting it.
//!
//! Every step goes through directory descriptors, one component at a time, never following a link:
//! symbolic links are read and resolved here, inside the root, so nothing outside can be reached.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// Marks a directory that hides everything below it (kernel: `Documentation/filesystems/overlayfs.rst`).
pub(crate) const OPAQUE: &str = "trusted.overlay.opaque";
/// The kernel's own limit, `MAXSYMLINKS`.
const MAX_LINKS: usize = 40;

/// Layers, topmost first.
pub(crate) struct MergedView {
    layers: Vec<OwnedFd>,
}

/// A file that the merged view shows.
pub(crate) struct Found {
    /// Index of the layer that has it; 0 is the topmost.
    pub(crate) layer: usize,
    /// The directory it is in, in that layer.
    pub(crate) parent: OwnedFd,
    pub(crate) name: OsString,
    pub(crate) stat: Stat,
}

/// A path without symbolic links, and what is there.
pub(crate) struct Resolved {
    /// Relative to the root; empty for the root itself.
    pub(crate) path: PathBuf,
    pub(crate) found: Option<Found>,
}

impl Found {
    pub(crate) fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Opens it for reading; never blocks on a fifo, never follows a link.
    pub(crate) fn open(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        Ok(open_in(self.parent.as_fd(), &self.name, flags)?.into())
    }

    pub(crate) fn read_link(&self) -> io::Result<PathBuf> {
        let target = fs::readlinkat(&self.parent, &self.name, Vec::new())?;
        Ok(PathBuf::from(OsStr::from_bytes(target.as_bytes())))
    }
}

impl MergedView {
    pub(crate) fn new(layers: Vec<OwnedFd>) -> Self {
        Self { layers }
    }

    /// Opens the layers at `paths`, topmost first.
    pub(crate) fn open(paths: &[PathBuf]) -> io::Result<Self> {
        paths.iter().map(|path| open_root(path)).collect::<io::Result<_>>().map(Self::new)
    }

    /// The topmost layer.
    pub(crate) fn top(&self) -> BorrowedFd<'_> {
        self.layers[0].as_fd()
    }

    /// Finds `path`, none of whose parents may be a symbolic link.
    pub(crate) fn lookup(&self, path: &Path) -> io::Result<Option<Found>> {
        self.lookup_from(0, path)
    }

    /// As [`Self::lookup`], as if the topmost layer were not there.
    pub(crate) fn lookup_below(&self, path: &Path) -> io::Result<Option<Found>> {
        self.lookup_from(1, path)
    }

    fn lookup_from(&self, first: usize, path: &Path) -> io::Result<Option<Found>> {
        for (layer, root) in self.layers.iter().enumerate().skip(first) {
            match lookup_in(root, path)? {
                Step::Found { parent, name, stat } => {
                    return Ok(Some(Found { layer, parent, name, stat }));
                }
                Step::Hidden => return Ok(None),
                Step::Below => {}
            }
        }
        Ok(None)
    }

    /// Follows symbolic links (the last component only if asked) inside the root, as `chroot` would.
    /// Components after the first missing one are taken as written.
    pub(crate) fn resolve(&self, path: &Path, follow_last: bool) -> io::Result<Resolved> {
        let mut pending: VecDeque<OsString> = normal_components(path);
        let mut current = PathBuf::new();
        let mut found = None;
        let mut links = 0;
        while let Some(name) = pending.pop_front() {
            if name == ".." {
                current.pop();
                found = self.lookup(&current)?;
                continue;
            }
            current.push(&name);
            found = self.lookup(&current)?;
            let Some(here) = &found else { continue };
            match here.file_type() {
                FileType::Symlink if follow_last || !pending.is_empty() => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    let target = here.read_link()?;
                    current.pop();
                    if target.is_absolute() {
                        current.clear();
                    }
                    for component in normal_components(&target).into_iter().rev() {
                        pending.push_front(component);
                    }
                    if pending.is_empty() {
                        found = self.lookup(&current)?;
                    }
                }
                FileType::Directory => {}
                _ if pending.is_empty() => {}
                _ => return Err(Errno::NOTDIR.into()),
            }
        }
        if current.as_os_str().is_empty() {
            found = self.lookup(&current)?;
        }
        Ok(Resolved { path: current, found })
    }
}

enum Step {
    Found {
        parent: OwnedFd,
        name: OsString,
        stat: Stat,
    },
    /// Not here, and lower layers do not show through.
    Hidden,
    /// Not here; ask the next layer.
    Below,
}

fn lookup_in(root: &OwnedFd, path: &Path) -> io::Result<Step> {
    let mut directory = root.try_clone()?;
    let mut names = path.iter().peekable();
    if names.peek().is_none() {
        let stat = fs::fstat(root)?;
        return Ok(Step::Found { parent: directory, name: ".".into(), stat });
    }
    let mut opaque = false;
    while let Some(name) = names.next() {
        let stat = match fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(if opaque { Step::Hidden } else { Step::Below }),
            Err(error) => return Err(error.into()),
        };
        if is_whiteout(&stat) {
            return Ok(Step::Hidden);
        }
        if names.peek().is_none() {
            return Ok(Step::Found { parent: directory, name: name.to_owned(), stat });
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(Step::Hidden);
        }
        directory = open_dir(directory.as_fd(), name)?;
        opaque |= is_opaque(&directory);
    }
    Ok(Step::Below)
}

fn normal_components(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| part.as_os_str().to_owned())
        .collect()
}

/// Overlayfs' mark for "deleted here": a character device 0:0.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn is_opaque(directory: &OwnedFd) -> bool {
    let mut value = [0_u8; 2];
    matches!(fs::fgetxattr(directory, OPAQUE, &mut value[..]), Ok(1) if value[0] == b'y')
}

/// Opens a trusted absolute path: a layer's root.
pub(crate) fn open_root(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(fs::open(path, flags, Mode::empty())?)
}

/// Opens a subdirectory that is really there: no link, no other mount.
pub(crate) fn open_dir(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    open_in(parent, name, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// Opens `name`, a single component, without following links or leaving the file system.
fn open_in(parent: BorrowedFd<'_>, name: &OsStr, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    Ok(fs::openat2(
        parent,
        name,
        flags | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        resolve,
    )?)
}
