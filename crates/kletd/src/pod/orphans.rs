//! What stands on the node without a pod object: ended and removed.

use std::collections::BTreeSet;
use std::path::Path;

use futures_util::future::join_all;
use klet_cgroup::CgroupError;
use klet_cri::paths::{PodRunDir, ShimIdentity};
use klet_spec::resources::{self, Qos};

use super::dispatch::Workers;
use super::logs;
use crate::files::remove_tree;
use crate::node::{Node, NodeRef};
use crate::shim::Shim;

/// The pods that have files, but are not among those to `keep`.
#[must_use]
pub fn find(node: &Node, keep: &BTreeSet<String>) -> BTreeSet<String> {
    &known(node) - keep
}

/// Ends the pods that have files but no object. Pods that came later have workers by now.
pub async fn clear(
    node: &NodeRef,
    orphans: BTreeSet<String>,
    keep: &BTreeSet<String>,
    workers: &Workers,
) {
    // One that resists must not keep the others waiting.
    join_all(orphans.into_iter().map(|uid| async move {
        tracing::warn!(uid, "a pod without an object is ended");
        if let Err(error) = clear_one(node, &uid).await {
            tracing::warn!(uid, "orphaned pod: {error:#}");
        }
    }))
    .await;
    logs::sweep(&node.config.root, |uid| keep.contains(uid) || workers.get(uid).is_some());
}

/// Takes addresses and interfaces of pods that are no more, and repairs the rest. Not while pods
/// come: they would lose theirs.
pub async fn settle_network(node: &NodeRef, live: BTreeSet<String>) {
    let reconciled = node.clone();
    let done = tokio::task::spawn_blocking(move || reconciled.network.reconcile(&live));
    if let Ok(Err(error)) = done.await {
        let error = anyhow::Error::from(error);
        tracing::warn!("network not brought in line: {error:#}");
    }
}

fn known(node: &Node) -> BTreeSet<String> {
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

/// Kills everything in the cgroups a pod may have and removes them: its own under any QoS class,
/// the one its supervisor has written down (`--cgroup-parent` may have been another), and its
/// supervisor's.
///
/// # Errors
/// What resists; the others are removed all the same.
pub fn end_cgroups(
    node: &Node,
    uid: &str,
    identity: Option<&ShimIdentity>,
) -> Result<(), CgroupError> {
    let parent = &node.config.cgroup_parent;
    let classes = [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort];
    let mut paths = classes.map(|qos| resources::pod_cgroup(parent, qos, uid)).to_vec();
    // Empty until the sandbox is made.
    let told = identity.map(|identity| identity.cgroup_parent.clone());
    paths.extend(told.filter(|path| !path.is_empty() && !paths.contains(path)));
    paths.push(node.launcher.cgroup(uid));
    let mut result = Ok(());
    for path in paths {
        let cgroup = node.cgroups.container(&path);
        result = result.and(cgroup.kill().and_then(|()| cgroup.remove()));
    }
    result
}

async fn clear_one(node: &NodeRef, uid: &str) -> anyhow::Result<()> {
    let run = PodRunDir::new(&node.config.run, uid);
    let identity: Option<ShimIdentity> =
        std::fs::read(run.identity()).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let shim = match Shim::connect(&run).await {
        Ok(shim) => Some(shim),
        Err(_) => node.launcher.lingering(uid).await,
    };
    if let Some(shim) = shim {
        // What it cannot do is done, or fails with its reason, below.
        let _ = shim.remove_sandbox().await;
    }
    let (node, uid) = (node.clone(), uid.to_owned());
    let done = tokio::task::spawn_blocking(move || -> anyhow::Result<()> {
        end_cgroups(&node, &uid, identity.as_ref())?;
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
