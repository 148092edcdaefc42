//! Nothing of a pod that has ended stays on the node.

use anyhow::Context;

use super::worker::Worker;
use crate::files::remove_tree;
use crate::timeline::What;

impl Worker {
    /// Removes volumes, snapshots, cgroups, address and directories. Logs stay until the object
    /// is gone.
    ///
    /// # Errors
    /// The first thing that resists; the rest is tried again with it.
    pub async fn clean_up(&mut self) -> anyhow::Result<()> {
        if let Err(error) = self.drop_shim().await {
            // What it could not end is ended, or told with its reason, below.
            tracing::debug!(pod = self.identity.name, "sandbox not removed: {error:#}");
        }
        let (node, identity) = (self.node.clone(), self.identity.clone());
        let pod_cgroup = self.pod_cgroup();
        let shim_cgroup = node.launcher.cgroup(&identity.uid);
        let containers = self.container_ids();
        let done = tokio::task::spawn_blocking(move || -> anyhow::Result<()> {
            for path in [&pod_cgroup, &shim_cgroup] {
                let cgroup = node.cgroups.container(path);
                cgroup.kill()?;
                cgroup.remove().with_context(|| format!("cannot remove the cgroup {path}"))?;
            }
            node.network.detach(&identity.uid)?;
            let dirs = klet_volume::PodDirs::new(identity.dir.clone());
            klet_volume::tear_down(&dirs)?;
            for id in containers {
                node.images.remove_snapshot(&id)?;
            }
            remove_tree(identity.run.path())?;
            // Last: as long as it stands, there is something left to clean.
            remove_tree(&identity.dir).context("cannot remove the pod's directory")
        });
        done.await??;
        self.shim.set(None);
        self.volumes.clear();
        self.usage = None;
        self.share = None;
        self.note(None, What::CleanedUp, String::new());
        Ok(())
    }

    /// Every container attempt that may have a snapshot.
    fn container_ids(&self) -> Vec<String> {
        std::fs::read_dir(self.identity.dir.join("snapshots"))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect()
    }

    /// Forgets exited attempts: their records, cgroups and snapshots.
    ///
    /// # Errors
    /// The shim refuses, or a snapshot cannot be removed.
    pub async fn remove_containers(&mut self, ids: Vec<String>) -> anyhow::Result<()> {
        if let Some(shim) = self.shim.get() {
            for id in &ids {
                let request = klet_cri::Request::RemoveContainer { id: id.clone() };
                match shim.call(request).await {
                    Err(error) if !error.is_not_found() => return Err(error.into()),
                    Ok(_) | Err(_) => {}
                }
            }
        }
        let (node, dir, removed) = (self.node.clone(), self.identity.dir.clone(), ids.clone());
        let done = tokio::task::spawn_blocking(move || -> anyhow::Result<()> {
            for id in &removed {
                node.images.remove_snapshot(id)?;
                let _ = std::fs::remove_file(dir.join("snapshots").join(id));
            }
            Ok(())
        });
        done.await??;
        self.records.forget(&ids);
        Ok(())
    }
}
