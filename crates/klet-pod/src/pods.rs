//! Reading pods and observations: small questions that several decisions ask.

use klet_api::Pod;
use klet_api::k8s_openapi::api::core::v1::{Container, ContainerStatus};

use crate::model::{
    ContainerKind, ContainerRecord, Memory, Observed, RecordState, StartFailure, Time,
};
use crate::text;

/// `spec.restartPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    Always,
    OnFailure,
    Never,
}

pub(crate) fn policy(pod: &Pod) -> Policy {
    match pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()) {
        Some("Never") => Policy::Never,
        Some("OnFailure") => Policy::OnFailure,
        _ => Policy::Always,
    }
}

pub(crate) fn init_containers(pod: &Pod) -> &[Container] {
    let spec = pod.spec.as_ref();
    spec.and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default()
}

pub(crate) fn app_containers(pod: &Pod) -> &[Container] {
    pod.spec.as_ref().map_or(&[], |spec| &spec.containers)
}

/// Init containers, then app containers, in spec order.
pub(crate) fn all_containers(pod: &Pod) -> impl Iterator<Item = (ContainerKind, &Container)> {
    let init = init_containers(pod).iter().map(|c| (ContainerKind::Init, c));
    init.chain(app_containers(pod).iter().map(|c| (ContainerKind::App, c)))
}

pub(crate) fn container<'a>(
    pod: &'a Pod,
    kind: ContainerKind,
    name: &str,
) -> Option<&'a Container> {
    all_containers(pod).find(|(k, c)| *k == kind && c.name == name).map(|(_, c)| c)
}

/// An init container that keeps running beside the app containers.
pub(crate) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

pub(crate) fn definition(container: &Container) -> u64 {
    crate::plan::definition_hash(&container.name, container.image.as_deref().unwrap_or_default())
}

/// `spec.nodeName`, if there is one.
pub(crate) fn node_name(pod: &Pod) -> Option<&str> {
    let name = pod.spec.as_ref()?.node_name.as_deref()?;
    (!name.is_empty()).then_some(name)
}

pub(crate) fn deleted(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// The phase the API shows is a final one.
pub(crate) fn finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// When `spec.activeDeadlineSeconds` ends.
pub(crate) fn deadline(pod: &Pod) -> Option<Time> {
    let seconds = pod.spec.as_ref()?.active_deadline_seconds?;
    let start = pod.status.as_ref()?.start_time.as_ref()?.0;
    let length = std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    Some(crate::backoff::after(start, length))
}

/// Why the pod must end although nobody deleted it: it was told to, or its time is up.
pub(crate) fn doom(pod: &Pod, memory: &Memory, now: Time) -> Option<StartFailure> {
    let late = || {
        deadline(pod).filter(|deadline| *deadline <= now).map(|_| StartFailure {
            reason: text::DEADLINE_EXCEEDED.to_owned(),
            message: text::DEADLINE_MESSAGE.to_owned(),
        })
    };
    memory.doomed.clone().or_else(late)
}

/// The pod only has its end before it.
pub(crate) fn ending(pod: &Pod, memory: &Memory, now: Time) -> bool {
    deleted(pod) || finished(pod) || doom(pod, memory, now).is_some()
}

/// What the API last said about a container.
pub(crate) fn shown<'a>(
    pod: &'a Pod,
    kind: ContainerKind,
    name: &str,
) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let list = match kind {
        ContainerKind::Init => &status.init_container_statuses,
        ContainerKind::App => &status.container_statuses,
    };
    list.as_ref()?.iter().find(|shown| shown.name == name)
}

/// Some attempt of the container was seen by the API.
pub(crate) fn was_seen(shown: &ContainerStatus) -> bool {
    shown.container_id.as_deref().is_some_and(|id| !id.is_empty())
}

/// A process of the container exists, or may exist.
pub(crate) fn may_run(record: &ContainerRecord) -> bool {
    matches!(record.state, RecordState::Running { .. } | RecordState::Unknown)
}

/// The exit code that the API shows as the container's state.
pub(crate) fn shown_exit(pod: &Pod, kind: ContainerKind, name: &str) -> Option<i32> {
    Some(shown(pod, kind, name)?.state.as_ref()?.terminated.as_ref()?.exit_code)
}

/// The attempts of one container, newest first.
#[derive(Debug, Clone)]
pub(crate) struct Attempts<'a>(Vec<&'a ContainerRecord>);

impl<'a> Attempts<'a> {
    pub(crate) fn of(seen: &'a Observed, name: &str) -> Self {
        let mut records: Vec<_> = seen.containers.iter().filter(|r| r.name == name).collect();
        records.sort_by_key(|record| std::cmp::Reverse(record.attempt));
        Self(records)
    }

    pub(crate) fn newest(&self) -> Option<&'a ContainerRecord> {
        self.0.first().copied()
    }

    /// Those before the newest, newest first.
    pub(crate) fn older(&self) -> &[&'a ContainerRecord] {
        self.0.get(1..).unwrap_or_default()
    }

    /// When the last attempt that ended did.
    pub(crate) fn last_exit(&self) -> Option<Time> {
        self.0.iter().find_map(|record| match record.state {
            RecordState::Exited { finished_at, .. } => Some(finished_at),
            _ => None,
        })
    }
}

/// The restart count of the next attempt. Without records (the machine was restarted) the
/// history the API shows goes on.
pub(crate) fn next_attempt(pod: &Pod, seen: &Observed, kind: ContainerKind, name: &str) -> u32 {
    if let Some(newest) = Attempts::of(seen, name).newest() {
        return newest.attempt.saturating_add(1);
    }
    let Some(shown) = shown(pod, kind, name) else { return 0 };
    let count = u32::try_from(shown.restart_count).unwrap_or(0);
    if was_seen(shown) { count.saturating_add(1) } else { count }
}
