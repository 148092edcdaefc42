//! Which pods there are: one worker for each, told of every change of its object.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use klet_api::k8s_openapi::Resource;
use klet_api::k8s_openapi::api::core::v1::PodCondition;
use klet_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use klet_api::{Pod, PodStatus};
use klet_apiserver::{TypedWatch, node_uid};
use klet_pod::status::NODE_CONDITIONS;
use klet_pod::{StartFailure, text};
use klet_store::EventKind;
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};

use super::worker::{Desired, Worker};
use super::{SharedShim, ledger, orphans};
use crate::events::Severity;
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
        let uid = node_uid(&pod).to_owned();
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
        let handle = Handle { desired: sender, wake, shim };
        workers.insert(uid.clone(), handle.clone());
        drop(workers);
        tokio::spawn(self.clone().work(node.clone(), uid, handle, receiver));
    }

    /// Works for a pod until it is gone for good: a file may bring back the very pod that it has
    /// just taken away.
    async fn work(
        self,
        node: NodeRef,
        uid: String,
        handle: Handle,
        receiver: watch::Receiver<Desired>,
    ) {
        loop {
            let (wake, shim) = (Arc::clone(&handle.wake), handle.shim.clone());
            let sources = self.sources.subscribe();
            Worker::new(node.clone(), receiver.clone(), wake, shim, sources).run().await;
            let mut workers = self.lock();
            if receiver.borrow().removed {
                workers.remove(&uid);
                return;
            }
        }
    }

    /// The object is gone.
    fn remove(&self, pod: &Pod) {
        let uid = node_uid(pod);
        if let Some(handle) = self.get(uid) {
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

/// How often pods that wait for a place are looked at when nothing else happens: a place may have
/// been kept for a pod that was never stored.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Follows the store for ever: every pod has a worker, what has no pod is cleared away.
pub async fn run(node: NodeRef, workers: Workers) {
    let mut dispatcher = Dispatcher { node, workers, waiting: BTreeMap::new() };
    loop {
        let (mut pods, version) = dispatcher.node.registry.list::<Pod>(None);
        let live = pods.iter().map(|pod| node_uid(pod).to_owned()).collect();
        orphans::clear(&dispatcher.node, &live, &dispatcher.workers).await;
        pods.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
        for pod in pods {
            dispatcher.changed(pod, false).await;
        }
        let Ok(watch) = dispatcher.node.registry.watch::<Pod>(None, version) else { continue };
        dispatcher.follow(watch).await;
    }
}

/// Decides about each pod: a worker, a refusal, or to wait for a place.
struct Dispatcher {
    node: NodeRef,
    workers: Workers,
    /// Pods without a node, the oldest first.
    waiting: BTreeMap<(Option<Timestamp>, String), Pod>,
}

impl Dispatcher {
    async fn follow(&mut self, mut watch: TypedWatch<Pod>) {
        loop {
            let event = tokio::select! {
                event = watch.next() => event,
                () = tokio::time::sleep(LOOK_AGAIN), if !self.waiting.is_empty() => {
                    self.schedule().await;
                    continue;
                }
            };
            let Some(event) = event else { return };
            match event.kind {
                EventKind::Added => self.changed(event.object, true).await,
                EventKind::Modified => self.changed(event.object, false).await,
                EventKind::Deleted => self.removed(&event.object).await,
            }
        }
    }

    async fn changed(&mut self, pod: Pod, new: bool) {
        let place = place(&pod);
        if !ledger::is_bound(&pod) {
            if let Some(why) = waits(&pod)
                && !self.waiting.contains_key(&place)
            {
                self.node.events.unschedulable(&pod, why);
            }
            self.waiting.insert(place, pod);
            return;
        }
        let waited = self.waiting.remove(&place).is_some();
        if (new || waited) && is_scheduled(&pod) {
            self.node.events.scheduled(&pod);
        }
        if ledger::is_refused(&pod) {
            return;
        }
        let over = ledger::is_over(&pod);
        let known = self.workers.get(&place.1).is_some();
        let admitted = if known || over { Ok(()) } else { self.node.ledger.admit(&pod) };
        if over && self.node.ledger.release(&pod) {
            self.schedule().await;
        }
        match admitted {
            Ok(()) => self.workers.want(&self.node, pod),
            Err(why) => self.refuse(&pod, why).await,
        }
    }

    async fn removed(&mut self, pod: &Pod) {
        self.waiting.remove(&place(pod));
        self.workers.remove(pod);
        if self.node.ledger.release(pod) {
            self.schedule().await;
        }
    }

    /// Looks whether there is a place now for those that wait.
    async fn schedule(&mut self) {
        let node_name = &self.node.config.node_name;
        for pod in self.waiting.values() {
            if self.node.ledger.schedule(pod).is_err() {
                continue;
            }
            let bound = self.node.registry.bind_pod(pod, node_name).await;
            if let Err(error) = bound {
                self.node.ledger.release(pod);
                tracing::warn!(%error, pod = pod.metadata.name, "pod not bound");
            }
        }
    }

    /// The node does not take the pod: it has failed, and never had a container.
    async fn refuse(&self, pod: &Pod, why: StartFailure) {
        let StartFailure { reason, message } = why;
        self.node.events.pod(pod, Severity::Warning, &reason, &*message);
        let status = PodStatus {
            phase: Some("Failed".to_owned()),
            reason: Some(reason),
            message: Some(text::rejected(&message)),
            start_time: Some(Time(whole_second(Timestamp::now()))),
            qos_class: pod.status.as_ref().and_then(|status| status.qos_class.clone()),
            ..PodStatus::default()
        };
        let meta = &pod.metadata;
        let [namespace, name] =
            [&meta.namespace, &meta.name].map(|text| text.as_deref().unwrap_or_default());
        let (registry, uid) = (&self.node.registry, node_uid(pod));
        let written = registry.update_status(namespace, name, uid, &status, &NODE_CONDITIONS);
        if let Err(error) = written.await {
            tracing::warn!(%error, pod = name, "refusal not written");
        }
    }
}

fn place(pod: &Pod) -> (Option<Timestamp>, String) {
    let meta = &pod.metadata;
    (meta.creation_timestamp.as_ref().map(|time| time.0), meta.uid.clone().unwrap_or_default())
}

fn scheduled_condition(pod: &Pod) -> Option<&PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == "PodScheduled")
}

/// The node was chosen for it, not given with it.
fn is_scheduled(pod: &Pod) -> bool {
    scheduled_condition(pod).is_some_and(|condition| condition.status == "True")
}

/// Why it has no node.
fn waits(pod: &Pod) -> Option<String> {
    scheduled_condition(pod).and_then(|condition| condition.message.clone())
}

fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
