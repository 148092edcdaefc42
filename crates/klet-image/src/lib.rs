//! OCI images on the local machine: content store, layer extraction, overlay snapshots.
//!
//! An image archive (OCI layout or docker archive) enters through [`ImageStore::load`] or
//! [`ImageStore::load_path`]. Every blob is checked against its digest and size, every layer is
//! unpacked exactly once into a directory that overlayfs can use as a lower layer, and the image
//! becomes visible only when all of it is on disk. Containers get a writable
//! [`Snapshot`] above those directories. Archives are hostile input: see [`LoadError`] for what is refused.
//!
//! All calls block; run them on blocking threads.

mod compress;
mod digest;
mod error;
mod extract;
mod image;
mod index;
mod limits;
mod load;
mod manifest;
mod merged;
pub mod reference;
mod remove;
mod snapshot;
mod source;
mod store;
mod tarstream;
#[cfg(test)]
mod testing;
mod trash;
pub mod users;

pub use error::{LoadError, RemoveError, SnapshotError, StoreError};
pub use image::{DiskUsage, Image, ImageConfig, LoadedImage, RemoveReport, Snapshot};
pub use reference::{Reference, ReferenceError};
pub use store::ImageStore;
