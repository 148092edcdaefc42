//! Pods live and end on real processes.

use klet_e2e::World;
use serde_json::{Value, json};

fn status<'a>(pod: &'a Value, list: &str, name: &str) -> Option<&'a Value> {
    pod["status"][list].as_array()?.iter().find(|status| status["name"] == name)
}

fn sh(script: &str) -> Value {
    json!(["sh", "-c", script])
}

#[test]
fn init_containers_run_in_order_and_the_pod_leaves_nothing() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    let mounts = json!([{ "name": "work", "mountPath": "/work" }]);
    world.create(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "ordered" },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "volumes": [{ "name": "work", "emptyDir": {} }],
            "initContainers": [
                { "name": "first", "image": "busybox", "command": sh("echo first >> /work/log"), "volumeMounts": mounts },
                { "name": "second", "image": "busybox", "command": sh("echo second >> /work/log"), "volumeMounts": mounts },
            ],
            "containers": [
                { "name": "main", "image": "busybox", "command": sh("cat /work/log; exec sleep 1000"), "volumeMounts": mounts },
            ],
        },
    }))?;
    let pod = world.until("the pod is ready", |world| {
        let pod = world.pod("ordered")?;
        Ok(status(&pod, "containerStatuses", "main")
            .is_some_and(|s| s["ready"] == true)
            .then_some(pod))
    })?;
    for name in ["first", "second"] {
        let ended =
            &status(&pod, "initContainerStatuses", name).expect("listed")["state"]["terminated"];
        assert_eq!(
            (&ended["exitCode"], &ended["reason"]),
            (&json!(0), &json!("Completed")),
            "{name}"
        );
    }
    assert_eq!(pod["status"]["phase"], "Running");
    world.until("the log shows the order", |world| {
        let log = world.request_text("GET", "/api/v1/namespaces/default/pods/ordered/log", b"")?;
        Ok((log == "first\nsecond\n").then_some(()))
    })?;
    world.delete("ordered")?;
    world.end()
}

#[test]
fn a_failing_pod_follows_its_restart_policy() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    let pod = |name: &str, policy: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
            "spec": {
                "restartPolicy": policy, "terminationGracePeriodSeconds": 1,
                "containers": [{ "name": "main", "image": "busybox", "command": sh("exit 3") }],
            },
        })
    };
    world.create(&pod("never", "Never"))?;
    world.create(&pod("always", "Always"))?;
    let never = world.until("the pod has failed", |world| {
        let pod = world.pod("never")?;
        Ok((pod["status"]["phase"] == "Failed").then_some(pod))
    })?;
    let ended = &never["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&ended["exitCode"], &ended["reason"]), (&json!(3), &json!("Error")));
    world.until("the container waits in back-off", |world| {
        let pod = world.pod("always")?;
        let container = &pod["status"]["containerStatuses"][0];
        let waits = container["state"]["waiting"]["reason"] == "CrashLoopBackOff";
        Ok((waits && container["restartCount"] == 1).then_some(()))
    })?;
    world.delete("never")?;
    world.delete("always")?;
    world.end()
}

#[test]
fn a_container_that_lives_but_fails_its_liveness_probe_is_restarted() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    let state = world.path("state");
    std::fs::create_dir(&state)?;
    world.create(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "hangs" },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "volumes": [{ "name": "state", "hostPath": { "path": state, "type": "Directory" } }],
            "containers": [{
                "name": "web", "image": "busybox",
                "command": sh("touch /state/healthy; exec sleep 1000"),
                "volumeMounts": [{ "name": "state", "mountPath": "/state" }],
                "livenessProbe": {
                    "exec": { "command": ["cat", "/state/healthy"] },
                    "periodSeconds": 1, "failureThreshold": 1, "initialDelaySeconds": 1,
                },
                "lifecycle": {
                    "postStart": { "exec": { "command": sh("echo hello > /state/greeting") } },
                    "preStop": { "exec": { "command": sh("echo goodbye > /state/greeting") } },
                },
            }],
        },
    }))?;
    let before = world.until("the pod is ready and its hook has run", |world| {
        let pod = world.pod("hangs")?;
        let greeted =
            std::fs::read_to_string(state.join("greeting")).is_ok_and(|text| text == "hello\n");
        let ready = pod["status"]["containerStatuses"][0]["ready"] == true;
        Ok((ready && greeted && state.join("healthy").exists()).then_some(pod))
    })?;
    std::fs::remove_file(state.join("healthy"))?;
    let after = world.until("the container was restarted", |world| {
        let pod = world.pod("hangs")?;
        let restarted = pod["status"]["containerStatuses"][0]["restartCount"].as_i64() >= Some(1);
        Ok(restarted.then_some(pod))
    })?;
    assert_eq!(before["status"]["podIP"], after["status"]["podIP"], "the pod keeps its address");
    let events = world.events("hangs")?;
    for expected in [
        "Unhealthy Liveness probe failed: ",
        "Killing Container web failed liveness probe, will be restarted",
    ] {
        assert!(events.iter().any(|event| event.starts_with(expected)), "{expected}: {events:#?}");
    }
    world.delete("hangs")?;
    let greeting = std::fs::read_to_string(world.path("state").join("greeting"))?;
    assert_eq!(greeting, "goodbye\n", "the preStop hook ran at the end");
    world.end()
}

