//! Reading and writing control files, and waiting for what they tell.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags};

use super::error::CgroupError;

/// One control file write is one `write(2)`.
pub(super) fn write(path: &Path, value: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}

pub(super) fn write_or(
    operation: &'static str,
    path: &Path,
    value: &str,
) -> Result<(), CgroupError> {
    write(path, value).map_err(|source| CgroupError::io(operation, path, source))
}

pub(super) fn read(path: &Path) -> Result<String, CgroupError> {
    fs::read_to_string(path).map_err(|source| CgroupError::io("read", path, source))
}

/// The number after `key` in a `key number` file.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}

/// A directory handle for `CLONE_INTO_CGROUP`.
pub(super) fn directory(path: &Path) -> Result<OwnedFd, CgroupError> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY)
        .open(path)
        .map(OwnedFd::from)
        .map_err(|source| CgroupError::io("open", path, source))
}

pub(super) fn open_to_write(path: &Path) -> Result<OwnedFd, CgroupError> {
    OpenOptions::new()
        .write(true)
        .open(path)
        .map(OwnedFd::from)
        .map_err(|source| CgroupError::io("open", path, source))
}

/// Blocks until `fd` has one of `events` or `limit` has passed.
pub(super) fn poll(fd: BorrowedFd<'_>, events: PollFlags, limit: Duration) -> io::Result<()> {
    poll_many(&mut [PollFd::from_borrowed_fd(fd, events)], limit)
}

fn poll_many(fds: &mut [PollFd<'_>], limit: Duration) -> io::Result<()> {
    let limit = Timespec::try_from(limit).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
    match rustix::event::poll(fds, Some(&limit)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Waits until the v2 `cgroup.events` of `directory` says `key value`; false when time is up.
/// The kernel wakes a poller at every change; the file must be read anew after each.
pub(super) fn wait_event(
    directory: &Path,
    key: &str,
    value: u64,
    deadline: Instant,
) -> Result<bool, CgroupError> {
    let path = directory.join("cgroup.events");
    let failed = |source| CgroupError::io("watch", &path, source);
    let mut file = File::open(&path).map_err(failed)?;
    loop {
        let mut text = String::new();
        io::Seek::rewind(&mut file).map_err(failed)?;
        io::Read::read_to_string(&mut file, &mut text).map_err(failed)?;
        if keyed(&text, key) == Some(value) {
            return Ok(true);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        poll(file.as_fd(), PollFlags::PRI, left).map_err(failed)?;
    }
}

/// Waits until one of `pids` has ended, at most `limit`. A process that is already gone ends the wait.
pub(super) fn wait_any_end(pids: &[i32], limit: Duration) -> io::Result<()> {
    // A few suffice: the caller looks again.
    let handles: Result<Vec<_>, _> = pids
        .iter()
        .take(64)
        .filter_map(|pid| Pid::from_raw(*pid))
        .map(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()))
        .collect();
    let Ok(handles) = handles else { return Ok(()) };
    let mut fds: Vec<_> =
        handles.iter().map(|h| PollFd::from_borrowed_fd(h.as_fd(), PollFlags::IN)).collect();
    poll_many(&mut fds, limit)
}
