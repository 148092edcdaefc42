//! Status on its way to the API: the latest wins, written by one task per pod.

use std::sync::Arc;

use jiff::Timestamp;
use klet_api::{Pod, PodStatus};
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
    latest: Latest,
    written: watch::Receiver<Option<PodStatus>>,
}

/// The status handed over last.
#[derive(Debug, Clone)]
pub struct Latest(Arc<watch::Sender<Option<PodStatus>>>);

impl Latest {
    /// Sets the readiness of one container attempt at once, whatever the pod's worker is doing.
    pub fn set_readiness(&self, pod: &Pod, id: &str, ready: bool) {
        let now = Timestamp::now();
        self.0.send_if_modified(|latest| {
            let told = latest.as_ref();
            let after =
                told.and_then(|told| klet_pod::status::with_readiness(pod, told, id, ready, now));
            let changed = after.is_some();
            if changed {
                *latest = after;
            }
            changed
        });
    }
}

impl Publisher {
    /// Starts the task; it ends when the publisher is dropped and everything is written.
    #[must_use]
    pub fn start(registry: Registry, identity: &Identity) -> Self {
        let (latest, wanted) = watch::channel(None);
        let (done, written) = watch::channel(None);
        tokio::spawn(run(registry, identity.clone(), wanted, done));
        Self { latest: Latest(Arc::new(latest)), written }
    }

    /// What probes may change on their own.
    #[must_use]
    pub fn latest(&self) -> Latest {
        self.latest.clone()
    }

    /// Brings the changes that probes made since into the worker's own status.
    pub fn take_readiness(&self, own: &mut PodStatus) {
        if let Some(latest) = &*self.latest.0.borrow() {
            klet_pod::status::take_readiness(own, latest);
        }
    }

    /// Hands over the status as of now.
    pub fn put(&self, status: &PodStatus) {
        self.latest.0.send_if_modified(|latest| {
            let changed = latest.as_ref() != Some(status);
            if changed {
                *latest = Some(status.clone());
            }
            changed
        });
    }

    /// The same, but not for ever: a full disk must not keep a pod from going on.
    pub async fn flush_briefly(&mut self) {
        // Late is better than never.
        let _ = tokio::time::timeout(RETRY, self.flush()).await;
    }

    /// Returns when the status handed over last is stored (or the pod's object is gone).
    pub async fn flush(&mut self) {
        let wanted = self.latest.0.borrow().clone();
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
