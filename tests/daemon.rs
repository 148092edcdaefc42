//! The daemon and a world that fails it: each fault has one outcome.

#[path = "daemon/api.rs"]
mod api;
#[path = "daemon/disk.rs"]
mod disk;
#[path = "daemon/network.rs"]
mod network;
#[path = "daemon/start.rs"]
mod start;

use klet_e2e::World;
use serde_json::{Value, json};

/// A pod that prints a line and runs until it is deleted.
fn server(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "main", "image": "busybox",
                "command": ["sh", "-c", "echo begun; exec sleep 100000"],
            }],
        },
    })
}

/// Waits until the pod's first container is ready; its id.
fn ready(world: &World, name: &str) -> anyhow::Result<String> {
    world.until(&format!("{name} is ready"), |world| {
        let pod = world.pod(name)?;
        let container = &pod["status"]["containerStatuses"][0];
        let id = container["containerID"].as_str().map(ToOwned::to_owned);
        Ok(id.filter(|_| container["ready"] == true))
    })
}

/// Waits for an event about a pod whose `REASON MESSAGE` contains a text.
fn told(world: &World, pod: &str, text: &str) -> anyhow::Result<()> {
    world.until(&format!("an event about {pod} says {text:?}"), |world| {
        let events = world.events(pod)?;
        anyhow::ensure!(events.iter().any(|event| event.contains(text)), "{events:#?}");
        Ok(Some(()))
    })
}
