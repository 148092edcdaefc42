//! What the API says about a pod: the kubelet's status, from the spec, what the node shows, what
//! memory holds, and what was said before.

use klet_api::k8s_openapi::api::core::v1::{ContainerStatus, HostIP, PodIP};
use klet_api::k8s_openapi::apimachinery::pkg::apis::meta::v1;
use klet_api::{Pod, PodStatus};

use crate::model::{Memory, NodeFacts, Observed, Sandbox, StartFailure, Time};
use crate::{plan, pods};

mod conditions;
mod containers;
mod end;
mod phase;
mod qos;
mod readiness;

pub use conditions::NODE_CONDITIONS;
pub use qos::qos_class;
pub use readiness::{take_readiness, with_readiness};

/// Bytes of all termination messages of a pod (kubelet `MaxPodTerminationMessageLogLength`).
const MESSAGES: usize = 12 << 10;

/// Scheme of `containerID`.
pub const SCHEME: &str = "klet://";

/// What the API should say about the pod; `pod.status` holds what it said before. Saying the
/// same again in an unchanged world gives the same status.
#[must_use]
pub fn status(
    pod: &Pod,
    seen: &Observed,
    memory: &Memory,
    node: &NodeFacts,
    now: Time,
) -> PodStatus {
    let before = pod.status.clone().unwrap_or_default();
    let mut status = PodStatus {
        observed_generation: pod.metadata.generation,
        host_ip: node.host_ips.first().map(ToString::to_string).or(before.host_ip.clone()),
        qos_class: before.qos_class.clone().or_else(|| Some(qos_class(pod).to_owned())),
        start_time: before.start_time.clone().or_else(|| Some(whole_seconds(now))),
        ..before.clone()
    };
    if !node.host_ips.is_empty() {
        let ips = node.host_ips.iter().map(|ip| HostIP { ip: ip.to_string() });
        status.host_ips = Some(ips.collect());
    }
    addresses(&mut status, pod, seen, node);
    let doom = pods::doom(pod, memory, now);
    let ending = pods::ending(pod, memory, now);
    let phase = contain(&mut status, pod, seen, memory, ending);
    settle(&mut status, &before, seen, phase, doom.filter(|_| !pods::finished(pod)));
    if !ending && is_final(status.phase.as_deref()) {
        // Nothing waits for another start any more.
        contain(&mut status, pod, seen, memory, true);
    }
    if ending && plan::is_clean(seen) {
        end::force(pod, &mut status);
    }
    cut_messages(pod, &mut status);
    status.conditions = Some(conditions::conditions(pod, seen, &before, &status, now));
    status
}

/// `spec.activeDeadlineSeconds` have passed and the pod has not ended before.
#[must_use]
pub fn is_late(pod: &Pod, now: Time) -> bool {
    !pods::finished(pod) && pods::deadline(pod).is_some_and(|deadline| deadline <= now)
}

/// Fills in the container statuses; returns the phase they amount to.
fn contain(
    status: &mut PodStatus,
    pod: &Pod,
    seen: &Observed,
    memory: &Memory,
    ending: bool,
) -> &'static str {
    let apps = containers::apps(pod, seen, memory, ending);
    let init = containers::init(pod, seen, memory, ending);
    let killed = ending && !seen.containers.iter().any(pods::may_run);
    let phase = phase::phase(pod, &init, &apps, killed);
    status.container_statuses = Some(apps);
    status.init_container_statuses = (!init.is_empty()).then_some(init);
    phase
}

/// Each container gets an equal part of the bytes that a pod's termination messages may take.
fn cut_messages(pod: &Pod, status: &mut PodStatus) {
    let part = MESSAGES / pods::all_containers(pod).count().max(1);
    let lists = [&mut status.init_container_statuses, &mut status.container_statuses];
    for container in lists.into_iter().flatten().flatten() {
        for state in [&mut container.state, &mut container.last_state] {
            let ended = state.as_mut().and_then(|state| state.terminated.as_mut());
            if let Some(message) = ended.and_then(|ended| ended.message.as_mut()) {
                message.truncate(message.floor_char_boundary(part));
            }
        }
    }
}

fn is_final(phase: Option<&str>) -> bool {
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// The phase in force, and the reason and message that go with it. A final phase stays; it is
/// not told before every container has stopped.
fn settle(
    status: &mut PodStatus,
    before: &PodStatus,
    seen: &Observed,
    phase: &str,
    doom: Option<StartFailure>,
) {
    let old = before.phase.as_deref();
    let new = if is_final(old) {
        old.unwrap_or(phase)
    } else if doom.is_some() {
        "Failed"
    } else {
        phase
    };
    if is_final(Some(new)) && !is_final(old) && seen.containers.iter().any(pods::may_run) {
        status.phase = Some(old.unwrap_or("Pending").to_owned());
        return;
    }
    if old != Some(new) {
        status.reason = None;
        status.message = None;
    }
    if let Some(doom) = doom {
        status.reason = Some(doom.reason);
        status.message = Some(doom.message);
    }
    status.phase = Some(new.to_owned());
}

/// `podIP` and `podIPs`: the node's for a host-network pod, else the sandbox's. A stopped pod
/// keeps those it had.
fn addresses(status: &mut PodStatus, pod: &Pod, seen: &Observed, node: &NodeFacts) {
    let host = pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
    let ips = match &seen.sandbox {
        _ if host && status.pod_ip.is_some() => return,
        Sandbox::Ready { .. } if host => &node.host_ips,
        Sandbox::Ready { ips, .. } => ips,
        Sandbox::Absent | Sandbox::NotReady { .. } => return,
    };
    if let Some(first) = ips.first() {
        status.pod_ip = Some(first.to_string());
        let one_per_family = ips.iter().enumerate().filter(|(index, ip)| {
            !ips.iter().take(*index).any(|earlier| earlier.is_ipv4() == ip.is_ipv4())
        });
        let ips = one_per_family.map(|(_, ip)| PodIP { ip: ip.to_string() });
        status.pod_ips = Some(ips.collect());
    }
}

/// The status is about the container attempt `id`.
pub(crate) fn same_container(shown: &ContainerStatus, id: &str) -> bool {
    shown.container_id.as_deref().and_then(|shown| shown.strip_prefix(SCHEME)) == Some(id)
}

/// API times have whole seconds.
fn whole_seconds(time: Time) -> v1::Time {
    v1::Time(Time::from_second(time.as_second()).unwrap_or(time))
}

#[cfg(test)]
mod tests;
