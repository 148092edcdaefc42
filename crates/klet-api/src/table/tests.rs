//! Every STATUS situation, and the printed look of each table.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Printer, columns, escape, pod_row, pod_status, render, row};

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn waiting(reason: &str) -> Value {
    json!({"waiting": {"reason": reason}})
}

fn terminated(code: i32, reason: &str) -> Value {
    json!({"terminated": {"exitCode": code, "reason": reason}})
}

fn running() -> Value {
    json!({"running": {"startedAt": "2026-01-02T03:04:00Z"}})
}

/// A pod of the phase with these init and app container states; what runs is ready.
fn pod(phase: &str, init: &[Value], app: &[Value]) -> Value {
    let specs = |prefix: &str, states: &[Value]| -> Value {
        (0..states.len()).map(|i| json!({"name": format!("{prefix}{i}")})).collect()
    };
    let statuses = |prefix: &str, states: &[Value]| -> Value {
        let one = |(i, state): (usize, &Value)| {
            let ready = state.get("running").is_some();
            json!({"name": format!("{prefix}{i}"), "state": state, "ready": ready,
                "restartCount": 0})
        };
        states.iter().enumerate().map(one).collect()
    };
    json!({"metadata": {"name": "p", "creationTimestamp": "2026-01-02T03:00:00Z"},
        "spec": {"initContainers": specs("i", init), "containers": specs("c", app)},
        "status": {"phase": phase, "initContainerStatuses": statuses("i", init),
            "containerStatuses": statuses("c", app)}})
}

#[test]
fn status_says_what_the_containers_do() {
    let creating = || waiting("ContainerCreating");
    let init = || waiting("PodInitializing");
    let cases = [
        (pod("Pending", &[], &[]), "Pending"),
        (pod("Pending", &[], &[creating()]), "ContainerCreating"),
        (pod("Running", &[], &[running()]), "Running"),
        (pod("Pending", &[init(), init()], &[init()]), "Init:0/2"),
        (pod("Pending", &[running(), init()], &[init()]), "Init:0/2"),
        (pod("Pending", &[terminated(0, "Completed"), running()], &[init()]), "Init:1/2"),
        (pod("Pending", &[terminated(0, "Completed")], &[init()]), "PodInitializing"),
        (pod("Pending", &[terminated(1, "Error")], &[init()]), "Init:Error"),
        (pod("Pending", &[terminated(137, "OOMKilled")], &[init()]), "Init:OOMKilled"),
        (pod("Pending", &[terminated(3, "")], &[init()]), "Init:ExitCode:3"),
        (pod("Pending", &[waiting("CrashLoopBackOff")], &[init()]), "Init:CrashLoopBackOff"),
        (pod("Pending", &[waiting("ErrImagePull")], &[init()]), "Init:ErrImagePull"),
        (pod("Pending", &[waiting("ImagePullBackOff")], &[init()]), "Init:ImagePullBackOff"),
        (pod("Running", &[], &[waiting("CrashLoopBackOff")]), "CrashLoopBackOff"),
        (pod("Running", &[], &[terminated(1, "Error")]), "Error"),
        (pod("Succeeded", &[], &[terminated(0, "Completed")]), "Completed"),
        (pod("Failed", &[], &[terminated(137, "OOMKilled")]), "OOMKilled"),
        (pod("Running", &[], &[terminated(2, "")]), "ExitCode:2"),
        (pod("Running", &[], &[json!({"terminated": {"exitCode": 137, "signal": 9}})]), "Signal:9"),
        (pod("Running", &[], &[terminated(0, "Completed"), running()]), "NotReady"),
        (pod("Running", &[], &[terminated(1, "Error"), waiting("CrashLoopBackOff")]), "Error"),
        (pod("Running", &[], &[waiting("X"), terminated(1, "Error")]), "X"),
    ];
    for (pod, want) in cases {
        assert_eq!(pod_status(&pod), want, "{pod}");
    }
}

#[test]
fn status_heeds_reasons_conditions_and_deletion() {
    #[track_caller]
    fn check(base: &Value, change: Value, want: &str) {
        let changed = crate::patch::merge_patch(base, &change);
        assert_eq!(pod_status(&changed), want);
    }
    let condition = |kind: &str, status: &str, reason: &str| json!({"status": {"conditions": [{"type": kind, "status": status, "reason": reason}]}});
    let deleted = json!({"metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z"}});
    let up = pod("Running", &[], &[running()]);
    let mixed = pod("Running", &[], &[terminated(0, "Completed"), running()]);
    let restarted = pod("Running", &[waiting("X")], &[running()]);
    check(&pod("Failed", &[], &[]), json!({"status": {"reason": "Evicted"}}), "Evicted");
    check(
        &pod("Failed", &[], &[terminated(143, "Error")]),
        json!({"status": {"reason": "DeadlineExceeded"}}),
        "Error",
    );
    check(
        &pod("Pending", &[], &[]),
        condition("PodScheduled", "False", "SchedulingGated"),
        "SchedulingGated",
    );
    check(&mixed, condition("Ready", "True", ""), "Running");
    check(&up, deleted.clone(), "Terminating");
    check(&pod("Succeeded", &[], &[terminated(0, "Completed")]), deleted.clone(), "Completed");
    check(
        &up,
        json!({"metadata": {"deletionTimestamp": "x"}, "status": {"reason": "NodeLost"}}),
        "Unknown",
    );
    check(&restarted, condition("Initialized", "True", ""), "Init:X");
}

