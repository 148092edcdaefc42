//! Conditions.

use super::*;

/// `TYPE=STATUS:REASON:MESSAGE` of each condition.
fn lines(status: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = status["conditions"].as_array().unwrap().iter();
    list.map(|c| {
        let parts = [text(&c["status"]), text(&c["reason"]), text(&c["message"])];
        let line = format!("{}={}", text(&c["type"]), parts.join(":"));
        line.trim_end_matches(':').to_owned()
    })
    .collect()
}

#[test]
fn a_ready_pod_meets_all_in_order() {
    let status = plain(&apps("Always", 1), &seen(ready(), vec![running("a", 0)]));
    assert_eq!(
        lines(&status),
        [
            "PodReadyToStartContainers=True",
            "Initialized=True",
            "Ready=True",
            "ContainersReady=True",
            "PodScheduled=True",
        ]
    );
    let first = &status["conditions"][0];
    assert_eq!(first["observedGeneration"], 3);
    assert_eq!(first["lastTransitionTime"], "2023-11-14T22:14:20Z");
}

#[test]
fn an_initializing_pod_says_what_is_missing() {
    let init = json!([{"name": "i"}, {"name": "j"}]);
    let pod = pod(json!({"initContainers": init, "containers": [{"name": "b"}, {"name": "a"}]}));
    let status = plain(&pod, &Observed::default());
    assert_eq!(
        lines(&status)[..4],
        [
            "PodReadyToStartContainers=False",
            "Initialized=False:ContainersNotInitialized:containers with incomplete status: [i j]",
            "Ready=False:ContainersNotReady:containers with unready status: [b a]",
            "ContainersReady=False:ContainersNotReady:containers with unready status: [b a]",
        ]
    );
    let half = plain(&pod, &seen(ready(), vec![exited("i", 0, 0), running("j", 0)]));
    let message = "containers with incomplete status: [j]";
    assert_eq!(half["conditions"][1]["message"], message);
    let later = vec![exited("i", 0, 0), exited("j", 0, 0)];
    assert_eq!(lines(&plain(&pod, &seen(ready(), later)))[1], "Initialized=True");
}

#[test]
fn a_sidecar_counts_as_initialized_when_started_and_as_ready_beside_the_apps() {
    let pod = pod(json!({
        "initContainers": [{"name": "s", "restartPolicy": "Always", "readinessProbe": {}}],
        "containers": [{"name": "a"}],
    }));
    let status = plain(&pod, &seen(ready(), vec![running("s", 0)]));
    assert_eq!(lines(&status)[1], "Initialized=True");
    let message = "containers with unready status: [s a]";
    assert_eq!(status["conditions"][2]["message"], message);
}

#[test]
fn finished_pods() {
    let done = |code| {
        let status = plain(&apps("Never", 1), &seen(broken(), vec![exited("a", 0, code)]));
        lines(&status)
    };
    assert_eq!(
        done(0)[..4],
        [
            "PodReadyToStartContainers=False",
            "Initialized=True:PodCompleted",
            "Ready=False:PodCompleted",
            "ContainersReady=False:PodCompleted",
        ]
    );
    assert_eq!(
        done(1)[1..4],
        ["Initialized=True", "Ready=False:PodFailed", "ContainersReady=False:PodFailed"]
    );
}

#[test]
fn readiness_gates() {
    let gated = || {
        let gates = json!([{"conditionType": "x"}, {"conditionType": "y"}]);
        pod(json!({"readinessGates": gates, "containers": [{"name": "a"}]}))
    };
    let up = seen(ready(), vec![running("a", 0)]);
    let condition = |type_: &str, status: &str| json!({"type": type_, "status": status});
    let ready_line = |conditions: Value| {
        let pod = shown(gated(), json!({"conditions": conditions}));
        let lines = lines(&plain(&pod, &up));
        lines.into_iter().find(|line| line.starts_with("Ready=")).unwrap()
    };
    assert_eq!(
        ready_line(json!([condition("y", "False")])),
        "Ready=False:ReadinessGatesNotReady:corresponding condition of pod readiness gate \"x\" \
         does not exist., the status of pod readiness gate \"y\" is not \"True\", but False"
    );
    assert_eq!(ready_line(json!([condition("x", "True"), condition("y", "True")])), "Ready=True");
}

#[test]
fn transition_times_change_with_the_status_only() {
    let old = "2020-01-01T00:00:00Z";
    let condition = |type_: &str, status: &str| json!({"type": type_, "status": status, "lastTransitionTime": old});
    let conditions = json!([condition("Ready", "True"), condition("ContainersReady", "False")]);
    let pod = shown(apps("Always", 1), json!({"conditions": conditions}));
    let status = plain(&pod, &seen(ready(), vec![running("a", 0)]));
    let time = |index: usize| status["conditions"][index]["lastTransitionTime"].clone();
    assert_eq!((time(2), time(3)), (json!(old), json!("2023-11-14T22:14:20Z")));
}
