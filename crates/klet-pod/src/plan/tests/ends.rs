//! How pods end.

use super::*;

fn kill_of(pod: &Pod) -> Kill {
    let plan = plan(pod, &seen(ready(), vec![running("a", 0)]), &Memory::default(), at(10));
    let [Action::KillPod(kill)] = plan.actions.as_slice() else { panic!("{plan:?}") };
    kill.containers[0].clone()
}

#[test]
fn a_deleted_pod_ends_step_by_step() {
    let pod = deleted(apps("Always", 2), 30);
    let mut node = seen(ready(), vec![running("a", 0), exited("b", 0, 1)]);
    assert_eq!(planned(&pod, &node), "killpod a0");
    node.sandbox = broken();
    node.containers[0] = exited("a", 0, 137);
    assert_eq!(planned(&pod, &node), "clean");
    node.leftovers = false;
    assert_eq!(planned(&pod, &node), "", "no final phase yet");
    let pod = shown(pod, json!({"phase": "Failed"}));
    assert_eq!(planned(&pod, &node), "remove");
}

#[test]
fn a_pod_deleted_before_anything_was_made_has_nothing_to_stop() {
    let pod = deleted(apps("Always", 1), 30);
    assert_eq!(planned(&pod, &Observed::default()), "");
    let pod = shown(pod, json!({"phase": "Failed"}));
    assert_eq!(planned(&pod, &Observed::default()), "remove");
}

#[test]
fn a_container_nobody_knows_of_is_stopped_as_well() {
    let pod = deleted(apps("Always", 1), 30);
    let seen = seen(broken(), vec![record("a", 0, RecordState::Unknown)]);
    assert_eq!(planned(&pod, &seen), "killpod a0");
}

#[test]
fn a_finished_pod_is_stopped_and_cleaned_but_stays() {
    let pod = shown(apps("Never", 1), json!({"phase": "Succeeded"}));
    let mut node = seen(ready(), vec![exited("a", 0, 0)]);
    assert_eq!(planned(&pod, &node), "killpod");
    node.sandbox = broken();
    assert_eq!(planned(&pod, &node), "clean");
    node.leftovers = false;
    assert_eq!(planned(&pod, &node), "");
    node.sandbox = Sandbox::Absent;
    assert_eq!(planned(&pod, &node), "");
}

#[test]
fn a_doomed_pod_ends_like_a_deleted_one_but_stays() {
    let mut memory = Memory::default();
    let reason = crate::model::StartFailure { reason: "Evicted".into(), message: "full".into() };
    memory.doomed = Some(reason);
    let pod = apps("Always", 1);
    let mut node = seen(ready(), vec![running("a", 0)]);
    assert_eq!(sketches(&plan(&pod, &node, &memory, at(10))), "killpod a0");
    memory.doomed_grace = Some(1);
    let hurried = plan(&pod, &node, &memory, at(10));
    let Some(Action::KillPod(kill)) = hurried.actions.first() else { panic!("{hurried:?}") };
    assert_eq!(kill.containers[0].grace_seconds, 1);
    node = Observed::default();
    assert_eq!(plan(&pod, &node, &memory, at(10)), Plan::default());
}

#[test]
fn the_grace_of_a_deletion_is_the_deletions_and_at_least_a_second() {
    let with_grace = |seconds: i64| {
        pod(json!({"terminationGracePeriodSeconds": seconds, "containers": [
            {"name": "a", "lifecycle": {"preStop": {"exec": {"command": ["x"]}}}}]}))
    };
    let kill = kill_of(&deleted(with_grace(20), 5));
    assert_eq!((kill.grace_seconds, kill.pre_stop), (5, true));
    assert_eq!(kill.message, "Stopping container a");
    assert_eq!(kill_of(&deleted(with_grace(20), 0)).grace_seconds, 1);
    let failed = json!({"phase": "Failed"});
    assert_eq!(kill_of(&shown(with_grace(-5), failed.clone())).grace_seconds, 1);
    assert_eq!(kill_of(&shown(with_grace(7), failed)).grace_seconds, 7);
    assert!(!kill_of(&deleted(apps("Always", 1), 5)).pre_stop, "no hook");
}
