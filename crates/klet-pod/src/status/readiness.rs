//! A readiness verdict that comes while the pod's worker is busy (a hook, a grace, a pull).
//!
//! The kubelet's status manager sets it directly (`SetContainerReadiness`), so that traffic follows
//! readiness and not the worker.

use klet_api::{Pod, PodStatus};

use super::conditions::{self, READINESS};
use super::same_container;
use crate::model::Time;

/// The status with the readiness of the container attempt `id` changed, and the pod's `Ready` and
/// `ContainersReady` with it; `None` when it says so already or does not show that attempt running.
#[must_use]
pub fn with_readiness(
    pod: &Pod,
    status: &PodStatus,
    id: &str,
    ready: bool,
    now: Time,
) -> Option<PodStatus> {
    let mut after = status.clone();
    let lists = [&mut after.container_statuses, &mut after.init_container_statuses];
    let shown = lists.into_iter().flatten().flatten().find(|shown| same_container(shown, id))?;
    let runs = shown.state.as_ref().is_some_and(|state| state.running.is_some());
    if !runs || shown.ready == ready || (ready && shown.started != Some(true)) {
        return None;
    }
    shown.ready = ready;
    let old = status.conditions.as_deref().unwrap_or_default();
    let new = READINESS.map(|type_| conditions::readiness(pod, old, &after, type_, now));
    for condition in after.conditions.iter_mut().flatten() {
        if let Some(new) = new.iter().find(|new| new.type_ == condition.type_) {
            *condition = new.clone();
        }
    }
    Some(after)
}

/// Takes from `latest` what [`with_readiness`] changed there, so that a status worked out from
/// `own` keeps the moment of the change.
pub fn take_readiness(own: &mut PodStatus, latest: &PodStatus) {
    let find =
        |type_: &str| latest.conditions.iter().flatten().find(|condition| condition.type_ == type_);
    for condition in own.conditions.iter_mut().flatten() {
        if READINESS.contains(&condition.type_.as_str())
            && let Some(newer) = find(&condition.type_)
        {
            *condition = newer.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{apps, at};

    fn status(ready: bool) -> PodStatus {
        let value = if ready { "True" } else { "False" };
        let condition = |type_: &str| json!({ "type": type_, "status": value, "lastTransitionTime": "2023-11-14T22:13:20Z" });
        serde_json::from_value(json!({
            "phase": "Running",
            "conditions": [condition("Initialized"), condition("Ready"), condition("ContainersReady")],
            "containerStatuses": [{
                "name": "a", "image": "img", "imageID": "", "restartCount": 0, "ready": ready,
                "started": true, "containerID": "klet://x", "state": { "running": {} },
            }],
        }))
        .unwrap()
    }

    #[test]
    fn a_verdict_changes_the_container_and_both_conditions() {
        let pod = apps("Always", 1);
        let after = with_readiness(&pod, &status(true), "x", false, at(60)).unwrap();
        let after = serde_json::to_value(after).unwrap();
        assert_eq!(after["containerStatuses"][0]["ready"], false);
        assert_eq!(after["conditions"][0]["status"], "True", "Initialized is not concerned");
        for index in [1, 2] {
            let condition = &after["conditions"][index];
            assert_eq!(condition["status"], "False");
            assert_eq!(condition["reason"], "ContainersNotReady");
            assert_eq!(condition["message"], "containers with unready status: [a]");
            assert_eq!(condition["lastTransitionTime"], "2023-11-14T22:14:20Z");
        }
    }

    #[test]
    fn what_is_said_already_or_is_about_another_attempt_changes_nothing() {
        let pod = apps("Always", 1);
        assert!(with_readiness(&pod, &status(true), "x", true, at(60)).is_none());
        assert!(with_readiness(&pod, &status(true), "y", false, at(60)).is_none());
        let mut waiting = status(false);
        waiting.container_statuses.as_mut().unwrap()[0].started = Some(false);
        assert!(with_readiness(&pod, &waiting, "x", true, at(60)).is_none(), "not started");
    }

    #[test]
    fn the_moment_of_the_change_is_kept() {
        let pod = apps("Always", 1);
        let latest = with_readiness(&pod, &status(true), "x", false, at(60)).unwrap();
        let mut own = status(true);
        take_readiness(&mut own, &latest);
        assert_eq!(own.conditions, latest.conditions);
    }
}
