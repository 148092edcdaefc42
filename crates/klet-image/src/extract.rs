//! Unpacks one layer into a directory in overlay format.
//!
//! Rules: OCI image specification, "Image Layer Filesystem Changeset". Whiteouts become character devices 0:0
//! and opaque directories get `trusted.overlay.opaque=y`, so that the directory serves as an overlayfs lower layer.
//! Entries are placed as if the layers below were there: a parent that is a symbolic link in a lower layer is
//! followed (inside the root), a missing one takes the attributes it has below.

mod attributes;
mod create;
mod path;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{self, AtFlags, FileType, Mode};
use rustix::io::Errno;

use crate::error::LoadError;
use crate::merged::{MergedView, is_whiteout, open_dir};
use crate::remove::remove_tree;
use crate::tarstream::{Entry, Kind, TarReader};
use attributes::Attributes;
use path::Target;

/// Bytes of directory names remembered for setting times at the end.
const MAX_REMEMBERED: usize = 64 << 20;

/// Unpacks `stream` into the first layer of `view`; the others are the layers below, topmost first.
/// Writes at most `budget` bytes of file content and returns how many it wrote.
pub(crate) fn extract<R: Read>(
    object: &str,
    stream: R,
    view: MergedView,
    budget: u64,
) -> Result<(u64, R), LoadError> {
    let mut tar = TarReader::new(stream);
    let mut layer = Extractor::new(view, budget);
    layer.start().map_err(|error| refused(object, b".", error))?;
    while let Some(entry) = tar.next_entry().map_err(|error| refused(object, b"", error))? {
        layer.apply(&entry, &mut tar).map_err(|error| refused(object, &entry.path, error))?;
    }
    layer.set_times().map_err(|error| refused(object, b".", error))?;
    Ok((layer.written, tar.into_inner()))
}

fn refused(object: &str, path: &[u8], error: io::Error) -> LoadError {
    let shown: String = String::from_utf8_lossy(path).chars().take(200).collect();
    let (reason, source) = match error.raw_os_error() {
        Some(_) => ("cannot be unpacked".to_owned(), Some(error)),
        None => (error.to_string(), None),
    };
    LoadError::Entry { object: object.to_owned(), path: shown, reason, source }
}

fn invalid(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}

/// A directory of the layer being written, by its path without symbolic links.
#[derive(Clone)]
struct Directory {
    fd: Rc<OwnedFd>,
    path: PathBuf,
}

struct Extractor {
    view: MergedView,
    budget: u64,
    written: u64,
    /// Times of directories, set when nothing more changes in them.
    times: BTreeMap<PathBuf, (i64, u32)>,
    remembered: usize,
    /// The last parent directory, as the archive spells it: archives are sorted by directory.
    last_parent: Option<(PathBuf, Directory)>,
    buffer: Vec<u8>,
}

impl Extractor {
    fn new(view: MergedView, budget: u64) -> Self {
        let buffer = vec![0; 256 << 10];
        Self {
            view,
            budget,
            written: 0,
            times: BTreeMap::new(),
            remembered: 0,
            last_parent: None,
            buffer,
        }
    }

    /// The root looks as it does below, until the layer says otherwise.
    fn start(&mut self) -> io::Result<()> {
        let below = self.view.lookup_below(Path::new(""))?;
        let attributes = below.as_ref().map(Attributes::of).transpose()?.unwrap_or_default();
        attributes.apply(&self.view.top())?;
        self.remember(PathBuf::new(), attributes.mtime)
    }

    fn apply(&mut self, entry: &Entry, data: &mut impl Read) -> io::Result<()> {
        match path::target(&entry.path)? {
            Target::Root => self.root(entry),
            Target::Ignored => Ok(()),
            Target::Opaque { parent } => {
                let parent = self.parent(&parent)?;
                Attributes::set_opaque(&parent.fd)
            }
            Target::Whiteout { parent, name } => {
                let parent = self.parent(&parent)?;
                whiteout(&parent, &name)
            }
            Target::Entry { parent, name } => {
                let parent = self.parent(&parent)?;
                self.place(entry, &parent, &name, data)
            }
        }
    }

    fn root(&mut self, entry: &Entry) -> io::Result<()> {
        if entry.kind != Kind::Directory {
            return Err(invalid("the root must be a directory"));
        }
        Attributes::from(entry).apply(&self.view.top())?;
        self.remember(PathBuf::new(), Some(entry.mtime))
    }

    /// The directory for an entry, created if need be.
    fn parent(&mut self, path: &Path) -> io::Result<Directory> {
        if let Some((_, directory)) = self.last_parent.as_ref().filter(|(last, _)| last == path) {
            return Ok(directory.clone());
        }
        let resolved = self.view.resolve(path, true)?;
        // Only a path without links stays what it is while entries are added elsewhere.
        let plain = resolved.path == path;
        if resolved.found.is_some_and(|found| found.file_type() != FileType::Directory) {
            return Err(invalid("its parent is not a directory"));
        }
        let directory = self.directory(resolved.path)?;
        if plain {
            self.last_parent = Some((path.to_owned(), directory.clone()));
        }
        Ok(directory)
    }

