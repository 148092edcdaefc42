//! Planning, rule by rule. A plan is written down in a few letters per action:
//! `kill a0`, `start a#1`, `sandbox 1`, `clean`, ...

use klet_api::Pod;
use serde_json::json;

use super::*;
use crate::model::{Verdict, Verdicts};
use crate::testing::*;

mod ends;
mod init;
mod waits;

fn sketch(action: &Action) -> String {
    match action {
        Action::KillPod(kill) => {
            let names: Vec<_> = kill.containers.iter().map(|c| c.id.as_str()).collect();
            let why = if kill.sandbox_changed { "changed" } else { "" };
            format!("killpod {} {why}", names.join(",")).trim_end().to_owned()
        }
        Action::CreateSandbox { attempt } => format!("sandbox {attempt}"),
        Action::StopContainer(kill) => format!("kill {}", kill.id),
        Action::RemoveContainers { ids } => format!("forget {}", ids.join(",")),
        Action::StartContainer(start) => format!("start {}#{}", start.name, start.attempt),
        Action::BackOff { name, .. } => format!("backoff {name}"),
        Action::CleanUp => "clean".to_owned(),
        Action::RemoveObject => "remove".to_owned(),
    }
}

fn sketches(plan: &Plan) -> String {
    plan.actions.iter().map(sketch).collect::<Vec<_>>().join("; ")
}

fn planned(pod: &Pod, seen: &Observed) -> String {
    sketches(&plan(pod, seen, &Memory::default(), at(10)))
}

#[test]
fn the_hash_is_fnv_1a_and_stable() {
    assert_eq!(definition_hash("", ""), 0xaf63_bd4c_8601_b7df);
    assert_eq!(definition_hash("a", "img"), definition_hash("a", "img"));
    assert_ne!(definition_hash("a", "img"), definition_hash("a", "img2"));
    assert_ne!(definition_hash("ab", "c"), definition_hash("a", "bc"));
}

#[test]
fn a_new_pod_gets_a_sandbox_and_its_containers_in_order() {
    let pod = apps("Always", 2);
    assert_eq!(planned(&pod, &Observed::default()), "sandbox 0; start a#0; start b#0");
    assert_eq!(planned(&pod, &seen(ready(), vec![])), "start a#0; start b#0");
}

#[test]
fn a_healthy_pod_is_left_alone() {
    let plan = plan(
        &apps("Always", 2),
        &seen(ready(), vec![running("a", 0), running("b", 4)]),
        &Memory::default(),
        at(10),
    );
    assert_eq!(plan, Plan::default());
}

#[test]
fn the_restart_policy_decides_about_what_ended() {
    // Beside a container that runs, so that the pod goes on.
    let table = [
        ("Always", 0, "start a#3"),
        ("Always", 1, "start a#3"),
        ("OnFailure", 0, ""),
        ("OnFailure", 1, "start a#3"),
        ("Never", 0, ""),
        ("Never", 1, ""),
    ];
    for (policy, code, expected) in table {
        let seen = seen(ready(), vec![exited("a", 2, code), running("b", 0)]);
        assert_eq!(planned(&apps(policy, 2), &seen), expected, "{policy} {code}");
    }
}

#[test]
fn a_pod_without_work_is_killed() {
    let table = [("Always", 0, "start a#1"), ("OnFailure", 0, "killpod"), ("Never", 1, "killpod")];
    for (policy, code, expected) in table {
        let done = seen(ready(), vec![exited("a", 0, code)]);
        assert_eq!(planned(&apps(policy, 1), &done), expected, "{policy}");
    }
    let stopped = seen(broken(), vec![exited("a", 0, 0)]);
    assert_eq!(planned(&apps("Never", 1), &stopped), "");
    assert_eq!(planned(&apps("OnFailure", 1), &stopped), "");
}

#[test]
fn created_and_unknown_containers_are_started_again_under_any_policy() {
    for policy in ["Always", "OnFailure", "Never"] {
        let created = seen(ready(), vec![record("a", 0, RecordState::Created)]);
        assert_eq!(planned(&apps(policy, 1), &created), "start a#1");
        let unknown = seen(ready(), vec![record("a", 0, RecordState::Unknown)]);
        assert_eq!(planned(&apps(policy, 1), &unknown), "kill a0; start a#1");
    }
}

/// The only kill of the plan for one container `a` with all probes.
fn only_kill(policy: &str, record: ContainerRecord, verdicts: Verdicts) -> Kill {
    let pod = pod(json!({
        "restartPolicy": policy,
        "terminationGracePeriodSeconds": 20,
        "containers": [
            {"name": "a", "startupProbe": {"terminationGracePeriodSeconds": 3}, "livenessProbe": {},
             "lifecycle": {"preStop": {"exec": {"command": ["x"]}}}},
            {"name": "b"},
        ],
    }));
    let mut seen = seen(ready(), vec![running("b", 0)]);
    seen.verdicts.insert(record.id.clone(), verdicts);
    seen.containers.push(record);
    let plan = plan(&pod, &seen, &Memory::default(), at(10));
    let Some(Action::StopContainer(kill)) = plan.actions.first() else {
        panic!("no kill in {plan:?}")
    };
    let restarts = matches!(plan.actions.get(1), Some(Action::StartContainer(_)));
    assert_eq!(restarts, kill.message.ends_with("restart") || kill.message.ends_with("restarted"));
    kill.clone()
}

use crate::model::ContainerRecord;

