//! Records what the watches of pods and events show, with the time of arrival.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::http;

/// One arrival.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    /// `ADDED`, `MODIFIED`, `DELETED`.
    pub(crate) kind: String,
    pub(crate) object: Value,
}

/// Everything about one pod.
#[derive(Debug, Default, Clone)]
pub(crate) struct Record {
    pub(crate) pods: Vec<Seen>,
    pub(crate) events: Vec<Seen>,
}

/// Filled by two threads until the daemon ends.
#[derive(Debug, Clone)]
pub(crate) struct Recorder {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    records: Mutex<HashMap<String, Record>>,
    changed: Condvar,
}

impl Recorder {
    /// Starts watching a namespace.
    ///
    /// # Errors
    /// The watch is refused.
    pub(crate) fn start(socket: &Path, namespace: &str) -> anyhow::Result<Self> {
        let recorder = Self { shared: Arc::default() };
        for resource in ["pods", "events"] {
            let path = format!("/api/v1/namespaces/{namespace}/{resource}?watch=true");
            let arrivals = http::watch(socket, &path)?;
            let shared = Arc::clone(&recorder.shared);
            std::thread::spawn(move || {
                for arrival in arrivals {
                    shared.add(resource, arrival);
                }
            });
        }
        Ok(recorder)
    }

    /// Everything about the pod so far, once it is more than `known` pod arrivals or `until` has come.
    pub(crate) fn after(&self, pod: &str, known: usize, until: Instant) -> Record {
        let mut records = self.shared.lock();
        loop {
            let record = records.get(pod).cloned().unwrap_or_default();
            let left = until.saturating_duration_since(Instant::now());
            if record.pods.len() > known || left == Duration::ZERO {
                return record;
            }
            let waited = self.shared.changed.wait_timeout(records, left);
            records = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, resource: &str, mut arrival: Value) {
        let at = Instant::now();
        let kind = arrival["type"].as_str().unwrap_or_default().to_owned();
        let object = arrival["object"].take();
        let place =
            if resource == "pods" { &object["metadata"] } else { &object["involvedObject"] };
        let Some(name) = place["name"].as_str().map(ToOwned::to_owned) else { return };
        let mut records = self.lock();
        let record = records.entry(name).or_default();
        let list = if resource == "pods" { &mut record.pods } else { &mut record.events };
        list.push(Seen { at, kind, object });
        drop(records);
        self.changed.notify_all();
    }
}
