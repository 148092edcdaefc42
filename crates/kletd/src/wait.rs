//! Waiting for files, by inotify.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Room for a burst of events; what they say is not looked at.
const EVENTS: usize = 4096;

/// Registers a descriptor that `inner` owns with tokio.
///
/// # Errors
/// The descriptor cannot be polled.
#[expect(
    deprecated,
    reason = "the successor is unsafe for types that may change their descriptor; owning types do not"
)]
pub fn asynchronous<T: AsRawFd>(inner: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(inner, interest)
}

/// An inotify instance that tokio can wait for.
#[derive(Debug)]
pub struct Watcher(AsyncFd<OwnedFd>);

impl Watcher {
    /// Watches `path` (a file or a directory) for `flags`.
    ///
    /// # Errors
    /// The kernel's limit on instances or watches, or a path that does not exist.
    pub fn new(path: &Path, flags: WatchFlags) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        inotify::add_watch(&inotify, path, flags)?;
        Ok(Self(asynchronous(inotify, Interest::READABLE)?))
    }

    /// Returns after something happened; what it was must be looked up.
    ///
    /// # Errors
    /// Reading the events fails.
    pub async fn changed(&self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            let mut events = [0_u8; EVENTS];
            let read =
                ready.try_io(|inotify| Ok(rustix::io::read(inotify.get_ref(), &mut events)?));
            match read {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
    }
}
