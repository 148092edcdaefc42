//! The pods of the chaos test. Every container of a churning pod writes a line to the node when
//! it starts, so that a start that should not have been shows.

use std::path::Path;

use serde_json::{Value, json};

/// Names of the pods that must not be touched by anything.
pub const STABLE: [&str; 2] = ["counter", "probed"];

/// Kinds of churning pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Runs until it is deleted.
    Server,
    /// Two init containers, then a server.
    Staged,
    /// Fails again and again.
    Crashing,
    /// Runs each container once and succeeds.
    Job,
    /// Runs until a probe that always fails restarts it.
    Sick,
}

pub const KINDS: [Kind; 5] = [Kind::Server, Kind::Staged, Kind::Crashing, Kind::Job, Kind::Sick];

fn sh(script: &str) -> Value {
    json!(["sh", "-c", script])
}

fn pod(name: &str, mut spec: Value, state: &Path) -> Value {
    spec["terminationGracePeriodSeconds"] = json!(1);
    spec["volumes"] = json!([
        { "name": "state", "hostPath": { "path": state, "type": "Directory" } },
        { "name": "work", "emptyDir": {} },
    ]);
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": spec })
}

fn container(name: &str, script: &str) -> Value {
    json!({
        "name": name, "image": "busybox", "command": sh(script),
        "volumeMounts": [
            { "name": "state", "mountPath": "/state" }, { "name": "work", "mountPath": "/work" },
        ],
    })
}

/// The pods that live through everything.
pub fn stable(state: &Path) -> Vec<Value> {
    let count = "i=0; while true; do i=$((i+1)); echo line $i; sleep 0.02; done";
    let counter = json!({
        "containers": [container("count", count), container("idle", "exec sleep 100000")],
    });
    let mut web = container("web", "touch /work/well; exec sleep 100000");
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        web[probe] = json!({
            "exec": { "command": ["cat", "/work/well"] }, "periodSeconds": 1, "timeoutSeconds": 20,
        });
    }
    let probed = json!({ "containers": [web] });
    vec![pod("counter", counter, state), pod("probed", probed, state)]
}

/// A churning pod. Its containers note their starts in `state/NAME`.
pub fn churning(kind: Kind, name: &str, state: &Path) -> Value {
    let note = |container: &str| format!("echo {container} >> /state/{name}; ");
    let main = |end: &str| container("main", &format!("{}{end}", note("main")));
    let init = |own: &str, after: &str| {
        let script = format!("{}test -e /work/{after} && echo > /work/{own}", note(own));
        container(own, &script)
    };
    let first = container("first", &format!("{}echo > /work/first", note("first")));
    let inits = json!([first, init("second", "first")]);
    let last = "test -e /work/second && ";
    let spec = match kind {
        Kind::Server => json!({ "containers": [main("exec sleep 100000")] }),
        Kind::Staged => json!({
            "initContainers": inits, "containers": [main(&format!("{last}exec sleep 100000"))],
        }),
        Kind::Crashing => json!({ "containers": [main("exit 3")] }),
        Kind::Job => json!({
            "restartPolicy": "Never", "initContainers": inits,
            "containers": [main(&format!("{last}sleep 0.3"))],
        }),
        Kind::Sick => {
            let mut main = main("exec sleep 100000");
            main["livenessProbe"] = json!({ "exec": { "command": ["false"] }, "periodSeconds": 1, "failureThreshold": 1 });
            json!({ "containers": [main] })
        }
    };
    pod(name, spec, state)
}
