//! Container output into CRI log files, rotated by size.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use klet_cri::LogConfig;
use klet_cri::log::{Cutter, Stamp, Stream};

/// Bytes read from a pipe at a time.
pub const READ: usize = 64 << 10;
/// Reads of a pipe whose writer has ended: it holds no more (`/proc/sys/fs/pipe-max-size`).
pub const LAST_READS: usize = (1 << 20) / READ;
/// A file is not changed within a line, unless the line has made it this many times too large.
const TOO_LARGE: u64 = 2;

/// One log file and its older siblings.
#[derive(Debug)]
pub struct Log {
    config: LogConfig,
    file: Option<File>,
    size: u64,
    /// Bytes that could not be written (disk full).
    pub dropped: u64,
}

impl Log {
    /// Opens the log for appending; a log that cannot be opened is tried again with every write.
    pub fn open(config: LogConfig) -> Self {
        let mut log = Self { config, file: None, size: 0, dropped: 0 };
        log.reopen();
        log
    }

    fn reopen(&mut self) {
        let file = File::options()
            .append(true)
            .create(true)
            .mode(0o640)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(&self.config.path);
        let known = file.and_then(|file| Ok((file.metadata()?.len(), file))).ok();
        (self.size, self.file) = known.map_or((0, None), |(size, file)| (size, Some(file)));
    }

    /// Appends whole records; what cannot be written is dropped and counted, because a container
    /// must never wait for a disk. `between_lines`: no stream has begun a line and not ended it.
    pub fn write(&mut self, records: &[u8], between_lines: bool) {
        if self.file.is_none() {
            self.reopen();
        }
        let written = self.file.as_mut().map(|file| file.write_all(records));
        match written {
            Some(Ok(())) => self.size += records.len() as u64,
            Some(Err(_)) | None => {
                self.dropped += records.len() as u64;
                // Half a record would run into the next one.
                if let Some(file) = self.file.take() {
                    let _ = file.set_len(self.size);
                }
            }
        }
        let limit = if between_lines { 1 } else { TOO_LARGE };
        if self.size >= self.config.max_bytes.saturating_mul(limit) {
            self.rotate();
        }
    }

    /// Renames the full file after the present moment and begins a new one.
    fn rotate(&mut self) {
        let stamp = Stamp::from_unix_ns(now_ns()).file_suffix();
        let mut old = self.rotated();
        // Rotations within one second must neither overwrite each other nor lose their order.
        let same = old.keys().rev().find(|(time, _)| *time == stamp);
        let number = same.map_or(0, |(_, number)| number + 1);
        let mut new = self.config.path.clone().into_os_string();
        new.push(format!(".{stamp}"));
        if number > 0 {
            new.push(format!(".{number}"));
        }
        let new = PathBuf::from(new);
        if fs::rename(&self.config.path, &new).is_ok() {
            self.file = None;
            self.reopen();
            old.insert((stamp, number), new);
        }
        let keep = usize::try_from(self.config.max_files.max(1) - 1).unwrap_or(0);
        for path in old.values().take(old.len().saturating_sub(keep)) {
            let _ = fs::remove_file(path);
        }
    }

    /// The older siblings, oldest first: `0.log.20260102-030405`, then `0.log.20260102-030405.1`.
    fn rotated(&self) -> BTreeMap<(String, u64), PathBuf> {
        let (Some(directory), Some(name)) =
            (self.config.path.parent(), self.config.path.file_name())
        else {
            return BTreeMap::new();
        };
        let prefix = format!("{}.", name.to_string_lossy());
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let key = |name: &str| {
            let suffix = name.strip_prefix(&prefix)?;
            let (stamp, number) = suffix.split_once('.').unwrap_or((suffix, "0"));
            Some((stamp.to_owned(), number.parse().unwrap_or(0)))
        };
        let keyed =
            |entry: fs::DirEntry| Some((key(&entry.file_name().to_string_lossy())?, entry.path()));
        entries.filter_map(keyed).collect()
    }
}

/// One pipe or terminal that is read.
#[derive(Debug)]
pub struct Source {
    pub fd: OwnedFd,
    cutter: Cutter,
}

impl Source {
    pub fn new(fd: OwnedFd, stream: Stream) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        rustix::fs::fcntl_setfl(&fd, flags | rustix::fs::OFlags::NONBLOCK)?;
        Ok(Self { fd, cutter: Cutter::new(stream) })
    }

    /// Moves one buffer of what is there to the log; false at the end. Never more at a time: a
    /// container that writes faster than the disk must not keep the loop from its other work.
    /// `other_in_line`: the container's other stream has a line begun.
    pub fn pump(
        &mut self,
        log: &mut Log,
        other_in_line: bool,
        buffer: &mut [u8],
        records: &mut Vec<u8>,
    ) -> bool {
        records.clear();
        let now = Stamp::from_unix_ns(now_ns());
        match read(&self.fd, buffer) {
            Read::Some(count) => {
                self.cutter.cut(&now, &buffer[..count], records);
                log.write(records, !self.in_line() && !other_in_line);
                true
            }
            Read::Later => true,
            Read::End => {
                self.cutter.finish(&now, records);
                log.write(records, !other_in_line);
                false
            }
        }
    }
}

