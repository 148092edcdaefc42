//! Pods and observations for tests, as short as they can be said.

use klet_api::Pod;
use serde_json::{Value, json};

use crate::model::{ContainerRecord, Observed, RecordState, Sandbox, Time};
use crate::plan::definition_hash;

/// A pod `p` in `ns` with the given spec; containers without an image get `img`.
pub(crate) fn pod(mut spec: Value) -> Pod {
    for list in ["initContainers", "containers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            if container["image"].is_null() {
                container["image"] = json!("img");
            }
        }
    }
    let metadata = json!({"name": "p", "namespace": "ns", "uid": "uid", "generation": 3});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
}

/// A pod with app containers `a`, `b`, ... as many as asked for.
pub(crate) fn apps(policy: &str, count: usize) -> Pod {
    let names = ["a", "b", "c"].into_iter().take(count);
    let containers: Vec<_> = names.map(|name| json!({"name": name})).collect();
    pod(json!({"restartPolicy": policy, "containers": containers}))
}

/// The same with a status shown by the API.
pub(crate) fn shown(mut pod: Pod, status: Value) -> Pod {
    pod.status = Some(serde_json::from_value(status).unwrap());
    pod
}

pub(crate) fn deleted(mut pod: Pod, grace: i64) -> Pod {
    use klet_api::k8s_openapi::apimachinery::pkg::apis::meta::v1;
    pod.metadata.deletion_timestamp = Some(v1::Time(at(0)));
    pod.metadata.deletion_grace_period_seconds = Some(grace);
    pod
}

pub(crate) fn at(second: i64) -> Time {
    Time::from_second(1_700_000_000 + second).unwrap()
}

pub(crate) fn ready() -> Sandbox {
    Sandbox::Ready { id: "s".into(), attempt: 0, ips: vec!["10.0.0.9".parse().unwrap()] }
}

pub(crate) fn broken() -> Sandbox {
    Sandbox::NotReady { id: "s".into(), attempt: 0 }
}

/// What the node shows: a sandbox and these records.
pub(crate) fn seen(sandbox: Sandbox, containers: Vec<ContainerRecord>) -> Observed {
    Observed { sandbox, containers, leftovers: true, ..Observed::default() }
}

pub(crate) fn record(name: &str, attempt: u32, state: RecordState) -> ContainerRecord {
    ContainerRecord {
        id: format!("{name}{attempt}"),
        name: name.to_owned(),
        attempt,
        image: "img".to_owned(),
        image_ref: "img".to_owned(),
        image_id: "sha256:1".to_owned(),
        definition: definition_hash(name, "img"),
        state,
    }
}

pub(crate) fn running(name: &str, attempt: u32) -> ContainerRecord {
    record(name, attempt, RecordState::Running { started_at: at(0) })
}

/// An attempt that ran from second 0 and ended at second 10.
pub(crate) fn exited(name: &str, attempt: u32, code: i32) -> ContainerRecord {
    let reason = if code == 0 { "Completed" } else { "Error" };
    let state = RecordState::Exited {
        started_at: Some(at(0)),
        finished_at: at(10),
        code,
        reason: reason.to_owned(),
        message: String::new(),
    };
    record(name, attempt, state)
}
