//! Phases.

use super::*;

fn phase_of(pod: &Pod, records: Vec<ContainerRecord>) -> String {
    plain(pod, &seen(ready(), records))["phase"].as_str().unwrap().to_owned()
}

#[test]
fn phases_of_app_containers() {
    let table = [
        ("Always", vec![running("a", 0), running("b", 0)], "Running"),
        ("Always", vec![running("a", 0)], "Pending"),
        ("Always", vec![running("a", 0), exited("b", 0, 1)], "Running"),
        ("Always", vec![exited("a", 0, 0), exited("b", 0, 0)], "Running"),
        ("OnFailure", vec![exited("a", 0, 0), exited("b", 0, 0)], "Succeeded"),
        ("OnFailure", vec![exited("a", 0, 0), exited("b", 0, 1)], "Running"),
        ("Never", vec![exited("a", 0, 0), exited("b", 0, 0)], "Succeeded"),
        ("Never", vec![exited("a", 0, 0), exited("b", 0, 1)], "Failed"),
        ("Never", vec![exited("a", 0, 1), running("b", 0)], "Running"),
        ("Never", vec![exited("a", 0, 0)], "Pending"),
        ("Never", vec![], "Pending"),
    ];
    for (policy, records, phase) in table {
        let names: Vec<_> = records.iter().map(|r| r.id.clone()).collect();
        assert_eq!(phase_of(&apps(policy, 2), records), phase, "{policy} {names:?}");
    }
}

#[test]
fn phases_of_init_containers() {
    let with_init = |policy: &str| {
        let init = json!([{"name": "i"}, {"name": "j"}]);
        pod(json!({"restartPolicy": policy, "initContainers": init, "containers": [{"name": "a"}]}))
    };
    let done = || vec![exited("i", 0, 0), exited("j", 0, 0)];
    assert_eq!(phase_of(&with_init("Never"), vec![exited("i", 0, 1)]), "Failed");
    assert_eq!(phase_of(&with_init("Always"), vec![exited("i", 0, 1)]), "Pending");
    assert_eq!(phase_of(&with_init("Never"), vec![running("i", 0)]), "Pending");
    assert_eq!(phase_of(&with_init("Never"), done()), "Pending");
    let up = done().into_iter().chain([running("a", 0)]).collect();
    assert_eq!(phase_of(&with_init("Never"), up), "Running");
}

#[test]
fn sidecars_hold_a_pod_in_running_but_do_not_decide_its_end() {
    let pod = pod(json!({
        "restartPolicy": "Never",
        "initContainers": [{"name": "s", "restartPolicy": "Always", "startupProbe": {}}],
        "containers": [{"name": "a"}],
    }));
    assert_eq!(phase_of(&pod, vec![running("s", 0)]), "Pending");
    assert_eq!(phase_of(&pod, vec![running("s", 0), running("a", 0)]), "Running");
    assert_eq!(phase_of(&pod, vec![running("s", 0), exited("a", 0, 0)]), "Running");
    assert_eq!(phase_of(&pod, vec![exited("s", 0, 137), exited("a", 0, 0)]), "Succeeded");
    assert_eq!(phase_of(&pod, vec![exited("s", 0, 0), exited("a", 0, 1)]), "Failed");
}

#[test]
fn a_final_phase_stays() {
    let pod =
        shown(apps("Always", 1), json!({"phase": "Failed", "reason": "Evicted", "message": "m"}));
    let status = plain(&pod, &seen(ready(), vec![running("a", 0)]));
    assert_eq!((&status["phase"], &status["reason"]), (&json!("Failed"), &json!("Evicted")));
}

#[test]
fn a_doomed_pod_has_failed_once_nothing_runs() {
    let doom = crate::model::StartFailure { reason: "Evicted".into(), message: "full".into() };
    let memory = Memory { doomed: Some(doom), ..Memory::default() };
    let pod = shown(apps("Always", 1), json!({"phase": "Running"}));
    let ending = told(&pod, &seen(ready(), vec![running("a", 0)]), &memory);
    assert_eq!((&ending["phase"], ending.get("reason")), (&json!("Running"), None));
    let ended = told(&pod, &seen(broken(), vec![exited("a", 0, 143)]), &memory);
    assert_eq!((&ended["phase"], &ended["reason"]), (&json!("Failed"), &json!("Evicted")));
    assert_eq!(ended["message"], "full");
}

#[test]
fn a_pod_past_its_deadline_has_failed() {
    let mut pod = shown(apps("Always", 1), json!({"startTime": at(0).to_string()}));
    pod.spec.as_mut().unwrap().active_deadline_seconds = Some(30);
    let status = plain(&pod, &seen(broken(), vec![exited("a", 0, 143)]));
    assert_eq!(
        (&status["phase"], &status["reason"]),
        (&json!("Failed"), &json!("DeadlineExceeded"))
    );
}

#[test]
fn reason_and_message_go_with_the_phase() {
    let before = json!({"phase": "Pending", "reason": "Odd", "message": "m"});
    let pod = shown(apps("Always", 1), before);
    assert_eq!(plain(&pod, &Observed::default())["reason"], "Odd");
    let changed = plain(&pod, &seen(ready(), vec![running("a", 0)]));
    assert_eq!((changed.get("reason"), changed.get("message")), (None, None));
}

fn ended(pod: &Pod, records: Vec<ContainerRecord>) -> Value {
    let seen = Observed { leftovers: false, ..seen(broken(), records) };
    plain(&deleted(pod.clone(), 1), &seen)
}

#[test]
fn a_deleted_pod_ends_as_its_containers_did() {
    let pod = apps("Always", 1);
    let killed = seen(broken(), vec![exited("a", 0, 143)]);
    assert_eq!(plain(&deleted(pod.clone(), 1), &killed)["phase"], "Failed");
    assert_eq!(ended(&pod, vec![exited("a", 0, 0)])["phase"], "Succeeded");
}

#[test]
fn cleaned_up_pods_leave_nothing_open() {
    let status = ended(&apps("Always", 1), vec![]);
    assert_eq!(status["phase"], "Failed");
    let end = &status["containerStatuses"][0]["state"]["terminated"];
    assert_eq!(end["reason"], "ContainerStatusUnknown");
    assert_eq!(end["message"], "The container could not be located when the pod was terminated");
    let init = json!([{"name": "i"}, {"name": "j"}, {"name": "k"}]);
    let pod = pod(json!({"initContainers": init, "containers": [{"name": "a"}]}));
    for (records, open) in [
        (vec![], [false, true, true]),
        (vec![exited("i", 0, 137)], [false, true, true]),
        (vec![exited("i", 0, 0), exited("j", 0, 143)], [false, false, true]),
    ] {
        let status = ended(&pod, records);
        let waits = |status: &Value| status["state"]["waiting"].is_object();
        let list = status["initContainerStatuses"].as_array().unwrap();
        assert_eq!(list.iter().map(waits).collect::<Vec<_>>(), open);
        assert!(waits(&status["containerStatuses"][0]), "never came to it");
        assert_eq!(status["phase"], "Failed");
    }
}
