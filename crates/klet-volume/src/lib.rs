//! Pod volumes on the node: emptyDir, hostPath, configMap, secret, and safe sub-paths.
//!
//! kletd makes volumes ready before the sandbox exists and takes them down after the last
//! container ended. Everything lies below the pod's own directory:
//!
//! ```text
//! <base>/volumes/kubernetes.io~empty-dir/NAME     0777; tmpfs for medium Memory
//! <base>/volumes/kubernetes.io~configmap/NAME     written atomically
//! <base>/volumes/kubernetes.io~secret/NAME        the same, on tmpfs
//! <base>/volume-subpaths/VOLUME/CONTAINER/INDEX   bind mounts of checked sub-paths
//! ```
#![forbid(unsafe_code)]

mod atomic;
mod empty_dir;
mod error;
mod host_path;
mod mounts;
mod payload;
mod sub_path;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use klet_api::Pod;
use klet_api::k8s_openapi::api::core::v1::{ConfigMap, Secret, Volume};

pub use error::VolumeError;
pub use mounts::tear_down;
pub use sub_path::{SubPath, sub_path};

/// Where references lead.
pub trait Sources {
    fn config_map(&self, namespace: &str, name: &str) -> Option<ConfigMap>;
    fn secret(&self, namespace: &str, name: &str) -> Option<Secret>;
}

/// A pod's directory on the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodDirs {
    base: PathBuf,
}

impl PodDirs {
    /// `base` is `<root>/pods/<uid>`.
    #[must_use]
    pub fn new(base: PathBuf) -> Self {
        Self { base }
    }

    /// The pod's directory.
    #[must_use]
    pub fn base(&self) -> &Path {
        &self.base
    }

    fn volume(&self, plugin: &str, name: &str) -> PathBuf {
        self.base.join("volumes").join(format!("kubernetes.io~{plugin}")).join(name)
    }
}

/// A volume that is ready to be mounted into containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodVolume {
    pub host_path: PathBuf,
    /// Containers get it read-only whatever their mounts say (configMap, secret).
    pub read_only_always: bool,
}

/// Makes all volumes of a pod ready; what is ready already stays as it is or is brought up to date.
///
/// # Errors
/// The first volume that cannot be set up, in the words of the kubelet's `FailedMount` event.
pub fn set_up(
    pod: &Pod,
    dirs: &PodDirs,
    sources: &dyn Sources,
    now: Timestamp,
) -> Result<BTreeMap<String, PodVolume>, VolumeError> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let mut ready = BTreeMap::new();
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let made = set_up_one(volume, dirs, namespace, sources, now)
            .map_err(|why| VolumeError::set_up(&volume.name, why))?;
        ready.insert(volume.name.clone(), made);
    }
    Ok(ready)
}

fn set_up_one(
    volume: &Volume,
    dirs: &PodDirs,
    namespace: &str,
    sources: &dyn Sources,
    now: Timestamp,
) -> Result<PodVolume, String> {
    if let Some(source) = &volume.host_path {
        let host_path = host_path::check(source)?;
        return Ok(PodVolume { host_path, read_only_always: false });
    }
    if let Some(source) = &volume.config_map {
        let files = payload::config_map(source, namespace, sources)?;
        let path = dirs.volume("configmap", &volume.name);
        atomic::write(&path, &files, now).map_err(|error| error.to_string())?;
        return Ok(PodVolume { host_path: path, read_only_always: true });
    }
    if let Some(source) = &volume.secret {
        let files = payload::secret(source, namespace, sources)?;
        let path = dirs.volume("secret", &volume.name);
        mounts::tmpfs(&path, None, 0o755).map_err(|error| error.to_string())?;
        atomic::write(&path, &files, now).map_err(|error| error.to_string())?;
        return Ok(PodVolume { host_path: path, read_only_always: true });
    }
    if let Some(source) = &volume.empty_dir {
        let path = dirs.volume("empty-dir", &volume.name);
        empty_dir::make(&path, source)?;
        return Ok(PodVolume { host_path: path, read_only_always: false });
    }
    Err("klet does not support this volume type".to_owned())
}

#[cfg(test)]
mod tests;
