//! Probing real processes: one task per container and probe kind.
//!
//! When to probe and what an outcome means is decided by [`klet_pod::probe`]; here the clock is
//! read and the handlers are run. A verdict is a fact that the pod's worker finds at its next look.

mod grpc;
mod handlers;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use klet_api::k8s_openapi::api::core::v1::Probe;
use klet_api::{Container, Pod};
use klet_pod::probe::{ContainerView, Kept, Kind, Outcome, ProbeSpec, Step, Worker, view};
use klet_pod::{ContainerKind, Observed, Verdict, Verdicts};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use crate::events::Severity;
use crate::node::NodeRef;
use crate::pod::SharedShim;
use crate::pod::publish::Latest;
use crate::timeline::What;
use handlers::{Checked, check};

type Facts = Arc<Mutex<BTreeMap<String, Verdicts>>>;

/// What a probe looks at: changes with every look of the pod's worker.
#[derive(Debug, Clone)]
struct Look {
    pod: Arc<Pod>,
    view: ContainerView,
}

/// The probes of one pod.
#[derive(Debug)]
pub struct Probes {
    node: NodeRef,
    shim: SharedShim,
    wake: Arc<Notify>,
    facts: Facts,
    status: Latest,
    tasks: HashMap<(ContainerKind, String, Kind), Task>,
}

#[derive(Debug)]
struct Task {
    looks: watch::Sender<Look>,
    abort: AbortHandle,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

impl Probes {
    #[must_use]
    pub fn new(node: NodeRef, shim: SharedShim, wake: Arc<Notify>, status: Latest) -> Self {
        Self { node, shim, wake, facts: Facts::default(), status, tasks: HashMap::new() }
    }

    /// Verdicts by container id.
    #[must_use]
    pub fn verdicts(&self) -> BTreeMap<String, Verdicts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Starts what is missing and shows every probe what its container looks like now.
    pub fn sync(&mut self, pod: &Pod, seen: &Observed) {
        let Some(spec) = &pod.spec else { return };
        let shared = Arc::new(pod.clone());
        let sidecars = spec.init_containers.iter().flatten();
        let sidecars = sidecars.filter(|init| init.restart_policy.as_deref() == Some("Always"));
        let all = spec.containers.iter().map(|c| (ContainerKind::App, c));
        for (kind, container) in all.chain(sidecars.map(|c| (ContainerKind::Init, c))) {
            let specs = ProbeSpec::of(container);
            if specs.is_empty() {
                continue;
            }
            let look =
                Look { pod: Arc::clone(&shared), view: view(pod, seen, kind, &container.name) };
            for spec in specs {
                self.show(kind, container, spec, look.clone());
            }
        }
        let present: Vec<&String> = seen.containers.iter().map(|record| &record.id).collect();
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        facts.retain(|id, _| present.contains(&id));
        // A verdict that came since `seen` was looked at must not be undone by the older status.
        for (id, verdicts) in facts.iter() {
            tell_readiness(&self.status, pod, id, verdicts.readiness);
        }
    }

    fn show(&mut self, kind: ContainerKind, container: &Container, spec: ProbeSpec, look: Look) {
        let key = (kind, container.name.clone(), spec.kind);
        if let Some(task) = self.tasks.get(&key) {
            task.looks.send_if_modified(|known| {
                let changed = known.view != look.view;
                *known = look;
                changed
            });
            return;
        }
        let kept = kept(&look, (kind, &container.name), spec.kind);
        let (sender, looks) = watch::channel(look);
        let run = Run {
            node: self.node.clone(),
            shim: self.shim.clone(),
            wake: Arc::clone(&self.wake),
            facts: Arc::clone(&self.facts),
            status: self.status.clone(),
            container: container.clone(),
            kind,
            worker: Worker::new(spec, Timestamp::now(), first_delay(&self.node, spec.period), kept),
            looks,
        };
        let task = tokio::spawn(run.run());
        self.tasks.insert(key, Task { looks: sender, abort: task.abort_handle() });
    }
}

/// After a restart of the daemon first runs are spread over a period.
fn first_delay(node: &NodeRef, period: Duration) -> Duration {
    if node.uptime() >= period || !node.adopting {
        return Duration::ZERO;
    }
    let mut random = [0; 4];
    // Without randomness all probes start at once, which is only less even.
    let _ = getrandom::fill(&mut random);
    period.mul_f64(f64::from(u32::from_ne_bytes(random)) / f64::from(u32::MAX))
}

/// The verdict that the status shows from before a restart of the daemon.
fn kept(look: &Look, (list, name): (ContainerKind, &str), kind: Kind) -> Option<Kept> {
    let id = look.view.id.clone()?;
    let status = look.pod.status.as_ref()?;
    let statuses = match list {
        ContainerKind::Init => status.init_container_statuses.as_ref()?,
        ContainerKind::App => status.container_statuses.as_ref()?,
    };
    let shown = statuses.iter().find(|status| status.name == name)?;
    shown.container_id.as_ref().filter(|shown| shown.ends_with(&id))?;
    let good = match kind {
        Kind::Readiness => shown.ready,
        Kind::Startup => shown.started == Some(true),
        Kind::Liveness => return None,
    };
    good.then_some(Kept { id, verdict: Verdict::Success })
}

/// One probe task.
struct Run {
    node: NodeRef,
    shim: SharedShim,
    wake: Arc<Notify>,
    facts: Facts,
    status: Latest,
    container: Container,
    kind: ContainerKind,
    worker: Worker,
    looks: watch::Receiver<Look>,
}

impl Run {
    async fn run(mut self) {
        loop {
            let look = self.looks.borrow_and_update().clone();
            let step = self.worker.next(&look.view, Timestamp::now());
            self.publish();
            match step {
                Step::End => return,
                Step::WaitForChange => {
                    if self.looks.changed().await.is_err() {
                        return;
                    }
                }
                Step::Wait(until) => {
                    let pause = until.duration_since(Timestamp::now());
                    let pause = Duration::try_from(pause).unwrap_or_default();
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        changed = self.looks.changed() => if changed.is_err() { return },
                    }
                }
                Step::Probe { .. } => self.probe(&look).await,
            }
        }
    }

