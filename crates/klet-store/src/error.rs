//! What can go wrong with the store, one type per operation.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the store open.
    #[error("store {} is in use by {}: stop it, or choose another --root", path.display(), holder(*pid))]
    InUse {
        /// The store's file.
        path: PathBuf,
        /// The process that wrote itself into the lock file.
        pid: Option<u32>,
    },
    /// The file is no store, is cut short, or fails its checksums.
    #[error("store {} is damaged: {why}", path.display())]
    Damaged {
        /// The store's file, left as it is; see [`crate::Store::set_aside`].
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// The file system refused.
    #[error("open store {}: {step}", path.display())]
    Io {
        /// The store's file.
        path: PathBuf,
        /// What was being done.
        step: &'static str,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// Why a write was not made. Memory and disk are as before, except that after
/// [`WriteError::Io`] the disk may hold the write until the next one overwrites it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// `create` found an object of that name.
    #[error("object exists")]
    Exists,
    /// No object of that name.
    #[error("object not found")]
    NotFound,
    /// The object changed since the expected version.
    #[error("object is at version {current}")]
    Conflict {
        /// The version it has now.
        current: u64,
    },
    /// The key holds a NUL or an empty part, or the value is no JSON object.
    #[error("object cannot be stored: {0}")]
    Invalid(&'static str),
    /// The disk is full.
    #[error("no space left for the store")]
    Full(#[source] Arc<dyn Error + Send + Sync>),
    /// The disk failed.
    #[error("write to the store")]
    Io(#[source] Arc<dyn Error + Send + Sync>),
    /// The store is being closed.
    #[error("store is closed")]
    Closed,
}

/// Why a read-modify-write was not made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ModifyError<E> {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] WriteError),
    /// The caller's function refused; nothing was written.
    #[error("refused")]
    Refused(E),
}

/// The requested version is older than the history kept (or from another store):
/// list again and watch from there. HTTP 410 in the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version: {from} ({oldest})")]
pub struct Expired {
    /// The version asked for.
    pub from: u64,
    /// The oldest version a watch can start from.
    pub oldest: u64,
}
