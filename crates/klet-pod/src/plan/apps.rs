//! App containers of an initialized pod: start, restart, keep or leave alone, each by itself.

use super::kill::{self, Cause};
use super::{Changes, Draft, wants_start};
use crate::model::{ContainerKind, RecordState};
use crate::pods::{self, Policy};

/// Whether the pod still has a purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    Left,
    /// Nothing is kept and nothing is to be started.
    NoneLeft,
}

pub(super) fn decide<'a>(draft: &Draft<'a>, changes: &mut Changes<'a>) -> Work {
    let app = ContainerKind::App;
    let policy = pods::policy(draft.pod);
    let mut work = Work::NoneLeft;
    for container in pods::app_containers(draft.pod) {
        let newest = draft.attempts(container).newest();
        let cause = newest.and_then(|newest| Cause::of(container, newest, draft.seen));
        let start = match cause {
            Some(Cause::Definition | Cause::Unknown) => true,
            Some(Cause::Liveness | Cause::Startup) => policy != Policy::Never,
            None => wants_start(draft.pod, app, container, draft.seen),
        };
        if let (Some(cause), Some(newest)) = (cause, newest) {
            let message = cause.message(app, &container.name, start);
            let kill = kill::one(draft.pod, app, container, newest, message, Some(cause));
            changes.kills.push(kill);
        }
        if start {
            changes.starts.push((app, container));
        }
        let runs = newest.is_some_and(|n| matches!(n.state, RecordState::Running { .. }));
        if start || (runs && cause.is_none()) {
            work = Work::Left;
        }
    }
    work
}
