//! Processor time of probes.

use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use super::container::copied;
use crate::account::{own_time, written};
use crate::peers::oci::Runtime;
use crate::peers::podman::Podman;
use crate::report::Row;
use crate::spec::{self, Sandbox};
use crate::stats::{Samples, Summary};
use crate::world::{World, pause, until};

const SECTION: &str = "Probes";
/// Pods that are probed every second.
const PODS: usize = 10;
/// How long one look lasts: a whole number of probe periods.
const LOOK: Duration = Duration::from_secs(4);
const PROBES: f64 = PODS as f64 * 4.0;
/// Commands per round; podman's take a hundred times as long as crun's program.
const CRUN: usize = 20;
const PODMAN: usize = 4;

#[derive(Default)]
struct Times {
    exec: Samples,
    disk: Samples,
    http: Samples,
    tcp: Samples,
    crun: Samples,
    podman: Samples,
    health: Samples,
}

/// Runs the measurement.
///
/// # Errors
/// Anything that does not run.
pub fn measure(world: &World, podman: Option<&Podman>, rounds: usize) -> anyhow::Result<Vec<Row>> {
    let peers = Peers::start(world, podman)?;
    let mut times = Times::default();
    for _ in 0..rounds {
        probed(world, &exec(), &mut times)?;
        peers.round(world, podman, &mut times)?;
        let idle = network(world, None)?;
        times.http.add((network(world, Some(&http()))? - idle).max(0.0));
        times.tcp.add((network(world, Some(&tcp()))? - idle).max(0.0));
    }
    peers.stop(podman)?;
    times.rows()
}

fn exec() -> Value {
    json!({"exec": {"command": ["/bin/true"]}, "periodSeconds": 1, "timeoutSeconds": 5})
}

fn http() -> Value {
    json!({"httpGet": {"port": 8080, "path": "/"}, "periodSeconds": 1})
}

fn tcp() -> Value {
    json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1})
}

/// Starts pods with a liveness probe (or none) and waits until all run.
fn pods(world: &World, command: &[&str], probe: Option<&Value>) -> anyhow::Result<()> {
    let mut watch = world.api.watch()?;
    for n in 0..PODS {
        let mut container = json!({
            "name": "c", "image": "busybox", "command": command,
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        });
        if let Some(probe) = probe {
            container["livenessProbe"] = probe.clone();
        }
        world.api.create(&json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("probed{n}")},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
        }))?;
    }
    watch.until_running(PODS)?;
    // Probes begin within one period of the start.
    pause(Duration::from_millis(1500));
    Ok(())
}

fn remove(world: &World) -> anyhow::Result<()> {
    for n in 0..PODS {
        world.api.delete(&format!("probed{n}"))?;
    }
    until("all pods are gone", || Ok(world.leftovers().is_empty()))
}

/// Exec probes: everything klet and the probed programs use, per probe.
fn probed(world: &World, probe: &Value, times: &mut Times) -> anyhow::Result<()> {
    let sleep = ["sleep", "1000000"];
    pods(world, &sleep, None)?;
    let idle = look(|| world.klet_time());
    remove(world)?;
    pods(world, &sleep, Some(probe))?;
    let pids: Vec<u32> =
        crate::account::processes("klet-shim").iter().map(|(pid, _)| *pid).collect();
    let disk = || -> f64 {
        pids.iter().chain([&world.daemon.id()]).filter_map(|pid| written(*pid).ok()).sum()
    };
    let before = disk();
    let busy = look(|| world.klet_time());
    times.disk.add(disk() - before);
    remove(world)?;
    times.exec.add((busy - idle) / PROBES);
    Ok(())
}

/// Network probes: what the daemon itself uses, per probe; the served end is the container's.
fn network(world: &World, probe: Option<&Value>) -> anyhow::Result<f64> {
    // A server that answers with a page.
    let serve = "echo ok >/tmp/index.html; exec httpd -f -p 8080 -h /tmp";
    pods(world, &["sh", "-c", serve], probe)?;
    let used = look(|| world.kletd.used());
    remove(world)?;
    Ok(used / PROBES)
}

