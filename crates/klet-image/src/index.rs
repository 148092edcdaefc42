//! The store's durable index: which images there are and which directories hold their layers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::StoreError;
use crate::image::ImageConfig;

/// Format of the index file.
const VERSION: u32 = 1;

/// Everything the store knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Index {
    version: u32,
    /// Number for the next layer directory; never used twice.
    pub(crate) next_layer: u64,
    /// By ChainID.
    pub(crate) layers: BTreeMap<Digest, LayerRecord>,
    /// By configuration digest.
    pub(crate) images: BTreeMap<Digest, ImageRecord>,
}

/// An unpacked layer.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    /// Name of its directory: short, because overlayfs mount options are.
    pub(crate) directory: u64,
    /// Bytes of file content.
    pub(crate) size: u64,
}

/// A complete image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    pub(crate) names: BTreeSet<String>,
    pub(crate) digests: BTreeSet<String>,
    pub(crate) created: Option<Timestamp>,
    pub(crate) config: ImageConfig,
    /// ChainIDs, bottom first.
    pub(crate) layers: Vec<Digest>,
    pub(crate) manifest: Option<Digest>,
}

impl Default for Index {
    fn default() -> Self {
        Self { version: VERSION, next_layer: 1, layers: BTreeMap::new(), images: BTreeMap::new() }
    }
}

impl Index {
    /// Reads the index; a store without one is empty.
    pub(crate) fn read(path: &Path) -> Result<Self, StoreError> {
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            result => result.map_err(|source| StoreError::Io {
                step: "read",
                path: path.to_owned(),
                source,
            })?,
        };
        let damaged = |source| StoreError::Index { path: path.to_owned(), source };
        let index: Self = serde_json::from_slice(&bytes).map_err(damaged)?;
        if index.version != VERSION {
            let reason = format!("version {} is not {VERSION}", index.version);
            return Err(damaged(serde::de::Error::custom(reason)));
        }
        Ok(index)
    }

    /// Replaces the index file: after a crash it is the old or the new one, never a mixture.
    pub(crate) fn write(&self, path: &Path) -> Result<(), StoreError> {
        let failed = |step| move |source| StoreError::Io { step, path: path.to_owned(), source };
        let bytes = serde_json::to_vec(self).map_err(|error| failed("encode")(error.into()))?;
        let temporary = path.with_extension("new");
        let mut file = File::create(&temporary).map_err(failed("create"))?;
        file.write_all(&bytes).map_err(failed("write"))?;
        file.sync_all().map_err(failed("flush"))?;
        fs::rename(&temporary, path).map_err(failed("replace"))?;
        let parent = path.parent().unwrap_or(path);
        File::open(parent).and_then(|directory| directory.sync_all()).map_err(failed("flush"))
    }

    /// Drops layers that no image and none of `used` directories needs; returns what was dropped.
    pub(crate) fn drop_unused_layers(&mut self, used: &BTreeSet<u64>) -> Vec<LayerRecord> {
        let needed: BTreeSet<&Digest> =
            self.images.values().flat_map(|image| &image.layers).collect();
        let keep = |chain: &Digest, layer: &LayerRecord| {
            needed.contains(chain) || used.contains(&layer.directory)
        };
        let dropped = self
            .layers
            .iter()
            .filter(|(chain, layer)| !keep(chain, layer))
            .map(|(_, layer)| *layer);
        let dropped: Vec<LayerRecord> = dropped.collect();
        let gone: BTreeSet<u64> = dropped.iter().map(|layer| layer.directory).collect();
        self.layers.retain(|_, layer| !gone.contains(&layer.directory));
        dropped
    }

    /// Digests of the documents the images refer to.
    pub(crate) fn documents(&self) -> BTreeSet<&Digest> {
        self.images
            .iter()
            .flat_map(|(id, image)| std::iter::once(id).chain(&image.manifest))
            .collect()
    }
}
