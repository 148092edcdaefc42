//! Runs one case: create, operations at their times, watch until the last status is reached.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use crate::case::Case;
use crate::compare::{Logs, Observed, reached};
use crate::http;
use crate::normal;
use crate::notes::{EventAt, EventKey, Operation};
use crate::recorder::{Record, Recorder, Seen};
use crate::shot::Shot;

/// Least and most seconds to look on after the last status: events go on, and nothing may change.
const LINGER: (f64, f64) = (1.5, 30.0);

/// How long events may take to be written.
const LATE: Duration = Duration::from_secs(5);
/// Pause between two looks.
const PACE: Duration = Duration::from_millis(500);

/// Where the cases run.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub(crate) socket: &'a Path,
    pub(crate) namespace: &'a str,
    pub(crate) recorder: &'a Recorder,
    /// Most seconds to look on after the last status.
    pub(crate) linger: f64,
}

/// Runs the case to its end and removes the pod.
///
/// # Errors
/// The daemon refuses what the real node's did, or does not answer.
pub(crate) fn run(place: &Place<'_>, case: &Case) -> anyhow::Result<Observed> {
    let name = case.pod["metadata"]["name"].as_str().context("the pod has no name")?;
    let path = format!("/api/v1/namespaces/{}/pods", place.namespace);
    let begun = Instant::now();
    // What was bound to the recorded node is bound to ours.
    let pod = case.pod.to_string().replace(normal::NODES[0], normal::NODES[1]);
    let (code, answer) = http::json(place.socket, "POST", &path, &serde_json::from_str(&pod)?)?;
    ensure!(code == 201, "create: {code} {answer}");
    let pod = Pod { place, path: format!("{path}/{name}"), name, begun };
    let result = pod.follow(case);
    pod.remove()?;
    result
}

/// A pod that a case has created.
struct Pod<'a> {
    place: &'a Place<'a>,
    path: String,
    name: &'a str,
    begun: Instant,
}

