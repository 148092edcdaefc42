//! Pods as tests write them, and what is asked of them again and again.

use serde_json::{Value, json};

use crate::World;

/// A pod of one container, `main`, with a grace of one second.
#[must_use]
pub fn pod(name: &str, container: Value) -> Value {
    let mut container = container;
    container["name"] = json!("main");
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": { "terminationGracePeriodSeconds": 1, "containers": [container] },
    })
}

/// A container of the fixture image.
#[must_use]
pub fn fixture(args: &[&str]) -> Value {
    json!({ "image": "klet/fixture", "args": args })
}

/// A container of the busybox image that runs a script.
#[must_use]
pub fn busybox(script: &str) -> Value {
    json!({ "image": "busybox", "command": ["sh", "-c", script] })
}

impl World {
    /// The status of a pod's first container.
    ///
    /// # Errors
    /// There is no such pod.
    pub fn container(&self, pod: &str) -> anyhow::Result<Value> {
        Ok(self.pod(pod)?["status"]["containerStatuses"][0].clone())
    }

    /// Waits until a pod's first container is ready, and gives the pod.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn ready(&self, name: &str) -> anyhow::Result<Value> {
        self.until(&format!("{name} is ready"), |world| {
            let pod = world.pod(name)?;
            Ok((pod["status"]["containerStatuses"][0]["ready"] == true).then_some(pod))
        })
    }

    /// Waits until a pod's first container has ended for good, and gives its `state.terminated`.
    ///
    /// # Errors
    /// It does not end.
    pub fn terminated(&self, name: &str) -> anyhow::Result<Value> {
        self.until(&format!("{name} has ended"), |world| {
            let state = world.container(name)?["state"]["terminated"].clone();
            Ok(state.is_object().then_some(state))
        })
    }

    /// Waits until a pod's first container was restarted, and gives its `lastState.terminated`.
    ///
    /// # Errors
    /// It is not restarted.
    pub fn restarted(&self, name: &str) -> anyhow::Result<Value> {
        self.until(&format!("{name} was restarted"), |world| {
            let container = world.container(name)?;
            let last = container["lastState"]["terminated"].clone();
            Ok((container["restartCount"].as_i64() >= Some(1) && last.is_object()).then_some(last))
        })
    }

    /// The log of a pod's only container.
    ///
    /// # Errors
    /// There is none yet.
    pub fn log(&self, name: &str) -> anyhow::Result<String> {
        self.request_text("GET", &format!("/api/v1/namespaces/default/pods/{name}/log"), b"")
    }

    /// Waits until the log of a pod's only container has a text.
    ///
    /// # Errors
    /// It never does.
    pub fn says(&self, name: &str, text: &str) -> anyhow::Result<()> {
        self.until(&format!("{name} says {text:?}"), |world| {
            let log = world.log(name)?;
            anyhow::ensure!(log.contains(text), "it says {log:?}");
            Ok(Some(()))
        })
    }

    /// Waits for an event about a pod whose `REASON MESSAGE` contains a text, and gives it.
    ///
    /// # Errors
    /// It never comes.
    pub fn event(&self, pod: &str, text: &str) -> anyhow::Result<String> {
        self.until(&format!("an event of {pod}: {text}"), |world| {
            let events = world.events(pod)?;
            let found = events.iter().find(|event| event.contains(text)).cloned();
            anyhow::ensure!(found.is_some(), "there are {events:#?}");
            Ok(found)
        })
    }
}
