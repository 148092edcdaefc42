//! `status.phase`: the kubelet's `getPhase`.

use klet_api::Pod;
use klet_api::k8s_openapi::api::core::v1::{ContainerState, ContainerStatus};

use crate::pods::{self, Policy};

#[derive(Default)]
struct Counts {
    pending_init: usize,
    failed_init: usize,
    pending_sidecar: usize,
    waiting: usize,
    running: usize,
    stopped: usize,
    succeeded: usize,
    unknown: usize,
    apps_begun: bool,
}

/// `killed`: the pod was ended and every container has stopped for good.
pub(super) fn phase(
    pod: &Pod,
    init: &[ContainerStatus],
    apps: &[ContainerStatus],
    killed: bool,
) -> &'static str {
    let counts = count(pod, init, apps);
    let policy = pods::policy(pod);
    if counts.failed_init > 0 && policy == Policy::Never {
        return "Failed";
    }
    let sidecars_first = counts.pending_sidecar > 0 && !counts.apps_begun;
    if counts.pending_init > 0 || sidecars_first || counts.waiting > 0 {
        return "Pending";
    }
    if counts.unknown > 0 || counts.running + counts.stopped == 0 {
        return "Pending";
    }
    if counts.running > 0 {
        return "Running";
    }
    let all_succeeded = counts.stopped == counts.succeeded;
    match policy {
        _ if killed => {
            if all_succeeded {
                "Succeeded"
            } else {
                "Failed"
            }
        }
        Policy::Always => "Running",
        _ if all_succeeded => "Succeeded",
        Policy::Never => "Failed",
        Policy::OnFailure => "Running",
    }
}

fn count(pod: &Pod, init: &[ContainerStatus], apps: &[ContainerStatus]) -> Counts {
    let mut counts = Counts::default();
    for container in pods::init_containers(pod) {
        let status = init.iter().find(|status| status.name == container.name);
        if pods::is_sidecar(container) {
            counts.sidecar(status);
        } else {
            counts.regular_init(status);
        }
    }
    for container in pods::app_containers(pod) {
        counts.app(apps.iter().find(|status| status.name == container.name));
    }
    counts
}

impl Counts {
    fn regular_init(&mut self, status: Option<&ContainerStatus>) {
        let state = status.and_then(|status| status.state.as_ref());
        let end = match state {
            Some(ContainerState { terminated: Some(end), .. }) => Some(end.exit_code),
            Some(ContainerState { waiting: Some(_), .. }) => last_exit(status),
            _ => None,
        };
        match end {
            None => self.pending_init += 1,
            Some(0) => {}
            Some(_) => self.failed_init += 1,
        }
    }

    fn sidecar(&mut self, status: Option<&ContainerStatus>) {
        let Some(status) = status else {
            self.unknown += 1;
            return;
        };
        let state = status.state.as_ref();
        if state.is_some_and(|state| state.running.is_some()) {
            self.running += 1;
            if status.started != Some(true) {
                self.pending_sidecar += 1;
            }
        } else if state.is_none_or(|state| state.terminated.is_none())
            && last_exit(Some(status)).is_none()
        {
            self.waiting += 1;
            self.pending_sidecar += 1;
        }
    }

    fn app(&mut self, status: Option<&ContainerStatus>) {
        let Some(status) = status else {
            self.unknown += 1;
            return;
        };
        let state = status.state.as_ref();
        if state.is_some_and(|state| state.running.is_some()) {
            self.running += 1;
            self.apps_begun = true;
        } else if let Some(end) = state.and_then(|state| state.terminated.as_ref()) {
            self.stopped += 1;
            self.succeeded += usize::from(end.exit_code == 0);
            self.apps_begun = true;
        } else if last_exit(Some(status)).is_some() {
            self.stopped += 1;
        } else {
            self.waiting += 1;
        }
    }
}

/// Exit code in `lastState`.
fn last_exit(status: Option<&ContainerStatus>) -> Option<i32> {
    Some(status?.last_state.as_ref()?.terminated.as_ref()?.exit_code)
}
