//! `containerStatuses` and `initContainerStatuses`.

use klet_api::Pod;
use klet_api::k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, VolumeMountStatus,
};
use klet_api::k8s_openapi::apimachinery::pkg::apis::meta::v1;

use super::{SCHEME, same_container, whole_seconds};
use crate::model::{ContainerKind, ContainerRecord, Memory, Observed, RecordState, Time, Verdict};
use crate::plan::wants_start;
use crate::pods::{self, Attempts};
use crate::{probe, text};

/// Sorted by name, as the kubelet does.
pub(super) fn apps(
    pod: &Pod,
    seen: &Observed,
    memory: &Memory,
    ending: bool,
) -> Vec<ContainerStatus> {
    let context = Context { pod, seen, memory, ending, kind: ContainerKind::App };
    let mut list: Vec<_> = pods::app_containers(pod).iter().map(|c| context.one(c)).collect();
    list.sort_by(|a, b| a.name.cmp(&b.name));
    list
}

/// In spec order.
pub(super) fn init(
    pod: &Pod,
    seen: &Observed,
    memory: &Memory,
    ending: bool,
) -> Vec<ContainerStatus> {
    let context = Context { pod, seen, memory, ending, kind: ContainerKind::Init };
    pods::init_containers(pod).iter().map(|c| context.one(c)).collect()
}

/// How the kubelet tells the end of a container that it did not see.
pub(super) fn unknown_end(message: &str) -> ContainerState {
    terminated(ContainerStateTerminated {
        exit_code: 137,
        reason: Some(text::STATUS_UNKNOWN.to_owned()),
        message: Some(message.to_owned()),
        ..Default::default()
    })
}

struct Context<'a> {
    pod: &'a Pod,
    seen: &'a Observed,
    memory: &'a Memory,
    ending: bool,
    kind: ContainerKind,
}

impl Context<'_> {
    fn one(&self, container: &Container) -> ContainerStatus {
        let attempts = Attempts::of(self.seen, &container.name);
        let before = pods::shown(self.pod, self.kind, &container.name);
        let mut status = match attempts.newest() {
            Some(newest) => self.recorded(container, newest, &attempts, before),
            None => self.unrecorded(container, before),
        };
        self.apply_failure(container, &attempts, &mut status);
        self.flags(container, attempts.newest(), before, &mut status);
        status
    }

    fn recorded(
        &self,
        container: &Container,
        newest: &ContainerRecord,
        attempts: &Attempts<'_>,
        before: Option<&ContainerStatus>,
    ) -> ContainerStatus {
        let state = match &newest.state {
            RecordState::Created => waiting(None, None),
            RecordState::Running { started_at } => ContainerState {
                running: Some(ContainerStateRunning {
                    started_at: Some(whole_seconds(*started_at)),
                }),
                ..Default::default()
            },
            RecordState::Exited { .. } => exited(newest),
            RecordState::Unknown => match before.and_then(|before| before.state.as_ref()) {
                Some(state) if state.running.is_some() => unknown_end(text::LOST_AT_END),
                Some(state) if state.terminated.is_some() => state.clone(),
                _ => waiting(None, None),
            },
        };
        let earlier = attempts.older().iter().find_map(|record| match record.state {
            RecordState::Exited { .. } => Some(exited(record)),
            _ => None,
        });
        // The record before may be gone while the API still tells of it.
        let told = || {
            before
                .filter(|before| same_container(before, &newest.id))
                .and_then(|before| before.last_state.clone())
                .filter(|last| Some(last) != Some(&state))
        };
        let image = if newest.image_ref.is_empty() { &newest.image } else { &newest.image_ref };
        ContainerStatus {
            name: container.name.clone(),
            image: image.clone(),
            image_id: newest.image_id.clone(),
            container_id: Some(format!("{SCHEME}{}", newest.id)),
            restart_count: count(newest.attempt),
            last_state: Some(earlier.or_else(told).unwrap_or_default()),
            state: Some(state),
            volume_mounts: mounts(container),
            ..Default::default()
        }
    }

    /// No attempt is on record: never started, not started again yet, or its record was lost.
    fn unrecorded(
        &self,
        container: &Container,
        before: Option<&ContainerStatus>,
    ) -> ContainerStatus {
        let has_init = !pods::init_containers(self.pod).is_empty();
        let reason = if has_init { "PodInitializing" } else { "ContainerCreating" };
        let mut status = ContainerStatus {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            state: Some(waiting(Some(reason), None)),
            last_state: Some(ContainerState::default()),
            volume_mounts: mounts(container),
            ..Default::default()
        };
        let Some(before) = before else { return status };
        let state = before.state.clone().unwrap_or_default();
        if state.terminated.is_some() {
            return ContainerStatus { state: Some(state), ..before.clone() };
        }
        status.restart_count = before.restart_count;
        if let Some(last) = &before.last_state {
            status.last_state = Some(last.clone());
        }
        if pods::was_seen(before) {
            let known = status.last_state.as_ref().is_some_and(|last| last.terminated.is_some());
            if state.running.is_some() || !known {
                status.last_state = Some(unknown_end(text::LOST));
            }
            if !pods::deleted(self.pod) {
                status.restart_count = status.restart_count.saturating_add(1);
            } else {
                status.container_id.clone_from(&before.container_id);
            }
        }
        status
    }

    /// A container that is to be started, and whose start failed, waits for that reason.
    fn apply_failure(
        &self,
        container: &Container,
        attempts: &Attempts<'_>,
        status: &mut ContainerStatus,
    ) {
        if self.ending || !self.starts_again(container, attempts, status) {
            return;
        }
        let Some(failure) = self.memory.start_failures.get(&container.name) else { return };
        let waits = waiting(Some(&failure.reason), Some(&failure.message));
        if let Some(state) = status.state.replace(waits)
            && state.terminated.is_some()
        {
            status.last_state = Some(state);
            if attempts.newest().is_none() {
                // What is told now is about the next attempt; the last is history.
                status.container_id = None;
                status.image_id = String::new();
                status.restart_count = status.restart_count.saturating_add(1);
            }
        }
    }

    fn starts_again(
        &self,
        container: &Container,
        attempts: &Attempts<'_>,
        status: &ContainerStatus,
    ) -> bool {
        let ended = status.state.as_ref().and_then(|state| state.terminated.as_ref());
        let init = self.kind == ContainerKind::Init;
        if init && pods::is_sidecar(container) {
            let newest = attempts.newest().map(|record| &record.state);
            return !matches!(newest, Some(RecordState::Running { .. }));
        }
        let passed = init && ended.is_some_and(|end| end.exit_code == 0);
        !passed && wants_start(self.pod, self.kind, container, self.seen)
    }

    /// `started` and `ready`. What was true of the same attempt stays so until a probe has said
    /// something, so that a restart of the daemon takes no pod out of service.
    fn flags(
        &self,
        container: &Container,
        newest: Option<&ContainerRecord>,
        before: Option<&ContainerStatus>,
        status: &mut ContainerStatus,
    ) {
        let view = probe::view(self.pod, self.seen, self.kind, &container.name);
        let runs = matches!(view.life, probe::Life::Running { .. });
        status.started = Some(view.started);
        let regular_init = self.kind == ContainerKind::Init && !pods::is_sidecar(container);
        status.ready = if regular_init {
            let ended = status.state.as_ref().and_then(|state| state.terminated.as_ref());
            ended.is_some_and(|end| end.exit_code == 0)
        } else if container.readiness_probe.is_none() {
            runs && view.started
        } else {
            let id = newest.map(|record| record.id.as_str()).unwrap_or_default();
            let verdict = self.seen.verdicts.get(id).copied().unwrap_or_default().readiness;
            let kept = || before.is_some_and(|b| b.ready && same_container(b, id));
            let well = verdict == Verdict::Success || (verdict == Verdict::Unknown && kept());
            runs && view.started && well
        };
    }
}

