//! Status on its way to the API: the latest wins, written by one task per pod.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use klet_api::{Pod, PodStatus};
use klet_apiserver::{Registry, RegistryError};
use klet_pod::status::NODE_CONDITIONS;
use klet_store::WriteError;
use tokio::sync::watch;

use super::Identity;

/// Pause before a refused write is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long a worker waits for its status to be stored: a full disk must not keep it from looking.
const STORED: Duration = Duration::from_secs(5);

/// Writes the newest status; intermediate ones may be skipped while a write is under way.
#[derive(Debug)]
pub struct Publisher {
    latest: Latest,
    /// The number of the newest status that is stored.
    written: watch::Receiver<u64>,
}

/// The status handed over last.
#[derive(Debug, Clone)]
pub struct Latest(Arc<watch::Sender<Told>>);

/// A status, and the how manieth it is.
#[derive(Debug, Clone, Default)]
struct Told {
    number: u64,
    status: Option<PodStatus>,
}

impl Told {
    /// Takes a status that says something else; tells whether it does.
    fn renew(&mut self, status: Option<PodStatus>) -> bool {
        let news = status.is_some() && self.status != status;
        if news {
            self.number += 1;
            self.status = status;
        }
        news
    }
}

impl Latest {
    /// Sets the readiness of one container attempt at once, whatever the pod's worker is doing.
    pub fn set_readiness(&self, pod: &Pod, id: &str, ready: bool) {
        let now = Timestamp::now();
        self.0.send_if_modified(|latest| {
            let told = latest.status.as_ref();
            let after =
                told.and_then(|told| klet_pod::status::with_readiness(pod, told, id, ready, now));
            latest.renew(after)
        });
    }
}

impl Publisher {
    /// Starts the task; it ends when the publisher is dropped and everything is written.
    #[must_use]
    pub fn start(registry: Registry, identity: &Identity) -> Self {
        let (latest, wanted) = watch::channel(Told::default());
        let (done, written) = watch::channel(0);
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
        if let Some(latest) = &self.latest.0.borrow().status {
            klet_pod::status::take_readiness(own, latest);
        }
    }

    /// Hands over the status as of now.
    pub fn put(&self, status: &PodStatus) {
        self.latest.0.send_if_modified(|latest| {
            latest.status.as_ref() != Some(status) && latest.renew(Some(status.clone()))
        });
    }

    /// Returns when the status handed over last is stored (or the pod's object is gone).
    ///
    /// # Errors
    /// The store does not take it, or not in time; the writer goes on trying.
    pub async fn flush(&mut self) -> anyhow::Result<()> {
        let wanted = self.latest.0.borrow().number;
        let written = self.written.wait_for(|written| *written >= wanted);
        let stored = tokio::time::timeout(STORED, written).await;
        // The writer's end means that there is no object left to write to.
        stored.map(drop).context("the pod's status could not be stored yet")
    }
}

async fn run(
    registry: Registry,
    identity: Identity,
    mut wanted: watch::Receiver<Told>,
    done: watch::Sender<u64>,
) {
    while wanted.changed().await.is_ok() {
        let Told { number, status } = wanted.borrow_and_update().clone();
        let Some(status) = &status else { continue };
        let Identity { namespace, name, uid, .. } = &identity;
        match registry.update_status(namespace, name, uid, status, &NODE_CONDITIONS).await {
            Ok(_) => {
                done.send_replace(number);
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
