//! Which pods there are: one worker for each, told of every change of its object.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use klet_api::k8s_openapi::Resource;
use klet_api::k8s_openapi::api::core::v1::PodCondition;
use klet_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use klet_api::{Pod, PodStatus};
use klet_apiserver::{RegistryError, TypedWatch, node_uid};
use klet_pod::status::NODE_CONDITIONS;
use klet_pod::{StartFailure, text};
use klet_store::{EventKind, WriteError};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

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

    /// The uids of the pods that have a worker.
    fn uids(&self) -> BTreeSet<String> {
        self.lock().keys().cloned().collect()
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
        let handle = Handle {
            desired: watch::Sender::new(desired),
            wake: Arc::new(Notify::new()),
            shim: SharedShim::default(),
        };
        workers.insert(uid.clone(), handle.clone());
        drop(workers);
        tokio::spawn(self.clone().keep(node.clone(), uid, handle));
    }

    /// Lets a worker work until its pod is over. One that panics is followed by another, which
    /// finds out where the pod stands as after a restart of the daemon.
    async fn keep(self, node: NodeRef, uid: String, handle: Handle) {
        loop {
            let (node, sources) = (node.clone(), self.sources.subscribe());
            let (desired, wake) = (handle.desired.subscribe(), Arc::clone(&handle.wake));
            let shim = handle.shim.clone();
            let work = async move { Worker::new(node, desired, wake, shim, sources).run().await };
            match tokio::spawn(work).await {
                Ok(()) if self.forget(&uid, &handle) => return,
                // It was wanted again while it ended.
                Ok(()) => {}
                Err(error) if error.is_panic() => {
                    tracing::error!(uid, "the pod's worker panicked; another takes over");
                    tokio::time::sleep(TAKE_OVER).await;
                }
                // The daemon ends.
                Err(_) => return,
            }
        }
    }

    /// Takes the worker of a pod that is over from the list; not if the pod is wanted.
    fn forget(&self, uid: &str, handle: &Handle) -> bool {
        let mut workers = self.lock();
        let over = handle.desired.borrow().removed;
        if over {
            workers.remove(uid);
        }
        over
    }

    /// The object is gone.
    fn remove(&self, pod: &Pod) {
        let uid = node_uid(pod);
        if let Some(handle) = self.get(uid) {
            handle.desired.send_modify(|desired| desired.removed = true);
        }
    }

    /// The pods that have a worker, but are not among `live`.
    fn strays(&self, live: &BTreeSet<String>) -> Vec<Arc<Pod>> {
        let workers = self.lock();
        let strays = workers.iter().filter(|(uid, _)| !live.contains(*uid));
        strays.map(|(_, handle)| Arc::clone(&handle.desired.borrow().pod)).collect()
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

/// How long after a worker's panic the next one begins.
const TAKE_OVER: Duration = Duration::from_secs(1);

/// Follows the store for ever: every pod has a worker, what has no pod is cleared away.
pub async fn run(node: NodeRef, workers: Workers) {
    let mut dispatcher = Dispatcher {
        node,
        workers,
        waiting: BTreeMap::new(),
        refused: BTreeMap::new(),
        clearing: None,
    };
    loop {
        let (mut pods, version) = dispatcher.node.registry.list::<Pod>(None);
        let live = pods.iter().map(|pod| node_uid(pod).to_owned()).collect();
        dispatcher.catch_up(&live).await;
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
    /// Pods that the node does not take, by uid, of which the store does not know it yet.
    refused: BTreeMap<String, (Pod, PodStatus)>,
    /// What has no pod is on its way out.
    clearing: Option<JoinHandle<()>>,
}

impl Dispatcher {
    /// What a look at the whole list tells beside the pods themselves: those that are no more.
    async fn catch_up(&mut self, live: &BTreeSet<String>) {
        for pod in self.workers.strays(live) {
            self.removed(&pod).await;
        }
        self.waiting.retain(|(_, uid), _| live.contains(uid));
        self.refused.retain(|uid, _| live.contains(uid));
        let kept = live | &self.workers.uids();
        let orphans = orphans::find(&self.node, &kept);
        orphans::settle_network(&self.node, &kept | &orphans).await;
        // One that resists must not keep the workers waiting.
        if self.clearing.as_ref().is_none_or(JoinHandle::is_finished) {
            let (node, workers) = (self.node.clone(), self.workers.clone());
            let clear = async move { orphans::clear(&node, orphans, &kept, &workers).await };
            self.clearing = Some(tokio::spawn(clear));
        }
    }

    async fn follow(&mut self, mut watch: TypedWatch<Pod>) {
        loop {
            let event = tokio::select! {
                event = watch.next() => event,
                () = tokio::time::sleep(LOOK_AGAIN), if self.is_unsettled() => {
                    self.write_refusals().await;
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

    fn is_unsettled(&self) -> bool {
        !self.waiting.is_empty() || !self.refused.is_empty()
    }

    async fn changed(&mut self, pod: Pod, new: bool) {
        let place = place(&pod);
        if self.refused.contains_key(&place.1) {
            return;
        }
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
            Err(why) => self.refuse(pod, why).await,
        }
    }

    async fn removed(&mut self, pod: &Pod) {
        let place = place(pod);
        self.waiting.remove(&place);
        self.refused.remove(&place.1);
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
    async fn refuse(&mut self, pod: Pod, why: StartFailure) {
        let StartFailure { reason, message } = why;
        self.node.events.pod(&pod, Severity::Warning, &reason, &*message);
        let status = PodStatus {
            phase: Some("Failed".to_owned()),
            reason: Some(reason),
            message: Some(text::rejected(&message)),
            start_time: Some(Time(whole_second(Timestamp::now()))),
            qos_class: pod.status.as_ref().and_then(|status| status.qos_class.clone()),
            ..PodStatus::default()
        };
        self.refused.insert(place(&pod).1, (pod, status));
        self.write_refusals().await;
    }

    /// Those that cannot be written are tried again.
    async fn write_refusals(&mut self) {
        let mut left = BTreeMap::new();
        for (key, (pod, status)) in std::mem::take(&mut self.refused) {
            let meta = &pod.metadata;
            let [namespace, name] =
                [&meta.namespace, &meta.name].map(|text| text.as_deref().unwrap_or_default());
            let (registry, uid) = (&self.node.registry, node_uid(&pod));
            match registry.update_status(namespace, name, uid, &status, &NODE_CONDITIONS).await {
                Ok(_)
                | Err(
                    RegistryError::OtherUid { .. } | RegistryError::Store(WriteError::NotFound),
                ) => {}
                Err(error) => {
                    tracing::warn!(%error, pod = name, "refusal not written, trying again");
                    left.insert(key, (pod, status));
                }
            }
        }
        self.refused = left;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.uid = Some(uid.to_owned());
        pod
    }

    fn handle(uid: &str) -> Handle {
        let desired = Desired { pod: Arc::new(pod(uid)), removed: false };
        Handle {
            desired: watch::Sender::new(desired),
            wake: Arc::default(),
            shim: SharedShim::default(),
        }
    }

    #[test]
    fn a_worker_whose_pod_is_not_on_the_list_is_a_stray() {
        let workers = Workers::default();
        for uid in ["a", "b"] {
            workers.lock().insert(uid.to_owned(), handle(uid));
        }
        let strays = workers.strays(&["a".to_owned(), "c".to_owned()].into());
        assert_eq!(strays, [Arc::new(pod("b"))]);
    }

    #[test]
    fn a_worker_is_forgotten_when_its_pod_is_over_and_not_wanted_again() {
        let workers = Workers::default();
        let known = handle("a");
        workers.lock().insert("a".to_owned(), known.clone());
        assert!(!workers.forget("a", &known), "still wanted");
        assert!(workers.get("a").is_some());
        workers.remove(&pod("a"));
        assert!(workers.forget("a", &known));
        assert!(workers.get("a").is_none());
    }
}
