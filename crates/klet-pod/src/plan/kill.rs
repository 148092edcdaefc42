//! How containers end: grace, hook, and the text that says why.

use klet_api::Pod;
use klet_api::k8s_openapi::api::core::v1::{Container, Probe};

use crate::model::{ContainerKind, ContainerRecord, Kill, Observed, RecordState, Verdict};
use crate::pods::{self, Attempts};
use crate::text;

/// Why one running container must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Definition,
    Liveness,
    Startup,
    Unknown,
}

impl Cause {
    /// What is wrong with the container's newest attempt, if anything.
    pub(super) fn of(
        container: &Container,
        newest: &ContainerRecord,
        seen: &Observed,
    ) -> Option<Self> {
        match newest.state {
            RecordState::Unknown => return Some(Self::Unknown),
            RecordState::Running { .. } => {}
            RecordState::Created | RecordState::Exited { .. } => return None,
        }
        let verdicts = seen.verdicts.get(&newest.id).copied().unwrap_or_default();
        let failed =
            |probe: &Option<Probe>, verdict| probe.is_some() && verdict == Verdict::Failure;
        if newest.definition != pods::definition(container) {
            Some(Self::Definition)
        } else if failed(&container.liveness_probe, verdicts.liveness) {
            Some(Self::Liveness)
        } else if failed(&container.startup_probe, verdicts.startup) {
            Some(Self::Startup)
        } else {
            None
        }
    }

    /// Text of the `Killing` event.
    pub(super) fn message(self, kind: ContainerKind, name: &str, restarts: bool) -> String {
        let subject = match kind {
            ContainerKind::Init => "Init container",
            ContainerKind::App => "Container",
        };
        let what = match self {
            Self::Definition => "definition changed",
            Self::Liveness => "failed liveness probe",
            Self::Startup => "failed startup probe",
            Self::Unknown => {
                return format!("{subject} is in \"unknown\" state, try killing it before restart");
            }
        };
        let suffix = match kind {
            ContainerKind::App if restarts => ", will be restarted",
            ContainerKind::App | ContainerKind::Init => "",
        };
        format!("{subject} {name} {what}{suffix}")
    }
}

/// Ends one attempt because of `cause`.
pub(super) fn one(
    pod: &Pod,
    kind: ContainerKind,
    container: &Container,
    record: &ContainerRecord,
    message: String,
    cause: Option<Cause>,
) -> Kill {
    let grace_seconds = grace(pod, container, cause);
    let running = matches!(record.state, RecordState::Running { .. });
    let hook = container.lifecycle.as_ref().is_some_and(|hooks| hooks.pre_stop.is_some());
    Kill {
        kind,
        name: container.name.clone(),
        id: record.id.clone(),
        message,
        grace_seconds,
        pre_stop: hook && running && grace_seconds > 0,
    }
}

/// Ends every container of the pod that runs or may run.
pub(super) fn all(pod: &Pod, seen: &Observed) -> Vec<Kill> {
    let mut kills = Vec::new();
    for (kind, container) in pods::all_containers(pod) {
        let attempts = Attempts::of(seen, &container.name);
        let newest = attempts.newest();
        for record in newest.into_iter().chain(attempts.older().iter().copied()) {
            if !pods::may_run(record) {
                continue;
            }
            let is_newest = newest.is_some_and(|newest| newest.id == record.id);
            let cause = (!pods::deleted(pod) && is_newest)
                .then(|| Cause::of(container, record, seen))
                .flatten()
                .filter(|cause| matches!(cause, Cause::Liveness | Cause::Startup));
            let message = match cause {
                Some(cause) => cause.message(kind, &container.name, false),
                None => text::stopping(&container.name),
            };
            kills.push(one(pod, kind, container, record, message, cause));
        }
    }
    kills
}

/// Seconds between the beginning of the end and SIGKILL: what the deletion says, else what the
/// failed probe says, else what the pod says. The end of a whole pod takes at least one second.
fn grace(pod: &Pod, container: &Container, cause: Option<Cause>) -> i64 {
    let spec = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
    let spec = match spec.unwrap_or(30) {
        negative if negative < 0 => 1,
        seconds => seconds,
    };
    if pods::deleted(pod) {
        return pod.metadata.deletion_grace_period_seconds.unwrap_or(spec).max(1);
    }
    let probe = match cause {
        Some(Cause::Liveness) => container.liveness_probe.as_ref(),
        Some(Cause::Startup) => container.startup_probe.as_ref(),
        Some(Cause::Definition) => None,
        Some(Cause::Unknown) | None => return spec.max(1),
    };
    probe.and_then(|probe| probe.termination_grace_period_seconds).unwrap_or(spec)
}
