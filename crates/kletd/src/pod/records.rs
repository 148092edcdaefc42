//! Container records: what the shim tells, what its files tell when it is dead, and what was
//! seen of attempts that no shim knows any more.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use klet_cri::paths::{ContainerRecord as Stored, PodRunDir};
use klet_cri::{ContainerSnapshot, ContainerState, ExitRecord};
use klet_pod::{ContainerRecord, RecordState};

/// What kletd writes on a container when it starts it, and reads back whenever it looks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labels {
    pub image: String,
    pub image_ref: String,
    pub image_id: String,
    pub definition: u64,
    /// Signal number that stops it.
    pub stop_signal: i32,
    /// Host file behind `terminationMessagePath`.
    pub termination_log: PathBuf,
    /// `terminationMessagePolicy: FallbackToLogsOnError`.
    pub falls_back_to_logs: bool,
}

/// Most bytes of a termination message (kubelet `MaxContainerTerminationMessageLength`).
const MESSAGE_BYTES: u64 = 4096;
/// Most bytes and lines when the log stands in for the message.
const LOG_MESSAGE_BYTES: u64 = 2048;
const LOG_MESSAGE_LINES: usize = 80;
/// SIGTERM: the stop signal of images that name none.
const SIGTERM: i32 = 15;

impl Labels {
    #[must_use]
    pub fn to_map(&self) -> BTreeMap<String, String> {
        let flag = if self.falls_back_to_logs { "true" } else { "false" };
        [
            ("image", self.image.clone()),
            ("imageRef", self.image_ref.clone()),
            ("imageID", self.image_id.clone()),
            ("definition", self.definition.to_string()),
            ("stopSignal", self.stop_signal.to_string()),
            ("terminationLog", self.termination_log.to_string_lossy().into_owned()),
            ("fallsBackToLogs", flag.to_owned()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
    }

    #[must_use]
    pub fn from_map(map: &BTreeMap<String, String>) -> Self {
        let text = |key: &str| map.get(key).cloned().unwrap_or_default();
        Self {
            image: text("image"),
            image_ref: text("imageRef"),
            image_id: text("imageID"),
            definition: text("definition").parse().unwrap_or(0),
            stop_signal: text("stopSignal").parse().unwrap_or(SIGTERM),
            termination_log: text("terminationLog").into(),
            falls_back_to_logs: text("fallsBackToLogs") == "true",
        }
    }
}

/// Records of attempts that ended: remembered while the shim that knew them is replaced.
#[derive(Debug, Default)]
pub struct Records {
    ended: BTreeMap<String, ContainerRecord>,
    /// Processes killed for memory, by attempt, as far as they were told.
    oom_kills: BTreeMap<String, u64>,
}

impl Records {
    /// The record of a snapshot; the end of an attempt is worked out once and then remembered.
    pub fn take(&mut self, snapshot: &ContainerSnapshot) -> ContainerRecord {
        if let Some(known) = self.ended.get(&snapshot.id) {
            return known.clone();
        }
        let record = record(snapshot);
        if matches!(record.state, RecordState::Exited { .. }) {
            self.ended.insert(record.id.clone(), record.clone());
        }
        record
    }

    /// More processes of this attempt were killed for memory than when it was last asked.
    pub fn counts_oom_kill(&mut self, snapshot: &ContainerSnapshot) -> bool {
        if snapshot.oom_kills == 0 {
            return false;
        }
        let told = self.oom_kills.insert(snapshot.id.clone(), snapshot.oom_kills);
        told.is_none_or(|told| told < snapshot.oom_kills)
    }

    /// Was the end of this attempt seen before?
    #[must_use]
    pub fn knows_end_of(&self, id: &str) -> bool {
        self.ended.contains_key(id)
    }

    /// Ended attempts that `present` does not list.
    pub fn others<'a>(
        &'a self,
        present: &'a [ContainerRecord],
    ) -> impl Iterator<Item = ContainerRecord> + 'a {
        self.ended
            .values()
            .filter(|ended| present.iter().all(|record| record.id != ended.id))
            .cloned()
    }

    pub fn forget(&mut self, ids: &[String]) {
        self.ended.retain(|id, _| !ids.contains(id));
        self.oom_kills.retain(|id, _| !ids.contains(id));
    }

    /// Takes over what the files of a dead shim tell. Everything it ran has been killed.
    pub fn bury(&mut self, run: &PodRunDir) {
        for mut snapshot in stored(run) {
            if !matches!(snapshot.state, ContainerState::Exited(_)) {
                snapshot.state = ContainerState::Exited(ExitRecord {
                    code: 137,
                    oom_killed: false,
                    start_error: None,
                    started_at_ns: match snapshot.state {
                        ContainerState::Running { started_at_ns } => started_at_ns,
                        ContainerState::Created | ContainerState::Exited(_) => 0,
                    },
                    finished_at_ns: i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(0),
                });
            }
            self.take(&snapshot);
        }
    }
}

/// The records a shim left in its directory; files that make no sense are passed over.
fn stored(run: &PodRunDir) -> Vec<ContainerSnapshot> {
    let Ok(entries) = std::fs::read_dir(run.containers()) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "json"))
        .filter_map(|entry| std::fs::read(entry.path()).ok())
        .filter_map(|bytes| serde_json::from_slice::<Stored>(&bytes).ok())
        .map(|stored| stored.container)
        .collect()
}

