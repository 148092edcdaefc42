//! Where an image is read from: members of a tar file, or files of an OCI layout directory.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{self, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::LoadError;
use crate::merged::open_root;
use crate::tarstream::{Kind, Segment, TarReader};

/// Bytes of member names an image archive may have.
const MAX_NAMES: usize = 16 << 20;
/// Links from member to member (old docker archives share layers this way).
const MAX_LINKS: usize = 8;

/// Gives an image's parts by name.
pub(crate) enum Source {
    /// An uncompressed tar file, by member.
    Archive { file: Arc<File>, members: HashMap<String, Member> },
    /// An OCI layout directory.
    Directory(OwnedFd),
}

/// A member of an archive.
pub(crate) enum Member {
    Data { offset: u64, size: u64 },
    Link(String),
}

/// A stretch of a file, read from its beginning.
pub(crate) struct Section {
    file: Arc<File>,
    position: u64,
    end: u64,
}

impl Section {
    /// Bytes left.
    pub(crate) fn len(&self) -> u64 {
        self.end - self.position
    }

    fn skip(&mut self, n: u64) -> io::Result<()> {
        if n > self.len() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "image archive is cut short"));
        }
        self.position += n;
        Ok(())
    }
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.len()).unwrap_or(usize::MAX));
        let n = self.file.read_at(&mut buffer[..want], self.position)?;
        self.position += n as u64;
        Ok(n)
    }
}

impl Source {
    /// Lists the members of a tar file without reading their data.
    pub(crate) fn archive(file: File) -> Result<Self, LoadError> {
        let end = file.metadata().map_err(LoadError::Read)?.len();
        let file = Arc::new(file);
        let mut tar =
            TarReader::with_skip(Section { file: file.clone(), position: 0, end }, Section::skip);
        let mut members = HashMap::new();
        let mut names = 0;
        while let Some(entry) = tar.next_entry().map_err(LoadError::Read)? {
            let Some(name) = member_name("", &entry.path) else { continue };
            let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
            let member = match entry.kind {
                Kind::File { segments, size }
                    if segments == [Segment { offset: 0, length: size }] =>
                {
                    Some(Member::Data { offset: entry.offset, size })
                }
                Kind::Symlink(target) => member_name(&folder, &target).map(Member::Link),
                Kind::Hardlink(target) => member_name("", &target).map(Member::Link),
                _ => None,
            };
            names += name.len();
            if names > MAX_NAMES {
                return Err(LoadError::Read(io::Error::other(
                    "image archive has too many members",
                )));
            }
            if let Some(member) = member {
                members.insert(name, member);
            }
        }
        Ok(Self::Archive { file, members })
    }

    /// An OCI layout directory.
    pub(crate) fn directory(path: &Path) -> Result<Self, LoadError> {
        open_root(path).map(Self::Directory).map_err(LoadError::Read)
    }

    /// Opens a part; `None` if it is not there.
    pub(crate) fn open(&self, name: &str) -> Result<Option<Section>, LoadError> {
        match self {
            Self::Archive { file, members } => Ok(open_member(file, members, name)),
            Self::Directory(directory) => open_beneath(directory, name).map_err(LoadError::Read),
        }
    }

    /// Reads a whole document of at most `max` bytes.
    pub(crate) fn document(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>, LoadError> {
        let Some(mut section) = self.open(name)? else { return Ok(None) };
        if section.len() > max {
            let reason = format!("larger than {max} bytes");
            return Err(LoadError::Document { object: name.to_owned(), reason });
        }
        let mut bytes = Vec::new();
        section.read_to_end(&mut bytes).map_err(LoadError::Read)?;
        Ok(Some(bytes))
    }
}

fn open_member(file: &Arc<File>, members: &HashMap<String, Member>, name: &str) -> Option<Section> {
    let mut name = member_name("", name.as_bytes())?;
    for _ in 0..MAX_LINKS {
        match members.get(&name)? {
            Member::Data { offset, size } => {
                return Some(Section {
                    file: file.clone(),
                    position: *offset,
                    end: offset.checked_add(*size)?,
                });
            }
            Member::Link(target) => name.clone_from(target),
        }
    }
    None
}

fn open_beneath(directory: &OwnedFd, name: &str) -> io::Result<Option<Section>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let file: File = match fs::openat2(directory, name, flags, Mode::empty(), resolve) {
        Ok(fd) => fd.into(),
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other(format!("{name} is not a regular file")));
    }
    Ok(Some(Section { file: Arc::new(file), position: 0, end: metadata.len() }))
}

/// A member's name without `.`, `..` and doubled slashes; `None` if it leads out of the archive.
fn member_name(folder: &str, path: &[u8]) -> Option<String> {
    let path = std::str::from_utf8(path).ok()?;
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}
