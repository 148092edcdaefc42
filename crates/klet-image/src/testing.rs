//! Builds archives, good and hostile, and describes directory trees so that two can be compared.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::digest::Digest;
use crate::limits::Limits;
use crate::merged::{MergedView, open_root};
use crate::{ImageStore, LoadError};

/// A layer's tar stream, entry by entry, with no check of sense.
#[derive(Default)]
pub(crate) struct LayerTar(Vec<u8>);

impl LayerTar {
    pub(crate) fn header(kind: u8, name: &str, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_size(size);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_cksum();
        header
    }

    pub(crate) fn raw(mut self, header: &tar::Header, data: &[u8]) -> Self {
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: &str, data: &str) -> Self {
        self.raw(&Self::header(b'0', name, data.len() as u64), data.as_bytes())
    }

    pub(crate) fn dir(self, name: &str, mode: u32) -> Self {
        let mut header = Self::header(b'5', name, 0);
        header.set_mode(mode);
        header.set_cksum();
        self.raw(&header, b"")
    }

    pub(crate) fn link(self, kind: u8, name: &str, target: &str) -> Self {
        let mut header = Self::header(kind, name, 0);
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        self.raw(&header, b"")
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.link(b'2', name, target)
    }

    pub(crate) fn hardlink(self, name: &str, target: &str) -> Self {
        self.link(b'1', name, target)
    }

    /// A PAX header for the next entry.
    pub(crate) fn pax(self, records: &[(&str, &str)]) -> Self {
        let data: String = records.iter().map(|(key, value)| record(key, value)).collect();
        self.raw(&Self::header(b'x', "pax", data.len() as u64), data.as_bytes())
    }

    pub(crate) fn bytes(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

/// `<length> <key>=<value>\n`, where the length counts itself.
fn record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let digits = (1..).find(|digits| (rest + digits).to_string().len() == *digits).unwrap();
    format!("{} {key}={value}\n", rest + digits)
}

/// An OCI archive whose documents a test may bend before it is written.
pub(crate) struct Oci {
    pub(crate) name: Option<String>,
    pub(crate) config: Value,
    pub(crate) manifest: Value,
    pub(crate) layers: Vec<Vec<u8>>,
    /// Added to or replacing members.
    pub(crate) members: BTreeMap<String, Vec<u8>>,
}

impl Oci {
    /// Layers as plain tar streams, bottom first.
    pub(crate) fn new(name: &str, layers: Vec<Vec<u8>>) -> Self {
        let diff_ids: Vec<String> =
            layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
        let config = json!({
            "architecture": "amd64", "os": "linux", "created": "2026-01-02T03:04:05Z",
            "config": {"Cmd": ["sh"], "Env": ["A=b"], "Labels": null},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST});
        Self { name: Some(name.to_owned()), config, manifest, layers, members: BTreeMap::new() }
    }

    /// Stores the layers as `compress` makes them; diff ids stay.
    pub(crate) fn stored(mut self, compress: fn(&[u8]) -> Vec<u8>) -> Self {
        self.layers = self.layers.iter().map(|layer| compress(layer)).collect();
        self
    }

    fn parts(&self) -> BTreeMap<String, Vec<u8>> {
        let config = self.config.to_string().into_bytes();
        let mut manifest = self.manifest.clone();
        if manifest.get("config").is_none() {
            manifest["config"] = descriptor(CONFIG, &config);
        }
        if manifest.get("layers").is_none() {
            let layers = self.layers.iter().map(|layer| descriptor(LAYER, layer));
            manifest["layers"] = layers.collect();
        }
        let manifest = manifest.to_string().into_bytes();
        let mut entry = descriptor(MANIFEST, &manifest);
        if let Some(name) = &self.name {
            entry["annotations"] = json!({"io.containerd.image.name": name});
        }
        let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string().into_bytes();
        let mut parts = BTreeMap::from([
            ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
            ("index.json".to_owned(), index),
        ]);
        for blob in [&config, &manifest].into_iter().chain(&self.layers) {
            parts.insert(blob_name(blob), blob.clone());
        }
        parts.extend(self.members.clone());
        parts
    }

    pub(crate) fn archive(&self) -> Vec<u8> {
        archive(&self.parts())
    }

