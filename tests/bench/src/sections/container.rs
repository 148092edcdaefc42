//! One container, from start over exit to cleaned up: supervisor, floor, crun, runc.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use klet_cri::Rootfs;
use oci_spec::runtime::Spec;

use super::timed;
use crate::floor::Order;
use crate::peers::oci::Runtime;
use crate::report::Row;
use crate::shim::Shim;
use crate::spec::{self, Sandbox};
use crate::stats::Samples;
use crate::world::{World, pause};

const SECTION: &str = "One container: start, exit, cleaned up";
/// Idleness after which a start must be as quick as one in a row.
const IDLE: Duration = Duration::from_millis(300);

/// The controllers that klet's containers are members of on v1.
const CONTROLLERS: [&str; 8] =
    ["memory", "cpu", "cpuacct", "cpuset", "pids", "devices", "freezer", "hugetlb"];

/// Runs the measurement.
///
/// # Errors
/// Anything that does not run.
pub fn measure(world: &World, repetitions: usize) -> anyhow::Result<Vec<Row>> {
    let dir = world.dir.join("container");
    fs::create_dir_all(&dir)?;
    let cgroup = format!("{}/pods", world.cgroup);
    let mut shim = Shim::start(&world.dir, &cgroup)?;
    let files = spec::managed(&dir, &shim.shm)?;
    let lower = world.layer()?;
    let spec = |id: &str| spec::container(id, &format!("{cgroup}/direct"), &files);
    let layers = Layers { dir: dir.join("layers"), lower: lower.clone(), next: 0 };
    let mut bench = Bench {
        floor: Floor::start(
            &spec("floor")?,
            &layers,
            shim.pause,
            &format!("{cgroup}/direct/floor"),
        )?,
        crun: runtime("crun", &dir, &lower, &spec("crun")?, &world.cgroup, shim.pause)?,
        runc: runtime("runc", &dir, &lower, &spec("runc")?, &world.cgroup, shim.pause)?,
        layers,
    };
    let mut all = Times::default();
    for round in 0..repetitions + 2 {
        let mut times = Times::default();
        let id = format!("{round:08}");
        times.floor.add(bench.floor.run(&mut bench.layers)?);
        let own = spec(&id)?;
        let rootfs = bench.layers.rootfs()?;
        times.shim.add(timed(|| shim.run(&id, &own, rootfs))?);
        if let Some(crun) = &bench.crun {
            times.crun.add(timed(|| crun.run(&format!("crun-{round}")))?);
        }
        if let Some(runc) = &bench.runc {
            times.runc.add(timed(|| runc.run(&format!("runc-{round}")))?);
        }
        pause(IDLE);
        let id = format!("idle{round:08}");
        let own = spec(&id)?;
        let rootfs = bench.layers.rootfs()?;
        times.idle.add(timed(|| shim.run(&id, &own, rootfs))?);
        // In a row: the run before it has just ended.
        let id = format!("row{round:08}");
        let own = spec(&id)?;
        let rootfs = bench.layers.rootfs()?;
        times.row.add(timed(|| shim.run(&id, &own, rootfs))?);
        // The first rounds fill caches.
        if round >= 2 {
            all.merge(&times);
        }
    }
    all.rows()
}

#[derive(Default)]
struct Times {
    floor: Samples,
    shim: Samples,
    idle: Samples,
    row: Samples,
    crun: Samples,
    runc: Samples,
}

impl Times {
    fn merge(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.floor, &other.floor),
            (&mut self.shim, &other.shim),
            (&mut self.idle, &other.idle),
            (&mut self.row, &other.row),
            (&mut self.crun, &other.crun),
            (&mut self.runc, &other.runc),
        ] {
            mine.extend(theirs);
        }
    }

    fn rows(&self) -> anyhow::Result<Vec<Row>> {
        let shim = (self.shim.summary().context("no samples")?, "ms");
        let idle = (self.idle.summary().context("no samples")?, "ms");
        let what = "container through the supervisor";
        Ok(vec![
            Row::new(SECTION, what, shim, ("raw system calls", self.floor.summary()), 1.5),
            Row::new(SECTION, what, shim, ("`crun run`", self.crun.summary()), 0.5),
            Row::new(SECTION, what, shim, ("`runc run`", self.runc.summary()), 0.3),
            Row::new(
                SECTION,
                "the same after 300 ms of idleness",
                idle,
                ("in a row", self.row.summary()),
                1.25,
            ),
        ])
    }
}

struct Bench {
    floor: Floor,
    crun: Option<Runtime>,
    runc: Option<Runtime>,
    layers: Layers,
}

fn runtime(
    program: &str,
    dir: &Path,
    lower: &Path,
    spec: &Spec,
    cgroup: &str,
    sandbox: i32,
) -> anyhow::Result<Option<Runtime>> {
    let rootfs = copied(lower, &dir.join("rootfs"))?;
    let cgroup = format!("{cgroup}/peers/{program}");
    let config = spec::config(spec, &rootfs, &cgroup, Sandbox::Of(sandbox))?;
    Runtime::new(program, &dir.join(program), &config)
}

