//! The loop of one pod: look, plan, act, wait.
//!
//! Being woken means "look again" and nothing else: the desired pod is a value to read, not a
//! message to handle. A lost, doubled or early wake is harmless, and so is a restart of the
//! daemon: the first look sees what is there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use klet_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use klet_api::{Pod, PodStatus};
use klet_pod::{Action, Memory, Observed, Plan, text};
use klet_spec::resources;
use klet_volume::PodVolume;
use tokio::sync::{Notify, watch};

use super::eviction::Usage;
use super::publish::Publisher;
use super::records::Records;
use super::stop::Ending;
use super::{Identity, SharedShim, logs};
use crate::events::Severity;
use crate::node::NodeRef;
use crate::objects;
use crate::prober::Probes;
use crate::qos::Share;
use crate::timeline::What;

/// Annotations of the kubelet's own, in its memory only.
const SOURCE: &str = "kubernetes.io/config.source";
const SEEN: &str = "kubernetes.io/config.seen";
/// Pauses after a failed action: doubling from the first to the last.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LAST: Duration = Duration::from_secs(15);

/// What the API wants of the pod.
#[derive(Debug, Clone)]
pub struct Desired {
    pub pod: Arc<Pod>,
    /// The object is gone from the store (force deletion): end everything at once.
    pub removed: bool,
}

/// One pod's task.
#[derive(Debug)]
pub struct Worker {
    pub node: NodeRef,
    pub identity: Identity,
    /// The desired object with the status as this worker knows it.
    pub pod: Pod,
    pub removed: bool,
    pub memory: Memory,
    pub records: Records,
    pub shim: SharedShim,
    pub probes: Probes,
    pub publisher: Publisher,
    pub desired: watch::Receiver<Desired>,
    /// Volumes that are set up, by name; empty after a restart of the daemon until needed again.
    pub volumes: BTreeMap<String, PodVolume>,
    /// Its part of its class of pods, until it has ended.
    pub share: Option<Share>,
    /// Volumes with a size limit are watched.
    pub usage: Option<Usage>,
    /// The containers that are being ended, by id.
    pub endings: BTreeMap<String, Ending>,
    wake: Arc<Notify>,
    retry: Duration,
    /// It has been told that the pod's deadline has passed.
    late: bool,
    /// When this daemon first saw the pod: an annotation that downward volumes show.
    first_seen: Timestamp,
    /// Counts changes of ConfigMaps and Secrets; volumes are brought up to date when it moves.
    sources: watch::Receiver<u64>,
    /// The object is another than the one that was kept last.
    changed: bool,
    /// What downwardAPI volumes show of the object.
    shown: Shown,
}

/// Labels and annotations that downwardAPI volumes were last written with.
#[derive(Debug, Default, PartialEq)]
struct Shown {
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
}

/// Should the worker go on?
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    Again,
    Wait(Option<Timestamp>),
    Over,
}

/// An ended pod uses nothing.
fn share(node: &NodeRef, pod: &Pod) -> Option<Share> {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let spec = pod.spec.as_ref().filter(|_| !matches!(phase, Some("Succeeded" | "Failed")))?;
    node.classes.hold(resources::qos(pod), resources::pod_cpu_request(spec))
}

impl Worker {
    #[must_use]
    pub fn new(
        node: NodeRef,
        desired: watch::Receiver<Desired>,
        wake: Arc<Notify>,
        shim: SharedShim,
        sources: watch::Receiver<u64>,
    ) -> Self {
        let pod = Pod::clone(&desired.borrow().pod);
        let identity = Identity::of(&pod, &node);
        let publisher = Publisher::start(node.registry.clone(), &identity);
        let latest = publisher.latest();
        Self {
            usage: Usage::watch(&pod, identity.dir.clone(), Arc::clone(&wake)),
            probes: Probes::new(node.clone(), shim.clone(), Arc::clone(&wake), latest),
            publisher,
            memory: Memory::default(),
            records: Records::default(),
            volumes: BTreeMap::new(),
            endings: BTreeMap::new(),
            retry: RETRY_FIRST,
            late: false,
            first_seen: Timestamp::now(),
            removed: false,
            share: share(&node, &pod),
            node,
            identity,
            pod,
            shim,
            desired,
            wake,
            sources,
            changed: false,
            shown: Shown::default(),
        }
    }