    /// Writes an OCI layout directory.
    pub(crate) fn layout(&self, directory: &Path) {
        for (name, bytes) in self.parts() {
            let path = directory.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
}

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

pub(crate) fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(bytes).to_string(), "size": bytes.len()})
}

pub(crate) fn blob_name(bytes: &[u8]) -> String {
    format!("blobs/sha256/{}", Digest::of(bytes).hex())
}

pub(crate) fn archive(members: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let mut tar = LayerTar::default();
    for (name, bytes) in members {
        tar = tar.raw(&LayerTar::header(b'0', name, bytes.len() as u64), bytes);
    }
    tar.bytes()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// A store in a directory of its own, beside a canary that nothing may touch.
pub(crate) struct World {
    pub(crate) directory: TempDir,
    pub(crate) store: ImageStore,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(crate) fn with(limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("canary"), "alive").unwrap();
        let store = ImageStore::open_with(&directory.path().join("store"), limits).unwrap();
        Self { directory, store }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    /// Nothing but the store and the canary, and nothing half done in the store.
    pub(crate) fn assert_clean(&self) {
        assert_eq!(fs::read_to_string(self.directory.path().join("canary")).unwrap(), "alive");
        assert_eq!(names(self.directory.path()), ["canary", "store"]);
        assert_eq!(names(&self.root().join("images/tmp")), Vec::<String>::new());
        let index = self.store.index();
        assert_eq!(names(&self.root().join("images/layers")).len(), index.layers.len());
        assert_eq!(names(&self.root().join("images/blobs/sha256")).len(), index.documents().len());
    }
}

pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Unpacks one layer above `below` (topmost first) into `target`.
pub(crate) fn unpack(bytes: &[u8], target: &Path, below: &[PathBuf]) -> Result<u64, LoadError> {
    fs::create_dir_all(target).unwrap();
    let mut layers = vec![open_root(target).unwrap()];
    layers.extend(below.iter().map(|path| open_root(path).unwrap()));
    crate::extract::extract("layer", bytes, MergedView::new(layers), 1 << 30)
        .map(|(written, _)| written)
}

/// One line per file below `root`: everything a layer can say about it.
pub(crate) fn describe(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut inodes = BTreeMap::new();
    walk(root, Path::new(""), &mut inodes, &mut lines);
    lines
}

fn walk(root: &Path, path: &Path, inodes: &mut BTreeMap<u64, PathBuf>, lines: &mut Vec<String>) {
    let full = root.join(path);
    let metadata = fs::symlink_metadata(&full).unwrap();
    let kind = metadata.file_type();
    let (mode, uid, gid) = (metadata.mode(), metadata.uid(), metadata.gid());
    let first = inodes.entry(metadata.ino()).or_insert_with(|| path.to_owned()).clone();
    let content = if kind.is_symlink() {
        format!("-> {}", fs::read_link(&full).unwrap().display())
    } else if kind.is_file() {
        format!("{} {}", metadata.len(), Digest::of(&fs::read(&full).unwrap()))
    } else if kind.is_char_device() || kind.is_block_device() {
        format!("{:x}", metadata.rdev())
    } else {
        String::new()
    };
    let (seconds, nanos) = (metadata.mtime(), metadata.mtime_nsec());
    let xattrs = if kind.is_file() || kind.is_dir() { xattrs(&full) } else { Vec::new() };
    let same = if kind.is_dir() { path } else { &first };
    lines.push(format!(
        "{} {mode:o} {uid}:{gid} {seconds}.{nanos} {content} {xattrs:?} ={}",
        path.display(),
        same.display()
    ));
    if kind.is_dir() {
        for name in names(&full) {
            walk(root, &path.join(name), inodes, lines);
        }
    }
}

fn xattrs(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut list = [0_u8; 4096];
    let length = rustix::fs::listxattr(path, &mut list[..]).unwrap();
    let names = list[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty());
    let mut xattrs: Vec<_> = names
        .map(|name| {
            let name = String::from_utf8(name.to_vec()).unwrap();
            let mut value = [0_u8; 4096];
            let length = rustix::fs::getxattr(path, &name, &mut value[..]).unwrap();
            (name, value[..length].to_vec())
        })
        .collect();
    xattrs.sort();
    xattrs
}