/// A copy of the image's root for runtimes that are given a directory; made once.
///
/// # Errors
/// It cannot be copied.
pub fn copied(lower: &Path, to: &Path) -> anyhow::Result<PathBuf> {
    if !to.exists() {
        let copied = Command::new("cp").arg("-a").arg(lower).arg(to).status()?;
        ensure!(copied.success(), "cannot copy {}", lower.display());
    }
    Ok(to.to_owned())
}

/// Writable layers, made before the clock starts: kletd and engines make them, not the runtime.
struct Layers {
    dir: PathBuf,
    lower: PathBuf,
    next: usize,
}

impl Layers {
    fn make(&mut self) -> anyhow::Result<String> {
        self.next += 1;
        let name = self.next.to_string();
        for part in ["upper", "work"] {
            fs::create_dir_all(self.dir.join(&name).join(part))?;
        }
        Ok(name)
    }

    fn rootfs(&mut self) -> anyhow::Result<Rootfs> {
        let layer = self.make()?;
        let path = self.dir.join(layer);
        let (upper, work) = (path.join("upper"), path.join("work"));
        Ok(Rootfs::Overlay { lower: vec![self.lower.clone()], upper, work })
    }
}

/// The process that measures the floor.
struct Floor {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Floor {
    fn start(spec: &Spec, layers: &Layers, pause: i32, cgroup: &str) -> anyhow::Result<Self> {
        let (cgroups, v2) = directories(cgroup);
        let order = Order {
            spec: spec.clone(),
            lower: layers.lower.to_string_lossy().into_owned(),
            layers: layers.dir.to_string_lossy().into_owned(),
            pause,
            limits: limits(&cgroups, v2),
            hierarchies: cgroups.iter().filter_map(|path| controller(path)).collect(),
            cgroups,
            v2,
        };
        let mut process = Command::new("/proc/self/exe")
            .arg("floor")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut input = process.stdin.take().context("a pipe")?;
        let output = BufReader::new(process.stdout.take().context("a pipe")?);
        serde_json::to_writer(&mut input, &order)?;
        input.write_all(b"\n")?;
        Ok(Self { process, input, output })
    }

    fn run(&mut self, layers: &mut Layers) -> anyhow::Result<f64> {
        let layer = layers.make()?;
        writeln!(self.input, "{layer}")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let nanoseconds: f64 = line.trim().parse().context("the floor failed")?;
        Ok(nanoseconds / 1e6)
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Directories of a cgroup in every hierarchy, memory first; and whether it is v2.
fn directories(cgroup: &str) -> (Vec<String>, bool) {
    let mount = Path::new("/sys/fs/cgroup");
    let name = cgroup.trim_start_matches('/');
    let v1: Vec<String> = CONTROLLERS
        .iter()
        .map(|controller| mount.join(controller))
        .filter(|path| path.is_dir() && !path.is_symlink())
        .map(|path| path.join(name).to_string_lossy().into_owned())
        .collect();
    if v1.is_empty() {
        (vec![mount.join(name).to_string_lossy().into_owned()], true)
    } else {
        (v1, false)
    }
}

/// `cpu` of `/sys/fs/cgroup/cpu/...`; nothing on v2, where names of cgroups begin there.
fn controller(path: &str) -> Option<String> {
    let name = path.trim_start_matches("/sys/fs/cgroup/").split('/').next()?;
    CONTROLLERS.contains(&name).then(|| name.to_owned())
}

/// What Kubernetes limits for a container that asks for nothing.
fn limits(cgroups: &[String], v2: bool) -> Vec<(String, String)> {
    let file = |path: &String, name: &str| format!("{path}/{name}");
    if v2 {
        let path = &cgroups[0];
        return [("memory.oom.group", "1"), ("cpu.weight", "1"), ("cpu.max", "max 100000")]
            .map(|(name, value)| (file(path, name), value.to_owned()))
            .into();
    }
    let mut limits = Vec::new();
    for path in cgroups {
        match controller(path).as_deref() {
            Some("cpu") => {
                for (name, value) in [
                    ("cpu.shares", "2"),
                    ("cpu.cfs_period_us", "100000"),
                    ("cpu.cfs_quota_us", "-1"),
                ] {
                    limits.push((file(path, name), value.to_owned()));
                }
            }
            Some("devices") => {
                limits.push((file(path, "devices.deny"), "a".to_owned()));
                for device in ["1:3", "1:5", "1:7", "1:8", "1:9", "5:0", "5:1", "5:2", "136:*"] {
                    limits.push((file(path, "devices.allow"), format!("c {device} rwm")));
                }
            }
            _ => {}
        }
    }
    limits
}
