//! Waiting: crash back-off, image back-off, failed starts, the deadline.

use super::*;

/// Attempt 1 of `a` ended at second 10, and the back-off then was 10 s.
fn crashed() -> (Pod, Observed, Memory) {
    let mut memory = Memory::default();
    let pod = apps("Always", 1);
    let start =
        Start { kind: ContainerKind::App, name: "a".into(), attempt: 1, last_exit: Some(at(5)) };
    memory.starting(&pod, &start, at(5));
    (pod, seen(ready(), vec![exited("a", 1, 1)]), memory)
}

#[test]
fn the_first_restart_is_immediate() {
    let seen = seen(ready(), vec![exited("a", 0, 1)]);
    assert_eq!(planned(&apps("Always", 1), &seen), "start a#1");
}

#[test]
fn a_back_off_is_told_once_and_ends_to_the_second() {
    let (pod, seen, mut memory) = crashed();
    let first = plan(&pod, &seen, &memory, at(12));
    let message = "back-off 10s restarting failed container=a pod=p_ns(uid)".to_owned();
    let back_off = Action::BackOff {
        kind: ContainerKind::App,
        name: "a".into(),
        message: message.clone(),
        until: at(20),
    };
    assert_eq!(first, Plan { actions: vec![back_off], wake_at: Some(at(20)) });
    memory.backed_off("a", &message, at(12));
    let quiet = Plan { actions: vec![], wake_at: Some(at(20)) };
    assert_eq!(plan(&pod, &seen, &memory, at(12)), quiet);
    assert_eq!(plan(&pod, &seen, &memory, at(19)), quiet);
    assert_eq!(sketches(&plan(&pod, &seen, &memory, at(20))), "start a#2");
}

#[test]
fn a_changed_definition_starts_with_a_clean_slate() {
    let (mut pod, seen, memory) = crashed();
    pod.spec.as_mut().unwrap().containers[0].image = Some("img2".into());
    assert_eq!(sketches(&plan(&pod, &seen, &memory, at(12))), "start a#2");
}

#[test]
fn a_probe_kill_looks_at_the_exit_before() {
    let pod = pod(json!({"containers": [{"name": "a", "livenessProbe": {}}]}));
    let (_, _, memory) = crashed();
    let mut seen = seen(ready(), vec![exited("a", 1, 1), running("a", 2)]);
    let hung = Verdicts { liveness: Verdict::Failure, ..Verdicts::default() };
    seen.verdicts.insert("a2".into(), hung);
    assert_eq!(sketches(&plan(&pod, &seen, &memory, at(15))), "kill a2; backoff a");
    assert_eq!(sketches(&plan(&pod, &seen, &memory, at(25))), "kill a2; start a#3");
}

#[test]
fn failed_starts_are_tried_again_after_a_while() {
    let pod = apps("Always", 2);
    let mut memory = Memory::default();
    memory.start_failed("a", "CreateContainerConfigError", "configmap \"x\" not found", at(10));
    let seen = seen(ready(), vec![]);
    let first = plan(&pod, &seen, &memory, at(11));
    assert_eq!((sketches(&first).as_str(), first.wake_at), ("start b#0", Some(at(20))));
    assert_eq!(sketches(&plan(&pod, &seen, &memory, at(20))), "start a#0; start b#0");
    memory.started("a");
    assert_eq!(memory, Memory::default());
}

#[test]
fn an_image_back_off_is_waited_out() {
    let pod = apps("Always", 1);
    let seen = seen(ready(), vec![]);
    let mut memory = Memory::default();
    memory.pull_failed("img", at(10));
    memory.start_failed("a", "ErrImagePull", "not found", at(10));
    // The kubelet's next sync, a moment later, tells of the back-off.
    assert_eq!(plan(&pod, &seen, &memory, at(10)).wake_at, Some(at(11)));
    assert_eq!(sketches(&plan(&pod, &seen, &memory, at(11))), "start a#0");
    memory.start_failed("a", "ImagePullBackOff", "Back-off", at(11));
    let waiting = plan(&pod, &seen, &memory, at(11));
    assert_eq!(waiting, Plan { actions: vec![], wake_at: Some(at(20)) });
    let over = plan(&pod, &seen, &memory, at(21));
    assert_eq!(sketches(&over), "start a#0");
}

#[test]
fn the_deadline_wakes_and_ends_the_pod() {
    let mut pod = apps("Always", 1);
    pod.spec.as_mut().unwrap().active_deadline_seconds = Some(30);
    let start = json!({"startTime": at(0).to_string()});
    let pod = shown(pod, start);
    let seen = seen(ready(), vec![running("a", 0)]);
    let memory = Memory::default();
    let waiting = plan(&pod, &seen, &memory, at(10));
    assert_eq!(waiting, Plan { actions: vec![], wake_at: Some(at(30)) });
    assert_eq!(sketches(&plan(&pod, &seen, &memory, at(30))), "killpod a0");
}
