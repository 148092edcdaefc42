//! Bounds on everything an archive can ask for.

/// Entries in one tar stream.
pub(crate) const MAX_ENTRIES: u64 = 1_000_000;
/// Bytes in one path inside an archive (PATH_MAX without its terminator).
pub(crate) const MAX_PATH: usize = 4095;
/// Bytes in one path component (NAME_MAX).
pub(crate) const MAX_COMPONENT: usize = 255;
/// Components in one path.
pub(crate) const MAX_DEPTH: usize = 256;
/// Bytes in one PAX or GNU long-name record.
pub(crate) const MAX_EXTENSION: u64 = 1 << 20;
/// Segments in one sparse file's map.
pub(crate) const MAX_SPARSE_SEGMENTS: usize = 100_000;
/// Bytes in `index.json`, an index, a manifest or `manifest.json`.
pub(crate) const MAX_MANIFEST: u64 = 4 << 20;
/// Bytes in an image configuration.
pub(crate) const MAX_CONFIG: u64 = 8 << 20;
/// Layers in one image: overlayfs accepts 500 lower directories.
pub(crate) const MAX_LAYERS: usize = 500;
/// Images in one archive.
pub(crate) const MAX_IMAGES: usize = 256;
/// Indexes inside indexes.
pub(crate) const MAX_INDEX_DEPTH: usize = 4;
/// Largest zstd window: 2^27 = 128 MiB, what `zstd -22` uses and zstd's own default ceiling.
pub(crate) const ZSTD_WINDOW_LOG: u32 = 27;

/// Bounds that tests lower and operators may want to raise.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes one decompressed stream may yield.
    pub(crate) stream: u64,
    /// Bytes of file content one image may write.
    pub(crate) image: u64,
    /// Decompressed bytes allowed per compressed byte, once `ratio_free` is spent.
    pub(crate) ratio: u64,
    /// Decompressed bytes before the ratio counts.
    pub(crate) ratio_free: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { stream: 64 << 30, image: 64 << 30, ratio: 200, ratio_free: 64 << 20 }
    }
}