impl Pod<'_> {
    fn at(&self, seconds: f64) -> Instant {
        self.begun + Duration::from_secs_f64(seconds.max(0.0))
    }

    fn seconds(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.begun).as_secs_f64()
    }

    fn follow(&self, case: &Case) -> anyhow::Result<Observed> {
        let notes = &case.golden.notes;
        for timed in &notes.operations {
            self.place.recorder.after(self.name, usize::MAX, self.at(timed.at));
            self.operate(&timed.operation)?;
        }
        let last = notes.shots.last().context("no status")?;
        let after_operations = notes.operations.last().map_or(0.0, |timed| timed.at);
        let latest = self.at(notes.ended * 1.1 + 10.0);
        let mut known = 0;
        let reached_at = loop {
            let record = self.place.recorder.after(self.name, known, latest);
            let shots: Vec<Shot> = record.pods.iter().map(|seen| self.shot(seen)).collect();
            let found = reached(&notes.shots, &shots).and_then(|index| shots.get(index));
            if let Some(shot) = found.filter(|shot| shot.at >= after_operations) {
                break shot.at;
            }
            known = record.pods.len();
            if Instant::now() >= latest {
                break self.seconds(latest);
            }
        };
        // Events may go on after the last status; a status must not.
        let tail = notes.events.last().map_or(0.0, |event| event.at - last.at);
        let linger = tail.clamp(LINGER.0, self.place.linger.min(LINGER.1).max(LINGER.0));
        let end = self.at(reached_at + linger);
        let mut record = self.place.recorder.after(self.name, usize::MAX, end);
        // Events are written behind the pod's back, and come late when many pods start at once.
        let told = |record: &Record| {
            notes
                .events
                .iter()
                .filter(|event| event.at <= last.at)
                .all(|event| record.events.iter().any(|seen| self.event(seen).key == event.key))
        };
        let latest = end + LATE;
        while !told(&record) && Instant::now() < latest {
            record = self.place.recorder.after(self.name, usize::MAX, Instant::now() + PACE);
        }
        self.observed(case, &record, reached_at, reached_at + linger)
    }

    fn shot(&self, seen: &Seen) -> Shot {
        Shot::of(self.seconds(seen.at), &seen.kind, &seen.object)
    }

    fn observed(
        &self,
        case: &Case,
        record: &Record,
        reached: f64,
        ended: f64,
    ) -> anyhow::Result<Observed> {
        let mut shots: Vec<Shot> = record.pods.iter().map(|seen| self.shot(seen)).collect();
        shots.retain(|shot| shot.at <= reached);
        shots.dedup_by(|later, earlier| {
            later.kind == earlier.kind && later.fields == earlier.fields
        });
        let object = record.pods.iter().rfind(|seen| self.seconds(seen.at) <= reached);
        let object = object.map(|seen| seen.object.clone()).unwrap_or_default();
        let events = record.events.iter().map(|seen| self.event(seen)).collect();
        let logs = self.logs(case)?;
        Ok(Observed { shots, events, object, logs, ended, reached })
    }

    fn event(&self, seen: &Seen) -> EventAt {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let event = &seen.object;
        EventAt {
            at: self.seconds(seen.at),
            count: event["count"].as_u64().unwrap_or(1),
            key: EventKey {
                severity: text(&event["type"]),
                reason: text(&event["reason"]),
                field: text(&event["involvedObject"]["fieldPath"]),
            },
            message: normal::text(text(&event["message"]).trim_end()),
        }
    }

    /// The logs, once they say what was recorded, or after as long as the recorded pod had.
    fn logs(&self, case: &Case) -> anyhow::Result<Logs> {
        let latest = self.at(case.golden.notes.ended.min(LINGER.1));
        loop {
            let logs = self.read_logs(&case.golden.logs)?;
            if logs.say(&case.golden.logs) || Instant::now() >= latest {
                return Ok(logs);
            }
            // The pace of looking, not a wait for anything.
            std::thread::park_timeout(PACE);
        }
    }

    fn read_logs(&self, golden: &Logs) -> anyhow::Result<Logs> {
        let mut logs = Logs::default();
        for name in golden.0.keys() {
            let (container, flags) = name.split_once(' ').unwrap_or((name, ""));
            let previous = if flags.contains("--previous") { "&previous=true" } else { "" };
            let path = format!("{}/log?container={container}{previous}", self.path);
            let (code, text) =
                http::send(self.place.socket, "GET", &path, "application/json", b"")?;
            let text = if code == 200 {
                text
            } else {
                let status: Value = serde_json::from_str(&text).unwrap_or_default();
                let part = |name: &str| status[name].as_str().unwrap_or_default().to_owned();
                Logs::refusal(&part("reason"), &part("message"))
            };
            logs.0.insert(name.clone(), text);
        }
        Ok(logs)
    }

    fn operate(&self, operation: &Operation) -> anyhow::Result<()> {
        match operation {
            Operation::Delete { grace } => {
                let options = match grace {
                    Some(grace) => json!({ "gracePeriodSeconds": grace }),
                    None => json!({}),
                };
                let (code, answer) = http::json(self.place.socket, "DELETE", &self.path, &options)?;
                ensure!(code < 300, "delete: {code} {answer}");
            }
            Operation::Patch { kind, patch } => self.patch(kind, patch)?,
            Operation::Mark { field, changes } => {
                let mut marks = serde_json::Map::new();
                for change in changes {
                    match (change.split_once('='), change.strip_suffix('-')) {
                        (Some((key, value)), _) => marks.insert(key.to_owned(), value.into()),
                        (None, Some(key)) => marks.insert(key.to_owned(), Value::Null),
                        (None, None) => bail!("{field}: {change:?} is neither KEY=VALUE nor KEY-"),
                    };
                }
                self.patch("merge", &json!({ "metadata": { *field: marks } }).to_string())?;
            }
            Operation::Exec { container, command } => self.exec(container.as_deref(), command)?,
        }
        Ok(())
    }

    fn patch(&self, kind: &str, patch: &str) -> anyhow::Result<()> {
        let kind = match kind {
            "json" => "application/json-patch+json",
            "merge" => "application/merge-patch+json",
            _ => "application/strategic-merge-patch+json",
        };
        let (code, answer) =
            http::send(self.place.socket, "PATCH", &self.path, kind, patch.as_bytes())?;
        ensure!(code < 300, "patch: {code} {answer}");
        Ok(())
    }

    /// Through kletctl, as a person does it. How the command ends is part of the case, so it is
    /// no error.
    fn exec(&self, container: Option<&str>, command: &[String]) -> anyhow::Result<()> {
        let program = klet_e2e::binary("kletctl");
        let mut exec = std::process::Command::new(&program);
        exec.arg("--socket").arg(self.place.socket).args(["exec", "-n", self.place.namespace]);
        exec.args(container.into_iter().flat_map(|name| ["-c", name]));
        exec.arg(self.name).arg("--").args(command);
        exec.output().with_context(|| format!("cannot run {}", program.display()))?;
        Ok(())
    }

    /// Removes what the case left, finalizers included.
    fn remove(&self) -> anyhow::Result<()> {
        let held = json!({ "metadata": { "finalizers": null } }).to_string();
        let (code, _) = http::send(
            self.place.socket,
            "PATCH",
            &self.path,
            "application/merge-patch+json",
            held.as_bytes(),
        )?;
        if code != 404 {
            let options = json!({ "gracePeriodSeconds": 1 });
            http::json(self.place.socket, "DELETE", &self.path, &options)?;
        }
        Ok(())
    }
}