#[test]
fn a_sidecar_counts_as_ready_and_stops_the_walk_until_it_has_started() {
    let mut pod = pod(
        "Pending",
        &[terminated(0, "Completed"), running(), waiting("PodInitializing")],
        &[waiting("PodInitializing")],
    );
    pod["spec"]["initContainers"][1]["restartPolicy"] = json!("Always");
    pod["status"]["initContainerStatuses"][1]["started"] = json!(false);
    pod["status"]["initContainerStatuses"][1]["restartCount"] = json!(2);
    assert_eq!(pod_row(&pod, now()).cells[1..4], ["0/2", "Init:1/3", "2"]);
    pod["status"]["initContainerStatuses"][1]["started"] = json!(true);
    assert_eq!(pod_row(&pod, now()).cells[1..4], ["1/2", "Init:2/3", "2"]);
    pod["status"]["initContainerStatuses"][2]["state"] = terminated(0, "Completed");
    pod["status"]["initContainerStatuses"][2]["restartCount"] = json!(7);
    pod["status"]["containerStatuses"][0]["state"] = running();
    pod["status"]["containerStatuses"][0]["ready"] = json!(true);
    pod["status"]["containerStatuses"][0]["restartCount"] = json!(1);
    pod["status"]["phase"] = json!("Running");
    assert_eq!(pod_row(&pod, now()).cells[1..4], ["2/2", "Running", "3"]);
}

#[test]
fn restarts_say_when_the_last_one_was() {
    let mut pod = pod("Running", &[], &[running(), running()]);
    for (index, at) in ["2026-01-02T03:03:23Z", "2026-01-02T03:03:13Z"].iter().enumerate() {
        pod["status"]["containerStatuses"][index]["restartCount"] = json!(index + 1);
        pod["status"]["containerStatuses"][index]["lastState"] =
            json!({"terminated": {"finishedAt": at}});
    }
    let table = render(columns("Pod"), &[pod_row(&pod, now())]);
    assert_eq!(
        table,
        "NAME   READY   STATUS    RESTARTS      AGE\n\
         p      2/2     Running   3 (42s ago)   4m5s\n"
    );
}

#[test]
fn the_wide_cells_of_a_pod_are_filled_or_none() {
    let bare = pod("Pending", &[], &[]);
    assert_eq!(pod_row(&bare, now()).cells[5..], ["<none>", "<none>", "<none>", "<none>"]);
    let mut full = bare;
    full["status"]["podIPs"] = json!([{"ip": "10.88.0.2"}]);
    full["spec"]["nodeName"] = json!("n");
    full["spec"]["readinessGates"] = json!([{"conditionType": "a"}, {"conditionType": "b"}]);
    full["status"]["conditions"] = json!([{"type": "b", "status": "True"}]);
    assert_eq!(pod_row(&full, now()).cells[5..], ["10.88.0.2", "n", "<none>", "1/2"]);
}

#[test]
fn every_row_has_a_cell_for_each_column() {
    let kinds = [
        "Pod",
        "Node",
        "Event",
        "ConfigMap",
        "Secret",
        "Namespace",
        "Service",
        "Deployment",
        "ReplicaSet",
        "Unheard",
    ];
    for kind in kinds {
        assert_eq!(row(kind, &json!({}), now()).cells.len(), columns(kind).len(), "{kind}");
    }
}

#[track_caller]
fn check_table(kind: &str, object: Value, want: &str) {
    assert_eq!(render(columns(kind), &[row(kind, &object, now())]), want);
}

#[test]
fn the_other_kinds_print_their_columns() {
    let meta = json!({"name": "x", "creationTimestamp": "2026-01-02T03:03:05Z",
        "labels": {"node-role.kubernetes.io/control-plane": ""}});
    check_table(
        "ConfigMap",
        json!({"metadata": meta, "data": {"a": "1"}, "binaryData": {"b": ""}}),
        "NAME   DATA   AGE\nx      2      60s\n",
    );
    check_table(
        "Secret",
        json!({"metadata": meta, "type": "Opaque", "data": {"a": ""}}),
        "NAME   TYPE     DATA   AGE\nx      Opaque   1      60s\n",
    );
    check_table(
        "Namespace",
        json!({"metadata": meta}),
        "NAME   STATUS   AGE\nx      Active   60s\n",
    );
    check_table(
        "Node",
        json!({"metadata": meta, "spec": {"unschedulable": true}, "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "nodeInfo": {"kubeletVersion": "v1.33.0"}}}),
        "NAME   STATUS                     ROLES           AGE   VERSION\n\
         x      Ready,SchedulingDisabled   control-plane   60s   v1.33.0\n",
    );
    check_table(
        "Event",
        json!({"metadata": meta, "type": "Normal", "reason": "Started", "message": "a\nb",
            "involvedObject": {"kind": "Pod", "name": "p"},
            "lastTimestamp": "2026-01-02T03:04:00Z"}),
        "LAST SEEN   TYPE     REASON    OBJECT   MESSAGE\n\
         5s          Normal   Started   pod/p    a...\n",
    );
}

#[test]
fn a_printer_remembers_widths_and_escapes() {
    let line = |cells: &[&str]| cells.iter().map(|&cell| cell.to_owned()).collect::<Vec<_>>();
    let mut printer = Printer::new();
    assert_eq!(
        printer.lines(&[line(&["NAME", "A"]), line(&["long-name", "b"])]),
        "NAME        A\nlong-name   b\n"
    );
    assert_eq!(printer.lines(&[line(&["x", "c"])]), "x           c\n");
    assert_eq!(escape("\x1b[31mred\tx\x07"), "^[[31mred^Ix^G");
    assert_eq!(escape("one\r\ntwo"), "one...");
    assert_eq!(escape("\u{202e}"), "\\u{202e}");
}
