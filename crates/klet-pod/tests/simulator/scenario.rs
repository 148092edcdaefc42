//! Random pods and what will happen to them.

use std::time::Duration;

use klet_api::Pod;
use klet_pod::Time;
use serde_json::{Value, json};

use crate::rng::Rng;

/// Something that befalls the pod from outside.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Blow {
    Delete { grace: i64 },
    DaemonRestart,
    Reboot,
    SandboxDies,
    ImageChange,
    Doom,
    ContainerUnknown,
}

pub(crate) const EPOCH: i64 = 1_700_000_000;

/// After this much time nothing goes wrong any more, and what runs keeps well.
pub(crate) const CALM_AFTER: Duration = Duration::from_secs(3 * 3600);

pub(crate) fn start() -> Time {
    Time::from_second(EPOCH).unwrap()
}

pub(crate) fn pod(rng: &mut Rng) -> Pod {
    let policy = rng.pick(&["Always", "OnFailure", "Never"]);
    let init: Vec<Value> = (0..rng.below(4)).map(|i| init_container(rng, i)).collect();
    let apps: Vec<Value> = (0..=rng.below(3)).map(|i| app_container(rng, i)).collect();
    let mut spec = json!({
        "restartPolicy": policy,
        "terminationGracePeriodSeconds": rng.below(30),
        "containers": apps,
    });
    if !init.is_empty() {
        spec["initContainers"] = Value::Array(init);
    }
    if rng.chance(10) {
        spec["activeDeadlineSeconds"] = json!(rng.below(5000) + 1);
    }
    let meta = json!({"name": "p", "namespace": "ns", "uid": "uid", "generation": 1});
    serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap()
}

fn init_container(rng: &mut Rng, index: u64) -> Value {
    let mut container = json!({"name": format!("i{index}"), "image": "img"});
    if rng.chance(25) {
        container["restartPolicy"] = json!("Always");
        probes(rng, &mut container);
    }
    container
}

fn app_container(rng: &mut Rng, index: u64) -> Value {
    let mut container = json!({"name": format!("a{index}"), "image": "img"});
    probes(rng, &mut container);
    if rng.chance(30) {
        container["lifecycle"] = json!({"preStop": {"exec": {"command": ["true"]}}});
    }
    container
}

fn probes(rng: &mut Rng, container: &mut Value) {
    for kind in ["startupProbe", "livenessProbe", "readinessProbe"] {
        if rng.chance(25) {
            container[kind] = json!({"exec": {"command": ["true"]}});
        }
    }
}

/// The blows, soonest first.
pub(crate) fn blows(rng: &mut Rng) -> Vec<(Time, Blow)> {
    let mut blows = Vec::new();
    for _ in 0..rng.below(4) {
        let blow = rng.pick(&[
            Blow::DaemonRestart,
            Blow::DaemonRestart,
            Blow::Reboot,
            Blow::SandboxDies,
            Blow::ImageChange,
            Blow::ContainerUnknown,
        ]);
        blows.push((moment(rng), blow));
    }
    if rng.chance(50) {
        let grace = i64::try_from(rng.below(30)).unwrap();
        blows.push((moment(rng), Blow::Delete { grace }));
    }
    if rng.chance(10) {
        blows.push((moment(rng), Blow::Doom));
    }
    blows.sort_by_key(|(time, _)| *time);
    blows
}

/// Often early, when most happens.
fn moment(rng: &mut Rng) -> Time {
    let latest = rng.pick(&[3, 30, 300, 10_000]);
    start() + rng.seconds(0, latest)
}
