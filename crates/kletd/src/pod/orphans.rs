//! What stands on the node without a pod object: ended and removed.

use std::collections::BTreeSet;
use std::path::Path;

use klet_cri::paths::{PodRunDir, ShimIdentity};

use super::dispatch::Workers;
use super::sandbox::remove_sandbox;
use crate::files::remove_tree;
use crate::node::NodeRef;
use crate::shim::Shim;

/// Ends every pod that has files but no object, and brings the network in line.
pub async fn clear(node: &NodeRef, live: &BTreeSet<String>, workers: &Workers) {
    for uid in known(node) {
        if !live.contains(&uid) && workers.get(&uid).is_none() {
            tracing::warn!(uid, "a pod without an object is ended");
            if let Err(error) = clear_one(node, &uid).await {
                tracing::warn!(uid, "orphaned pod: {error:#}");
            }
        }
    }
    let (reconciled, live) = (node.clone(), live.clone());
    let done = tokio::task::spawn_blocking(move || reconciled.network.reconcile(&live));
    if let Ok(Err(error)) = done.await {
        let error = anyhow::Error::from(error);
        tracing::warn!("network not brought in line: {error:#}");
    }
}

fn known(node: &NodeRef) -> BTreeSet<String> {
    let mut uids = names(&node.config.root.join("pods"));
    uids.extend(names(&node.config.run.join("pods")));
    uids
}

/// The names of the entries of a directory.
#[must_use]
pub fn names(directory: &Path) -> BTreeSet<String> {
    std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

async fn clear_one(node: &NodeRef, uid: &str) -> anyhow::Result<()> {
    let run = PodRunDir::new(&node.config.run, uid);
    let identity: Option<ShimIdentity> =
        std::fs::read(run.identity()).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    if let Ok(shim) = Shim::connect(&run).await {
        remove_sandbox(&shim).await;
    }
    let (node, uid) = (node.clone(), uid.to_owned());
    let done = tokio::task::spawn_blocking(move || -> anyhow::Result<()> {
        let own = node.launcher.cgroup(&uid);
        for path in identity.map(|identity| identity.cgroup_parent).iter().chain([&own]) {
            let cgroup = node.cgroups.container(path);
            cgroup.kill()?;
            cgroup.remove()?;
        }
        node.network.detach(&uid)?;
        let dir = node.pod_dir(&uid);
        for id in names(&dir.join("snapshots")) {
            node.images.remove_snapshot(&id)?;
        }
        klet_volume::tear_down(&klet_volume::PodDirs::new(dir.clone()))?;
        remove_tree(run.path())?;
        remove_tree(&dir)?;
        Ok(())
    });
    done.await?
}