    /// Lives until nothing of the pod is left.
    pub async fn run(mut self) {
        if !self.identity.dir.exists() {
            self.note(None, What::Accepted, String::new());
        }
        loop {
            self.read_desired();
            let mut changes = self.shim.get().map(|shim| shim.changes());
            if let Some(changes) = &mut changes {
                changes.mark_unchanged();
            }
            match self.turn().await {
                Turn::Over => break,
                Turn::Again => {}
                Turn::Wait(until) => self.wait(until, changes).await,
            }
        }
        logs::remove(&self.node.config.root, &self.identity.logs);
        self.node.timelines.forget(&self.identity.uid);
        tracing::info!(pod = self.identity.name, namespace = self.identity.namespace, "gone");
    }

    /// One look, one plan, its actions.
    async fn turn(&mut self) -> Turn {
        let seen = self.observe().await;
        if self.removed && !seen.leftovers {
            return Turn::Over;
        }
        if self.sources.has_changed().unwrap_or(false) || self.labels_changed() {
            self.sources.mark_unchanged();
            self.refresh_volumes().await;
        }
        if std::mem::take(&mut self.changed) && self.identity.dir.exists() {
            // Without it the pod runs as well: it is for the day the store is lost.
            if let Err(error) = objects::keep(&self.identity.dir, &self.pod) {
                tracing::warn!(%error, pod = self.identity.name, "the pod's object is not kept");
            }
        }
        self.evict_if_over();
        let now = Timestamp::now();
        self.tell_deadline(now);
        self.update_status(&seen, now);
        let plan = self.plan(&seen, now);
        if plan.actions.is_empty() {
            self.retry = RETRY_FIRST;
            return Turn::Wait(plan.wake_at);
        }
        for action in plan.actions {
            if action == Action::RemoveObject {
                return self.remove_object().await;
            }
            tracing::debug!(pod = self.identity.name, ?action, "acting");
            if let Err(error) = self.execute(action).await {
                tracing::warn!(
                    pod = self.identity.name,
                    namespace = self.identity.namespace,
                    "{error:#}"
                );
                return Turn::Wait(self.retry_at(plan.wake_at));
            }
        }
        Turn::Again
    }

    /// Labels and annotations are what a downwardAPI volume may show.
    fn labels_changed(&mut self) -> bool {
        let shown = Shown {
            labels: self.pod.metadata.labels.clone(),
            annotations: self.pod.metadata.annotations.clone(),
        };
        let changed = self.shown != shown;
        self.shown = shown;
        changed
    }

    fn plan(&self, seen: &Observed, now: Timestamp) -> Plan {
        klet_pod::plan::plan(&self.pod, seen, &self.memory, now)
    }

    async fn execute(&mut self, action: Action) -> anyhow::Result<()> {
        match action {
            Action::KillPod(kill) => self.kill_pod(kill).await,
            Action::CreateSandbox { attempt } => self.create_sandbox(attempt).await,
            Action::StopContainer(kill) => self.stop_one(kill).await,
            Action::RemoveContainers { ids } => self.remove_containers(ids).await,
            Action::StartContainer(start) => self.start_container(start).await,
            Action::BackOff { kind, name, message, .. } => {
                // Watches see how it ended before they see that it waits.
                if let Err(error) = self.publisher.flush().await {
                    tracing::debug!(pod = self.identity.name, "{error:#}");
                }
                self.back_off(kind, &name, &message);
                Ok(())
            }
            Action::CleanUp => self.clean_up().await,
            Action::RemoveObject => Ok(()),
        }
    }

    /// The last step of a deletion: the final status is stored, then the object goes.
    async fn remove_object(&mut self) -> Turn {
        let stored = self.publisher.flush().await;
        let Identity { namespace, name, uid, .. } = &self.identity;
        let removed = match stored {
            Ok(()) => self.node.registry.remove_pod(namespace, name, uid).await.map_err(Into::into),
            Err(error) => Err(error),
        };
        match removed {
            Ok(()) => Turn::Wait(None),
            Err(error) => {
                tracing::warn!(pod = name, "object not removed: {error:#}");
                Turn::Wait(self.retry_at(None))
            }
        }
    }

    fn retry_at(&mut self, or: Option<Timestamp>) -> Option<Timestamp> {
        let at = Timestamp::now() + self.retry;
        self.retry = (self.retry * 2).min(RETRY_LAST);
        Some(or.map_or(at, |or| or.min(at)))
    }

    /// Works out the status, hands it on, and tells the probes what they look at.
    pub fn update_status(&mut self, seen: &Observed, now: Timestamp) {
        if let Some(own) = &mut self.pod.status {
            self.publisher.take_readiness(own);
        }
        let status = klet_pod::status::status(&self.pod, seen, &self.memory, &self.node.facts, now);
        self.note_readiness(&status);
        self.publisher.put(&status);
        self.pod.status = Some(status);
        self.probes.sync(&self.pod, seen);
    }

