//! What the store says about images: plain data, no effects.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// An image that is completely on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Digest of the configuration document, `sha256:<hex>`: the image's identity.
    pub id: String,
    /// Canonical names with tag, e.g. `docker.io/library/busybox:latest`; sorted.
    pub names: Vec<String>,
    /// Canonical names with manifest digest, e.g. `docker.io/library/busybox@sha256:<hex>`; sorted.
    pub digests: Vec<String>,
    /// Bytes of file content in the image's unpacked layers.
    pub size: u64,
    /// When the image was built, if the configuration says so.
    pub created: Option<Timestamp>,
    /// What the image asks of the container that runs it.
    pub config: ImageConfig,
    /// Unpacked layers, **topmost first**, as overlayfs wants them in `lowerdir`.
    pub layers: Vec<PathBuf>,
}

/// The `config` object of an OCI image configuration.
///
/// Labels stay in this map: they are written by whoever built the image and are never control data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// `USER`: `name|uid[:group|gid]`, empty when unset. See [`crate::users::lookup`].
    #[serde(default)]
    pub user: String,
    /// `NAME=value` entries in order.
    #[serde(default)]
    pub env: Vec<String>,
    /// `ENTRYPOINT`.
    #[serde(default)]
    pub entrypoint: Vec<String>,
    /// `CMD`.
    #[serde(default)]
    pub cmd: Vec<String>,
    /// `WORKDIR`, empty when unset.
    #[serde(default)]
    pub working_dir: String,
    /// `STOPSIGNAL`, e.g. `SIGQUIT`.
    #[serde(default)]
    pub stop_signal: Option<String>,
    /// `EXPOSE`, e.g. `80/tcp`; sorted.
    #[serde(default)]
    pub exposed_ports: Vec<String>,
    /// `VOLUME` paths as written, sorted. Untrusted: resolve them inside the root file system only.
    #[serde(default)]
    pub volumes: Vec<String>,
    /// `LABEL`s.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// One image found in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedImage {
    /// Canonical name with tag; `None` when the archive names no image.
    pub name: Option<String>,
    /// `sha256:<hex>`.
    pub id: String,
}

/// What [`crate::ImageStore::remove`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemoveReport {
    /// Names that no longer point at the image.
    pub untagged: Vec<String>,
    /// Id of the image, if the image itself went as well.
    pub deleted: Option<String>,
    /// Bytes of file content in the layers that nothing needs any more.
    pub freed: u64,
}

/// The directories of one container's root file system, for an overlay mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Read-only layers, topmost first.
    pub lower: Vec<PathBuf>,
    /// The container's own layer.
    pub upper: PathBuf,
    /// Overlayfs' scratch directory, on the same file system as `upper`.
    pub work: PathBuf,
}

/// Disk space held by the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Number of images.
    pub images: usize,
    /// Bytes of file content in all unpacked layers (shared layers counted once).
    pub image_bytes: u64,
    /// Bytes of `image_bytes` that no snapshot uses.
    pub reclaimable_bytes: u64,
    /// Number of snapshots.
    pub snapshots: usize,
    /// Bytes allocated by the snapshots' writable layers.
    pub snapshot_bytes: u64,
}