    async fn probe(&mut self, look: &Look) {
        let spec = *self.worker.spec();
        let Some(probe) = configured(&self.container, spec.kind).cloned() else { return };
        let checked = check(&look.pod, &self.container, &probe, spec, &look.view, &self.shim).await;
        // The container may have changed meanwhile: then the outcome is about a former attempt.
        let current = self.looks.borrow().view.id.clone();
        if current != look.view.id {
            return;
        }
        let before = self.worker.verdict();
        let changed = self.worker.record(checked.outcome, Timestamp::now());
        self.tell(look, &checked, spec.kind);
        if let Some(verdict) = changed.filter(|verdict| *verdict != before) {
            let what = match verdict {
                Verdict::Success => What::ProbeSuccess,
                Verdict::Failure | Verdict::Unknown => What::ProbeFailure,
            };
            let uid = klet_apiserver::node_uid(&look.pod);
            let detail = format!("{} probe: {}", spec.kind.word(), checked.output);
            self.node.timelines.add(uid, Some(&self.container.name), what, detail);
        }
        self.publish();
    }

    fn tell(&self, look: &Look, checked: &Checked, kind: Kind) {
        let word = kind.word();
        let (reason, text) = match checked.outcome {
            Outcome::Success => return,
            Outcome::Failure => ("Unhealthy", format!("{word} probe failed: {}", checked.output)),
            Outcome::Error => ("Unhealthy", format!("{word} probe errored: {}", checked.output)),
            Outcome::Warning => {
                ("ProbeWarning", format!("{word} probe warning: {}", checked.output))
            }
        };
        let target = (self.kind, self.container.name.as_str());
        self.node.events.container(&look.pod, target, Severity::Warning, reason, text);
    }

    /// Makes the verdict a fact, and wakes the pod's worker if it is news.
    fn publish(&self) {
        let Some(id) = self.worker.container_id() else { return };
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        let verdicts = facts.entry(id.to_owned()).or_default();
        let slot = match self.worker.spec().kind {
            Kind::Startup => &mut verdicts.startup,
            Kind::Liveness => &mut verdicts.liveness,
            Kind::Readiness => &mut verdicts.readiness,
        };
        if *slot != self.worker.verdict() {
            *slot = self.worker.verdict();
            if self.worker.spec().kind == Kind::Readiness {
                tell_readiness(&self.status, &self.looks.borrow().pod, id, self.worker.verdict());
            }
            self.wake.notify_one();
        }
    }
}

/// Shows a readiness verdict in the pod's status, without waiting for the pod's worker.
fn tell_readiness(status: &Latest, pod: &Pod, id: &str, verdict: Verdict) {
    match verdict {
        Verdict::Success => status.set_readiness(pod, id, true),
        Verdict::Failure => status.set_readiness(pod, id, false),
        Verdict::Unknown => {}
    }
}

fn configured(container: &Container, kind: Kind) -> Option<&Probe> {
    match kind {
        Kind::Startup => container.startup_probe.as_ref(),
        Kind::Readiness => container.readiness_probe.as_ref(),
        Kind::Liveness => container.liveness_probe.as_ref(),
    }
}