fn count(attempt: u32) -> i32 {
    i32::try_from(attempt).unwrap_or(i32::MAX)
}

fn waiting(reason: Option<&str>, message: Option<&str>) -> ContainerState {
    let text = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    let waiting = ContainerStateWaiting { reason: text(reason), message: text(message) };
    ContainerState { waiting: Some(waiting), ..Default::default() }
}

fn terminated(terminated: ContainerStateTerminated) -> ContainerState {
    ContainerState { terminated: Some(terminated), ..Default::default() }
}

/// How an attempt ended; an empty state when it has not.
fn exited(record: &ContainerRecord) -> ContainerState {
    let RecordState::Exited { started_at, finished_at, code, reason, message } = &record.state
    else {
        return ContainerState::default();
    };
    terminated(ContainerStateTerminated {
        container_id: Some(format!("{SCHEME}{}", record.id)),
        exit_code: *code,
        reason: Some(reason.clone()).filter(|reason| !reason.is_empty()),
        message: Some(message.clone()).filter(|message| !message.is_empty()),
        started_at: Some(started_at.map_or(v1::Time(Time::UNIX_EPOCH), whole_seconds)),
        finished_at: Some(whole_seconds(*finished_at)),
        signal: None,
    })
}

/// `volumeMounts` as the kubelet tells them.
fn mounts(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let mounts = container.volume_mounts.as_deref().filter(|mounts| !mounts.is_empty())?;
    let told = mounts.iter().map(|mount| {
        let read_only = mount.read_only == Some(true);
        let recursive = mount.recursive_read_only.as_deref().unwrap_or("Disabled");
        let enabled = matches!(recursive, "Enabled" | "IfPossible");
        VolumeMountStatus {
            name: mount.name.clone(),
            mount_path: mount.mount_path.clone(),
            read_only: read_only.then_some(true),
            recursive_read_only: read_only
                .then(|| if enabled { "Enabled" } else { "Disabled" }.to_owned()),
            ..Default::default()
        }
    });
    Some(told.collect())
}
