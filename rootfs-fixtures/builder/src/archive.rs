//! OCI archives: one layer, one config, one manifest, an index that names it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// An image of one layer.
pub(crate) struct Image<'a> {
    pub(crate) name: &'a str,
    pub(crate) env: &'a [&'a str],
    pub(crate) entrypoint: &'a [&'a str],
    pub(crate) cmd: &'a [&'a str],
    pub(crate) stop_signal: Option<&'a str>,
    pub(crate) ports: &'a [&'a str],
    /// `UID`, `NAME` or `UID:GID`; empty for root.
    pub(crate) user: &'a str,
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

impl Image<'_> {
    /// Packs `root` and writes the archive.
    pub(crate) fn write(&self, root: &Path, path: &Path) -> anyhow::Result<()> {
        let layer = layer(root).with_context(|| format!("cannot pack {}", root.display()))?;
        let config = serde_json::to_vec(&self.config(&digest(&layer)))?;
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
        }))?;
        let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
        entry["annotations"] = json!({
            "io.containerd.image.name": self.name,
            "org.opencontainers.image.ref.name": self.name,
        });
        let index = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [entry],
        }))?;
        let temporary = path.with_extension("tmp");
        let mut archive = tar::Builder::new(File::create(&temporary)?);
        append(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        append(&mut archive, "index.json", &index)?;
        for blob in [&manifest, &config, &layer] {
            let name = format!("blobs/{}", digest(blob).replace(':', "/"));
            append(&mut archive, &name, blob)?;
        }
        archive.into_inner()?.flush()?;
        std::fs::rename(temporary, path)?;
        Ok(())
    }

    fn config(&self, layer: &str) -> Value {
        let mut inner = json!({ "Env": self.env, "Cmd": self.cmd });
        if !self.entrypoint.is_empty() {
            inner["Entrypoint"] = json!(self.entrypoint);
        }
        if !self.user.is_empty() {
            inner["User"] = json!(self.user);
        }
        if let Some(signal) = self.stop_signal {
            inner["StopSignal"] = json!(signal);
        }
        for port in self.ports {
            inner["ExposedPorts"][*port] = json!({});
        }
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        json!({
            "architecture": architecture,
            "os": "linux",
            "config": inner,
            "rootfs": { "type": "layers", "diff_ids": [layer] },
        })
    }
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(bytes), "size": bytes.len() })
}

fn append(archive: &mut tar::Builder<File>, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    archive.append_data(&mut header, name, bytes)?;
    Ok(())
}

/// The tree as an uncompressed layer, in a fixed order, owned by root.
fn layer(root: &Path) -> anyhow::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    archive.follow_symlinks(false);
    archive.mode(tar::HeaderMode::Complete);
    let mut paths = Vec::new();
    collect(root, &mut paths)?;
    for path in paths {
        let name = path.strip_prefix(root)?;
        let metadata = std::fs::symlink_metadata(&path)?;
        let mut header = tar::Header::new_gnu();
        header.set_metadata(&metadata);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        if metadata.is_symlink() {
            archive.append_link(&mut header, name, std::fs::read_link(&path)?)?;
        } else if metadata.is_dir() {
            archive.append_data(&mut header, name, std::io::empty())?;
        } else if metadata.is_file() {
            archive.append_data(&mut header, name, File::open(&path)?)?;
        }
    }
    Ok(archive.into_inner()?)
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let mut entries: Vec<_> = std::fs::read_dir(directory)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        paths.push(entry.path());
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), paths)?;
        }
    }
    Ok(())
}
