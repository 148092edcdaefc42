//! The place where everything runs: namespaces of its own, directories, a daemon with its image.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::account::Account;
use crate::api::Api;

/// Directories in which container tools keep state; inside the world they are empty.
const STATE: [&str; 7] = [
    "/run/crun",
    "/run/runc",
    "/run/containers",
    "/run/libpod",
    "/run/netns",
    "/run/podman",
    "/var/lib/cni",
];

/// How long the daemon may take until it answers, and a fact until it is true.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running daemon and the accounts of all who are measured.
#[derive(Debug)]
pub struct World {
    pub dir: PathBuf,
    /// The cgroup of this run, below which everything but podman's containers lives.
    pub cgroup: String,
    pub api: Api,
    pub daemon: Child,
    /// The daemon's own processor time.
    pub kletd: Account,
    /// Supervisors and containers.
    pub pods: Account,
    /// This program and the tools it executes.
    pub own: Account,
}

/// Makes the mount and network namespaces, which are new already, a world of their own.
///
/// # Errors
/// The kernel refuses a mount.
pub fn furnish() -> anyhow::Result<()> {
    // crun refuses a hybrid machine while the cgroup2 mount is seen.
    if Path::new("/sys/fs/cgroup/cpuacct").exists() {
        let _ = umount2("/sys/fs/cgroup/unified", MntFlags::MNT_DETACH);
    }
    for directory in STATE {
        fs::create_dir_all(directory)?;
        tmpfs(Path::new(directory))?;
    }
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
    ensure!(up.success(), "cannot bring lo up");
    Ok(())
}

fn tmpfs(at: &Path) -> anyhow::Result<()> {
    mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), None::<&str>)
        .with_context(|| format!("cannot mount a tmpfs on {}", at.display()))
}

impl World {
    /// Starts the daemon below `dir` with `cgroup` as its own, and loads the images.
    ///
    /// # Errors
    /// `make build images` was not run; the daemon does not answer.
    pub fn start(dir: &Path, cgroup: &str, images: &[&str]) -> anyhow::Result<Self> {
        for name in ["run", "b", "manifests"] {
            fs::create_dir_all(dir.join(name))?;
        }
        tmpfs(&dir.join("run"))?;
        let own = Account::make(&format!("{cgroup}/bench"))?;
        own.admit(std::process::id())?;
        let kletd = Account::make(&format!("{cgroup}/kletd"))?;
        let path = |name: &str| dir.join(name);
        let daemon = Command::new(klet_e2e::binary("kletd"))
            .arg("--root")
            .arg(path("root"))
            .arg("--run")
            .arg(path("run"))
            .arg("--log-dir")
            .arg(path("log"))
            .arg("--manifests")
            .arg(path("manifests"))
            .args(["--cgroup-parent", &format!("{cgroup}/pods"), "--node-name", "bench"])
            .args(std::env::var("KLET_BENCH_LOG").ok().map(|level| format!("--log-level={level}")))
            .stderr(File::create(path("kletd.log"))?)
            .spawn()
            .context("cannot start kletd (make build)")?;
        kletd.admit(daemon.id())?;
        let api = Api { socket: path("run/klet.sock") };
        let pods = Account::of(&format!("{cgroup}/pods"));
        let world =
            Self { dir: dir.to_owned(), cgroup: cgroup.to_owned(), api, daemon, kletd, pods, own };
        until("kletd answers", || Ok(world.api.request("GET", "/readyz", b"").is_ok()))?;
        for image in images {
            let archive = archive(image);
            let bytes = fs::read(&archive)
                .with_context(|| format!("{} (make images)", archive.display()))?;
            world.api.request("POST", "/klet/v1/images/load", &bytes)?;
        }
        Ok(world)
    }

    /// The unpacked root directory of an image of one layer.
    ///
    /// # Errors
    /// No image is loaded.
    pub fn layer(&self) -> anyhow::Result<PathBuf> {
        let layers = fs::read_dir(self.dir.join("root/images/layers"))?;
        let found = layers.flatten().map(|entry| entry.path().join("fs"));
        found.into_iter().find(|path| path.join("bin/busybox").exists()).context("no busybox layer")
    }

    /// Milliseconds that klet has used: daemon, supervisors and containers.
    #[must_use]
    pub fn klet_time(&self) -> f64 {
        self.kletd.used() + self.pods.used()
    }

    /// Names of everything that the node still has of pods.
    #[must_use]
    pub fn leftovers(&self) -> Vec<String> {
        ["run/pods", "root/pods", "root/snapshots"]
            .iter()
            .flat_map(|name| fs::read_dir(self.dir.join(name)).into_iter().flatten().flatten())
            .map(|entry| entry.path().display().to_string())
            .collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// Where `make images` leaves an image.
#[must_use]
pub fn archive(image: &str) -> PathBuf {
    klet_e2e::workspace().join(format!("target/images/{image}.tar"))
}

/// Lets time pass.
pub fn pause(time: Duration) {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}

/// Waits for a fact.
///
/// # Errors
/// It is not true within a minute.
pub fn until(what: &str, mut look: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !look()? {
        ensure!(Instant::now() < deadline, "never true: {what}");
        pause(Duration::from_millis(5));
    }
    Ok(())
}
