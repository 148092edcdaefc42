//! A pod's life as it happened, for `kletctl timeline`: bounded, kept until the pod is gone.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

/// Entries kept per pod.
const ENTRIES: usize = 512;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    pub time: Timestamp,
    /// Absent when it concerns the whole pod.
    pub container: Option<String>,
    pub what: What,
    pub detail: String,
}

/// The kinds of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum What {
    SandboxCreated,
    SandboxRemoved,
    InitStarted,
    Started,
    StartFailed,
    Exited,
    PostStart,
    PreStop,
    ProbeSuccess,
    ProbeFailure,
    Ready,
    NotReady,
    Killing,
    BackOff,
    Adopted,
    CleanedUp,
}

/// The timelines of all pods, by uid.
#[derive(Debug, Default)]
pub struct Timelines(Mutex<HashMap<String, VecDeque<Entry>>>);

impl Timelines {
    /// Adds an entry with the present time; the oldest gives way.
    pub fn add(&self, uid: &str, container: Option<&str>, what: What, detail: impl Into<String>) {
        let entry = Entry {
            time: Timestamp::now(),
            container: container.map(ToOwned::to_owned),
            what,
            detail: detail.into(),
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = all.entry(uid.to_owned()).or_default();
        if entries.len() >= ENTRIES {
            entries.pop_front();
        }
        entries.push_back(entry);
    }

    /// What happened to a pod, oldest first.
    #[must_use]
    pub fn of(&self, uid: &str) -> Vec<Entry> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(uid).into_iter().flatten().cloned().collect()
    }

    /// The pod is gone.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}