fn look(used: impl Fn() -> f64) -> f64 {
    let before = used();
    pause(LOOK);
    used() - before
}

/// Containers of others in which commands are executed.
struct Peers {
    crun: Option<Runtime>,
}

impl Peers {
    fn start(world: &World, podman: Option<&Podman>) -> anyhow::Result<Self> {
        let dir = world.dir.join("probe");
        std::fs::create_dir_all(dir.join("shm"))?;
        let files = spec::managed(&dir, &dir.join("shm"))?;
        let rootfs = copied(&world.layer()?, &dir.join("rootfs"))?;
        let cgroup = format!("{}/peers/exec", world.cgroup);
        let spec = spec::container("exec", &cgroup, &files)?;
        let mut config = spec::config(&spec, &rootfs, &cgroup, Sandbox::New)?;
        config["process"]["args"] = json!(["/bin/sleep", "1000000"]);
        let crun = Runtime::new("crun", &dir.join("crun"), &config)?;
        if let Some(crun) = &crun {
            crun.start("exec")?;
        }
        if let Some(podman) = podman {
            let image = "docker.io/library/busybox:latest";
            let network = "--network=none";
            podman.run(&[
                "run",
                "--detach",
                network,
                "--name",
                "exec",
                "--health-cmd",
                "/bin/true",
                "--health-interval",
                "disable",
                image,
                "sleep",
                "1000000",
            ])?;
        }
        Ok(Self { crun })
    }

    fn round(
        &self,
        world: &World,
        podman: Option<&Podman>,
        times: &mut Times,
    ) -> anyhow::Result<()> {
        if let Some(crun) = &self.crun {
            let used = || world.own.used() - own_time();
            let before = used();
            for _ in 0..CRUN {
                crun.exec("exec", "/bin/true")?;
            }
            times.crun.add((used() - before) / CRUN as f64);
        }
        let Some(podman) = podman else { return Ok(()) };
        let used = || world.own.used() - own_time() + podman.containers.used();
        for (samples, arguments) in [
            (&mut times.podman, ["exec", "exec", "/bin/true"]),
            (&mut times.health, ["healthcheck", "run", "exec"]),
        ] {
            let before = used();
            for _ in 0..PODMAN {
                podman.run(&arguments)?;
            }
            samples.add((used() - before) / PODMAN as f64);
        }
        Ok(())
    }

    fn stop(&self, podman: Option<&Podman>) -> anyhow::Result<()> {
        if let Some(crun) = &self.crun {
            crun.remove("exec")?;
        }
        match podman {
            Some(podman) => podman.run(&["rm", "--force", "--time", "0", "exec"]),
            None => Ok(()),
        }
    }
}

impl Times {
    fn rows(&self) -> anyhow::Result<Vec<Row>> {
        let cpu =
            |samples: &Samples| samples.summary().context("no samples").map(|s| (s, "ms CPU"));
        let exec = cpu(&self.exec)?;
        let what = "exec probe, the probed program included";
        let written = self.disk.summary().context("no samples")?;
        Ok(vec![
            Row::new(SECTION, what, exec, ("`crun exec`", self.crun.summary()), 0.2),
            Row::new(
                SECTION,
                what,
                exec,
                ("`podman healthcheck run`", self.health.summary()),
                1.0 / 15.0,
            ),
            Row::new(SECTION, what, exec, ("`podman exec`", self.podman.summary()), 1.0 / 15.0),
            Row::nothing(
                SECTION,
                "bytes written to disk by exec probes",
                (Summary::exactly(written.p90), "bytes"),
            ),
            Row::bound(SECTION, "httpGet probe, the daemon's side", cpu(&self.http)?, 0.2),
            Row::bound(SECTION, "tcpSocket probe, the daemon's side", cpu(&self.tcp)?, 0.2),
        ])
    }
}
