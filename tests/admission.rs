//! The node takes what it has room for: scheduling and the kubelet's admission, on real processes.

use klet_e2e::World;
use serde_json::{Value, json};

fn pod(name: &str, cpu: &Value, more: &Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "main", "image": "busybox", "command": ["sleep", "1000"],
                "resources": { "requests": { "cpu": cpu } },
            }],
        },
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        pod["spec"][key] = value.clone();
    }
    pod
}

fn phase(world: &World, name: &str) -> anyhow::Result<Value> {
    Ok(world.pod(name)?["status"]["phase"].clone())
}

#[test]
fn a_pod_without_room_waits_for_it() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    let node = world.request("GET", "/api/v1/nodes/test-node", b"")?;
    let all = &node["status"]["allocatable"]["cpu"];
    world.create(&pod("first", all, &json!({})))?;
    let waiting = world.create(&pod("second", all, &json!({})))?;
    assert_eq!(waiting["spec"].get("nodeName"), None);
    let condition = &waiting["status"]["conditions"][0];
    assert_eq!(
        (&condition["type"], &condition["status"], &condition["reason"]),
        (&json!("PodScheduled"), &json!("False"), &json!("Unschedulable"))
    );
    world.until("why it waits is told", |world| {
        let events = world.events("second")?;
        let told = |text: &String| {
            text.starts_with("FailedScheduling 0/1 nodes are available: 1 Insufficient cpu.")
        };
        Ok(events.iter().any(told).then_some(()))
    })?;
    world
        .until("the first runs", |world| Ok((phase(world, "first")? == "Running").then_some(())))?;
    world.delete("first")?;
    world.until("the second has its place", |world| {
        Ok((phase(world, "second")? == "Running").then_some(()))
    })?;
    world.delete("second")?;
    world.end()
}

#[test]
fn a_pod_given_to_the_node_is_refused_without_room() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    let bound = json!({ "nodeName": "test-node" });
    world.create(&pod("big", &json!("4000"), &bound))?;
    let sysctls = json!([{ "name": "net.core.somaxconn", "value": "1024" }]);
    let unsafe_one = json!({ "securityContext": { "sysctls": sysctls } });
    world.create(&pod("sysctl", &json!("1m"), &unsafe_one))?;
    for (name, reason) in [("big", "OutOfcpu"), ("sysctl", "SysctlForbidden")] {
        let refused = world.until("it is refused", |world| {
            let pod = world.pod(name)?;
            Ok((pod["status"]["phase"] == "Failed").then_some(pod))
        })?;
        assert_eq!(refused["status"]["reason"], reason);
        let message = refused["status"]["message"].as_str().unwrap_or_default();
        assert!(message.starts_with("Pod was rejected: "), "{message}");
        assert_eq!(refused["status"].get("containerStatuses"), None);
        world.delete(name)?;
    }
    world.end()
}
