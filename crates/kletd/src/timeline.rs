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
    /// The node has taken the pod on.
    Accepted,
    /// The pod was asked to end.
    Deleting,
    SandboxCreated,
    SandboxRemoved,
    InitStarted,
    Started,
    StartFailed,
    /// Ended with exit code 0.
    Completed,
    /// Ended with another exit code.
    Failed,
    PostStartBegan,
    PostStartDone,
    PostStartFailed,
    PreStopBegan,
    PreStopDone,
    PreStopFailed,
    OomKilled,
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
        let container = container.map(ToOwned::to_owned);
        let detail = detail.into();
        self.insert(uid, Entry { time: Timestamp::now(), container, what, detail });
    }

    /// Adds an entry in the order of time. A container that waits on says so once.
    pub fn insert(&self, uid: &str, entry: Entry) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = all.entry(uid.to_owned()).or_default();
        let same = |known: &&Entry| known.container == entry.container;
        let last = entries.iter().rev().find(same);
        let repeats = |last: &Entry| last.what == entry.what && last.detail == entry.detail;
        if entry.what == What::BackOff && last.is_some_and(repeats) {
            return;
        }
        if entries.len() >= ENTRIES {
            entries.pop_front();
        }
        let place = entries.partition_point(|known| known.time <= entry.time);
        entries.insert(place, entry);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(second: i64, what: What, detail: &str) -> Entry {
        let time = Timestamp::from_second(second).unwrap();
        Entry { time, container: Some("c".into()), what, detail: detail.into() }
    }

    #[test]
    fn entries_are_in_order_and_waiting_is_said_once() {
        let timelines = Timelines::default();
        timelines.insert("u", entry(5, What::BackOff, "10s"));
        timelines.insert("u", entry(6, What::BackOff, "10s"));
        timelines.insert("u", entry(3, What::Failed, ""));
        timelines.insert("u", entry(9, What::BackOff, "20s"));
        let times: Vec<_> = timelines.of("u").iter().map(|entry| entry.time.as_second()).collect();
        assert_eq!(times, [3, 5, 9]);
    }

    #[test]
    fn the_oldest_gives_way() {
        let timelines = Timelines::default();
        for second in 0..600 {
            timelines.insert("u", entry(second, What::Ready, ""));
        }
        let kept = timelines.of("u");
        assert_eq!((kept.len(), kept[0].time.as_second()), (ENTRIES, 88));
        timelines.forget("u");
        assert_eq!(timelines.of("u"), []);
    }
}
