//! What `kletctl system` tells: facts and disk usage. The checks are in [`super::checks`].

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use http::StatusCode;
use klet_api::Pod;
use klet_apiserver::ApiError;
use klet_apiserver::body::json;
use serde_json::{Value, json};

use super::Backend;
use super::extension::{Reply, blocking, chain};
use crate::machine;

/// Facts about the daemon and its machine.
#[must_use]
pub fn info(backend: &Backend) -> Value {
    let node = &backend.node;
    let (pods, _) = node.registry.list::<Pod>(None);
    let mut capabilities: Vec<String> =
        node.machine.capabilities.iter().map(ToString::to_string).collect();
    capabilities.sort();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "node": node.config.node_name,
        "kernel": read("/proc/sys/kernel/osrelease"),
        "cgroup": if node.cgroups.is_v2() { "v2" } else { "v1" },
        "cgroupParent": node.config.cgroup_parent,
        "root": node.config.root,
        "run": node.config.run,
        "logDir": node.config.log_dir,
        "manifests": node.config.manifests,
        "socket": node.config.socket,
        "capabilities": capabilities,
        "missingCapabilities": machine::missing_capabilities(&node.machine),
        "podCIDR": node.config.pod_cidr,
        "bridge": node.config.bridge,
        "pods": pods.len(),
        "images": node.images.list().len(),
        "uptimeSeconds": node.uptime().as_secs(),
        "allocatable": node.allocatable,
    })
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// Bytes on disk, by kind.
///
/// # Errors
/// The image store cannot be measured.
pub async fn df(backend: &Backend) -> Reply {
    let own = backend.clone();
    let value = blocking(move || {
        let node = &own.node;
        let (root, logs) = (&node.config.root, &node.config.log_dir);
        let usage = node.images.disk_usage().map_err(|error| ApiError::internal(chain(&error)))?;
        Ok(json!({
            "images": {
                "count": usage.images, "bytes": usage.image_bytes,
                "reclaimable": usage.reclaimable_bytes,
            },
            "snapshots": { "count": usage.snapshots, "bytes": usage.snapshot_bytes },
            "volumes": { "bytes": allocated(&root.join("pods")) },
            "logs": { "count": count(logs), "bytes": allocated(logs) },
            "store": { "bytes": allocated(&root.join("store")) },
        }))
    });
    value.await?.map(|value| json(StatusCode::OK, &value))
}

fn count(directory: &Path) -> usize {
    std::fs::read_dir(directory).map_or(0, Iterator::count)
}

/// Bytes that a tree takes on its own file system; links are not followed, other mounts not
/// entered. What vanishes or cannot be read meanwhile counts nothing.
fn allocated(path: &Path) -> u64 {
    let Ok(top) = std::fs::symlink_metadata(path) else { return 0 };
    let mut total = 0;
    let mut pending = vec![path.to_owned()];
    while let Some(path) = pending.pop() {
        let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
        if metadata.dev() != top.dev() {
            continue;
        }
        total += metadata.blocks() * 512;
        if metadata.is_dir() {
            let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
            pending.extend(entries.map(|entry| entry.path()));
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_measured_without_following_links() {
        let directory = std::env::temp_dir().join(format!("klet-df-{}", std::process::id()));
        std::fs::create_dir_all(directory.join("a/b")).unwrap();
        std::fs::write(directory.join("a/b/file"), vec![1; 100_000]).unwrap();
        std::os::unix::fs::symlink("/usr", directory.join("a/link")).unwrap();
        let bytes = allocated(&directory);
        std::fs::remove_dir_all(&directory).unwrap();
        assert!((100_000..200_000).contains(&bytes), "{bytes}");
        assert_eq!(allocated(&directory), 0);
    }
}