fn time(nanoseconds: i64) -> Timestamp {
    Timestamp::from_nanosecond(nanoseconds.into()).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn record(snapshot: &ContainerSnapshot) -> ContainerRecord {
    let labels = Labels::from_map(&snapshot.labels);
    let state = match &snapshot.state {
        ContainerState::Created => RecordState::Created,
        ContainerState::Running { started_at_ns } => {
            RecordState::Running { started_at: time(*started_at_ns) }
        }
        ContainerState::Exited(exit) => exited(exit, &labels, &snapshot.log_path),
    };
    ContainerRecord {
        id: snapshot.id.clone(),
        name: snapshot.name.clone(),
        attempt: snapshot.attempt,
        image: labels.image,
        image_ref: labels.image_ref,
        image_id: labels.image_id,
        definition: labels.definition,
        state,
    }
}

fn exited(exit: &ExitRecord, labels: &Labels, log: &Path) -> RecordState {
    let finished_at = time(exit.finished_at_ns);
    if let Some(error) = &exit.start_error {
        let (reason, message) = ("StartError".to_owned(), error.clone());
        return RecordState::Exited {
            started_at: None,
            finished_at,
            code: exit.code,
            reason,
            message,
        };
    }
    let reason = match (exit.oom_killed, exit.code) {
        (true, _) => "OOMKilled",
        (false, 0) => "Completed",
        (false, _) => "Error",
    };
    RecordState::Exited {
        started_at: Some(time(exit.started_at_ns)),
        finished_at,
        code: exit.code,
        reason: reason.to_owned(),
        message: termination_message(exit.code, labels, log),
    }
}

fn termination_message(code: i32, labels: &Labels, log: &Path) -> String {
    let own = tail(&labels.termination_log, MESSAGE_BYTES);
    if !own.is_empty() || !labels.falls_back_to_logs || code == 0 {
        return String::from_utf8_lossy(&own).into_owned();
    }
    let raw = tail(log, 1 << 20);
    let payloads: Vec<&[u8]> = raw
        .split(|byte| *byte == b'\n')
        .filter_map(klet_cri::log::parse_line)
        .map(|line| line.payload)
        .collect();
    let last = &payloads[payloads.len().saturating_sub(LOG_MESSAGE_LINES)..];
    let mut text: Vec<u8> = Vec::new();
    for payload in last {
        text.extend_from_slice(payload);
        text.push(b'\n');
    }
    let start = text.len().saturating_sub(LOG_MESSAGE_BYTES as usize);
    String::from_utf8_lossy(&text[start..]).into_owned()
}

/// The last bytes of a regular file; nothing if there is none.
fn tail(path: &Path, bytes: u64) -> Vec<u8> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
        let mut content = Vec::new();
        file.take(bytes).read_to_end(&mut content)?;
        Ok(content)
    };
    read().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(state: ContainerState, labels: &Labels) -> ContainerSnapshot {
        ContainerSnapshot {
            id: "1".into(),
            name: "c".into(),
            attempt: 2,
            pid: None,
            state,
            labels: labels.to_map(),
            log_path: "/nonexistent".into(),
            oom_kills: 0,
        }
    }

    fn exit(code: i32) -> ExitRecord {
        ExitRecord {
            code,
            oom_killed: false,
            start_error: None,
            started_at_ns: 1,
            finished_at_ns: 2,
        }
    }

    fn reason(exit: ExitRecord) -> String {
        let record = record(&snapshot(ContainerState::Exited(exit), &Labels::default()));
        let RecordState::Exited { reason, .. } = record.state else { panic!("{record:?}") };
        reason
    }

    #[test]
    fn reasons_are_the_runtimes() {
        assert_eq!(reason(exit(0)), "Completed");
        assert_eq!(reason(exit(1)), "Error");
        assert_eq!(reason(ExitRecord { oom_killed: true, ..exit(0) }), "OOMKilled");
        assert_eq!(reason(ExitRecord { start_error: Some("x".into()), ..exit(128) }), "StartError");
    }

    #[test]
    fn labels_survive_the_trip() {
        let labels = Labels {
            image: "busybox".into(),
            definition: u64::MAX,
            stop_signal: 3,
            falls_back_to_logs: true,
            ..Labels::default()
        };
        assert_eq!(Labels::from_map(&labels.to_map()), labels);
    }

    #[test]
    fn the_termination_message_is_the_tail_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, [b"x".repeat(5000), b"end".to_vec()].concat()).unwrap();
        let labels = Labels { termination_log: path, ..Labels::default() };
        let message = termination_message(0, &labels, Path::new("/nonexistent"));
        assert_eq!(message.len(), 4096);
        assert!(message.ends_with("end"));
    }

    #[test]
    fn an_end_is_remembered_after_its_shim_is_gone() {
        let mut records = Records::default();
        records.take(&snapshot(ContainerState::Exited(exit(3)), &Labels::default()));
        assert_eq!(records.others(&[]).count(), 1);
        records.forget(&["1".to_owned()]);
        assert_eq!(records.others(&[]).count(), 0);
    }
}