#[test]
fn readiness_is_told_while_another_container_is_being_stopped() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    let state = world.path("state");
    std::fs::create_dir(&state)?;
    for name in ["alive", "ready"] {
        std::fs::write(state.join(name), b"")?;
    }
    let mounts = json!([{ "name": "state", "mountPath": "/state" }]);
    let probe = |file: &str| json!({ "exec": { "command": ["test", "-e", file] }, "periodSeconds": 1, "failureThreshold": 1 });
    world.create(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "two" },
        "spec": {
            "terminationGracePeriodSeconds": 600,
            "volumes": [{ "name": "state", "hostPath": { "path": state } }],
            "containers": [
                { "name": "stubborn", "image": "busybox", "volumeMounts": mounts,
                  "command": sh("trap '' TERM; while true; do sleep 1; done"),
                  "livenessProbe": probe("/state/alive") },
                { "name": "web", "image": "busybox", "volumeMounts": mounts,
                  "command": sh("exec sleep 1000"), "readinessProbe": probe("/state/ready") },
            ],
        },
    }))?;
    let web_is = |world: &World, ready: bool| -> anyhow::Result<Option<Value>> {
        let pod = world.pod("two")?;
        let web = status(&pod, "containerStatuses", "web").is_some_and(|web| web["ready"] == ready);
        Ok(web.then_some(pod))
    };
    world.until("web is ready", |world| web_is(world, true))?;
    std::fs::remove_file(state.join("alive"))?;
    world.until("the other container is being stopped", |world| {
        Ok(world.events("two")?.iter().any(|event| event.starts_with("Killing")).then_some(()))
    })?;
    std::fs::remove_file(state.join("ready"))?;
    let pod = world.until("web is told unready", |world| web_is(world, false))?;
    let stubborn = status(&pod, "containerStatuses", "stubborn").cloned().unwrap_or_default();
    assert!(stubborn["state"]["running"].is_object(), "still being stopped: {stubborn}");
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
    assert_eq!(ready.map(|ready| &ready["status"]), Some(&json!("False")));
    let path = "/api/v1/namespaces/default/pods/two?gracePeriodSeconds=1";
    world.request("DELETE", path, b"")?;
    world.until("the pod is gone", |world| Ok(world.pod("two").is_err().then_some(())))?;
    world.end()
}

#[test]
fn a_killed_daemon_finds_its_pods_again() -> anyhow::Result<()> {
    let mut world = World::new(&["busybox"])?;
    world.create(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "stays" },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{ "name": "main", "image": "busybox", "command": sh("echo once; exec sleep 1000") }],
        },
    }))?;
    let id = |world: &World| -> anyhow::Result<Option<Value>> {
        let pod = world.pod("stays")?;
        let container = &pod["status"]["containerStatuses"][0];
        Ok((container["ready"] == true).then(|| container["containerID"].clone()))
    };
    let before = world.until("the pod is ready", id)?;
    for _ in 0..5 {
        world.kill_daemon()?;
        world.start()?;
        let after = world.until("the pod is ready again", id)?;
        assert_eq!(before, after, "the same container runs");
    }
    assert_eq!(world.pod("stays")?["status"]["containerStatuses"][0]["restartCount"], 0);
    let log = world.request_text("GET", "/api/v1/namespaces/default/pods/stays/log", b"")?;
    assert_eq!(log, "once\n");
    world.delete("stays")?;
    world.end()
}

#[test]
fn an_invalid_pod_is_refused_and_nothing_is_made() -> anyhow::Result<()> {
    let world = World::new(&[])?;
    let error = world
        .create(&json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "bad" },
            "spec": { "containers": [{ "name": "A_b", "image": "" }] },
        }))
        .unwrap_err()
        .to_string();
    assert!(error.contains(" 422 "), "{error}");
    assert!(
        error.contains("spec.containers[0].name") && error.contains("spec.containers[0].image"),
        "{error}"
    );
    assert!(world.pod("bad").is_err());
    world.end()
}