    /// Opens `path` (without symbolic links) in this layer, making what is missing.
    fn directory(&mut self, path: PathBuf) -> io::Result<Directory> {
        let mut fd = self.view.top().try_clone_to_owned()?;
        let mut here = PathBuf::new();
        for name in &path {
            here.push(name);
            fd = match open_dir(fd.as_fd(), name) {
                Ok(child) => child,
                Err(error) => match Errno::from_io_error(&error) {
                    Some(Errno::NOENT) => self.implied(&fd, name, &here)?,
                    Some(Errno::NOTDIR) => make_directory(&fd, name)?,
                    _ => return Err(error),
                },
            };
        }
        Ok(Directory { fd: Rc::new(fd), path })
    }

    /// A directory the archive does not list: as it is in the layers below, or 0755.
    fn implied(&mut self, parent: &OwnedFd, name: &OsStr, path: &Path) -> io::Result<OwnedFd> {
        let below =
            self.view.lookup(path)?.filter(|found| found.file_type() == FileType::Directory);
        let attributes = below.as_ref().map(Attributes::of).transpose()?.unwrap_or_default();
        let fd = make_directory(parent, name)?;
        attributes.apply(&fd)?;
        self.remember(path.to_owned(), attributes.mtime)?;
        Ok(fd)
    }

    fn place(
        &mut self,
        entry: &Entry,
        parent: &Directory,
        name: &OsStr,
        data: &mut impl Read,
    ) -> io::Result<()> {
        match &entry.kind {
            Kind::Directory => {
                let fd = make_directory(&parent.fd, name)?;
                Attributes::from(entry).apply(&fd)?;
                self.remember(parent.path.join(name), Some(entry.mtime))
            }
            Kind::Hardlink(target) => self.hard_link(target, parent, name),
            _ => {
                self.clear(parent, name)?;
                self.create(entry, parent, name, data)
            }
        }
    }

    /// Makes room: the last entry of a name wins.
    fn clear(&mut self, parent: &Directory, name: &OsStr) -> io::Result<()> {
        match fs::statat(&parent.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) => {
                self.last_parent = None;
                remove_tree(parent.fd.as_fd(), name)
            }
        }
    }

    fn remember(&mut self, path: PathBuf, mtime: Option<(i64, u32)>) -> io::Result<()> {
        let Some(mtime) = mtime else { return Ok(()) };
        self.remembered += path.as_os_str().len() + size_of::<(PathBuf, (i64, u32))>();
        if self.remembered > MAX_REMEMBERED {
            return Err(invalid("too many directories"));
        }
        self.times.insert(path, mtime);
        Ok(())
    }

    fn set_times(&mut self) -> io::Result<()> {
        for (path, mtime) in std::mem::take(&mut self.times) {
            let found = self.view.lookup(&path)?;
            if let Some(found) =
                found.filter(|f| f.layer == 0 && f.file_type() == FileType::Directory)
            {
                attributes::set_mtime_at(found.parent.as_fd(), &found.name, mtime)?;
            }
        }
        Ok(())
    }

    /// Counts file content before it is written.
    fn spend(&mut self, bytes: u64) -> io::Result<()> {
        self.written = self.written.saturating_add(bytes);
        if self.written > self.budget {
            return Err(invalid(format!("the image's files exceed {} bytes", self.budget)));
        }
        Ok(())
    }
}

/// Opens or makes a directory. One that takes the place of something else hides what is below it.
fn make_directory(parent: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    match fs::mkdirat(parent, name, Mode::RWXU) {
        Ok(()) => return open_dir(parent.as_fd(), name),
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let stat = fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return open_dir(parent.as_fd(), name);
    }
    fs::unlinkat(parent, name, AtFlags::empty())?;
    fs::mkdirat(parent, name, Mode::RWXU)?;
    let fd = open_dir(parent.as_fd(), name)?;
    Attributes::set_opaque(&fd)?;
    Ok(fd)
}

/// Hides `name` of the layers below; what this layer itself has of that name stays.
fn whiteout(parent: &Directory, name: &OsStr) -> io::Result<()> {
    match fs::statat(&parent.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => {
            Ok(fs::mknodat(&parent.fd, name, FileType::CharacterDevice, Mode::empty(), 0)?)
        }
        Err(error) => Err(error.into()),
        Ok(stat) if is_whiteout(&stat) => Ok(()),
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
            Attributes::set_opaque(&open_dir(parent.fd.as_fd(), name)?)
        }
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
