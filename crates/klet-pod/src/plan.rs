//! What to do next about one pod: the kubelet's `computePodActions`, made whole and pure.
//!
//! In this order: a pod that ends is ended; a pod without a whole sandbox is killed and begun
//! again; init containers bring it to where the app containers start; each app container is
//! started, restarted, kept or left alone. In a settled world nothing is planned.

use klet_api::Pod;
use klet_api::k8s_openapi::api::core::v1::Container;

use crate::model::{
    Action, ContainerKind, Kill, KillPod, Memory, Observed, Plan, RecordState, Sandbox, Start, Time,
};
use crate::pods::{self, Attempts, Policy};
use crate::text;

mod apps;
mod end;
mod init;
mod kill;
mod rebuild;

pub(crate) use end::is_clean;

/// What to do now, in order, and when to look again.
#[must_use]
pub fn plan(pod: &Pod, seen: &Observed, memory: &Memory, now: Time) -> Plan {
    let mut draft = Draft { pod, seen, memory, now, plan: Plan::default() };
    if pods::ending(pod, memory, now) {
        end::end(&mut draft);
        return draft.plan;
    }
    if new_sandbox_needed(pod, seen) {
        rebuild::rebuild(&mut draft);
    } else {
        keep_going(&mut draft);
    }
    if let Some(deadline) = pods::deadline(pod) {
        draft.wake_at(deadline);
    }
    draft.plan
}

