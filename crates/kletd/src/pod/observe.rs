//! Looking at one pod: its shim if there is one, its files if not.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use klet_cri::PodSnapshot;
use klet_cri::paths::ShimIdentity;
use klet_pod::{ContainerRecord, Observed, RecordState, Sandbox};
use serde::{Deserialize, Serialize};

use super::orphans;
use super::start::deleted;
use super::worker::Worker;
use crate::events::Severity;
use crate::files::write_atomically;
use crate::shim::{ANSWER, CallError, Shim};
use crate::timeline::{Entry, What};

/// How long a supervisor that left a request unanswered may take to answer a greeting before it is
/// taken for dead.
const PATIENCE: Duration = Duration::from_secs(30);

/// `<root>/pods/<uid>/sandbox.json`: the sandbox that was made last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxRecord {
    pub id: String,
    pub attempt: u32,
    pub ips: Vec<IpAddr>,
}

impl SandboxRecord {
    fn file(dir: &Path) -> std::path::PathBuf {
        dir.join("sandbox.json")
    }

    #[must_use]
    pub fn read(dir: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(Self::file(dir)).ok()?).ok()
    }

    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, dir: &Path) -> std::io::Result<()> {
        write_atomically(&Self::file(dir), &serde_json::to_vec(self)?)
    }
}

impl Worker {
    /// What the node shows of the pod now.
    pub async fn observe(&mut self) -> Observed {
        let known = self.shim.get().is_some();
        let snapshot = self.snapshot().await;
        let made = SandboxRecord::read(&self.identity.dir);
        let mut containers = Vec::new();
        for container in snapshot.iter().flat_map(|snapshot| &snapshot.containers) {
            if self.records.counts_oom_kill(container) {
                let detail = format!("out of memory: {} killed so far", container.oom_kills);
                self.note(Some(&container.name), What::OomKilled, detail);
            }
            let seen = self.records.knows_end_of(&container.id);
            let record = self.records.take(container);
            if !known {
                self.note_found(&record);
            }
            if !seen {
                self.note_end(&record);
            }
            containers.push(record);
        }
        let others: Vec<_> = self.records.others(&containers).collect();
        containers.extend(others);
        let ready = snapshot.as_ref().is_some_and(|snapshot| snapshot.sandbox_ready);
        let leftovers = made.is_some() || self.identity.dir.exists() || self.shim.get().is_some();
        let sandbox = match made {
            Some(SandboxRecord { id, attempt, ips }) if ready => {
                Sandbox::Ready { id, attempt, ips }
            }
            Some(SandboxRecord { id, attempt, .. }) => Sandbox::NotReady { id, attempt },
            None => Sandbox::Absent,
        };
        let verdicts = self.probes.verdicts();
        Observed { sandbox, containers, verdicts, leftovers }
    }

    /// Adds the start of a container that a former daemon started.
    fn note_found(&self, record: &ContainerRecord) {
        let started = match &record.state {
            RecordState::Running { started_at } => Some(*started_at),
            RecordState::Exited { started_at, .. } => *started_at,
            RecordState::Created | RecordState::Unknown => None,
        };
        if let Some(time) = started {
            self.note_start(&record.name, record.attempt, time);
        }
    }

    /// Adds a container's start to the timeline, at the time when its program was executed.
    pub fn note_start(&self, name: &str, attempt: u32, time: Timestamp) {
        let spec = self.pod.spec.as_ref();
        let mut inits = spec.and_then(|spec| spec.init_containers.as_ref()).into_iter().flatten();
        let init = inits.any(|init| init.name == name);
        let entry = Entry {
            time,
            container: Some(name.to_owned()),
            what: if init { What::InitStarted } else { What::Started },
            detail: format!("attempt {attempt}"),
        };
        self.node.timelines.insert(&self.identity.uid, entry);
    }

    /// Adds a container's end to the timeline, at the time when it ended.
    fn note_end(&self, record: &ContainerRecord) {
        // What never started is told as a start that failed.
        let RecordState::Exited { started_at: Some(_), code, reason, finished_at, .. } =
            &record.state
        else {
            return;
        };
        let what = if *code == 0 { What::Completed } else { What::Failed };
        let entry = Entry {
            time: *finished_at,
            container: Some(record.name.clone()),
            what,
            detail: format!("{reason}, exit code {code}"),
        };
        self.node.timelines.insert(&self.identity.uid, entry);
    }

    /// What the shim tells; `None` when the pod has none that lives.
    async fn snapshot(&mut self) -> Option<PodSnapshot> {
        let mut why = String::new();
        if let Some(shim) = self.shim.get() {
            match shim.status().await {
                Ok(snapshot) => return Some(snapshot),
                Err(error) => why = error.to_string(),
            }
            self.shim.set(None);
        }
        // A shim writes its identity before it listens and removes it when it leaves.
        if !self.identity.run.identity().exists() {
            return None;
        }
        match self.adopt().await {
            Ok(snapshot) => return Some(snapshot),
            Err(error) if why.is_empty() => why = error.to_string(),
            Err(_) => {}
        }
        let text = format!("error determining status: {why}");
        self.node.events.pod(&self.pod, Severity::Warning, "FailedSync", text);
        self.bury().await;
        None
    }

    /// A pod that nobody deletes is given time: its supervisor may be waiting for a slow disk.
    async fn adopt(&self) -> Result<PodSnapshot, CallError> {
        let mut desired = self.desired.clone();
        let impatient = async {
            deleted(&mut desired).await;
            tokio::time::sleep(ANSWER).await;
        };
        let shim = tokio::select! {
            shim = Shim::connect_within(PATIENCE, &self.identity.run) => shim?,
            () = impatient => return Err(CallError::Gone("no answer".to_owned())),
        };
        let snapshot = shim.status().await?;
        self.shim.set(Some(shim));
        self.note(None, What::Adopted, "found running".to_owned());
        Ok(snapshot)
    }

    /// The shim is dead or hangs: end it and all it ran, keep what its files tell.
    async fn bury(&mut self) {
        let run = self.identity.run.clone();
        tracing::warn!(
            pod = self.identity.name,
            "the pod's supervisor is gone; its containers are ended"
        );
        if let Err(error) = self.end_cgroups().await {
            tracing::warn!(
                pod = self.identity.name,
                "not everything of the pod could be ended: {error:#}"
            );
        }
        self.records.bury(&run);
        if let Err(error) = std::fs::remove_dir_all(run.path()) {
            tracing::warn!(%error, "cannot remove {}", run.path().display());
        }
    }

    /// Kills everything of the pod, its supervisor too.
    ///
    /// # Errors
    /// What resists.
    pub async fn end_cgroups(&self) -> anyhow::Result<()> {
        let identity: Option<ShimIdentity> = std::fs::read(self.identity.run.identity())
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let (node, uid) = (self.node.clone(), self.identity.uid.clone());
        let ended = tokio::task::spawn_blocking(move || {
            orphans::end_cgroups(&node, &uid, identity.as_ref())
        });
        Ok(ended.await??)
    }
}
