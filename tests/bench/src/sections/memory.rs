//! Memory, and what an idle node does: nothing.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;

use crate::account::{processes, pss, threads, wakeups, written};
use crate::peers::podman::Podman;
use crate::report::Row;
use crate::stats::Summary;
use crate::world::{World, pause, until};

const SECTION: &str = "Memory and idleness";
const PODS: usize = 100;
/// Podman's pods for comparison.
const PODMAN_PODS: usize = 5;
/// How long the idle node is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Runs the measurement: the daemon must have no pod yet.
///
/// # Errors
/// Anything that does not run.
pub fn measure(world: &World, podman: Option<&Podman>) -> anyhow::Result<(Vec<Row>, Vec<String>)> {
    pause(Duration::from_secs(1));
    let empty = pss(world.daemon.id())?;
    fill(world)?;
    let shims: Vec<u32> = of_daemon(world, "klet-shim");
    let pauses: Vec<u32> = processes("pause")
        .into_iter()
        .filter(|(_, parent)| shims.contains(parent))
        .map(|(pid, _)| pid)
        .collect();
    ensure!(shims.len() == PODS && pauses.len() == PODS, "not every pod has its shim");
    let full = pss(world.daemon.id())?;
    let sum = |pids: &[u32]| pids.iter().map(|pid| pss(*pid)).sum::<anyhow::Result<f64>>();
    let per_pod = (sum(&shims)? + sum(&pauses)?) / PODS as f64;
    let most = shims.iter().map(|pid| threads(*pid)).collect::<anyhow::Result<Vec<_>>>()?;
    let most = most.into_iter().fold(0.0, f64::max);
    let idle = idleness(world, &shims)?;
    empty_out(world)?;
    let theirs = podman.map(conmon).transpose()?;
    let kib = |value: f64| (Summary::exactly(value), "KiB");
    let mib = |value: f64| (Summary::exactly(value / 1024.0), "MiB");
    let pod = "supervisor and pause of one pod, PSS";
    let notes = vec![format!("kletd with 100 pods, PSS: {:.1} MiB", full / 1024.0)];
    let rows = vec![
        Row::bound(SECTION, "kletd without pods, PSS", mib(empty), 15.0),
        Row::bound(SECTION, pod, kib(per_pod), 256.0),
        Row::new(
            SECTION,
            pod,
            kib(per_pod),
            ("podman: conmon and pause of one pod", theirs.map(Summary::exactly)),
            0.5,
        ),
        Row::bound(SECTION, "threads of a supervisor", (Summary::exactly(most), "threads"), 1.0),
        Row::nothing(
            SECTION,
            "wake-ups of 100 idle supervisors in 5 s",
            (Summary::exactly(idle.shims), "times"),
        ),
        Row::nothing(
            SECTION,
            "wake-ups of kletd with 100 idle pods in 5 s",
            (Summary::exactly(idle.daemon), "times"),
        ),
        Row::nothing(SECTION, "bytes they wrote to disk", (Summary::exactly(idle.bytes), "bytes")),
    ];
    Ok((rows, notes))
}

/// Processes of a name whose parent is the daemon.
fn of_daemon(world: &World, name: &str) -> Vec<u32> {
    let all = processes(name).into_iter();
    all.filter(|(_, parent)| *parent == world.daemon.id()).map(|(pid, _)| pid).collect()
}

fn fill(world: &World) -> anyhow::Result<()> {
    let mut watch = world.api.watch()?;
    for n in 0..PODS {
        world.api.create(&json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("idle{n}")},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [
                {"name": "c", "image": "busybox", "command": ["sleep", "1000000"]},
            ]},
        }))?;
    }
    watch.until_running(PODS)?;
    // Whatever a start leaves to be done has been done by then.
    pause(Duration::from_secs(2));
    Ok(())
}

fn empty_out(world: &World) -> anyhow::Result<()> {
    for n in 0..PODS {
        world.api.delete(&format!("idle{n}"))?;
    }
    until("all pods are gone", || Ok(world.leftovers().is_empty()))
}

struct Idleness {
    shims: f64,
    daemon: f64,
    bytes: f64,
}

fn idleness(world: &World, shims: &[u32]) -> anyhow::Result<Idleness> {
    let daemon = world.daemon.id();
    let sum = |pids: &[u32], count: fn(u32) -> anyhow::Result<f64>| {
        pids.iter().map(|pid| count(*pid)).sum::<anyhow::Result<f64>>()
    };
    let look = || -> anyhow::Result<Idleness> {
        Ok(Idleness {
            shims: sum(shims, wakeups)?,
            daemon: wakeups(daemon)?,
            bytes: sum(shims, written)? + written(daemon)?,
        })
    };
    let before = look()?;
    pause(LOOK);
    let after = look()?;
    Ok(Idleness {
        shims: after.shims - before.shims,
        daemon: after.daemon - before.daemon,
        bytes: after.bytes - before.bytes,
    })
}

/// What podman keeps running for a pod of one container, KiB.
fn conmon(podman: &Podman) -> anyhow::Result<f64> {
    let names: Vec<String> = (0..PODMAN_PODS).map(|n| format!("memory{n}")).collect();
    let before: Vec<u32> = others();
    for name in &names {
        let image = "docker.io/library/busybox:latest";
        podman.run(&["pod", "create", "--network=none", "--name", name])?;
        podman.run(&["run", "--detach", "--pod", name, image, "sleep", "1000000"])?;
    }
    let new = others().into_iter().filter(|pid| !before.contains(pid));
    let total = new.map(pss).sum::<anyhow::Result<f64>>()?;
    ensure!(total > 0.0, "podman runs no conmon");
    for name in &names {
        podman.run(&["pod", "rm", "--force", "--time", "0", name])?;
    }
    Ok(total / PODMAN_PODS as f64)
}

fn others() -> Vec<u32> {
    let both = processes("conmon").into_iter().chain(processes("catatonit"));
    both.map(|(pid, _)| pid).collect()
}
