//! Starting shims from the image that kletd carries inside itself.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use klet_cgroup::{Cgroups, EnterFiles};
use klet_cri::paths::PodRunDir;
use klet_sys::exec::Vector;
use klet_sys::spawn::{self, Program};
use tokio::io::Interest;

use super::client::Shim;

/// The static shim binary, built beside kletd.
static SHIM: &[u8] = include_bytes!(env!("KLET_SHIM_BINARY"));

/// How long a new shim may take until it listens.
const LISTENING: Duration = Duration::from_secs(10);

/// Pause between two looks whether an exiting shim is gone.
const RELEASE: Duration = Duration::from_millis(2);

/// Starts shims.
#[derive(Debug)]
pub struct Launcher {
    image: OwnedFd,
    run: PathBuf,
    cgroup_parent: String,
    cgroups: Cgroups,
}

impl Launcher {
    /// Puts the shim's image into sealed memory: running shims do not depend on any file.
    ///
    /// # Errors
    /// The kernel refuses a memfd.
    pub fn new(run: PathBuf, cgroup_parent: String, cgroups: Cgroups) -> anyhow::Result<Self> {
        let image =
            klet_sys::memfd::sealed(c"klet-shim", SHIM).context("cannot prepare the shim")?;
        Ok(Self { image, run, cgroup_parent, cgroups })
    }

    /// The shim's own cgroup, outside its pod's: a pod at its limits cannot starve it.
    #[must_use]
    pub fn cgroup(&self, pod_uid: &str) -> String {
        format!("{}/shims/pod{pod_uid}", self.cgroup_parent.trim_end_matches('/'))
    }

    /// Starts the shim of a pod and connects to it.
    ///
    /// # Errors
    /// It cannot be executed, or does not listen in time.
    pub async fn start(&self, pod_uid: &str) -> anyhow::Result<Shim> {
        let directory = PodRunDir::new(&self.run, pod_uid);
        self.execute(pod_uid).context("cannot start the pod's supervisor")?;
        let socket = directory.socket();
        let listening = crate::wait::until_exists(&socket);
        tokio::time::timeout(LISTENING, listening)
            .await
            .context("the pod's supervisor did not start listening in time")??;
        Shim::connect(&directory).await.context("cannot connect to the pod's new supervisor")
    }

    /// The shim that a former daemon started for the pod and did not live to speak to. It holds
    /// the lock on its log from before its first instruction, and listens in a moment; one that
    /// does not is killed. Two shims of one pod would take each other's files away.
    pub async fn lingering(&self, pod_uid: &str) -> Option<Shim> {
        let directory = PodRunDir::new(&self.run, pod_uid);
        let log = File::open(log_path(&directory)).ok()?;
        // An error means that it is held; what it says beyond that does not matter.
        if log.try_lock().is_ok() {
            return None;
        }
        let socket = directory.socket();
        let listening = tokio::time::timeout(LISTENING, crate::wait::until_exists(&socket));
        let listening = tokio::select! {
            listening = listening => matches!(listening, Ok(Ok(()))),
            // One that has done its work and is about to exit has no socket any more.
            () = released(&log) => return None,
        };
        if listening && let Ok(shim) = Shim::connect(&directory).await {
            return Some(shim);
        }
        tracing::warn!(pod_uid, "a supervisor that never spoke is killed");
        if let Err(error) = self.cgroups.container(&self.cgroup(pod_uid)).kill() {
            tracing::warn!(%error, pod_uid, "cannot kill it");
        }
        None
    }

    fn execute(&self, pod_uid: &str) -> anyhow::Result<()> {
        let directory = PodRunDir::new(&self.run, pod_uid);
        let cgroup_path = self.cgroup(pod_uid);
        let run = self.run.to_str().context("the runtime directory's path is not UTF-8")?;
        let arguments = ["klet-shim", "--run", run, "--pod", pod_uid, "--cgroup", &cgroup_path]
            .into_iter()
            .map(CString::new)
            .collect::<Result<Vec<_>, _>>()
            .context("a path contains a NUL byte")?;
        let null = File::options().read(true).write(true).open("/dev/null")?;
        let log = File::options().append(true).create(true).open(log_path(&directory))?;
        // The shim inherits the lock with the file: see `lingering`.
        log.try_lock().context("the pod has another supervisor")?;
        let cgroup = self.enter(&cgroup_path)?;
        let spawned = spawn::spawn(&Program {
            image: self.image.as_fd(),
            arguments: Vector::new(arguments),
            environment: Vector::new(Vec::new()),
            descriptors: &[null.as_fd(), null.as_fd(), log.as_fd()],
            cgroup: cgroup.as_ref().map(AsFd::as_fd),
        })?;
        reap(spawned.pidfd)?;
        Ok(())
    }

    /// On cgroup v2 the shim is born in its cgroup: moving a process there would cost milliseconds.
    /// On v1 it moves itself, which is cheap for a single thread.
    fn enter(&self, path: &str) -> anyhow::Result<Option<OwnedFd>> {
        let cgroup = self.cgroups.container(path);
        if !self.cgroups.is_v2() {
            return Ok(None);
        }
        cgroup.create()?;
        match cgroup.enter_files()? {
            EnterFiles::V2 { directory } => Ok(Some(directory)),
            EnterFiles::V1(_) => Ok(None),
        }
    }
}

/// Returns when nobody holds the lock. Nothing tells of that, so it is tried again and again: a
/// process exits within moments.
async fn released(log: &File) {
    while log.try_lock().is_err() {
        tokio::time::sleep(RELEASE).await;
    }
}

fn log_path(directory: &PodRunDir) -> PathBuf {
    directory.path().join("shim.log")
}

/// Waits for the shim's end, so that it does not stay a zombie while kletd lives.
fn reap(pidfd: OwnedFd) -> anyhow::Result<()> {
    let pidfd = crate::wait::asynchronous(pidfd, Interest::READABLE)?;
    tokio::spawn(async move {
        if pidfd.readable().await.is_ok()
            && let Err(error) = klet_sys::pidfd::wait(pidfd.as_fd())
        {
            tracing::debug!(%error, "a supervisor ended and could not be waited for");
        }
    });
    Ok(())
}
