//! What the API says, rule by rule.

use klet_api::{Pod, PodStatus};
use serde_json::{Value, json};

use super::*;
use crate::model::{ContainerRecord, RecordState, Verdict, Verdicts};
use crate::testing::*;

mod conditions;
mod phase;

fn node() -> NodeFacts {
    NodeFacts { name: "n".into(), host_ips: vec!["192.0.2.1".parse().unwrap()] }
}

/// The status as the API would show it, at second 60.
fn told(pod: &Pod, seen: &Observed, memory: &Memory) -> Value {
    let told = status(pod, seen, memory, &node(), at(60));
    let again =
        status(&Pod { status: Some(told.clone()), ..pod.clone() }, seen, memory, &node(), at(90));
    assert_eq!(told, again, "saying it again changes nothing");
    serde_json::to_value(told).unwrap()
}

fn plain(pod: &Pod, seen: &Observed) -> Value {
    told(pod, seen, &Memory::default())
}

fn failed(reason: &str, message: &str) -> Memory {
    let mut memory = Memory::default();
    memory.start_failed("a", reason, message, at(10));
    memory
}

#[test]
fn a_new_pod() {
    let status = plain(&apps("Always", 1), &Observed::default());
    assert_eq!(status["phase"], "Pending");
    assert_eq!(status["hostIP"], "192.0.2.1");
    assert_eq!(status["hostIPs"], json!([{"ip": "192.0.2.1"}]));
    assert_eq!(status["qosClass"], "BestEffort");
    assert_eq!(status["startTime"], "2023-11-14T22:14:20Z");
    assert_eq!(status["observedGeneration"], 3);
    assert_eq!(status.get("podIP"), None);
    let container = &status["containerStatuses"][0];
    assert_eq!(
        container,
        &json!({
            "name": "a", "image": "img", "imageID": "", "ready": false, "started": false,
            "restartCount": 0, "lastState": {},
            "state": {"waiting": {"reason": "ContainerCreating"}},
        })
    );
    let with_init = pod(json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a"}]}));
    let status = plain(&with_init, &Observed::default());
    let waiting = json!({"waiting": {"reason": "PodInitializing"}});
    assert_eq!(status["containerStatuses"][0]["state"], waiting);
    assert_eq!(status["initContainerStatuses"][0]["state"], waiting);
}

#[test]
fn a_running_pod() {
    let status = plain(&apps("Always", 1), &seen(ready(), vec![running("a", 2)]));
    assert_eq!((&status["phase"], &status["podIP"]), (&json!("Running"), &json!("10.0.0.9")));
    assert_eq!(
        status["containerStatuses"][0],
        json!({
            "name": "a", "image": "img", "imageID": "sha256:1", "containerID": "klet://a2",
            "ready": true, "started": true, "restartCount": 2, "lastState": {},
            "state": {"running": {"startedAt": "2023-11-14T22:13:20Z"}},
        })
    );
}

#[test]
fn lists_are_sorted_by_name_init_in_order() {
    let pod = pod(json!({
        "initContainers": [{"name": "z"}, {"name": "y"}],
        "containers": [{"name": "c"}, {"name": "b"}],
    }));
    let status = status(&pod, &Observed::default(), &Memory::default(), &node(), at(0));
    let names = |list: Option<Vec<ContainerStatus>>| -> Vec<String> {
        list.into_iter().flatten().map(|status| status.name).collect()
    };
    assert_eq!(names(status.container_statuses), ["b", "c"]);
    assert_eq!(names(status.init_container_statuses), ["z", "y"]);
}

#[test]
fn a_crash_shows_until_the_back_off_is_known() {
    let records = vec![exited("a", 0, 2), exited("a", 1, 1)];
    let seen = seen(ready(), records);
    let end = |id: &str, code: i32| {
        json!({"terminated": {
            "containerID": format!("klet://{id}"), "exitCode": code, "reason": "Error",
            "startedAt": "2023-11-14T22:13:20Z", "finishedAt": "2023-11-14T22:13:30Z"}})
    };
    let pod = apps("Always", 1);
    let before = plain(&pod, &seen);
    assert_eq!(before["containerStatuses"][0]["state"], end("a1", 1));
    assert_eq!(before["containerStatuses"][0]["lastState"], end("a0", 2));
    let after = told(&pod, &seen, &failed("CrashLoopBackOff", "back-off 10s"));
    let container = &after["containerStatuses"][0];
    let waiting = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}});
    assert_eq!(container["state"], waiting);
    assert_eq!(container["lastState"], end("a1", 1));
    assert_eq!(container["restartCount"], 1);
    assert_eq!(container["containerID"], "klet://a1");
    assert_eq!(after["phase"], "Running");
}

