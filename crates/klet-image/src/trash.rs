//! Removes trees in the background, so that removing a pod does not wait for the disk.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use crate::merged::open_root;
use crate::remove::{entries, remove_tree};

/// Empties one directory whenever it is told that something was moved there.
#[derive(Debug)]
pub(crate) struct Trash {
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Trash {
    pub(crate) fn start(directory: &Path) -> io::Result<Self> {
        let directory = open_root(directory)?;
        let (wake, woken) = sync_channel(1);
        let thread =
            Builder::new().name("image-trash".into()).spawn(move || run(&directory, &woken))?;
        Ok(Self { wake: Some(wake), thread: Some(thread) })
    }

    /// Asks for a pass. A full channel means that one is due anyway.
    pub(crate) fn empty_soon(&self) {
        if let Some(wake) = &self.wake {
            let _due = wake.try_send(());
        }
    }
}

impl Drop for Trash {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

fn run(directory: &OwnedFd, woken: &Receiver<()>) {
    while woken.recv().is_ok() {
        if let Err(error) = empty(directory) {
            tracing::warn!(%error, "cannot empty the image store's trash");
        }
    }
}

fn empty(directory: &OwnedFd) -> io::Result<()> {
    for (name, _) in entries(directory.as_fd())? {
        remove_tree(directory.as_fd(), &name)?;
    }
    Ok(())
}