impl Source {
    /// Moves all that is there now to the log, and ends its last line: nothing more is waited for.
    pub fn finish(
        &mut self,
        log: &mut Log,
        other_in_line: bool,
        buffer: &mut [u8],
        records: &mut Vec<u8>,
    ) {
        for _ in 0..LAST_READS {
            let Read::Some(count) = read(&self.fd, buffer) else { break };
            records.clear();
            self.cutter.cut(&Stamp::from_unix_ns(now_ns()), &buffer[..count], records);
            log.write(records, !self.in_line() && !other_in_line);
        }
        records.clear();
        self.cutter.finish(&Stamp::from_unix_ns(now_ns()), records);
        log.write(records, !other_in_line);
    }

    /// A line has begun and not ended.
    pub const fn in_line(&self) -> bool {
        self.cutter.in_partial()
    }
}

/// The outcome of a non-blocking read.
pub enum Read {
    Some(usize),
    Later,
    End,
}

/// Reads from a pipe or a terminal's master, whose end is told as `EIO`.
pub fn read(fd: &OwnedFd, buffer: &mut [u8]) -> Read {
    loop {
        return match rustix::io::read(fd, &mut *buffer) {
            Ok(0) => Read::End,
            Ok(count) => Read::Some(count),
            Err(rustix::io::Errno::INTR) => continue,
            Err(rustix::io::Errno::AGAIN) => Read::Later,
            Err(_) => Read::End,
        };
    }
}

/// Nanoseconds since the epoch.
pub fn now_ns() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(dir: &std::path::Path, max_bytes: u64, max_files: u32) -> Log {
        Log::open(LogConfig { path: dir.join("0.log"), max_bytes, max_files })
    }

    #[test]
    fn a_pipe_becomes_records() {
        let dir = tempfile::tempdir().unwrap();
        let (reader, writer) = klet_sys::fd::pipe().unwrap();
        let mut source = Source::new(reader, Stream::Stdout).unwrap();
        let mut log = log(dir.path(), 1 << 20, 5);
        rustix::io::write(&writer, b"one\ntwo").unwrap();
        let (mut buffer, mut records) = (vec![0; 64], Vec::new());
        assert!(source.pump(&mut log, false, &mut buffer, &mut records));
        drop(writer);
        assert!(!source.pump(&mut log, false, &mut buffer, &mut records));
        let text = fs::read_to_string(dir.path().join("0.log")).unwrap();
        let payloads: Vec<_> = text.lines().map(|line| line.split_once("Z ").unwrap().1).collect();
        assert_eq!(payloads, ["stdout F one", "stdout P two", "stdout F "]);
    }

    #[test]
    fn what_is_in_a_pipe_that_others_hold_open_is_not_lost() {
        let dir = tempfile::tempdir().unwrap();
        let (reader, writer) = klet_sys::fd::pipe().unwrap();
        let mut source = Source::new(reader, Stream::Stdout).unwrap();
        let mut log = log(dir.path(), 1 << 20, 5);
        rustix::io::write(&writer, b"one\ntwo\nthree").unwrap();
        source.finish(&mut log, false, &mut [0; 4], &mut Vec::new());
        let text = fs::read_to_string(dir.path().join("0.log")).unwrap();
        let records: Vec<_> = text.lines().map(|line| line.split_once("Z ").unwrap().1).collect();
        assert_eq!(
            records,
            ["stdout F one", "stdout F two", "stdout P thre", "stdout P e", "stdout F ",]
        );
    }

    #[test]
    fn full_files_are_rotated_and_the_oldest_removed() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path(), 10, 3);
        for _ in 0..6 {
            log.write(b"0123456789\n", true);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn however_fast_files_are_rotated_the_newest_are_kept_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path(), 1, 4);
        for number in 0..25 {
            log.write(format!("{number}\n").as_bytes(), true);
        }
        let kept = log.rotated().into_values().map(|path| fs::read_to_string(path).unwrap());
        assert_eq!(kept.collect::<Vec<_>>(), ["22\n", "23\n", "24\n"]);
    }

    #[test]
    fn a_line_is_split_by_a_rotation_only_if_it_alone_fills_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path(), 10, 3);
        log.write(b"0123456789", false);
        assert_eq!(log.rotated().len(), 0);
        log.write(b"0123456789", false);
        assert_eq!(log.rotated().len(), 1);
    }

    #[test]
    fn the_other_streams_line_is_not_split() {
        let dir = tempfile::tempdir().unwrap();
        let (out, prompt) = klet_sys::fd::pipe().unwrap();
        let (err, flood) = klet_sys::fd::pipe().unwrap();
        let mut out = Source::new(out, Stream::Stdout).unwrap();
        let mut err = Source::new(err, Stream::Stderr).unwrap();
        let mut log = log(dir.path(), 50, 9);
        let (mut buffer, mut records) = (vec![0; 64], Vec::new());
        rustix::io::write(&prompt, b"half").unwrap();
        out.pump(&mut log, err.in_line(), &mut buffer, &mut records);
        assert!(out.in_line());
        rustix::io::write(&flood, b"a line\n").unwrap();
        err.pump(&mut log, out.in_line(), &mut buffer, &mut records);
        assert_eq!(log.rotated().len(), 0, "stdout's line is not over");
        rustix::io::write(&prompt, b" whole\n").unwrap();
        out.pump(&mut log, err.in_line(), &mut buffer, &mut records);
        assert_eq!(log.rotated().len(), 1);
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        let mut log = log(std::path::Path::new("/nonexistent"), 10, 3);
        log.write(b"abc\n", true);
        assert_eq!(log.dropped, 4);
    }
}
