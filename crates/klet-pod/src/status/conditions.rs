//! `status.conditions`.

use klet_api::k8s_openapi::api::core::v1::{ContainerStatus, PodCondition};
use klet_api::{Pod, PodStatus};

use super::whole_seconds;
use crate::model::{Observed, Time};
use crate::plan::new_sandbox_needed;
use crate::pods;
use crate::text::go_list;

/// The kubelet's own conditions, in the order it writes them.
const OWN: [&str; 5] =
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

/// The types of conditions that the node writes; all others belong to those who set them.
pub const NODE_CONDITIONS: [&str; 6] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    "DisruptionTarget",
];

/// Those that follow the readiness of containers.
pub(super) const READINESS: [&str; 2] = ["Ready", "ContainersReady"];

/// Whether a condition holds; if not (or not only), why.
#[derive(Default)]
struct Finding {
    holds: bool,
    reason: Option<String>,
    message: Option<String>,
}

impl Finding {
    fn yes() -> Self {
        Self { holds: true, ..Self::default() }
    }

    fn no(reason: &str, message: Option<String>) -> Self {
        Self { holds: false, reason: Some(reason.to_owned()), message }
    }
}

/// Conditions others have set come first and stay as they are.
pub(super) fn conditions(
    pod: &Pod,
    seen: &Observed,
    before: &PodStatus,
    status: &PodStatus,
    now: Time,
) -> Vec<PodCondition> {
    let old = before.conditions.as_deref().unwrap_or_default();
    let foreign = old.iter().filter(|condition| !OWN.contains(&condition.type_.as_str()));
    let mut list: Vec<PodCondition> = foreign.cloned().collect();
    for type_ in OWN {
        let finding = match type_ {
            "PodReadyToStartContainers" => sandbox(pod, seen),
            "Initialized" => initialized(pod, status),
            "Ready" | "ContainersReady" => {
                list.push(readiness(pod, old, status, type_, now));
                continue;
            }
            _ => Finding::yes(),
        };
        list.push(condition(pod, old, type_, finding, now));
    }
    list
}

/// `Ready` or `ContainersReady` as the container statuses have it.
pub(super) fn readiness(
    pod: &Pod,
    old: &[PodCondition],
    status: &PodStatus,
    type_: &str,
    now: Time,
) -> PodCondition {
    let finding = match type_ {
        "Ready" => ready(pod, old, status),
        _ => containers_ready(pod, status),
    };
    condition(pod, old, type_, finding, now)
}

/// A condition keeps the time of its last change while it stays what it was.
fn condition(
    pod: &Pod,
    old: &[PodCondition],
    type_: &str,
    finding: Finding,
    now: Time,
) -> PodCondition {
    let value = if finding.holds { "True" } else { "False" };
    let last = old.iter().find(|condition| condition.type_ == type_);
    let kept = last.filter(|last| last.status == value);
    PodCondition {
        type_: type_.to_owned(),
        status: value.to_owned(),
        reason: finding.reason,
        message: finding.message,
        last_probe_time: None,
        last_transition_time: kept
            .and_then(|kept| kept.last_transition_time.clone())
            .or_else(|| Some(whole_seconds(now))),
        observed_generation: pod.metadata.generation,
    }
}

fn sandbox(pod: &Pod, seen: &Observed) -> Finding {
    Finding { holds: !new_sandbox_needed(pod, seen), ..Finding::default() }
}

fn initialized(pod: &Pod, status: &PodStatus) -> Finding {
    let succeeded = status.phase.as_deref() == Some("Succeeded");
    if succeeded {
        return Finding { reason: Some("PodCompleted".to_owned()), ..Finding::yes() };
    }
    let apps = status.container_statuses.as_deref().unwrap_or_default();
    let begun = |app: &ContainerStatus| {
        app.state.as_ref().is_some_and(|s| s.running.is_some() || s.terminated.is_some())
    };
    let open: Vec<&str> = pods::init_containers(pod)
        .iter()
        .filter(|container| {
            let told = find(status.init_container_statuses.as_ref(), &container.name);
            !told.is_some_and(|told| match pods::is_sidecar(container) {
                true => told.started == Some(true),
                false => told.ready,
            })
        })
        .map(|container| container.name.as_str())
        .collect();
    if open.is_empty() || apps.iter().any(begun) {
        return Finding::yes();
    }
    let message = format!("containers with incomplete status: {}", go_list(open));
    Finding::no("ContainersNotInitialized", Some(message))
}

fn containers_ready(pod: &Pod, status: &PodStatus) -> Finding {
    match status.phase.as_deref() {
        Some("Succeeded") => return Finding::no("PodCompleted", None),
        Some("Failed") => return Finding::no("PodFailed", None),
        _ => {}
    }
    let sidecars = pods::init_containers(pod).iter().filter(|c| pods::is_sidecar(c));
    let sidecars = sidecars.map(|c| (c, &status.init_container_statuses));
    let apps = pods::app_containers(pod).iter().map(|c| (c, &status.container_statuses));
    let unready: Vec<&str> = sidecars
        .chain(apps)
        .filter(|(container, list)| !find(list.as_ref(), &container.name).is_some_and(|s| s.ready))
        .map(|(container, _)| container.name.as_str())
        .collect();
    if unready.is_empty() {
        return Finding::yes();
    }
    let message = format!("containers with unready status: {}", go_list(unready));
    Finding::no("ContainersNotReady", Some(message))
}

/// Containers ready, and every readiness gate open.
fn ready(pod: &Pod, old: &[PodCondition], status: &PodStatus) -> Finding {
    let containers = containers_ready(pod, status);
    if !containers.holds {
        return containers;
    }
    let gates = pod.spec.as_ref().and_then(|spec| spec.readiness_gates.as_deref());
    let mut shut = Vec::new();
    for gate in gates.unwrap_or_default() {
        let name = &gate.condition_type;
        match old.iter().find(|condition| &condition.type_ == name) {
            None => shut.push(format!(
                "corresponding condition of pod readiness gate \"{name}\" does not exist."
            )),
            Some(condition) if condition.status != "True" => shut.push(format!(
                "the status of pod readiness gate \"{name}\" is not \"True\", but {}",
                condition.status
            )),
            Some(_) => {}
        }
    }
    if shut.is_empty() {
        return Finding::yes();
    }
    Finding::no("ReadinessGatesNotReady", Some(shut.join(", ")))
}

fn find<'a>(list: Option<&'a Vec<ContainerStatus>>, name: &str) -> Option<&'a ContainerStatus> {
    list?.iter().find(|status| status.name == name)
}
