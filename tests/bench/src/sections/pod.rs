//! One pod through the API, against `crun run` and `podman kube play`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};

use super::container::copied;
use super::timed;
use crate::peers::oci::Runtime;
use crate::peers::podman::Podman;
use crate::report::Row;
use crate::spec::{self, Sandbox};
use crate::stats::Samples;
use crate::world::{World, pause};

const SECTION: &str = "One pod, its image present";
const INITS: usize = 4;
/// Podman takes about a second for each round: it takes part in every third.
const PODMAN_EVERY: usize = 3;
const IDLE: Duration = Duration::from_millis(300);
/// The kernel takes a network namespace apart after its pod is gone, and nobody can make one meanwhile:
/// everyone begins when that is over.
const SETTLED: Duration = Duration::from_millis(100);

/// Says that it runs, then waits to be told to end.
const MAIN: &str = "trap 'exit 0' TERM; echo >/b/fifo; sleep 1000000 & wait";

/// A pipe in the file system through which containers say that they run.
pub struct Fifo(File);

impl Fifo {
    /// Makes it in `directory`.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(directory: &Path) -> anyhow::Result<Self> {
        let path = directory.join("fifo");
        if !path.exists() {
            nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o666))?;
        }
        // Opened for both, so that it has no end and can always be opened by the containers.
        let file =
            File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        Ok(Self(file))
    }

    /// Waits for one byte and gives the moment it came.
    ///
    /// # Errors
    /// Nothing comes within a minute.
    pub fn wait(&mut self) -> anyhow::Result<Instant> {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut fds, PollTimeout::try_from(60_000_i32)?)?;
        ensure!(ready > 0, "no container said that it runs");
        let now = Instant::now();
        self.0.read_exact(&mut [0])?;
        Ok(now)
    }

    /// Throws away what nobody waited for.
    pub fn drain(&mut self) {
        let mut rest = [0; 64];
        while matches!(self.0.read(&mut rest), Ok(count) if count > 0) {}
        debug_assert_eq!(
            self.0.read(&mut rest).map_err(|error| error.kind()),
            Err(io::ErrorKind::WouldBlock)
        );
    }
}

/// A pod that says when it runs, with init containers that say so, too.
#[must_use]
pub fn manifest(world: &World, name: &str, inits: usize) -> Value {
    let mounts = json!([{"name": "b", "mountPath": "/b"}]);
    let container = |name: String, command: &str| {
        json!({
            "name": name, "image": "docker.io/library/busybox:latest",
            "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", command], "volumeMounts": mounts,
        })
    };
    let first: Vec<Value> =
        (0..inits).map(|n| container(format!("i{n}"), "echo >/b/fifo")).collect();
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 5,
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
            "initContainers": first,
            "containers": [container("c".to_owned(), MAIN)],
            "volumes": [{"name": "b", "hostPath": {"path": world.dir.join("b"), "type": "Directory"}}],
        },
    })
}

#[derive(Default)]
struct Times {
    first: Samples,
    first_idle: Samples,
    gap: Samples,
    delete: Samples,
    crun: Samples,
    play: Samples,
    down: Samples,
}

/// Runs the measurement.
///
/// # Errors
/// Anything that does not run.
pub fn measure(
    world: &World,
    podman: Option<&Podman>,
    repetitions: usize,
) -> anyhow::Result<Vec<Row>> {
    let crun = crun(world)?;
    let mut fifo = Fifo::new(&world.dir.join("b"))?;
    klet(world, &mut fifo, "warm", &mut Times::default())?;
    if let Some(podman) = podman {
        // The first of all builds podman's pause image.
        play(world, podman, &mut fifo, "warm", &mut Times::default())?;
    }
    let mut times = Times::default();
    for round in 0..repetitions {
        pause(SETTLED);
        klet(world, &mut fifo, &format!("klet{round}"), &mut times)?;
        if let Some(crun) = &crun {
            pause(SETTLED);
            times.crun.add(timed(|| crun.run(&format!("pod-{round}")))?);
        }
        if let Some(podman) = podman.filter(|_| round % PODMAN_EVERY == 0) {
            pause(SETTLED);
            play(world, podman, &mut fifo, &format!("podman{round}"), &mut times)?;
        }
        pause(IDLE);
        let mut idle = Times::default();
        klet(world, &mut fifo, &format!("idle{round}"), &mut idle)?;
        times.first_idle.extend(&idle.first);
        gaps(world, &mut fifo, &format!("inits{round}"), &mut times.gap)?;
    }
    times.rows()
}

