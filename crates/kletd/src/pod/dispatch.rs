//! Which pods there are: one worker for each, told of every change of its object.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use klet_api::Pod;
use klet_api::k8s_openapi::Resource;
use klet_store::EventKind;
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};

use super::worker::{Desired, Worker};
use super::{SharedShim, orphans};
use crate::node::NodeRef;

/// What others may know of a running worker.
#[derive(Debug, Clone)]
pub struct Handle {
    desired: watch::Sender<Desired>,
    wake: Arc<Notify>,
    pub shim: SharedShim,
}

/// The workers, by pod uid.
#[derive(Debug, Clone)]
pub struct Workers {
    handles: Arc<Mutex<HashMap<String, Handle>>>,
    /// Counts changes of ConfigMaps and Secrets.
    sources: Arc<watch::Sender<u64>>,
}

impl Default for Workers {
    fn default() -> Self {
        Self { handles: Arc::default(), sources: Arc::new(watch::Sender::new(0)) }
    }
}

impl Workers {
    /// The worker of a pod.
    #[must_use]
    pub fn get(&self, uid: &str) -> Option<Handle> {
        self.lock().get(uid).cloned()
    }

    /// Makes every worker look again.
    pub fn wake_all(&self) {
        for handle in self.lock().values() {
            handle.wake.notify_one();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Handle>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The object is (still, or newly) wanted like this.
    fn want(&self, node: &NodeRef, pod: Pod) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let desired = Desired { pod: Arc::new(pod), removed: false };
        let mut workers = self.lock();
        if let Some(handle) = workers.get(&uid) {
            handle.desired.send_if_modified(|known| {
                let changed = matters(&known.pod, &desired.pod);
                *known = desired;
                changed
            });
            return;
        }
        let (sender, receiver) = watch::channel(desired);
        let (wake, shim) = (Arc::new(Notify::new()), SharedShim::default());
        let worker = Worker::new(
            node.clone(),
            receiver,
            Arc::clone(&wake),
            shim.clone(),
            self.sources.subscribe(),
        );
        workers.insert(uid.clone(), Handle { desired: sender, wake, shim });
        drop(workers);
        let all = self.clone();
        tokio::spawn(async move {
            worker.run().await;
            all.lock().remove(&uid);
        });
    }

    /// The object is gone.
    fn remove(&self, pod: &Pod) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if let Some(handle) = self.get(&uid) {
            handle.desired.send_modify(|desired| desired.removed = true);
        }
    }
}

/// Is there anything new for the worker? Its own status comes back to it and is no news.
fn matters(known: &Pod, new: &Pod) -> bool {
    let conditions = |pod: &Pod| pod.status.as_ref().and_then(|status| status.conditions.clone());
    known.spec != new.spec
        || known.metadata.deletion_timestamp != new.metadata.deletion_timestamp
        || known.metadata.deletion_grace_period_seconds
            != new.metadata.deletion_grace_period_seconds
        || known.metadata.labels != new.metadata.labels
        || known.metadata.annotations != new.metadata.annotations
        || known.metadata.finalizers != new.metadata.finalizers
        || conditions(known) != conditions(new)
}

/// Tells the workers when any object changes that volumes may show.
pub async fn follow_sources<K>(node: NodeRef, workers: Workers)
where
    K: Resource + DeserializeOwned,
{
    loop {
        let (_, version) = node.registry.list::<K>(None);
        let Ok(mut watch) = node.registry.watch::<K>(None, version) else { continue };
        workers.sources.send_modify(|count| *count += 1);
        while watch.next().await.is_some() {
            workers.sources.send_modify(|count| *count += 1);
        }
    }
}

/// Follows the store for ever: every pod has a worker, what has no pod is cleared away.
pub async fn run(node: NodeRef, workers: Workers) {
    loop {
        let (pods, version) = node.registry.list::<Pod>(None);
        let live = pods.iter().filter_map(|pod| pod.metadata.uid.clone()).collect();
        orphans::clear(&node, &live, &workers).await;
        for pod in pods {
            workers.want(&node, pod);
        }
        let Ok(mut watch) = node.registry.watch::<Pod>(None, version) else { continue };
        while let Some(event) = watch.next().await {
            match event.kind {
                EventKind::Added => {
                    node.events.scheduled(&event.object);
                    workers.want(&node, event.object);
                }
                EventKind::Modified => workers.want(&node, event.object),
                EventKind::Deleted => workers.remove(&event.object),
            }
        }
    }
}
