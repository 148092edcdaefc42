//! An archive in cpio's "newc" form, the form the kernel unpacks at boot
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path};

const DIRECTORY: u32 = 0o040_755;
const SYMLINK: u32 = 0o120_777;
const REGULAR: u32 = 0o100_000;

/// An archive being written. Paths are absolute: the root is the machine's.
#[derive(Debug)]
pub(crate) struct Archive<W> {
    writer: W,
    written: u64,
    number: u32,
    /// What is in it: the kernel would let a second entry of a name win.
    present: BTreeSet<String>,
}

impl<W: io::Write> Archive<W> {
    pub(crate) fn new(writer: W) -> Self {
        Self { writer, written: 0, number: 0, present: BTreeSet::new() }
    }

    /// A directory and those above it.
    pub(crate) fn directory(&mut self, path: &Path) -> io::Result<()> {
        if let Some(parent) = path.parent() {
            self.directory(parent)?;
            self.entry(path, DIRECTORY, b"")?;
        }
        Ok(())
    }

    pub(crate) fn symlink(&mut self, path: &Path, target: &str) -> io::Result<()> {
        self.entry(path, SYMLINK, target.as_bytes())
    }

    pub(crate) fn bytes(&mut self, path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
        if let Some(parent) = path.parent() {
            self.directory(parent)?;
        }
        self.entry(path, REGULAR | mode & 0o7777, content)
    }

    /// A file of this machine, under its own name or another.
    pub(crate) fn file(&mut self, source: &Path, path: &Path) -> io::Result<()> {
        let mode = std::fs::metadata(source)?.permissions().mode();
        self.bytes(path, mode, &std::fs::read(source)?)
    }

    /// The end mark; an archive without it is a damaged one.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.record("TRAILER!!!", 0, b"")?;
        self.writer.flush()?;
        Ok(self.writer)
    }

    fn entry(&mut self, path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
        let inside: std::path::PathBuf =
            path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
        let name = inside.to_string_lossy().into_owned();
        if !self.present.insert(name.clone()) {
            return Ok(());
        }
        self.record(&name, mode, content)
    }

    fn record(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.number += 1;
        let size = u32::try_from(content.len()).map_err(io::Error::other)?;
        let name_size = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
        // inode, mode, uid, gid, links, mtime, size, device, special device, name size, checksum
        let fields = [self.number, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        let mut head = "070701".to_owned();
        head.extend(fields.iter().map(|field| format!("{field:08X}")));
        head.push_str(name);
        head.push('\0');
        self.padded(head.as_bytes())?;
        self.padded(content)
    }

    fn padded(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes)?;
        self.written += bytes.len() as u64;
        let padding = (4 - self.written % 4) % 4;
        self.writer.write_all(&[0; 3][..padding as usize])?;
        self.written += padding;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names, modes and contents, as a reader of the format finds them.
    fn read(bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut found = Vec::new();
        let mut at = 0;
        loop {
            let field = |n: usize| {
                let start = at + 6 + n * 8;
                let text = std::str::from_utf8(&bytes[start..start + 8]).unwrap();
                u32::from_str_radix(text, 16).unwrap()
            };
            assert_eq!(&bytes[at..at + 6], b"070701");
            let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
            let name = &bytes[at + 110..at + 110 + name_size - 1];
            let content = (at + 110 + name_size).next_multiple_of(4);
            let name = String::from_utf8(name.to_vec()).unwrap();
            at = (content + size).next_multiple_of(4);
            if name == "TRAILER!!!" {
                assert_eq!(at, bytes.len());
                return found;
            }
            found.push((name, mode, bytes[content..content + size].to_vec()));
        }
    }

    #[test]
    fn entries_are_aligned_once_each_and_below_their_directories() {
        let mut archive = Archive::new(Vec::new());
        archive.bytes(Path::new("/usr/bin/true"), 0o755, b"odd").unwrap();
        archive.bytes(Path::new("/usr/bin/true"), 0o755, b"again").unwrap();
        archive.symlink(Path::new("/bin"), "usr/bin").unwrap();
        let expected = [
            ("usr", DIRECTORY, &b""[..]),
            ("usr/bin", DIRECTORY, b""),
            ("usr/bin/true", 0o100_755, b"odd"),
            ("bin", SYMLINK, b"usr/bin"),
        ];
        let expected: Vec<_> =
            expected.map(|(name, mode, content)| (name.to_owned(), mode, content.to_vec())).into();
        assert_eq!(read(&archive.finish().unwrap()), expected);
    }
}
