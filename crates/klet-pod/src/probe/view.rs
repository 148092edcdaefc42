//! What a probe worker needs to know of its container.

use klet_api::Pod;

use crate::model::{ContainerKind, Observed, RecordState, Time, Verdict};
use crate::pods::{self, Attempts, Policy};

/// One container at one moment, as a probe worker sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerView {
    /// The newest attempt, if there is one.
    pub id: Option<String>,
    pub life: Life,
    /// The container's `started`: running, and through its startup probe if it has one.
    pub started: bool,
    /// After its end it would be started again.
    pub restarts: bool,
    /// The pod is being deleted and this container's turn to end has come.
    pub deleted: bool,
    /// The pod's phase is final.
    pub finished: bool,
}

/// Whether there is something to probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    Running {
        since: Time,
    },
    Ended,
    /// Created, or nobody knows.
    Other,
}

/// The view of container `name`.
#[must_use]
pub fn view(pod: &Pod, seen: &Observed, kind: ContainerKind, name: &str) -> ContainerView {
    let container = pods::container(pod, kind, name);
    let sidecar = kind == ContainerKind::Init && container.is_some_and(pods::is_sidecar);
    let newest = Attempts::of(seen, name).newest();
    let life = match newest.map(|record| &record.state) {
        Some(RecordState::Running { started_at }) => Life::Running { since: *started_at },
        Some(RecordState::Exited { .. }) => Life::Ended,
        Some(RecordState::Created | RecordState::Unknown) | None => Life::Other,
    };
    let verdict = newest.and_then(|record| seen.verdicts.get(&record.id)).copied();
    let id = newest.map(|record| record.id.clone());
    let started = match container.and_then(|c| c.startup_probe.as_ref()) {
        None => true,
        Some(_) => match verdict.unwrap_or_default().startup {
            Verdict::Success => true,
            Verdict::Failure => false,
            Verdict::Unknown => kept_started(pod, kind, name, id.as_deref()),
        },
    };
    ContainerView {
        id,
        started: started && matches!(life, Life::Running { .. }),
        life,
        restarts: !pods::deleted(pod) && (sidecar || pods::policy(pod) != Policy::Never),
        deleted: pods::deleted(pod) && !sidecar,
        finished: pods::finished(pod),
    }
}

/// `started` as it was before the daemon was restarted.
fn kept_started(pod: &Pod, kind: ContainerKind, name: &str, id: Option<&str>) -> bool {
    pods::shown(pod, kind, name).is_some_and(|shown| {
        shown.started == Some(true) && id.is_some_and(|id| crate::status::same_container(shown, id))
    })
}
