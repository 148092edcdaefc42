//! Starting shims from the image that kletd carries inside itself.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use klet_cgroup::{Cgroups, EnterFiles};
use klet_cri::paths::PodRunDir;
use klet_sys::exec::Vector;
use klet_sys::spawn::{self, Program};
use tokio::io::Interest;
use tokio::sync::oneshot;

use super::client::Shim;

/// The static shim binary, built beside kletd.
static SHIM: &[u8] = include_bytes!(env!("KLET_SHIM_BINARY"));

/// How long the end of a shim's process may come after the end of its connection.
const ENDING: Duration = Duration::from_secs(1);
/// How long a new shim may take until it answers or listens.
const LISTENING: Duration = Duration::from_secs(10);

/// How often a shim of a former daemon is looked at.
const PACE: Duration = Duration::from_millis(20);

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
        // It is in memory twice now; the copy in this program's own file is of no more use.
        klet_sys::memory::page_out(SHIM);
        Ok(Self { image, run, cgroup_parent, cgroups })
    }

    /// The shim's own cgroup, outside its pod's: a pod at its limits cannot starve it.
    #[must_use]
    pub fn cgroup(&self, pod_uid: &str) -> String {
        format!("{}/shims/pod{pod_uid}", self.cgroup_parent.trim_end_matches('/'))
    }

    /// Starts the shim of a pod and greets it.
    ///
    /// # Errors
    /// It cannot be executed, ends at once, or does not answer in time.
    pub async fn start(&self, pod_uid: &str) -> anyhow::Result<Shim> {
        let (stream, ended) = self.execute(pod_uid).context("cannot start the pod's supervisor")?;
        let error = match Shim::greet(LISTENING, stream).await {
            Ok(shim) => return Ok(shim),
            Err(error) => error,
        };
        // A connection that ended is told of before the process that held it.
        if tokio::time::timeout(ENDING, ended).await.is_ok() {
            let directory = PodRunDir::new(&self.run, pod_uid);
            bail!("the pod's supervisor ended: {}", last_words(&directory));
        }
        Err(error).context("the pod's new supervisor does not answer")
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
        let deadline = tokio::time::Instant::now() + LISTENING;
        while tokio::time::Instant::now() < deadline {
            if let Ok(shim) = Shim::connect(&directory).await {
                return Some(shim);
            }
            // No event tells of a lock that becomes free.
            tokio::time::sleep(PACE).await;
            if log.try_lock().is_ok() {
                return None;
            }
        }
        tracing::warn!(pod_uid, "a supervisor that never spoke is killed");
        if let Err(error) = self.cgroups.container(&self.cgroup(pod_uid)).kill() {
            tracing::warn!(%error, pod_uid, "cannot kill it");
        }
        None
    }

    /// The shim finds its first connection as its standard input: nobody waits for a socket to appear.
    fn execute(&self, pod_uid: &str) -> anyhow::Result<(UnixStream, oneshot::Receiver<()>)> {
        let directory = PodRunDir::new(&self.run, pod_uid);
        let cgroup_path = self.cgroup(pod_uid);
        let run = self.run.to_str().context("the runtime directory's path is not UTF-8")?;
        let arguments = ["klet-shim", "--run", run, "--pod", pod_uid, "--cgroup", &cgroup_path]
            .into_iter()
            .map(CString::new)
            .collect::<Result<Vec<_>, _>>()
            .context("a path contains a NUL byte")?;
        let null = File::options().write(true).open("/dev/null")?;
        let (ours, theirs) = UnixStream::pair()?;
        let log = File::options().append(true).create(true).open(log_path(&directory))?;
        // The shim inherits the lock with the file: see `lingering`.
        log.try_lock().context("the pod has another supervisor")?;
        let cgroup = self.enter(&cgroup_path)?;
        let spawned = spawn::spawn(&Program {
            image: self.image.as_fd(),
            arguments: Vector::new(arguments),
            environment: Vector::new(Vec::new()),
            descriptors: &[theirs.as_fd(), null.as_fd(), log.as_fd()],
            cgroup: cgroup.as_ref().map(AsFd::as_fd),
        })?;
        Ok((ours, reap(spawned.pidfd)?))
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

fn log_path(directory: &PodRunDir) -> PathBuf {
    directory.path().join("shim.log")
}

/// The last line a shim wrote to its log.
fn last_words(directory: &PodRunDir) -> String {
    let text = std::fs::read_to_string(log_path(directory)).unwrap_or_default();
    text.lines().last().unwrap_or("it said nothing").to_owned()
}

/// Waits for the shim's end, so that it does not stay a zombie while kletd lives.
fn reap(pidfd: OwnedFd) -> anyhow::Result<oneshot::Receiver<()>> {
    let pidfd = crate::wait::asynchronous(pidfd, Interest::READABLE)?;
    let (tell, ended) = oneshot::channel();
    tokio::spawn(async move {
        if pidfd.readable().await.is_ok()
            && let Err(error) = klet_sys::pidfd::wait(pidfd.as_fd())
        {
            tracing::debug!(%error, "a supervisor ended and could not be waited for");
        }
        // Only the one who starts it wants to know.
        let _ = tell.send(());
    });
    Ok(ended)
}
