//! A pod whose sandbox is missing or broken: kill what is left of it and begin again.

use klet_api::k8s_openapi::api::core::v1::Container;

use super::Draft;
use crate::model::{Action, ContainerKind, Observed, RecordState, Sandbox};
use crate::pods::{self, Attempts, Policy};

pub(super) fn rebuild(draft: &mut Draft<'_>) {
    let attempt = match &draft.seen.sandbox {
        Sandbox::Absent => 0,
        Sandbox::NotReady { attempt, .. } | Sandbox::Ready { attempt, .. } => {
            attempt.saturating_add(1)
        }
    };
    let policy = pods::policy(draft.pod);
    if policy == Policy::Never && has_history(draft) {
        return draft.kill_pod(false);
    }
    let again: Vec<&Container> = pods::app_containers(draft.pod)
        .iter()
        .filter(|container| policy != Policy::OnFailure || !succeeded(draft, container))
        .collect();
    if again.is_empty() && initialized(draft.pod, draft.seen) {
        return draft.kill_pod(false);
    }
    draft.kill_pod(true);
    forget_init_containers(draft);
    draft.plan.actions.push(Action::CreateSandbox { attempt });
    match pods::init_containers(draft.pod).first() {
        Some(first) => draft.start(ContainerKind::Init, first),
        None => again.into_iter().for_each(|c| draft.start(ContainerKind::App, c)),
    }
}

/// Some container of the pod was started before. What the API shows counts as well: the records
/// do not outlive the machine.
fn has_history(draft: &Draft<'_>) -> bool {
    let shown = |(kind, container): (ContainerKind, &Container)| {
        pods::shown(draft.pod, kind, &container.name).is_some_and(|shown| {
            let ended = |state: &Option<klet_api::k8s_openapi::api::core::v1::ContainerState>| {
                state.as_ref().is_some_and(|state| state.terminated.is_some())
            };
            pods::was_seen(shown) || ended(&shown.state) || ended(&shown.last_state)
        })
    };
    !draft.seen.containers.is_empty() || pods::all_containers(draft.pod).any(shown)
}

/// The container's last attempt exited 0.
fn succeeded(draft: &Draft<'_>, container: &Container) -> bool {
    match draft.attempts(container).newest() {
        Some(record) => matches!(record.state, RecordState::Exited { code: 0, .. }),
        None => pods::shown_exit(draft.pod, ContainerKind::App, &container.name) == Some(0),
    }
}

/// The pod had come to its app containers: one of them has a record, or is shown with one.
fn initialized(pod: &klet_api::Pod, seen: &Observed) -> bool {
    pods::app_containers(pod).iter().any(|container| {
        Attempts::of(seen, &container.name).newest().is_some()
            || pods::shown(pod, ContainerKind::App, &container.name).is_some_and(pods::was_seen)
    })
}

/// In a new sandbox all init containers run again.
fn forget_init_containers(draft: &mut Draft<'_>) {
    let is_init = |name: &str| pods::init_containers(draft.pod).iter().any(|c| c.name == name);
    let records = draft.seen.containers.iter().filter(|record| is_init(&record.name));
    let ids: Vec<String> = records.map(|record| record.id.clone()).collect();
    if !ids.is_empty() {
        draft.plan.actions.push(Action::RemoveContainers { ids });
    }
}
