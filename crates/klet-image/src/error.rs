//! One error type per operation.

use std::io;
use std::path::PathBuf;

use crate::reference::ReferenceError;

/// The store cannot be opened or its index cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file operation failed.
    #[error("image store: cannot {step} {}", path.display())]
    Io {
        /// What was being done, e.g. "create".
        step: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Another process has the store open.
    #[error("image store {} is in use by another process", .0.display())]
    Locked(PathBuf),
    /// The index is damaged.
    #[error("image store index {} is damaged; move it away to start with an empty store", path.display())]
    Index {
        /// The index file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

/// An archive was refused, or could not be stored. Nothing of it is visible afterwards.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Reading the archive failed.
    #[error("cannot read image archive")]
    Read(#[source] io::Error),
    /// Writing to the store failed.
    #[error("cannot {step} {object} in the image store")]
    Write {
        /// What was being done.
        step: &'static str,
        /// To what.
        object: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The input is neither an OCI archive nor a docker archive.
    #[error("not an image archive: no index.json and no manifest.json in it")]
    NotAnArchive,
    /// A document or blob that the archive refers to is not in it.
    #[error("image archive: {0} is missing")]
    Missing(String),
    /// Content does not have the digest under which it is known.
    #[error("image archive: {object} has digest {actual}, expected {expected}")]
    Digest {
        /// Which document or layer.
        object: String,
        /// What the archive promises.
        expected: String,
        /// What it holds.
        actual: String,
    },
    /// Content does not have the promised size.
    #[error("image archive: {object} has {actual} bytes, expected {expected}")]
    Size {
        /// Which document or layer.
        object: String,
        /// What the archive promises.
        expected: u64,
        /// What it holds.
        actual: u64,
    },
    /// A document is not valid JSON of its kind.
    #[error("image archive: {object} is not valid")]
    Json {
        /// Which document.
        object: String,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A document is valid JSON but not acceptable.
    #[error("image archive: {object}: {reason}")]
    Document {
        /// Which document.
        object: String,
        /// Why it is refused.
        reason: String,
    },
    /// The archive has no image for this machine.
    #[error("image archive: no image for {wanted} (found {found})")]
    Platform {
        /// This machine, e.g. `linux/amd64`.
        wanted: String,
        /// What the archive offers.
        found: String,
    },
    /// An entry of a tar stream is refused.
    #[error("{object}: entry {path:?}: {reason}")]
    Entry {
        /// Which layer or archive.
        object: String,
        /// Path of the entry as the archive spells it.
        path: String,
        /// Why it is refused.
        reason: String,
        /// The failed system call, if one failed.
        #[source]
        source: Option<io::Error>,
    },
    /// The image's name is not a valid reference.
    #[error("image archive names an image wrongly")]
    Name(#[source] ReferenceError),
    /// The store's index could not be written.
    #[error("cannot record the image")]
    Store(#[source] StoreError),
}

/// An image cannot be removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// The name is not a valid reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// There is no such image.
    #[error("no such image: {0}")]
    NotFound(String),
    /// Containers use it.
    #[error("image {0} is in use by a container; stop the pods that use it first")]
    InUse(String),
    /// Several names point at the id that was given.
    #[error("image {id} has several names ({names}); remove it by name")]
    SeveralNames {
        /// The image.
        id: String,
        /// Its names, comma separated.
        names: String,
    },
    /// The store's index could not be written.
    #[error("cannot record the removal")]
    Store(#[source] StoreError),
}

/// A snapshot cannot be made, listed or removed.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The container id is not a plain file name.
    #[error(
        "container id {0:?} cannot name a snapshot: use 1 to 128 of [A-Za-z0-9_.-], first not '.'"
    )]
    Id(String),
    /// There is one already.
    #[error("snapshot {0} exists already")]
    Exists(String),
    /// The image was removed in the meantime.
    #[error("image {0} is no longer in the store")]
    NoImage(String),
    /// A file operation failed.
    #[error("snapshot {id}: cannot {step}")]
    Io {
        /// Which snapshot (a container id).
        id: String,
        /// What was being done.
        step: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}
