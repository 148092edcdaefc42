//! Init containers and sidecars.

use super::*;

fn with_init(policy: &str) -> Pod {
    pod(json!({
        "restartPolicy": policy,
        "initContainers": [{"name": "i"}, {"name": "j"}],
        "containers": [{"name": "a"}],
    }))
}

/// A sidecar `s` with a startup probe, then an init container `j`, then the app `a`.
fn with_sidecar(policy: &str) -> Pod {
    pod(json!({
        "restartPolicy": policy,
        "initContainers": [
            {"name": "s", "restartPolicy": "Always", "startupProbe": {}, "livenessProbe": {}},
            {"name": "j"},
        ],
        "containers": [{"name": "a"}],
    }))
}

#[test]
fn init_containers_run_one_after_the_other() {
    let pod = with_init("Always");
    let table = [
        (vec![], "start i#0"),
        (vec![running("i", 0)], ""),
        (vec![exited("i", 0, 0)], "start j#0"),
        (vec![exited("i", 0, 0), running("j", 0)], ""),
        (vec![exited("i", 0, 0), exited("j", 0, 0)], "start a#0"),
        (vec![exited("i", 0, 0), exited("j", 0, 0), running("a", 0)], ""),
        // Records long gone do not run again.
        (vec![exited("j", 0, 0), running("a", 0)], ""),
        (vec![running("a", 0)], ""),
        (vec![exited("j", 0, 0), exited("a", 0, 1)], "start a#1"),
        (vec![record("i", 0, RecordState::Created)], "start i#1"),
    ];
    for (records, expected) in table {
        let names: Vec<_> = records.iter().map(|r| r.id.clone()).collect();
        assert_eq!(planned(&pod, &seen(ready(), records)), expected, "{names:?}");
    }
    assert_eq!(planned(&pod, &Observed::default()), "sandbox 0; start i#0");
}

#[test]
fn a_failed_init_container_follows_the_policy() {
    let oom = |name| {
        let mut record = exited(name, 0, 0);
        let RecordState::Exited { reason, .. } = &mut record.state else { unreachable!() };
        *reason = "OOMKilled".to_owned();
        record
    };
    let unknown = record("i", 0, RecordState::Unknown);
    for (record, again) in [
        (exited("i", 0, 1), "start i#1"),
        (oom("i"), "start i#1"),
        (unknown.clone(), "kill i0; start i#1"),
    ] {
        let seen = seen(ready(), vec![record]);
        assert_eq!(planned(&with_init("Always"), &seen), again);
        assert_eq!(planned(&with_init("OnFailure"), &seen), again);
        assert!(planned(&with_init("Never"), &seen).starts_with("killpod"));
    }
}

#[test]
fn a_new_sandbox_runs_init_again() {
    let records = vec![exited("i", 0, 0), exited("j", 0, 0), running("a", 0)];
    assert_eq!(
        planned(&with_init("Always"), &seen(broken(), records)),
        "killpod a0 changed; forget i0,j0; sandbox 1; start i#1"
    );
    // In the new sandbox the exited app is from the old one.
    let old = vec![exited("a", 0, 137)];
    assert_eq!(planned(&with_init("Always"), &seen(ready(), old)), "start i#0");
}

#[test]
fn a_sidecar_gates_its_successor_until_it_has_started() {
    let pod = with_sidecar("Always");
    let mut up = seen(ready(), vec![running("s", 0)]);
    assert_eq!(planned(&pod, &up), "");
    let started = Verdicts { startup: Verdict::Success, ..Verdicts::default() };
    up.verdicts.insert("s0".into(), started);
    assert_eq!(planned(&pod, &up), "start j#0");
    up.containers.push(exited("j", 0, 0));
    assert_eq!(planned(&pod, &up), "start a#0");
    up.containers.push(running("a", 0));
    assert_eq!(planned(&pod, &up), "");
}

#[test]
fn a_sidecar_is_restarted_whatever_the_policy_and_code() {
    for policy in ["Always", "OnFailure", "Never"] {
        let records = vec![exited("s", 0, 0), exited("j", 0, 0), running("a", 0)];
        let seen = seen(ready(), records);
        assert_eq!(planned(&with_sidecar(policy), &seen), "start s#1", "{policy}");
    }
}

#[test]
fn a_sidecar_with_a_bad_probe_or_image_is_replaced() {
    let fine = Verdicts { startup: Verdict::Success, ..Verdicts::default() };
    let hung = Verdicts { liveness: Verdict::Failure, ..fine };
    let stuck = Verdicts { startup: Verdict::Failure, ..Verdicts::default() };
    let changed = ContainerRecord { definition: 7, ..running("s", 0) };
    for (sidecar, verdicts, message) in [
        (running("s", 0), hung, "Init container s failed liveness probe"),
        (running("s", 0), stuck, "Init container s failed startup probe"),
        (changed, fine, "Init container s definition changed"),
    ] {
        let mut seen = seen(ready(), vec![sidecar, exited("j", 0, 0), running("a", 0)]);
        seen.verdicts.insert("s0".into(), verdicts);
        let plan = plan(&with_sidecar("Always"), &seen, &Memory::default(), at(10));
        assert_eq!(sketches(&plan), "kill s0; start s#1");
        let Action::StopContainer(kill) = &plan.actions[0] else { unreachable!() };
        assert_eq!(kill.message, message);
    }
}

#[test]
fn sidecars_do_not_keep_a_finished_pod() {
    let records = vec![running("s", 0), exited("j", 0, 0), exited("a", 0, 0)];
    assert_eq!(planned(&with_sidecar("Never"), &seen(ready(), records)), "killpod s0");
}
