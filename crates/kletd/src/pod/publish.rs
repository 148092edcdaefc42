//! Status on its way to the API: the latest wins, written by one task per pod.

use klet_api::PodStatus;
use klet_apiserver::{Registry, RegistryError};
use klet_store::WriteError;
use std::time::Duration;
use tokio::sync::watch;

use super::Identity;

/// Pause before a refused write is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Writes the newest status; intermediate ones may be skipped while a write is under way.
#[derive(Debug)]
pub struct Publisher {
    latest: watch::Sender<Option<PodStatus>>,
    written: watch::Receiver<Option<PodStatus>>,
}

impl Publisher {
    /// Starts the task; it ends when the publisher is dropped and everything is written.
    #[must_use]
    pub fn start(registry: Registry, identity: &Identity) -> Self {
        let (latest, wanted) = watch::channel(None);
        let (done, written) = watch::channel(None);
        tokio::spawn(run(registry, identity.clone(), wanted, done));
        Self { latest, written }
    }

    /// Hands over the status as of now.
    pub fn put(&self, status: &PodStatus) {
        self.latest.send_if_modified(|latest| {
            let changed = latest.as_ref() != Some(status);
            if changed {
                *latest = Some(status.clone());
            }
            changed
        });
    }

    /// Returns when the status handed over last is stored (or the pod's object is gone).
    pub async fn flush(&mut self) {
        let wanted = self.latest.borrow().clone();
        // The writer's end means that there is no object left to write to.
        let _ = self.written.wait_for(|written| *written == wanted).await;
    }
}

async fn run(
    registry: Registry,
    identity: Identity,
    mut wanted: watch::Receiver<Option<PodStatus>>,
    done: watch::Sender<Option<PodStatus>>,
) {
    while wanted.changed().await.is_ok() {
        let latest = wanted.borrow_and_update().clone();
        let Some(status) = &latest else { continue };
        let Identity { namespace, name, uid, .. } = &identity;
        match registry.update_status(namespace, name, uid, status).await {
            Ok(_) => {
                done.send_replace(latest);
            }
            Err(RegistryError::OtherUid { .. } | RegistryError::Store(WriteError::NotFound)) => {
                return;
            }
            Err(error) => {
                tracing::warn!(%error, pod = name, "status not written, trying again");
                tokio::time::sleep(RETRY).await;
                wanted.mark_changed();
            }
        }
    }
}