    fn note_readiness(&self, status: &PodStatus) {
        let before = self.pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        for after in status.container_statuses.iter().flatten() {
            let was = before
                .and_then(|list| list.iter().find(|status| status.name == after.name))
                .is_some_and(|was| was.ready && was.container_id == after.container_id);
            match (was, after.ready) {
                (false, true) => self.note(Some(&after.name), What::Ready, String::new()),
                (true, false) => self.note(Some(&after.name), What::NotReady, String::new()),
                (true, true) | (false, false) => {}
            }
        }
    }

    /// An event, once, when `activeDeadlineSeconds` have passed.
    fn tell_deadline(&mut self, now: Timestamp) {
        if !self.late && klet_pod::status::is_late(&self.pod, now) {
            self.late = true;
            let (reason, text) = (text::DEADLINE_EXCEEDED, text::DEADLINE_MESSAGE);
            self.node.events.pod(&self.pod, Severity::Normal, reason, text);
        }
    }

    /// Adds to the pod's timeline.
    pub fn note(&self, container: Option<&str>, what: What, detail: String) {
        self.node.timelines.add(&self.identity.uid, container, what, detail);
    }

    /// Takes the newest object; the status stays this worker's own but for conditions that
    /// others write.
    pub fn read_desired(&mut self) {
        let desired = self.desired.borrow_and_update().clone();
        let mut pod = Pod::clone(&desired.pod);
        if let Some(own) = self.pod.status.take() {
            let theirs = pod.status.take();
            pod.status = Some(merge(own, theirs));
        }
        let was_leaving = self.pod.metadata.deletion_timestamp.is_some();
        self.changed |=
            self.pod.spec != pod.spec || !same_wishes(&self.pod.metadata, &pod.metadata);
        self.pod = pod;
        if !was_leaving && self.pod.metadata.deletion_timestamp.is_some() {
            let seconds = self.pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
            self.note(None, What::Deleting, format!("grace period {seconds}s"));
        }
        self.annotate();
        if desired.removed && !self.removed {
            self.removed = true;
            force_deleted(&mut self.pod);
        } else if self.removed {
            force_deleted(&mut self.pod);
        }
    }

    /// What the kubelet notes on its own copy of a pod: where it has it from, and since when.
    fn annotate(&mut self) {
        let annotations = self.pod.metadata.annotations.get_or_insert_default();
        annotations.entry(SOURCE.to_owned()).or_insert_with(|| "api".to_owned());
        annotations.entry(SEEN.to_owned()).or_insert_with(|| self.first_seen.to_string());
    }

    async fn wait(&mut self, until: Option<Timestamp>, changes: Option<watch::Receiver<u64>>) {
        let shim_changed = async {
            match changes {
                Some(mut changes) => {
                    // An error means that the connection ended, which is a change, too.
                    let _ = changes.changed().await;
                }
                None => std::future::pending().await,
            }
        };
        let sleep = async {
            match until {
                Some(until) => {
                    let pause = until.duration_since(Timestamp::now());
                    tokio::time::sleep(pause.try_into().unwrap_or_default()).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.desired.changed() => {}
            () = self.wake.notified() => {}
            _ = self.sources.changed() => self.sources.mark_changed(),
            () = shim_changed => {}
            () = sleep => {}
        }
    }
}

fn same_wishes(one: &ObjectMeta, other: &ObjectMeta) -> bool {
    one.labels == other.labels
        && one.annotations == other.annotations
        && one.finalizers == other.finalizers
        && one.deletion_timestamp == other.deletion_timestamp
        && one.deletion_grace_period_seconds == other.deletion_grace_period_seconds
}

/// `own` with the conditions of `theirs` that the node does not write itself.
fn merge(mut own: PodStatus, theirs: Option<PodStatus>) -> PodStatus {
    let is_ours = |kind: &str| klet_pod::status::NODE_CONDITIONS.contains(&kind);
    let foreign: Vec<_> = theirs
        .and_then(|status| status.conditions)
        .into_iter()
        .flatten()
        .filter(|condition| !is_ours(&condition.type_))
        .collect();
    let kept = own.conditions.take().into_iter().flatten().filter(|c| is_ours(&c.type_));
    own.conditions = Some(foreign.into_iter().chain(kept).collect());
    own
}

/// The object is gone: the pod ends with the smallest grace.
fn force_deleted(pod: &mut Pod) {
    let now = klet_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::now());
    pod.metadata.deletion_timestamp.get_or_insert(now);
    pod.metadata.deletion_grace_period_seconds = Some(1);
}
