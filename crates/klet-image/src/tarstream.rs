//! Iterates over a tar stream: ustar, GNU (long names, sparse) and PAX.
//!
//! The `tar` crate decodes header fields; everything else is here, because each extension record
//! comes from outside and must be bounded before it is held in memory. Nothing is written by this module.

mod pax;
mod sparse;

use std::io::{self, Read};

use tar::{EntryType, Header};

use crate::compress::read_full;
use crate::limits::{MAX_ENTRIES, MAX_EXTENSION, MAX_PATH};
use pax::Pax;
pub(crate) use sparse::Segment;

const BLOCK: u64 = 512;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A regular file with its data segments; everything between them is zero.
    File {
        segments: Vec<Segment>,
        size: u64,
    },
    Directory,
    Symlink(Vec<u8>),
    Hardlink(Vec<u8>),
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
}

/// One member of the archive, with extensions applied.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// As the archive spells it.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds and nanoseconds since the epoch.
    pub(crate) mtime: (i64, u32),
    /// From `SCHILY.xattr.*` records.
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the member's data begins in the stream.
    pub(crate) offset: u64,
}

/// Reads a tar stream entry by entry; [`Read`] gives the data of the current entry.
pub(crate) struct TarReader<R> {
    inner: R,
    position: u64,
    /// Data bytes of the current entry not yet read.
    remaining: u64,
    padding: u64,
    entries: u64,
    skip: fn(&mut R, u64) -> io::Result<()>,
}

impl<R: Read> TarReader<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self::with_skip(inner, skip_by_reading)
    }

    /// `skip` moves past the given number of bytes; a short stream may show only at the next read.
    pub(crate) fn with_skip(inner: R, skip: fn(&mut R, u64) -> io::Result<()>) -> Self {
        Self { inner, position: 0, remaining: 0, padding: 0, entries: 0, skip }
    }

    pub(crate) fn into_inner(self) -> R {
        self.inner
    }

    /// The next entry, or `None` at the end-of-archive mark (or a clean end of stream).
    pub(crate) fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        let mut extensions = Extensions::default();
        loop {
            self.skip_data()?;
            let Some(header) = self.read_header()? else {
                return if extensions.is_empty() {
                    Ok(None)
                } else {
                    Err(bad("ends after an extension header"))
                };
            };
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(bad(format!("more than {MAX_ENTRIES} entries")));
            }
            let size = header.entry_size()?;
            self.set_data(size)?;
            match header.entry_type() {
                EntryType::GNULongName => extensions.path = Some(self.read_long_name(size)?),
                EntryType::GNULongLink => extensions.link = Some(self.read_long_name(size)?),
                EntryType::XHeader => extensions.pax.merge(&self.read_extension(size)?)?,
                EntryType::XGlobalHeader => Pax::default().merge(&self.read_extension(size)?)?,
                _ => {
                    if let Some(entry) = self.entry(&header, size, &mut extensions)? {
                        return Ok(Some(entry));
                    }
                    extensions = Extensions::default();
                }
            }
        }
    }

    fn entry(
        &mut self,
        header: &Header,
        size: u64,
        extensions: &mut Extensions,
    ) -> io::Result<Option<Entry>> {
        let Extensions { path, link, pax } = std::mem::take(extensions);
        let size = pax.size()?.unwrap_or(size);
        let path = pax.path.clone().or(path).unwrap_or_else(|| header.path_bytes().into_owned());
        let link = pax.link.clone().or(link);
        let link = link
            .or_else(|| header.link_name_bytes().map(|name| name.into_owned()))
            .unwrap_or_default();
        if path.len() > MAX_PATH || link.len() > MAX_PATH {
            return Err(bad(format!("a path of more than {MAX_PATH} bytes")));
        }
        let entry_type = header.entry_type();
        // Only files have data; a size on anything else (old tars give hard links one) is ignored as GNU tar does.
        self.set_data(if has_data(entry_type) { size } else { 0 })?;
        let Some(kind) = self.kind(header, entry_type, &path, link, size, &pax)? else {
            return Ok(None);
        };
        let path = pax.sparse_name.clone().unwrap_or(path);
        Ok(Some(Entry {
            path,
            kind,
            mode: header.mode()? & 0o7777,
            uid: id(pax.uid()?, header.uid()?)?,
            gid: id(pax.gid()?, header.gid()?)?,
            mtime: pax.mtime()?.map_or_else(|| header_mtime(header), Ok)?,
            xattrs: pax.xattrs,
            offset: self.position,
        }))
    }

    fn kind(
        &mut self,
        header: &Header,
        entry_type: EntryType,
        path: &[u8],
        link: Vec<u8>,
        size: u64,
        pax: &Pax,
    ) -> io::Result<Option<Kind>> {
        let device = || -> io::Result<(u32, u32)> {
            Ok((header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0)))
        };
        Ok(Some(match entry_type {
            EntryType::GNUSparse => {
                let (segments, size) = sparse::gnu(header, size, || self.read_block())?;
                Kind::File { segments, size }
            }
            EntryType::Regular | EntryType::Continuous if pax.is_sparse() => {
                let (segments, size) = sparse::pax(pax, self)?;
                Kind::File { segments, size }
            }
            // Before POSIX, a directory was a file whose name ends in a slash.
            EntryType::Regular
                if path.ends_with(b"/")
                    && header.as_ustar().is_none()
                    && header.as_gnu().is_none() =>
            {
                Kind::Directory
            }
            EntryType::Regular | EntryType::Continuous => {
                Kind::File { segments: vec![Segment { offset: 0, length: size }], size }
            }
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Symlink(link),
            EntryType::Link => Kind::Hardlink(link),
            EntryType::Fifo => Kind::Fifo,
            EntryType::Char => device().map(|(major, minor)| Kind::CharDevice { major, minor })?,
            EntryType::Block => {
                device().map(|(major, minor)| Kind::BlockDevice { major, minor })?
            }
            other => {
                return Err(bad(format!("unknown entry type {:?}", char::from(other.as_byte()))));
            }
        }))
    }

    /// A checked header, or `None` at two zero blocks or a clean end.
    fn read_header(&mut self) -> io::Result<Option<Header>> {
        for zero_blocks in 0..2 {
            let mut header = Header::new_old();
            let n = read_full(&mut self.inner, header.as_mut_bytes())?;
            self.position += n as u64;
            if n == 0 {
                return Ok(None);
            }
            if n < header.as_bytes().len() {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "ends inside a header"));
            }
            if header.as_bytes().iter().all(|&byte| byte == 0) {
                continue;
            }
            if zero_blocks == 1 {
                return Err(bad("data after a zero block"));
            }
            check_sum(&header)?;
            return Ok(Some(header));
        }
        Ok(None)
    }

    /// One block outside any entry's data: a further sparse header.
    fn read_block(&mut self) -> io::Result<[u8; 512]> {
        let mut block = [0; 512];
        self.inner.read_exact(&mut block)?;
        self.position += BLOCK;
        Ok(block)
    }

    fn read_extension(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > MAX_EXTENSION {
            return Err(bad(format!("an extension header of more than {MAX_EXTENSION} bytes")));
        }
        let mut data = Vec::new();
        self.read_to_end(&mut data)?;
        Ok(data)
    }

    fn read_long_name(&mut self, size: u64) -> io::Result<Vec<u8>> {
        let mut name = self.read_extension(size)?;
        if let Some(end) = name.iter().position(|&byte| byte == 0) {
            name.truncate(end);
        }
        Ok(name)
    }

    fn set_data(&mut self, size: u64) -> io::Result<()> {
        self.position
            .checked_add(size)
            .and_then(|end| end.checked_add(BLOCK))
            .ok_or_else(|| bad("size overflows"))?;
        self.remaining = size;
        self.padding = size.next_multiple_of(BLOCK) - size;
        Ok(())
    }

    fn skip_data(&mut self) -> io::Result<()> {
        let n = self.remaining + self.padding;
        if n > 0 {
            (self.skip)(&mut self.inner, n)?;
            self.position += n;
        }
        (self.remaining, self.padding) = (0, 0);
        Ok(())
    }
}

impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let n = self.inner.read(&mut buffer[..want])?;
        if n == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "ends inside a file"));
        }
        self.remaining -= n as u64;
        self.position += n as u64;
        Ok(n)
    }
}

#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Pax,
}

impl Extensions {
    fn is_empty(&self) -> bool {
        self.path.is_none() && self.link.is_none() && self.pax.is_empty()
    }
}

fn skip_by_reading<R: Read>(reader: &mut R, n: u64) -> io::Result<()> {
    match io::copy(&mut reader.take(n), &mut io::sink())? {
        copied if copied == n => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "ends inside a file")),
    }
}

fn has_data(entry_type: EntryType) -> bool {
    matches!(entry_type, EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse)
}

fn check_sum(header: &Header) -> io::Result<()> {
    let bytes = header.as_bytes();
    let sum: u32 =
        bytes[..148].iter().chain(&bytes[156..]).map(|&byte| u32::from(byte)).sum::<u32>() + 8 * 32;
    if header.cksum()? == sum {
        Ok(())
    } else {
        Err(bad("header checksum does not match: not a tar stream, or damaged"))
    }
}

/// Ids above 2^32-2 cannot be given to a file (`-1` means "leave alone" to chown).
fn id(pax: Option<u64>, header: u64) -> io::Result<u32> {
    let id = pax.unwrap_or(header);
    u32::try_from(id)
        .ok()
        .filter(|&id| id != u32::MAX)
        .ok_or_else(|| bad(format!("owner {id} is out of range")))
}

fn header_mtime(header: &Header) -> io::Result<(i64, u32)> {
    // A time before 1970 is a negative number in GNU's binary form; it comes back as a large unsigned one.
    Ok((header.mtime()?.cast_signed(), 0))
}

fn bad(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}

#[cfg(test)]
mod tests;
