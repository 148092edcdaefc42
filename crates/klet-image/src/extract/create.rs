//! Creates files, links and device nodes of a layer.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, makedev};

use super::attributes::Attributes;
use super::{Directory, Extractor, invalid, path};
use crate::merged::Found;
use crate::tarstream::{Entry, Kind, Segment};

impl Extractor {
    /// Makes the entry's file; nothing of that name is there.
    pub(super) fn create(
        &mut self,
        entry: &Entry,
        parent: &Directory,
        name: &OsStr,
        data: &mut impl Read,
    ) -> io::Result<()> {
        let attributes = Attributes::from(entry);
        match &entry.kind {
            Kind::File { segments, size } => {
                let mut file = create_file(parent, name)?;
                self.write(&mut file, segments, *size, data)?;
                attributes.apply(&file)?;
                attributes.apply_time(&file)
            }
            Kind::Symlink(target) => symlink(target, parent, name, &attributes),
            Kind::CharDevice { major, minor } => {
                node(FileType::CharacterDevice, makedev(*major, *minor), parent, name, &attributes)
            }
            Kind::BlockDevice { major, minor } => {
                node(FileType::BlockDevice, makedev(*major, *minor), parent, name, &attributes)
            }
            Kind::Fifo => node(FileType::Fifo, 0, parent, name, &attributes),
            Kind::Directory | Kind::Hardlink(_) => Err(invalid("not a file")),
        }
    }

    /// Writes data segments and leaves holes between them.
    fn write(
        &mut self,
        file: &mut File,
        segments: &[Segment],
        size: u64,
        data: &mut impl Read,
    ) -> io::Result<()> {
        let mut end = 0;
        for segment in segments {
            self.spend(segment.length)?;
            if segment.offset != end {
                file.seek(SeekFrom::Start(segment.offset))?;
            }
            self.copy(file, segment.length, data)?;
            end = segment.offset + segment.length;
        }
        if end == size { Ok(()) } else { file.set_len(size) }
    }

    fn copy(&mut self, file: &mut File, mut length: u64, data: &mut impl Read) -> io::Result<()> {
        while length > 0 {
            let want = self.buffer.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            let n = match data.read(&mut self.buffer[..want]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            };
            if n == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "ends inside a file"));
            }
            file.write_all(&self.buffer[..n])?;
            length -= n as u64;
        }
        Ok(())
    }

    /// Links `name` to a file of this layer, or of a lower one, which then comes up first.
    pub(super) fn hard_link(
        &mut self,
        target: &[u8],
        parent: &Directory,
        name: &OsStr,
    ) -> io::Result<()> {
        let mut parts = path::components(target)?;
        let last = OsStr::from_bytes(parts.pop().ok_or_else(|| invalid("hard link to the root"))?);
        let directory: PathBuf = parts.iter().map(|part| OsStr::from_bytes(part)).collect();
        let directory = self.view.resolve(&directory, true)?.path;
        let target = directory.join(last);
        if target == parent.path.join(name) {
            return Ok(());
        }
        let missing =
            || invalid(format!("hard link to {}, which does not exist", target.display()));
        let mut found = self.view.lookup(&target)?.ok_or_else(missing)?;
        if found.file_type() == FileType::Directory {
            return Err(invalid(format!(
                "hard link to {}, which is a directory",
                target.display()
            )));
        }
        if found.layer > 0 {
            let directory = self.directory(directory)?;
            self.copy_up(&found, &directory, last)?;
            found = self.view.lookup(&target)?.ok_or_else(missing)?;
        }
        self.clear(parent, name)?;
        Ok(fs::linkat(&found.parent, &found.name, &parent.fd, name, AtFlags::empty())?)
    }

    /// Copies a file of a lower layer into this one, as overlayfs does before a change.
    fn copy_up(&mut self, found: &Found, parent: &Directory, name: &OsStr) -> io::Result<()> {
        let attributes = Attributes::of(found)?;
        match found.file_type() {
            FileType::RegularFile => {
                self.spend(u64::try_from(found.stat.st_size).unwrap_or(0))?;
                let mut file = create_file(parent, name)?;
                io::copy(&mut found.open()?, &mut file)?;
                attributes.apply(&file)?;
                attributes.apply_time(&file)
            }
            FileType::Symlink => {
                let link = found.read_link()?;
                symlink(link.as_os_str().as_bytes(), parent, name, &attributes)
            }
            file_type => node(file_type, found.stat.st_rdev, parent, name, &attributes),
        }
    }
}

fn create_file(parent: &Directory, name: &OsStr) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(fs::openat(&parent.fd, name, flags, Mode::RUSR | Mode::WUSR)?.into())
}

fn symlink(
    target: &[u8],
    parent: &Directory,
    name: &OsStr,
    attributes: &Attributes,
) -> io::Result<()> {
    if target.is_empty() {
        return Err(invalid("symbolic link without a target"));
    }
    fs::symlinkat(OsStr::from_bytes(target), &parent.fd, name)?;
    attributes.apply_at(parent.fd.as_fd(), name, true)
}

fn node(
    file_type: FileType,
    device: u64,
    parent: &Directory,
    name: &OsStr,
    attributes: &Attributes,
) -> io::Result<()> {
    fs::mknodat(&parent.fd, name, file_type, Mode::RUSR | Mode::WUSR, device)?;
    attributes.apply_at(parent.fd.as_fd(), name, false)
}
