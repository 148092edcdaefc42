//! Many pods: one after the other, and all at once.

use std::time::Instant;

use anyhow::Context;
use serde_json::{Value, json};

use super::pod::Fifo;
use crate::report::Row;
use crate::stats::{Samples, Summary};
use crate::world::{World, until};

const SECTION: &str = "Many pods";
const ONE_BY_ONE: usize = 50;
const AT_ONCE: usize = 110;
/// Pods at the beginning and at the end that are compared.
const END: usize = 10;

/// Runs the measurement.
///
/// # Errors
/// Anything that does not run.
pub fn measure(world: &World) -> anyhow::Result<Vec<Row>> {
    let mut fifo = Fifo::new(&world.dir.join("b"))?;
    let (starts, one_by_one) = one_by_one(world, &mut fifo)?;
    let (third, last_third, at_once) = at_once(world, &mut fifo)?;
    let (first, last) = starts.ends(END);
    let (first, last) = (first.summary(), last.summary().context("no samples")?);
    let cpu = |value: f64| (Summary::exactly(value), "ms CPU");
    Ok(vec![
        Row::bound(SECTION, "50 pods one by one, everything of klet, each", cpu(one_by_one), 20.0),
        Row::new(
            SECTION,
            "apply to first instruction, last ten of 50",
            (last, "ms"),
            ("first ten", first),
            1.25,
        ),
        Row::new(
            SECTION,
            "110 pods in one apply, everything of klet, each",
            cpu(at_once),
            ("one by one", Some(Summary::exactly(one_by_one))),
            1.25,
        ),
        Row::new(
            SECTION,
            "110 pods in one apply: time of the last third",
            (Summary::exactly(last_third), "ms"),
            ("the first third", Some(Summary::exactly(third))),
            1.25,
        ),
    ])
}

fn pod(world: &World, name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "c", "image": "busybox",
                "command": ["sh", "-c", "echo >/b/fifo; exec sleep 1000000"],
                "volumeMounts": [{"name": "b", "mountPath": "/b"}],
            }],
            "volumes": [{"name": "b", "hostPath": {"path": world.dir.join("b")}}],
        },
    })
}

/// Times to the first instruction, and processor time per pod.
fn one_by_one(world: &World, fifo: &mut Fifo) -> anyhow::Result<(Samples, f64)> {
    let mut starts = Samples::default();
    let names: Vec<String> = (0..ONE_BY_ONE).map(|n| format!("one{n}")).collect();
    let mut watch = world.api.watch()?;
    let before = world.klet_time();
    for name in &names {
        fifo.drain();
        let begun = Instant::now();
        world.api.create(&pod(world, name))?;
        starts.add((fifo.wait()? - begun).as_secs_f64() * 1e3);
        watch.until_phase(name, "Running")?;
    }
    let used = (world.klet_time() - before) / ONE_BY_ONE as f64;
    remove(world, &names)?;
    Ok((starts, used))
}

/// How long the first and the last third of the starts took, and processor time per pod.
fn at_once(world: &World, fifo: &mut Fifo) -> anyhow::Result<(f64, f64, f64)> {
    let names: Vec<String> = (0..AT_ONCE).map(|n| format!("burst{n}")).collect();
    let mut watch = world.api.watch()?;
    fifo.drain();
    let before = world.klet_time();
    let mut moments = Vec::with_capacity(AT_ONCE);
    std::thread::scope(|scope| -> anyhow::Result<()> {
        // Somebody else applies, so that every first instruction is noticed when it happens.
        let applied = scope.spawn(|| {
            names.iter().try_for_each(|name| world.api.create(&pod(world, name)).map(drop))
        });
        for _ in &names {
            moments.push(fifo.wait()?);
        }
        applied.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    watch.until_running(AT_ONCE)?;
    let used = (world.klet_time() - before) / AT_ONCE as f64;
    remove(world, &names)?;
    let third = AT_ONCE / 3;
    let between = |a: usize, b: usize| (moments[b] - moments[a]).as_secs_f64() * 1e3;
    // Rates are compared: what every start takes lies before the first.
    Ok((between(0, third), between(AT_ONCE - 1 - third, AT_ONCE - 1), used))
}

fn remove(world: &World, names: &[String]) -> anyhow::Result<()> {
    for name in names {
        world.api.delete(name)?;
    }
    until("all pods are gone", || Ok(world.leftovers().is_empty()))
}
