//! The end of a pod: stop it, clean up, and, once it is deleted, remove the object.

use super::Draft;
use crate::model::{Action, Sandbox};
use crate::pods;

/// One step at a time, each only when the one before is seen to be done.
pub(super) fn end(draft: &mut Draft<'_>) {
    draft.kill_pod(false);
    if !draft.plan.actions.is_empty() {
        return;
    }
    if draft.seen.leftovers {
        draft.plan.actions.push(Action::CleanUp);
    } else if pods::deleted(draft.pod) && pods::finished(draft.pod) {
        draft.plan.actions.push(Action::RemoveObject);
    }
}

/// Nothing of the pod runs any more, nor holds resources.
pub(crate) fn is_clean(seen: &crate::model::Observed) -> bool {
    let stopped = !matches!(seen.sandbox, Sandbox::Ready { .. });
    stopped && !seen.leftovers && !seen.containers.iter().any(pods::may_run)
}
