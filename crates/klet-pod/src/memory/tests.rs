//! What is remembered, and for how long.

use super::*;
use crate::model::ContainerKind;
use crate::plan::definition_hash;
use crate::testing::*;

fn restart(last_exit: Option<Time>) -> Start {
    Start { kind: ContainerKind::App, name: "a".into(), attempt: 1, last_exit }
}

#[test]
fn restarts_lengthen_the_back_off() {
    let pod = apps("Always", 1);
    let hash = definition_hash("a", "img");
    let mut memory = Memory::default();
    memory.starting(&pod, &restart(None), at(0));
    assert_eq!(memory, Memory::default(), "a first start is no restart");
    for (now, delay) in [(1, 10), (20, 20), (60, 40)] {
        memory.starting(&pod, &restart(Some(at(now))), at(now));
        let wait = memory.crash_wait("a", hash, at(now), at(now));
        assert_eq!(wait, Some((at(now + delay), Duration::from_secs(delay as u64))));
    }
    assert_eq!(memory.crash_wait("a", hash, at(60), at(100)), None, "over");
    assert_eq!(memory.crash_wait("a", hash + 1, at(60), at(61)), None, "another definition");
    assert_eq!(memory.crash_wait("b", hash, at(60), at(61)), None, "another container");
}

#[test]
fn a_changed_definition_replaces_the_entry() {
    let mut pod = apps("Always", 1);
    let mut memory = Memory::default();
    memory.starting(&pod, &restart(Some(at(1))), at(1));
    pod.spec.as_mut().unwrap().containers[0].image = Some("other".into());
    memory.starting(&pod, &restart(Some(at(2))), at(2));
    assert_eq!(memory.crash.len(), 1);
    let wait = memory.crash_wait("a", definition_hash("a", "other"), at(2), at(2));
    assert_eq!(wait, Some((at(12), Duration::from_secs(10))));
}

#[test]
fn pulls_wait_longer_after_each_failure() {
    let mut memory = Memory::default();
    assert_eq!(memory.pull_wait("img", at(0)), None);
    memory.pull_failed("img", at(0));
    assert_eq!(memory.pull_wait("img", at(9)), Some(at(10)));
    assert_eq!(memory.pull_wait("img", at(10)), None);
    memory.pull_failed("img", at(10));
    assert_eq!(memory.pull_wait("img", at(11)), Some(at(30)));
    memory.pull_failed("img", at(10 + 601));
    assert_eq!(memory.pull_wait("img", at(612)), Some(at(621)), "forgotten after 10 min");
}

#[test]
fn the_pause_after_a_failed_start_depends_on_what_failed() {
    for (reason, pause) in [
        ("CreateContainerConfigError", Some(10)),
        ("CreateContainerError", Some(10)),
        ("ErrImageNeverPull", Some(10)),
        ("ErrImagePull", Some(1)),
        ("RunContainerError", Some(1)),
        ("PostStartHookError", Some(1)),
        ("CrashLoopBackOff", None),
    ] {
        let mut memory = Memory::default();
        memory.start_failed("a", reason, "text", at(0));
        assert_eq!(memory.retry.get("a").copied(), pause.map(at), "{reason}");
        assert_eq!(memory.start_failures["a"].reason, reason);
        memory.started("a");
        assert_eq!(memory, Memory::default());
    }
}