#[test]
fn a_recorded_failure_shows_only_where_a_start_is_due() {
    let memory = failed("CreateContainerConfigError", "configmap \"x\" not found");
    let waits = told(&apps("Never", 1), &seen(ready(), vec![]), &memory);
    let state = &waits["containerStatuses"][0]["state"];
    assert_eq!(state["waiting"]["message"], "configmap \"x\" not found");
    assert_eq!(waits["phase"], "Pending");
    let runs = told(&apps("Always", 1), &seen(ready(), vec![running("a", 0)]), &memory);
    assert!(runs["containerStatuses"][0]["state"]["running"].is_object());
    let done = told(&apps("Never", 1), &seen(ready(), vec![exited("a", 0, 1)]), &memory);
    assert!(done["containerStatuses"][0]["state"]["terminated"].is_object());
    let gone = deleted(apps("Always", 1), 1);
    let ends = told(&gone, &seen(ready(), vec![exited("a", 0, 1)]), &memory);
    assert!(ends["containerStatuses"][0]["state"]["terminated"].is_object());
}

#[test]
fn an_attempt_that_never_ran_started_at_the_epoch() {
    let mut record = exited("a", 0, 128);
    let RecordState::Exited { started_at, reason, message, .. } = &mut record.state else {
        unreachable!()
    };
    (*started_at, *reason, *message) = (None, "StartError".into(), "no such file".into());
    let status = plain(&apps("Never", 1), &seen(ready(), vec![record]));
    let end = &status["containerStatuses"][0]["state"]["terminated"];
    assert_eq!(end["startedAt"], "1970-01-01T00:00:00Z");
    assert_eq!((&end["reason"], &end["message"]), (&json!("StartError"), &json!("no such file")));
}

fn shown_running(count: i64) -> Value {
    json!({"phase": "Running", "containerStatuses": [{
        "name": "a", "image": "img", "imageID": "sha256:1", "containerID": "klet://x",
        "ready": true, "started": true, "restartCount": count, "lastState": {},
        "state": {"running": {"startedAt": "2023-11-14T22:00:00Z"}}}]})
}

#[test]
fn after_a_reboot_a_container_that_ran_is_told_as_lost() {
    let pod = shown(apps("Always", 1), shown_running(4));
    let status = plain(&pod, &seen(broken(), vec![]));
    let container = &status["containerStatuses"][0];
    assert_eq!(container["restartCount"], 5);
    assert_eq!(container["state"]["waiting"]["reason"], "ContainerCreating");
    assert_eq!(
        container["lastState"]["terminated"],
        json!({"exitCode": 137, "reason": "ContainerStatusUnknown", "message": "The container could not be located when the pod was \
            deleted.  The container used to be Running"})
    );
    assert_eq!(status["phase"], "Running");
}

#[test]
fn a_container_nobody_knows_of_is_told_as_ended() {
    let pod = shown(apps("Always", 1), shown_running(0));
    let unknown = record("a", 0, RecordState::Unknown);
    let status = plain(&pod, &seen(ready(), vec![unknown]));
    let end = &status["containerStatuses"][0]["state"]["terminated"];
    let text = "The container could not be located when the pod was terminated";
    assert_eq!((&end["exitCode"], &end["message"]), (&json!(137), &json!(text)));
}

#[test]
fn ready_and_started_follow_the_verdicts() {
    use Verdict::{Failure, Success, Unknown};
    let pod = pod(json!({"containers": [{"name": "a", "startupProbe": {}, "readinessProbe": {}}]}));
    for (startup, readiness, started, is_ready) in [
        (Unknown, Unknown, false, false),
        (Failure, Success, false, false),
        (Success, Unknown, true, false),
        (Success, Failure, true, false),
        (Success, Success, true, true),
    ] {
        let mut seen = seen(ready(), vec![running("a", 0)]);
        let verdicts = Verdicts { startup, readiness, liveness: Unknown };
        seen.verdicts.insert("a0".into(), verdicts);
        let status = plain(&pod, &seen);
        let container = &status["containerStatuses"][0];
        assert_eq!(container["started"], started, "{startup:?} {readiness:?}");
        assert_eq!(container["ready"], is_ready, "{startup:?} {readiness:?}");
    }
}