/// A runtime's command that makes its own network namespace, as the first container of a pod needs.
fn crun(world: &World) -> anyhow::Result<Option<Runtime>> {
    let dir = world.dir.join("pod");
    fs::create_dir_all(&dir)?;
    let shm = dir.join("shm");
    fs::create_dir_all(&shm)?;
    let files = spec::managed(&dir, &shm)?;
    let rootfs = copied(&world.layer()?, &dir.join("rootfs"))?;
    let cgroup = format!("{}/peers/crun-pod", world.cgroup);
    let spec = spec::container("crun", &cgroup, &files)?;
    let config = spec::config(&spec, &rootfs, &cgroup, Sandbox::New)?;
    Runtime::new("crun", &dir.join("crun"), &config)
}

fn klet(world: &World, fifo: &mut Fifo, name: &str, times: &mut Times) -> anyhow::Result<()> {
    let pod = manifest(world, name, 0);
    let mut watch = world.api.watch()?;
    fifo.drain();
    let begun = Instant::now();
    world.api.create(&pod)?;
    let first = fifo.wait()?;
    times.first.add((first - begun).as_secs_f64() * 1e3);
    watch.until_phase(name, "Running")?;
    let begun = Instant::now();
    world.api.delete(name)?;
    watch.until_deleted(name)?;
    times.delete.add(begun.elapsed().as_secs_f64() * 1e3);
    let left = world.leftovers();
    ensure!(left.is_empty(), "the pod is gone from the API, but not from the node: {left:?}");
    Ok(())
}

/// From one init container's last instruction to the next one's first: what lies between is its exit
/// and the start of a shell.
fn gaps(world: &World, fifo: &mut Fifo, name: &str, gaps: &mut Samples) -> anyhow::Result<()> {
    let mut watch = world.api.watch()?;
    fifo.drain();
    world.api.create(&manifest(world, name, INITS))?;
    let mut last = fifo.wait()?;
    for _ in 0..INITS {
        let next = fifo.wait()?;
        gaps.add((next - last).as_secs_f64() * 1e3);
        last = next;
    }
    world.api.delete(name)?;
    watch.until_deleted(name).map(drop)
}

fn play(
    world: &World,
    podman: &Podman,
    fifo: &mut Fifo,
    name: &str,
    times: &mut Times,
) -> anyhow::Result<()> {
    let path = podman.manifest(name, &manifest(world, name, 0))?;
    fifo.drain();
    let begun = Instant::now();
    let arguments = ["kube", "play", &path];
    let command = podman.spawn(&arguments)?;
    let first = fifo.wait();
    podman.wait(command, &arguments)?;
    times.play.add((first? - begun).as_secs_f64() * 1e3);
    times.down.add(timed(|| podman.run(&["kube", "down", &path]))?);
    Ok(())
}

impl Times {
    fn rows(&self) -> anyhow::Result<Vec<Row>> {
        let ms = |samples: &Samples| samples.summary().context("no samples").map(|s| (s, "ms"));
        let (first, delete) = (ms(&self.first)?, ms(&self.delete)?);
        let (crun, play, down) = (self.crun.summary(), self.play.summary(), self.down.summary());
        let starts = "apply sent to first instruction";
        let gone = "delete of a pod that obeys TERM to gone with nothing left";
        Ok(vec![
            Row::new(SECTION, starts, first, ("`crun run`, whole command", crun), 1.0),
            Row::new(SECTION, starts, first, ("`podman kube play`, same moment", play), 1.0 / 15.0),
            Row::new(
                SECTION,
                "the same after 300 ms of idleness",
                ms(&self.first_idle)?,
                ("in a row", Some(first.0)),
                1.25,
            ),
            Row::bound(
                SECTION,
                "one init container's last instruction to the next one's first",
                ms(&self.gap)?,
                5.0,
            ),
            Row::new(SECTION, gone, delete, ("`crun run`, whole command", crun), 1.0),
            Row::new(SECTION, gone, delete, ("`podman kube down`", down), 1.0),
        ])
    }
}

/// The version that a program tells, or that it is not installed.
#[must_use]
pub fn version(program: &str) -> String {
    let output = Command::new(program).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    match text {
        Ok(text) => text.lines().next().unwrap_or_default().to_owned(),
        Err(_) => format!("{program} is not installed"),
    }
}
