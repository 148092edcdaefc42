//! From a pod's volumes to directories on the host.

use std::collections::BTreeMap;
use std::io;

use jiff::Timestamp;
use klet_api::Pod;
use klet_api::k8s_openapi::api::core::v1::Volume;

use crate::ownership::Ownership;
use crate::payload::{Files, Payload};
use crate::{PodDirs, PodVolume, Sources, VolumeError, atomic, empty_dir, host_path, mounts};

/// Any user of the pod may look (and, in an emptyDir, write).
pub(crate) const MODE: u32 = 0o777;
/// A tmpfs has the sticky bit besides, as on the kubelet's nodes.
pub(crate) const TMPFS_MODE: u32 = 0o1777;
/// Bound of a tmpfs that holds API objects: each object is at most 1 MiB, old and new lie side by
/// side for a moment.
const PAYLOAD_BYTES: u64 = 128 << 20;

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
    let mut ready = BTreeMap::new();
    for volume in volumes(pod) {
        let made = set_up_one(volume, pod, dirs, sources, now)
            .map_err(|why| VolumeError::set_up(&volume.name, why))?;
        ready.insert(volume.name.clone(), made);
    }
    Ok(ready)
}

/// Brings the configMap, secret, downwardAPI and projected volumes of a running pod up to date.
/// Each changes in one moment, and nothing is written where nothing changed. Volumes that cannot be
/// updated keep their content; the others are updated all the same.
///
/// # Errors
/// The first volume that could not be updated.
pub fn update(
    pod: &Pod,
    dirs: &PodDirs,
    sources: &dyn Sources,
    now: Timestamp,
) -> Result<(), VolumeError> {
    let mut first = Ok(());
    for volume in volumes(pod) {
        let outcome = refresh(volume, pod, dirs, sources, now).map(drop);
        first = first.and(outcome.map_err(|why| VolumeError::set_up(&volume.name, why)));
    }
    first
}

fn volumes(pod: &Pod) -> impl Iterator<Item = &Volume> {
    pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten())
}

fn set_up_one(
    volume: &Volume,
    pod: &Pod,
    dirs: &PodDirs,
    sources: &dyn Sources,
    now: Timestamp,
) -> Result<PodVolume, String> {
    if let Some(source) = &volume.host_path {
        let host_path = host_path::check(source)?;
        return Ok(PodVolume { host_path, read_only_always: false });
    }
    if let Some(source) = &volume.empty_dir {
        let path = dirs.volume("empty-dir", &volume.name);
        empty_dir::make(&path, source, pod)?;
        return Ok(PodVolume { host_path: path, read_only_always: false });
    }
    refresh(volume, pod, dirs, sources, now)?.ok_or_else(|| unsupported(volume))
}

/// Set up or update a volume that holds API objects; `None` if it is of another kind.
fn refresh(
    volume: &Volume,
    pod: &Pod,
    dirs: &PodDirs,
    sources: &dyn Sources,
    now: Timestamp,
) -> Result<Option<PodVolume>, String> {
    let payload = Payload::new(pod, sources);
    let (plugin, files): (_, Files) = if let Some(source) = &volume.config_map {
        ("configmap", payload.config_map(source)?)
    } else if let Some(source) = &volume.secret {
        ("secret", payload.secret(source)?)
    } else if let Some(source) = &volume.downward_api {
        ("downward-api", payload.downward_api(source)?)
    } else if let Some(source) = &volume.projected {
        ("projected", payload.projected(source)?)
    } else {
        return Ok(None);
    };
    let path = dirs.volume(plugin, &volume.name);
    let text = |error: io::Error| error.to_string();
    if plugin == "configmap" {
        mounts::directory(&path, MODE).map_err(text)?;
    } else {
        // Secrets must not reach the disk; the kubelet keeps the other two in memory as well.
        mounts::tmpfs(&path, Some(PAYLOAD_BYTES), TMPFS_MODE).map_err(text)?;
    }
    let ownership = Ownership::read_only(pod);
    atomic::write(&path, &ownership.files(files), ownership, now).map_err(text)?;
    Ok(Some(PodVolume { host_path: path, read_only_always: true }))
}

/// Name the kind of the volume: its only key besides the name.
fn unsupported(volume: &Volume) -> String {
    let value = serde_json::to_value(volume).unwrap_or_default();
    let mut keys = value.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
    let kind = keys.rfind(|key| *key != "name").unwrap_or("without a source");
    format!("volume type {kind} is not supported by klet")
}