#[test]
fn what_was_ready_stays_ready_while_a_new_daemon_has_not_probed() {
    let pod = pod(json!({"containers": [{"name": "a", "startupProbe": {}, "readinessProbe": {}}]}));
    let pod = shown(pod, shown_running(0));
    let same = ContainerRecord { id: "x".into(), ..running("a", 0) };
    let status = plain(&pod, &seen(ready(), vec![same]));
    assert_eq!(status["containerStatuses"][0]["ready"], true);
    let other = plain(&pod, &seen(ready(), vec![running("a", 1)]));
    assert_eq!(other["containerStatuses"][0]["ready"], false);
    assert_eq!(other["containerStatuses"][0]["started"], false);
}

#[test]
fn addresses_stay_with_a_stopped_pod_and_host_pods_have_the_nodes() {
    let pod = shown(
        apps("Never", 1),
        json!({"phase": "Succeeded", "podIP": "10.0.0.5", "podIPs": [{"ip": "10.0.0.5"}]}),
    );
    assert_eq!(plain(&pod, &seen(broken(), vec![]))["podIP"], "10.0.0.5");
    let host = crate::testing::pod(json!({"hostNetwork": true, "containers": [{"name": "a"}]}));
    let bare = Sandbox::Ready { id: "s".into(), attempt: 0, ips: vec![] };
    assert_eq!(plain(&host, &seen(bare, vec![]))["podIP"], "192.0.2.1");
    let both = ["10.0.0.9", "10.0.0.8", "fd00::9"].map(|ip| ip.parse().unwrap());
    let dual = Sandbox::Ready { id: "s".into(), attempt: 0, ips: both.to_vec() };
    let ips = json!([{"ip": "10.0.0.9"}, {"ip": "fd00::9"}]);
    assert_eq!(plain(&apps("Always", 1), &seen(dual, vec![]))["podIPs"], ips);
}

#[test]
fn qos_class_of_requests_and_limits() {
    let of = |resources: Value| {
        let other = json!({"name": "b", "resources": {}});
        let one = json!({"name": "a", "resources": resources.clone()});
        let alone = pod(json!({"containers": [one.clone()]}));
        let beside = pod(json!({"containers": [one, other]}));
        (qos_class(&alone), qos_class(&beside))
    };
    let full = json!({"cpu": "1", "memory": "1Gi"});
    assert_eq!(of(json!({})), ("BestEffort", "BestEffort"));
    assert_eq!(of(json!({"requests": {"cpu": "0"}})), ("BestEffort", "BestEffort"));
    assert_eq!(of(json!({"requests": {"cpu": "1"}})), ("Burstable", "Burstable"));
    assert_eq!(of(json!({"limits": full, "requests": full})), ("Guaranteed", "Burstable"));
    let same = json!({"cpu": "1000m", "memory": "1024Mi"});
    assert_eq!(of(json!({"limits": full, "requests": same})).0, "Guaranteed");
    let less = json!({"cpu": "1", "memory": "1Mi"});
    assert_eq!(of(json!({"limits": full, "requests": less})).0, "Burstable");
}

#[test]
fn other_fields_and_foreign_conditions_survive() {
    let foreign = json!({"type": "example.com/x", "status": "True", "lastProbeTime": null});
    let pod = shown(
        apps("Always", 1),
        json!({"nominatedNodeName": "m", "conditions": [foreign], "qosClass": "Guaranteed"}),
    );
    let status: PodStatus = serde_json::from_value(plain(&pod, &Observed::default())).unwrap();
    assert_eq!(status.nominated_node_name.as_deref(), Some("m"));
    assert_eq!(status.qos_class.as_deref(), Some("Guaranteed"), "never changes");
    assert_eq!(status.conditions.unwrap()[0].type_, "example.com/x");
}

#[test]
fn termination_messages_share_the_room() {
    let long = "\u{e9}".repeat(4096);
    let mut record = exited("a", 0, 1);
    if let RecordState::Exited { message, .. } = &mut record.state {
        *message = long;
    }
    let room = |others: Value| {
        let pod = pod(json!({
            "restartPolicy": "Never", "initContainers": others, "containers": [{"name": "a"}],
        }));
        let status = plain(&pod, &seen(ready(), vec![record.clone()]));
        let message = &status["containerStatuses"][0]["state"]["terminated"]["message"];
        message.as_str().map(str::len)
    };
    assert_eq!(room(json!([])), Some(8192), "all of it");
    let four = json!([{"name": "i"}, {"name": "j"}, {"name": "k"}, {"name": "l"}]);
    assert_eq!(room(four), Some(2456), "2457 would split a character");
}