/// FNV-1a (64 bit) of name and image: what decides whether a running container is out of date.
/// Stable across builds, because running containers outlive the daemon.
#[must_use]
pub fn definition_hash(name: &str, image: &str) -> u64 {
    let bytes = name.bytes().chain([0]).chain(image.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The pod has no sandbox, or one that is not whole: dead, or without an address of its own.
pub(crate) fn new_sandbox_needed(pod: &Pod, seen: &Observed) -> bool {
    let host_network = pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
    match &seen.sandbox {
        Sandbox::Absent | Sandbox::NotReady { .. } => true,
        Sandbox::Ready { ips, .. } => ips.is_empty() && !host_network,
    }
}

/// The kubelet's `ShouldContainerBeRestarted`, as far as the container's own state decides.
/// Without a record (they do not outlive the machine) the end that the API shows counts.
pub(crate) fn wants_start(
    pod: &Pod,
    kind: ContainerKind,
    container: &Container,
    seen: &Observed,
) -> bool {
    let code = match Attempts::of(seen, &container.name).newest().map(|record| &record.state) {
        Some(RecordState::Created | RecordState::Unknown) => None,
        Some(RecordState::Running { .. }) => return false,
        Some(RecordState::Exited { code, .. }) => Some(*code),
        None => pods::shown_exit(pod, kind, &container.name),
    };
    match (code, pods::policy(pod)) {
        (None, _) | (_, Policy::Always) => true,
        (Some(code), Policy::OnFailure) => code != 0,
        (Some(_), Policy::Never) => false,
    }
}

/// The sandbox is whole: init containers, then app containers.
fn keep_going(draft: &mut Draft<'_>) {
    let mut changes = Changes::default();
    match init::decide(draft, &mut changes) {
        init::Progress::Failed => return draft.kill_pod(false),
        init::Progress::Going => {}
        init::Progress::Done => {
            if apps::decide(draft, &mut changes) == apps::Work::NoneLeft {
                return draft.kill_pod(false);
            }
        }
    }
    draft.forget_old_attempts();
    for kill in changes.kills {
        draft.plan.actions.push(Action::StopContainer(kill));
    }
    for (kind, container) in changes.starts {
        draft.start(kind, container);
    }
}

/// What the containers of a whole sandbox need.
#[derive(Default)]
struct Changes<'a> {
    kills: Vec<Kill>,
    starts: Vec<(ContainerKind, &'a Container)>,
}

/// A plan being written.
struct Draft<'a> {
    pod: &'a Pod,
    seen: &'a Observed,
    memory: &'a Memory,
    now: Time,
    plan: Plan,
}

impl<'a> Draft<'a> {
    fn attempts(&self, container: &Container) -> Attempts<'a> {
        Attempts::of(self.seen, &container.name)
    }

    fn wake_at(&mut self, time: Time) {
        let earliest = self.plan.wake_at.map_or(time, |wake_at| wake_at.min(time));
        self.plan.wake_at = Some(earliest);
    }

    /// Kills the pod, unless nothing of it is left to kill.
    fn kill_pod(&mut self, sandbox_changed: bool) {
        let mut containers = kill::all(self.pod, self.seen);
        for kill in &mut containers {
            let hurry = self.memory.doomed_grace.unwrap_or(i64::MAX);
            kill.grace_seconds = kill.grace_seconds.min(hurry);
        }
        let ready = matches!(self.seen.sandbox, Sandbox::Ready { .. });
        let replaced = sandbox_changed && self.seen.sandbox != Sandbox::Absent;
        if ready || replaced || !containers.is_empty() {
            self.plan.actions.push(Action::KillPod(KillPod { containers, sandbox_changed }));
        }
    }

    /// Starts a container, unless it has to wait for its crash back-off, for its image's
    /// back-off, or because its last start failed a moment ago.
    fn start(&mut self, kind: ContainerKind, container: &Container) {
        let name = &container.name;
        if let Some((until, message)) = self.crash_wait(container) {
            if !self.is_known(name, text::CRASH_LOOP, &message) {
                let name = name.clone();
                self.plan.actions.push(Action::BackOff { kind, name, message, until });
            }
            return self.wake_at(until);
        }
        let retry = self.memory.retry.get(name).copied().filter(|retry| *retry > self.now);
        let told = self.memory.start_failures.get(name);
        let image = container.image.as_deref().unwrap_or_default();
        let pull = told
            .filter(|failure| failure.reason == text::IMAGE_PULL_BACK_OFF)
            .and_then(|_| self.memory.pull_wait(image, self.now));
        if let Some(until) = pull.or(retry) {
            return self.wake_at(until);
        }
        self.plan.actions.push(Action::StartContainer(Start {
            kind,
            name: name.clone(),
            attempt: pods::next_attempt(self.pod, self.seen, kind, name),
            last_exit: self.attempts(container).last_exit(),
        }));
    }

    /// The end of the container's crash back-off and the message that tells it.
    fn crash_wait(&self, container: &Container) -> Option<(Time, String)> {
        let finished_at = self.attempts(container).last_exit()?;
        let definition = pods::definition(container);
        let (until, delay) =
            self.memory.crash_wait(&container.name, definition, finished_at, self.now)?;
        Some((until, text::crash_back_off(delay, &container.name, self.pod)))
    }

    fn is_known(&self, name: &str, reason: &str, message: &str) -> bool {
        let known = self.memory.start_failures.get(name);
        known.is_some_and(|known| known.reason == reason && known.message == message)
    }

    /// Of each container only the newest attempt and the last one that ended before it are
    /// needed (`lastState`, `logs --previous`).
    fn forget_old_attempts(&mut self) {
        let ended = |state: &RecordState| {
            matches!(state, RecordState::Exited { .. } | RecordState::Created)
        };
        let mut ids = Vec::new();
        for (_, container) in pods::all_containers(self.pod) {
            let attempts = self.attempts(container);
            let mut older = attempts.older().iter().filter(|record| ended(&record.state));
            let is_exit = |state: &RecordState| matches!(state, RecordState::Exited { .. });
            let last = attempts.older().iter().find(|record| is_exit(&record.state));
            let last = last.map(|record| &record.id);
            ids.extend(older.by_ref().filter(|r| Some(&r.id) != last).map(|r| r.id.clone()));
        }
        if !ids.is_empty() {
            self.plan.actions.push(Action::RemoveContainers { ids });
        }
    }
}

#[cfg(test)]
mod tests;
