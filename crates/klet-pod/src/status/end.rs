//! The last status of a pod that was cleaned up: nothing may be left open.

use klet_api::k8s_openapi::api::core::v1::ContainerStatus;
use klet_api::{Pod, PodStatus};

use super::containers::unknown_end;
use crate::pods;
use crate::text;

/// The kubelet's `TerminatePod`: containers that must have run are told as ended, and the phase
/// is final.
pub(super) fn force(pod: &Pod, status: &mut PodStatus) {
    let initialized = has_initialized(pod, status);
    if let Some(apps) = status.container_statuses.as_mut().filter(|_| initialized) {
        apps.iter_mut().for_each(terminate);
    }
    if let Some(init) = status.init_container_statuses.as_mut() {
        let begun = init.iter().rposition(|status| !is_waiting(status) || has_last(status));
        init.iter_mut().take(begun.unwrap_or(0) + 1).for_each(terminate);
    }
    if !matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        status.phase = Some("Failed".to_owned());
    }
}

fn terminate(status: &mut ContainerStatus) {
    if status.state.as_ref().is_some_and(|state| state.terminated.is_some()) {
        return;
    }
    status.state = Some(unknown_end(text::LOST_AT_END));
    status.ready = false;
    status.started = Some(false);
}

/// The pod had come to its app containers.
fn has_initialized(pod: &Pod, status: &PodStatus) -> bool {
    let Some(last) = pods::init_containers(pod).last() else { return true };
    let apps = status.container_statuses.as_deref().unwrap_or_default();
    if apps.iter().any(|app| !is_waiting(app) || has_last(app)) {
        return true;
    }
    let init = status.init_container_statuses.as_deref().unwrap_or_default();
    let Some(last_status) = init.iter().find(|status| status.name == last.name) else {
        return false;
    };
    let ended_well = |state: &Option<klet_api::k8s_openapi::api::core::v1::ContainerState>| {
        let end = state.as_ref().and_then(|state| state.terminated.as_ref());
        end.is_some_and(|end| end.exit_code == 0)
    };
    if pods::is_sidecar(last) {
        has_last(last_status) || last_status.started == Some(true)
    } else {
        ended_well(&last_status.state) || ended_well(&last_status.last_state)
    }
}

fn is_waiting(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_none_or(|state| state.running.is_none() && state.terminated.is_none())
}

fn has_last(status: &ContainerStatus) -> bool {
    status.last_state.as_ref().is_some_and(|last| last.terminated.is_some())
}
