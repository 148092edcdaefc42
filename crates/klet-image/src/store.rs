//! The store's directories and their life cycle, and questions about its images.
//!
//! ```text
//! <root>/images/index.json          what there is (replaced atomically)
//! <root>/images/blobs/sha256/<hex>  manifests and configurations
//! <root>/images/layers/<n>/fs       unpacked layers in overlay format
//! <root>/images/tmp                 loads in progress; emptied at start
//! <root>/snapshots/<container>      upper, work, and the list of layers below
//! <root>/trash                      what is being removed
//! ```

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::digest::Digest;
use crate::error::{RemoveError, StoreError};
use crate::image::{Image, RemoveReport};
use crate::index::{ImageRecord, Index, LayerRecord};
use crate::limits::Limits;
use crate::reference::{Reference, ReferenceError};
use crate::trash::Trash;

/// The images and snapshots below one directory. Clones share it.
#[derive(Debug, Clone)]
pub struct ImageStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    index: Mutex<Index>,
    /// Held while layers are added or removed.
    loading: Mutex<()>,
    limits: Limits,
    trash: Trash,
    trashed: AtomicU64,
    /// Locked for as long as the store is open.
    _lock: File,
}

impl ImageStore {
    /// Opens the store below `root`, making it if need be, and removes what an interrupted run left.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        Self::open_with(root, Limits::default())
    }

    pub(crate) fn open_with(root: &Path, limits: Limits) -> Result<Self, StoreError> {
        for directory in [
            "",
            "images",
            "images/blobs/sha256",
            "images/layers",
            "images/tmp",
            "snapshots",
            "trash",
        ] {
            private_directory(&root.join(directory))?;
        }
        let lock = lock(root)?;
        let index = Index::read(&root.join("images/index.json"))?;
        let trash =
            Trash::start(&root.join("trash")).map_err(io_error("open", &root.join("trash")))?;
        let inner = Inner {
            root: root.to_owned(),
            index: Mutex::new(index),
            loading: Mutex::default(),
            limits,
            trash,
            trashed: AtomicU64::new(0),
            _lock: lock,
        };
        let store = Self { inner: Arc::new(inner) };
        store.sweep()?;
        Ok(store)
    }

    /// Finds an image by name (`busybox`), by `name@digest`, by id (`sha256:…`), or by the beginning of an id.
    pub fn resolve(&self, reference: &str) -> Result<Option<Image>, ReferenceError> {
        let index = self.index();
        let found = find(&index, reference)?;
        Ok(found.map(|(id, record)| self.image(&index, id, record)))
    }

    /// All images, by id.
    #[must_use]
    pub fn list(&self) -> Vec<Image> {
        let index = self.index();
        index.images.iter().map(|(id, record)| self.image(&index, id, record)).collect()
    }

    /// Removes a name, and the image with its last name. `in_use` tells whether a container runs an image id.
    pub fn remove(
        &self,
        name_or_id: &str,
        in_use: &dyn Fn(&str) -> bool,
    ) -> Result<RemoveReport, RemoveError> {
        let _loading = self.lock_loading();
        let mut index = self.index().clone();
        let not_found = || RemoveError::NotFound(name_or_id.to_owned());
        let (id, record) = find(&index, name_or_id)?.ok_or_else(not_found)?;
        let (id, record) = (id.clone(), record.clone());
        let name = Reference::parse(name_or_id).map(|name| name.to_string()).ok();
        let by_name = name.filter(|name| record.names.contains(name));
        if let Some(name) = by_name.filter(|_| record.names.len() > 1) {
            index.images.get_mut(&id).ok_or_else(not_found)?.names.remove(&name);
            self.replace_index(index).map_err(RemoveError::Store)?;
            return Ok(RemoveReport { untagged: vec![name], ..RemoveReport::default() });
        }
        if record.names.len() > 1 && !name_or_id.contains('@') {
            let names = Vec::from_iter(record.names).join(", ");
            return Err(RemoveError::SeveralNames { id: id.to_string(), names });
        }
        if in_use(id.as_str()) {
            return Err(RemoveError::InUse(name_or_id.to_owned()));
        }
        index.images.remove(&id);
        let freed = self.drop_unused(index).map_err(RemoveError::Store)?;
        let untagged = record.names.into_iter().collect();
        Ok(RemoveReport { untagged, deleted: Some(id.to_string()), freed })
    }

    /// Removes layers that neither an image nor a snapshot needs; returns the bytes of file content they had.
    pub fn collect_garbage(&self) -> Result<u64, StoreError> {
        let _loading = self.lock_loading();
        let index = self.index().clone();
        self.drop_unused(index)
    }

    fn drop_unused(&self, mut index: Index) -> Result<u64, StoreError> {
        let mut current = self.index();
        let dropped = index.drop_unused_layers(&self.layers_in_snapshots());
        index.write(&self.index_path())?;
        *current = index;
        drop(current);
        for LayerRecord { directory, .. } in &dropped {
            self.to_trash(&self.layers().join(directory.to_string()))?;
        }
        self.sweep_blobs()?;
        Ok(dropped.iter().map(|layer| layer.size).sum())
    }

    fn image(&self, index: &Index, id: &Digest, record: &ImageRecord) -> Image {
        let sizes = record
            .layers
            .iter()
            .filter_map(|chain| index.layers.get(chain))
            .map(|layer| layer.size);
        Image {
            id: id.to_string(),
            names: record.names.iter().cloned().collect(),
            digests: record.digests.iter().cloned().collect(),
            size: sizes.sum(),
            created: record.created,
            config: record.config.clone(),
            layers: record.layers.iter().rev().map(|chain| self.layer_path(index, chain)).collect(),
        }
    }

    /// Removes what the index does not know: an interrupted load or removal.
    fn sweep(&self) -> Result<(), StoreError> {
        let known: BTreeSet<String> =
            self.index().layers.values().map(|layer| layer.directory.to_string()).collect();
        for path in list_directory(&self.temporary())? {
            self.to_trash(&path)?;
        }
        for path in list_directory(&self.layers())? {
            if !path
                .file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| known.contains(name))
            {
                self.to_trash(&path)?;
            }
        }
        self.sweep_blobs()?;
        self.inner.trash.empty_soon();
        Ok(())
    }

    /// Removes documents that no image refers to.
    pub(crate) fn sweep_blobs(&self) -> Result<(), StoreError> {
        let index = self.index();
        let known: BTreeSet<&str> = index.documents().into_iter().map(Digest::hex).collect();
        for path in list_directory(&self.inner.root.join("images/blobs/sha256"))? {
            if !path
                .file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| known.contains(name))
            {
                fs::remove_file(&path).map_err(io_error("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Makes `path` disappear at once; its content is removed in the background. Fine if it does not exist.
    pub(crate) fn to_trash(&self, path: &Path) -> Result<(), StoreError> {
        let number = self.inner.trashed.fetch_add(1, Ordering::Relaxed);
        let unique = format!("{}-{number}", jiff::Timestamp::now().as_nanosecond());
        match fs::rename(path, self.inner.root.join("trash").join(unique)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(io_error("remove", path)(error)),
            Ok(()) => {
                self.inner.trash.empty_soon();
                Ok(())
            }
        }
    }

    pub(crate) fn replace_index(&self, index: Index) -> Result<(), StoreError> {
        let mut current = self.index();
        index.write(&self.index_path())?;
        *current = index;
        Ok(())
    }

    /// The index is replaced as a whole, so it is sound even if a holder panicked.
    pub(crate) fn index(&self) -> MutexGuard<'_, Index> {
        self.inner.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock_loading(&self) -> MutexGuard<'_, ()> {
        self.inner.loading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn limits(&self) -> Limits {
        self.inner.limits
    }

    pub(crate) fn root(&self) -> &Path {
        &self.inner.root
    }

    fn index_path(&self) -> PathBuf {
        self.inner.root.join("images/index.json")
    }

    pub(crate) fn temporary(&self) -> PathBuf {
        self.inner.root.join("images/tmp")
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.inner.root.join("images/layers")
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.inner.root.join("images/blobs/sha256").join(digest.hex())
    }

    /// The unpacked directory of a layer in `index`.
    pub(crate) fn layer_path(&self, index: &Index, chain: &Digest) -> PathBuf {
        let directory = index.layers.get(chain).map_or(0, |layer| layer.directory);
        self.layers().join(directory.to_string()).join("fs")
    }
}

/// By name, by digest, or by id. A name wins over the beginning of an id.
fn find<'a>(
    index: &'a Index,
    text: &str,
) -> Result<Option<(&'a Digest, &'a ImageRecord)>, ReferenceError> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let is_hex = (4..=64).contains(&hex.len())
        && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let parsed = Reference::parse(text);
    if let Ok(reference) = &parsed {
        let digest =
            reference.digest().map(|digest| format!("{}@{digest}", reference.repository()));
        let canonical = reference.to_string();
        let fits = |record: &ImageRecord| match &digest {
            Some(digest) => record.digests.contains(digest),
            None => record.names.contains(&canonical),
        };
        if let Some(found) = index.images.iter().find(|(_, record)| fits(record)) {
            return Ok(Some(found));
        }
    }
    if !is_hex {
        return parsed.map(|_| None);
    }
    let mut by_id = index.images.iter().filter(|(id, _)| id.hex().starts_with(hex));
    let found = by_id.next();
    if by_id.next().is_some() { Err(ReferenceError::Ambiguous(text.to_owned())) } else { Ok(found) }
}

/// Only root may look inside: layers hold setuid programs of strangers.
fn private_directory(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io_error("create", path))?;
    fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(io_error("protect", path))
}

fn lock(root: &Path) -> Result<File, StoreError> {
    let path = root.join("images/lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(io_error("open", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Err(StoreError::Locked(root.to_owned())),
        result => result.map(|()| file).map_err(|errno| io_error("lock", &path)(errno.into())),
    }
}

pub(crate) fn list_directory(path: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries =
        fs::read_dir(path).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    entries.map_err(io_error("list", path))
}

pub(crate) fn io_error(
    step: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::Io { step, path, source }
}

#[cfg(test)]
mod tests;
