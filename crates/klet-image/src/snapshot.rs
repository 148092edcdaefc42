//! A container's writable layer above its image.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, statat};
use std::os::fd::{AsFd, BorrowedFd};

use crate::error::{SnapshotError, StoreError};
use crate::image::{DiskUsage, Image, Snapshot};
use crate::merged::{open_dir, open_root};
use crate::remove::entries;
use crate::store::{ImageStore, io_error, list_directory};

/// Names the layers below a snapshot, one directory number per line; keeps them from being collected.
const LOWER: &str = "lower";
/// Directories deeper than this are not counted in the disk usage.
const MAX_DEPTH: usize = 128;

impl ImageStore {
    /// Makes the directories for a container's root file system.
    pub fn prepare_snapshot(
        &self,
        image: &Image,
        container_id: &str,
    ) -> Result<Snapshot, SnapshotError> {
        let path = self.snapshot_path(container_id)?;
        let failed =
            |step| move |source| SnapshotError::Io { id: container_id.to_owned(), step, source };
        // Held until the layers are written down, so that they cannot be removed in between.
        let index = self.index();
        let known: BTreeSet<PathBuf> =
            index.layers.keys().map(|chain| self.layer_path(&index, chain)).collect();
        if !image.layers.iter().all(|layer| known.contains(layer)) {
            return Err(SnapshotError::NoImage(image.id.clone()));
        }
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(SnapshotError::Exists(container_id.to_owned()));
            }
            result => result.map_err(failed("create it"))?,
        }
        fs::write(path.join(LOWER), lower_text(&image.layers))
            .map_err(failed("record its layers"))?;
        drop(index);
        let (upper, work) = (path.join("upper"), path.join("work"));
        fs::create_dir(&work).map_err(failed("create its work directory"))?;
        fs::create_dir(&upper).map_err(failed("create its upper directory"))?;
        copy_root(image.layers.first().map(PathBuf::as_path), &upper)
            .map_err(failed("set the root's owner and mode"))?;
        let mut lower = image.layers.clone();
        if lower.is_empty() {
            // Overlayfs needs a lower layer; an image without any gets an empty one.
            let empty = path.join("empty");
            fs::create_dir(&empty).map_err(failed("create an empty layer"))?;
            lower.push(empty);
        }
        Ok(Snapshot { lower, upper, work })
    }

    /// Removes a container's writable layer. It is no error if it does not exist. Unmount it first.
    pub fn remove_snapshot(&self, container_id: &str) -> Result<(), SnapshotError> {
        let path = self.snapshot_path(container_id)?;
        self.to_trash(&path).map_err(|error| {
            let source = match error {
                StoreError::Io { source, .. } => source,
                other => io::Error::other(other),
            };
            SnapshotError::Io { id: container_id.to_owned(), step: "remove it", source }
        })
    }

    /// Container ids that have a snapshot, complete or not; sorted.
    #[must_use]
    pub fn snapshots(&self) -> Vec<String> {
        let paths = list_directory(&self.root().join("snapshots")).unwrap_or_default();
        let names = paths.iter().filter_map(|path| path.file_name()?.to_str().map(str::to_owned));
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// Measures the store. Walks the snapshots, so it takes time.
    pub fn disk_usage(&self) -> Result<DiskUsage, StoreError> {
        let used = self.layers_in_snapshots();
        let index = self.index().clone();
        let reclaimable = index.layers.values().filter(|layer| !used.contains(&layer.directory));
        let snapshots = self.snapshots();
        let mut snapshot_bytes = 0;
        for id in &snapshots {
            let path = self.root().join("snapshots").join(id);
            snapshot_bytes += match open_root(&path) {
                Ok(directory) => {
                    allocated(directory.as_fd(), 0).map_err(io_error("measure", &path))?
                }
                Err(_removed_meanwhile) => 0,
            };
        }
        Ok(DiskUsage {
            images: index.images.len(),
            image_bytes: index.layers.values().map(|layer| layer.size).sum(),
            reclaimable_bytes: reclaimable.map(|layer| layer.size).sum(),
            snapshots: snapshots.len(),
            snapshot_bytes,
        })
    }

    /// Layer directories that snapshots stand on.
    pub(crate) fn layers_in_snapshots(&self) -> BTreeSet<u64> {
        let ids = self.snapshots();
        let texts = ids.iter().filter_map(|id| {
            fs::read_to_string(self.root().join("snapshots").join(id).join(LOWER)).ok()
        });
        texts
            .flat_map(|text| {
                text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<u64>>()
            })
            .collect()
    }

    fn snapshot_path(&self, container_id: &str) -> Result<PathBuf, SnapshotError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        let length = (1..=128).contains(&container_id.len());
        if !length || container_id.starts_with('.') || !container_id.bytes().all(plain) {
            return Err(SnapshotError::Id(container_id.to_owned()));
        }
        Ok(self.root().join("snapshots").join(container_id))
    }
}

fn lower_text(layers: &[PathBuf]) -> String {
    let numbers = layers.iter().filter_map(|path| path.parent()?.file_name()?.to_str());
    numbers.map(|number| format!("{number}\n")).collect()
}

/// The merged root shows the upper directory's owner and mode, so it takes the image's.
fn copy_root(top: Option<&Path>, upper: &Path) -> io::Result<()> {
    let mode = match top.map(fs::metadata).transpose()? {
        Some(metadata) => {
            std::os::unix::fs::chown(upper, Some(metadata.uid()), Some(metadata.gid()))?;
            metadata.mode() & 0o7777
        }
        None => 0o755,
    };
    fs::set_permissions(upper, Permissions::from_mode(mode))
}

/// Bytes allocated below a directory that a running container may be changing.
fn allocated(directory: BorrowedFd<'_>, depth: usize) -> io::Result<u64> {
    let mut bytes = 0;
    for (name, _) in entries(directory)? {
        let Ok(stat) = statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory && depth < MAX_DEPTH {
            bytes += allocated_below(directory, &name, depth)?;
        }
    }
    Ok(bytes)
}

fn allocated_below(directory: BorrowedFd<'_>, name: &OsString, depth: usize) -> io::Result<u64> {
    match open_dir(directory, name) {
        Ok(child) => allocated(child.as_fd(), depth + 1),
        Err(_removed_meanwhile) => Ok(0),
    }
}

#[cfg(test)]
mod tests;
