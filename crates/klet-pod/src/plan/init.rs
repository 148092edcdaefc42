//! Init containers: regular ones strictly one after the other, each to its successful end;
//! sidecars started in their turn and kept running.

use klet_api::k8s_openapi::api::core::v1::Container;

use super::kill::{self, Cause};
use super::{Changes, Draft};
use crate::model::{ContainerKind, ContainerRecord, RecordState, Verdict};
use crate::pods::{self, Policy};

/// How far initialization has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Going,
    Done,
    /// An init container failed and must not be tried again.
    Failed,
}

/// What the newest attempt of one init container asks for.
enum Finding {
    Wait,
    /// It has done its part: the next one may start.
    Passed,
    Start,
    /// Kill, then start.
    Replace(Cause),
    /// It has done its part, but must be replaced.
    PassedReplace(Cause),
    Fatal,
}

/// Walks the list from its end, because records of init containers long done may be gone:
/// whatever has a record proves that those before it had passed.
pub(super) fn decide<'a>(draft: &Draft<'a>, changes: &mut Changes<'a>) -> Progress {
    let list = pods::init_containers(draft.pod);
    if list.is_empty() {
        return Progress::Done;
    }
    let mut done = apps_begun(draft);
    let mut passed_before = done;
    let mut starts = Vec::new();
    for (index, container) in list.iter().enumerate().rev() {
        let sidecar = pods::is_sidecar(container);
        let Some(newest) = draft.attempts(container).newest() else {
            if passed_before && sidecar {
                starts.push(index);
            }
            continue;
        };
        if passed_before && !sidecar {
            continue;
        }
        let finding = if sidecar {
            sidecar_finding(draft, container, newest)
        } else {
            regular_finding(draft, newest)
        };
        if matches!(finding, Finding::Passed | Finding::PassedReplace(_)) {
            if index + 1 == list.len() {
                done = true;
            } else if !passed_before {
                starts.push(index + 1);
            }
        }
        match finding {
            Finding::Wait | Finding::Passed => {}
            Finding::Start => starts.push(index),
            Finding::Replace(cause) | Finding::PassedReplace(cause) => {
                let message = cause.message(ContainerKind::Init, &container.name, true);
                let init = ContainerKind::Init;
                let kill = kill::one(draft.pod, init, container, newest, message, Some(cause));
                changes.kills.push(kill);
                starts.push(index);
            }
            Finding::Fatal => {
                *changes = Changes::default();
                return Progress::Failed;
            }
        }
        passed_before = true;
    }
    if !passed_before {
        starts.push(0);
    }
    starts.reverse();
    changes.starts.extend(starts.into_iter().map(|index| (ContainerKind::Init, &list[index])));
    if done { Progress::Done } else { Progress::Going }
}

/// An app container runs: initialization lies behind. One that does not run proves nothing, it
/// may be from the sandbox before.
fn apps_begun(draft: &Draft<'_>) -> bool {
    pods::app_containers(draft.pod).iter().any(|container| {
        let newest = draft.attempts(container).newest().map(|record| &record.state);
        matches!(newest, Some(RecordState::Running { .. }))
    })
}

fn regular_finding(draft: &Draft<'_>, newest: &ContainerRecord) -> Finding {
    let never = pods::policy(draft.pod) == Policy::Never;
    match &newest.state {
        RecordState::Created => Finding::Start,
        RecordState::Running { .. } => Finding::Wait,
        RecordState::Unknown if never => Finding::Fatal,
        RecordState::Unknown => Finding::Replace(Cause::Unknown),
        RecordState::Exited { code, reason, .. } if *code == 0 && reason != "OOMKilled" => {
            Finding::Passed
        }
        RecordState::Exited { .. } if never => Finding::Fatal,
        RecordState::Exited { .. } => Finding::Start,
    }
}

fn sidecar_finding(draft: &Draft<'_>, container: &Container, newest: &ContainerRecord) -> Finding {
    match &newest.state {
        RecordState::Created | RecordState::Exited { .. } => return Finding::Start,
        RecordState::Unknown => return Finding::Replace(Cause::Unknown),
        RecordState::Running { .. } => {}
    }
    let view = crate::probe::view(draft.pod, draft.seen, ContainerKind::Init, &container.name);
    let cause = Cause::of(container, newest, draft.seen);
    let verdict = draft.seen.verdicts.get(&newest.id).copied().unwrap_or_default().startup;
    match (view.started, cause) {
        (true, Some(cause)) => Finding::PassedReplace(cause),
        (true, None) => Finding::Passed,
        (false, _) if verdict == Verdict::Failure => Finding::Replace(Cause::Startup),
        (false, _) => Finding::Wait,
    }
}
