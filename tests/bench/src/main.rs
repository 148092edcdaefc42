//! Measures klet against the floor of raw system calls, crun, runc and podman, all in one run.
//!
//! The program runs itself twice over: first in namespaces of its own (mount, network, processes), as
//! their process 1, which reaps; below that as the one that measures. When it ends, however it ends,
//! the kernel ends everything in it.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "the table is the program's output")]

mod account;
mod api;
mod floor;
mod peers;
mod report;
mod sections;
mod shim;
mod spec;
mod stats;
mod world;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, ensure};
use clap::{Parser, ValueEnum};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use peers::podman::Podman;
use report::{Conditions, Report};
use sections::{container, many, memory, pod, probe};
use world::World;

/// Measures klet and its peers; prints a table, writes target/bench.json.
#[derive(Debug, Parser)]
struct Flags {
    /// Interleaved repetitions of everything that is repeated
    #[arg(long, default_value_t = 21)]
    repetitions: usize,
    /// Only these groups of rows
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Group>,
    /// Also replace the table in docs/benchmarks.md
    #[arg(long)]
    document: bool,
    /// Leave podman out
    #[arg(long)]
    no_podman: bool,
    /// Leave the world's directory (daemon's log) where it is
    #[arg(long)]
    keep: bool,
    /// Measure in this directory, in namespaces that are ready
    #[arg(long, hide = true)]
    inside: Option<PathBuf>,
    /// Be process 1 of the namespaces
    #[arg(long, hide = true)]
    init: Option<PathBuf>,
    /// Be the floor
    #[command(subcommand)]
    floor: Option<Floor>,
}

#[derive(Debug, clap::Subcommand)]
enum Floor {
    /// One container of raw system calls for each line of input
    #[command(hide = true)]
    Floor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Group {
    Container,
    Pod,
    Probe,
    Memory,
    Many,
}

fn main() -> anyhow::Result<ExitCode> {
    let flags = Flags::parse();
    if flags.floor.is_some() {
        floor::serve()?;
    } else if let Some(dir) = &flags.inside {
        measure(&flags, dir)?;
    } else if let Some(dir) = &flags.init {
        return reap(dir);
    } else {
        return outside(&flags);
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the namespaces, and removes what does not end with them: cgroups and files.
fn outside(flags: &Flags) -> anyhow::Result<ExitCode> {
    ensure!(nix::unistd::geteuid().is_root(), "must be run as root");
    let dir = std::env::temp_dir().join(format!("klet-bench-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let status = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child=KILL"])
        .args(["--propagation", "private"])
        .arg(std::env::current_exe()?)
        .arg("--init")
        .arg(&dir)
        .args(std::env::args_os().skip(1))
        .status()
        .context("cannot execute unshare (util-linux)")?;
    remove_cgroups(&cgroup(&dir));
    remove_cgroups("/libpod_parent");
    if flags.keep {
        println!("kept: {}", dir.display());
    } else {
        fs::remove_dir_all(&dir)?;
    }
    Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)))
}

/// Process 1: starts the measurement and reaps everything until it has ended.
fn reap(dir: &Path) -> anyhow::Result<ExitCode> {
    let arguments: Vec<_> = std::env::args_os().skip(3).collect();
    let child = Command::new("/proc/self/exe").arg("--inside").arg(dir).args(arguments).spawn()?;
    let child = Pid::from_raw(child.id().cast_signed());
    loop {
        match waitpid(None, None)? {
            WaitStatus::Exited(pid, code) if pid == child => {
                return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)));
            }
            WaitStatus::Signaled(pid, ..) if pid == child => return Ok(ExitCode::FAILURE),
            _ => {}
        }
    }
}

fn cgroup(dir: &Path) -> String {
    format!("/{}", dir.file_name().unwrap_or_default().to_string_lossy())
}

fn remove_cgroups(name: &str) {
    fn remove(directory: &Path) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove(&entry.path());
            }
        }
        // One that is still in use is not ours.
        let _ = fs::remove_dir(directory);
    }
    let mount = Path::new("/sys/fs/cgroup");
    let name = name.trim_start_matches('/');
    let controllers = fs::read_dir(mount).into_iter().flatten().flatten();
    for place in controllers.map(|entry| entry.path()).chain([mount.to_owned()]) {
        if place.join(name).is_dir() {
            remove(&place.join(name));
        }
    }
}

fn measure(flags: &Flags, dir: &Path) -> anyhow::Result<()> {
    world::furnish()?;
    let before = load();
    let podman = if flags.no_podman { None } else { Podman::new(dir)? };
    let world = World::start(dir, &cgroup(dir), &["busybox"])?;
    let wanted = |group| flags.only.is_empty() || flags.only.contains(&group);
    let (mut rows, mut notes) = (Vec::new(), Vec::new());
    if wanted(Group::Memory) {
        let (more, told) = memory::measure(&world, podman.as_ref())?;
        rows.extend(more);
        notes.extend(told);
    }
    if wanted(Group::Container) {
        rows.extend(container::measure(&world, flags.repetitions)?);
    }
    if wanted(Group::Pod) {
        rows.extend(pod::measure(&world, podman.as_ref(), flags.repetitions)?);
    }
    if wanted(Group::Many) {
        rows.extend(many::measure(&world)?);
    }
    if wanted(Group::Probe) {
        rows.extend(probe::measure(&world, podman.as_ref(), flags.repetitions.div_ceil(7))?);
    }
    let conditions = Conditions { machine: machine()?, peers: peers(), load: [before, load()] };
    let report = Report { conditions, rows, notes };
    println!("{}", report.text());
    let workspace = klet_e2e::workspace();
    let json = workspace.join("target/bench.json");
    fs::write(&json, serde_json::to_vec_pretty(&report)?)
        .with_context(|| format!("cannot write {}", json.display()))?;
    if flags.document {
        report.write_into(&workspace.join("docs/benchmarks.md"))?;
    }
    Ok(())
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

fn machine() -> anyhow::Result<String> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    let kib = meminfo.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok());
    let release = nix::sys::utsname::uname()?.release().to_string_lossy().into_owned();
    let v1 = Path::new("/sys/fs/cgroup/cpuacct").exists();
    let groups = if v1 { "cgroup v1" } else { "cgroup v2" };
    Ok(format!("Linux {release}, {cpus} processors, {} MiB, {groups}", kib.unwrap_or(0) / 1024))
}

fn peers() -> String {
    ["crun", "runc", "podman"].map(pod::version).join(", ")
}