#[test]
fn kills_say_why_and_how() {
    let fine = Verdicts { startup: Verdict::Success, ..Verdicts::default() };
    let hung = Verdicts { liveness: Verdict::Failure, ..fine };
    let stuck = Verdicts { startup: Verdict::Failure, ..Verdicts::default() };
    let changed = ContainerRecord { definition: 7, ..running("a", 0) };
    let table = [
        (
            "Always",
            running("a", 0),
            hung,
            "Container a failed liveness probe, will be restarted",
            20,
        ),
        ("Never", running("a", 0), hung, "Container a failed liveness probe", 20),
        (
            "Always",
            running("a", 0),
            stuck,
            "Container a failed startup probe, will be restarted",
            3,
        ),
        ("Never", running("a", 0), stuck, "Container a failed startup probe", 3),
        ("Never", changed, fine, "Container a definition changed, will be restarted", 20),
    ];
    for (policy, record, verdicts, message, grace) in table {
        let kill = only_kill(policy, record, verdicts);
        assert_eq!((kill.message.as_str(), kill.grace_seconds), (message, grace));
        assert!(kill.pre_stop);
    }
    let kill = only_kill("Always", record("a", 0, RecordState::Unknown), fine);
    let text = "Container is in \"unknown\" state, try killing it before restart";
    assert_eq!((kill.message.as_str(), kill.pre_stop), (text, false));
}

#[test]
fn verdicts_of_probes_that_are_not_configured_do_not_count() {
    let mut seen = seen(ready(), vec![running("a", 0)]);
    let failure = Verdict::Failure;
    let all = Verdicts { startup: failure, liveness: failure, readiness: failure };
    seen.verdicts.insert("a0".into(), all);
    assert_eq!(planned(&apps("Always", 1), &seen), "");
}

#[test]
fn the_last_container_killed_under_never_tells_its_reason() {
    let pod =
        pod(json!({"restartPolicy": "Never", "containers": [{"name": "a", "livenessProbe": {}}]}));
    let mut seen = seen(ready(), vec![running("a", 0)]);
    let hung = Verdicts { liveness: Verdict::Failure, ..Verdicts::default() };
    seen.verdicts.insert("a0".into(), hung);
    let plan = plan(&pod, &seen, &Memory::default(), at(10));
    let [Action::KillPod(kill)] = plan.actions.as_slice() else { panic!("{plan:?}") };
    assert_eq!(kill.containers[0].message, "Container a failed liveness probe");
}

#[test]
fn a_broken_sandbox_begins_again() {
    let pod = apps("Always", 2);
    let half = seen(broken(), vec![running("a", 0), exited("b", 1, 1)]);
    assert_eq!(planned(&pod, &half), "killpod a0 changed; sandbox 1; start a#1; start b#2");
    let on_failure = apps("OnFailure", 2);
    let one_done = seen(broken(), vec![exited("a", 0, 0), exited("b", 0, 1)]);
    assert_eq!(planned(&on_failure, &one_done), "killpod  changed; sandbox 1; start b#1");
    let all_done = seen(broken(), vec![exited("a", 0, 0), exited("b", 0, 0)]);
    assert_eq!(planned(&on_failure, &all_done), "");
    assert_eq!(planned(&apps("Never", 2), &half), "killpod a0");
}

#[test]
fn a_sandbox_without_address_is_broken_unless_the_network_is_the_hosts() {
    let bare = Sandbox::Ready { id: "s".into(), attempt: 4, ips: vec![] };
    let seen = seen(bare, vec![running("a", 0)]);
    assert_eq!(planned(&apps("Always", 1), &seen), "killpod a0 changed; sandbox 5; start a#1");
    let host = pod(json!({"hostNetwork": true, "containers": [{"name": "a"}]}));
    assert_eq!(planned(&host, &seen), "");
}

#[test]
fn after_a_reboot_the_count_goes_on_from_what_the_api_shows() {
    let status = json!({"containerStatuses": [
        {"name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 2,
         "containerID": "klet://x", "state": {"running": {}}},
    ]});
    let seen = seen(broken(), vec![]);
    let always = shown(apps("Always", 1), status.clone());
    assert_eq!(planned(&always, &seen), "killpod  changed; sandbox 1; start a#3");
    assert_eq!(planned(&shown(apps("Never", 1), status), &seen), "");
}

#[test]
fn after_a_reboot_what_had_succeeded_is_not_run_again() {
    let ended = |name: &str, code: i32| {
        json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0,
               "containerID": "klet://x", "state": {"terminated": {"exitCode": code}}})
    };
    let status = json!({"containerStatuses": [ended("a", 0), ended("b", 1)]});
    let pod = shown(apps("OnFailure", 2), status);
    assert_eq!(planned(&pod, &seen(broken(), vec![])), "killpod  changed; sandbox 1; start b#1");
    assert_eq!(planned(&pod, &seen(ready(), vec![])), "start b#1");
}

#[test]
fn old_attempts_are_forgotten_but_for_the_last() {
    let records = vec![exited("a", 0, 1), exited("a", 1, 1), running("a", 2)];
    assert_eq!(planned(&apps("Always", 1), &seen(ready(), records)), "forget a0");
    let created = record("a", 1, RecordState::Created);
    let records = vec![exited("a", 0, 1), created, running("a", 2)];
    assert_eq!(planned(&apps("Always", 1), &seen(ready(), records)), "forget a1");
}
