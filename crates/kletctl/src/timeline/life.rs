//! What each line shows when: entries, and where they do not reach back the pod's status, made into
//! states over time.

use jiff::Timestamp;
use serde_json::Value;

use super::{Entry, What};

/// What a line shows from a moment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Nothing,
    /// The sandbox is being made.
    Making,
    /// Running and all that is asked of it: the sandbox, an init container, a ready container.
    Good,
    /// Running, not ready.
    Unready,
    /// A hook runs.
    Hook,
    /// Told to stop.
    Stopping,
    /// Waits for another attempt.
    Waiting,
}

/// What happened at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Completed,
    ProbeFailed,
    Failed,
}

/// One line.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: String,
    /// In order of time; each lasts until the next.
    pub(super) states: Vec<(Timestamp, State)>,
    pub(super) marks: Vec<(Timestamp, Mark)>,
}

impl Row {
    /// What waited for another attempt will see none.
    fn wait_no_more(&mut self) {
        if let Some((_, state @ State::Waiting)) = self.states.last_mut() {
            *state = State::Nothing;
        }
    }
}

/// All lines of a pod.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) begin: Timestamp,
    pub(super) end: Timestamp,
    pub(super) rows: Vec<Row>,
    /// What was recorded and what the status adds, in order of time.
    pub(super) entries: Vec<Entry>,
}

impl Life {
    pub(super) fn of(pod: &Value, recorded: &[Entry], now: Timestamp) -> Self {
        let mut entries = recorded.to_vec();
        add_from_status(pod, &mut entries);
        entries.sort_by_key(|entry| entry.time);
        let created = time(pod, "/metadata/creationTimestamp");
        let first = entries.first().map(|entry| entry.time);
        // The object's time has whole seconds: what was recorded in that second may seem older.
        let begin = match (created, first) {
            (Some(created), Some(first)) if first.as_second() > created.as_second() => created,
            (_, Some(first)) => first,
            (created, None) => created.unwrap_or(now),
        };
        let mut rows = vec![sandbox(begin, &entries)];
        rows.extend(containers(pod).map(|name| container(name, &entries)));
        let over = ["Succeeded", "Failed"].contains(&pod["status"]["phase"].as_str().unwrap_or(""));
        if over {
            rows.iter_mut().for_each(Row::wait_no_more);
        }
        // The line of a pod that is over ends with it.
        let last = entries.last().map(|entry| entry.time).filter(|_| over);
        Life { begin, end: last.unwrap_or(now).max(begin), rows, entries }
    }

    /// Every moment at which a line changes, with begin and end, in order.
    pub(super) fn times(&self) -> Vec<Timestamp> {
        let changes = |row: &Row| {
            let states = row.states.iter().map(|(time, _)| *time);
            states.chain(row.marks.iter().map(|(time, _)| *time)).collect::<Vec<_>>()
        };
        let mut times: Vec<Timestamp> = self.rows.iter().flat_map(changes).collect();
        times.extend([self.begin, self.end]);
        times.sort();
        times.dedup();
        times
    }
}

fn time(object: &Value, pointer: &str) -> Option<Timestamp> {
    object.pointer(pointer)?.as_str()?.parse().ok()
}

/// Names in the order of the spec, init containers first.
fn containers(pod: &Value) -> impl Iterator<Item = &str> {
    let lists = ["/spec/initContainers", "/spec/containers", "/spec/ephemeralContainers"];
    let all = lists.into_iter().filter_map(|list| pod.pointer(list)?.as_array()).flatten();
    all.filter_map(|container| container["name"].as_str())
}

fn sandbox(begin: Timestamp, entries: &[Entry]) -> Row {
    let mut states = vec![(begin, State::Making)];
    for entry in entries {
        match entry.what {
            What::SandboxCreated | What::Adopted => states.push((entry.time, State::Good)),
            What::SandboxRemoved => states.push((entry.time, State::Nothing)),
            _ => {}
        }
    }
    Row { name: "sandbox".to_owned(), states, marks: Vec::new() }
}

fn container(name: &str, entries: &[Entry]) -> Row {
    let mut row = Row { name: name.to_owned(), states: Vec::new(), marks: Vec::new() };
    let mut state = State::Nothing;
    for entry in entries.iter().filter(|entry| entry.container.as_deref() == Some(name)) {
        let (next, mark) = step(state, entry.what);
        if next != state {
            // A container that waits has waited since its end.
            let since = match (next, state) {
                (State::Waiting, State::Nothing) => row.states.pop().map(|(ended, _)| ended),
                _ => None,
            };
            row.states.push((since.unwrap_or(entry.time), next));
            state = next;
        }
        row.marks.extend(mark.map(|mark| (entry.time, mark)));
    }
    row
}

/// What an entry makes of a container's line.
fn step(state: State, what: What) -> (State, Option<Mark>) {
    let runs = !matches!(state, State::Nothing | State::Waiting);
    let serves = matches!(state, State::Good | State::Unready);
    match what {
        What::InitStarted => (State::Good, None),
        What::Started => (State::Unready, None),
        What::StartFailed => (State::Waiting, Some(Mark::Failed)),
        What::Failed => (State::Nothing, Some(Mark::Failed)),
        What::Completed => (State::Nothing, Some(Mark::Completed)),
        What::PostStartBegan | What::PreStopBegan if runs => (State::Hook, None),
        What::PostStartDone if runs => (State::Unready, None),
        What::PostStartFailed => (state, Some(Mark::Failed)),
        What::PreStopDone | What::PreStopFailed | What::Killing if runs => (State::Stopping, None),
        What::Ready if serves => (State::Good, None),
        What::NotReady if serves => (State::Unready, None),
        What::ProbeFailure => (state, Some(Mark::ProbeFailed)),
        What::BackOff => (State::Waiting, None),
        _ => (state, None),
    }
}

/// A daemon that was restarted has recorded nothing of what was before: the status tells the rest.
fn add_from_status(pod: &Value, entries: &mut Vec<Entry>) {
    const LISTS: [(&str, What); 3] = [
        ("/status/initContainerStatuses", What::InitStarted),
        ("/status/containerStatuses", What::Started),
        ("/status/ephemeralContainerStatuses", What::Started),
    ];
    for (list, started) in LISTS {
        for status in pod.pointer(list).and_then(Value::as_array).into_iter().flatten() {
            let Some(name) = status["name"].as_str() else { continue };
            for state in [&status["lastState"]["terminated"], &status["state"]["terminated"]] {
                add(entries, name, started, time(state, "/startedAt"), String::new());
                let code = state["exitCode"].as_i64().unwrap_or(0);
                let what = if code == 0 { What::Completed } else { What::Failed };
                let reason = state["reason"].as_str().unwrap_or_default();
                let detail = format!("{reason}, exit code {code}");
                add(entries, name, what, time(state, "/finishedAt"), detail);
            }
            let begun = time(&status["state"], "/running/startedAt");
            let restarts = status["restartCount"].as_i64().unwrap_or(0);
            add(entries, name, started, begun, format!("attempt {restarts}"));
            if status["ready"] == true && started == What::Started {
                add_ready(entries, name, begun.max(ready_since(pod)));
            }
        }
    }
}

/// When all containers had become ready, if they are.
fn ready_since(pod: &Value) -> Option<Timestamp> {
    let mut conditions = pod.pointer("/status/conditions")?.as_array()?.iter();
    let all = conditions.find(|condition| condition["type"] == "ContainersReady")?;
    time(all, "/lastTransitionTime").filter(|_| all["status"] == "True")
}

/// A container that is ready became so after it last was not.
fn add_ready(entries: &mut Vec<Entry>, name: &str, at: Option<Timestamp>) {
    let own = entries.iter().filter(|entry| entry.container.as_deref() == Some(name));
    let last = own.filter(|entry| entry.what != What::ProbeFailure).max_by_key(|entry| entry.time);
    if last.is_some_and(|last| matches!(last.what, What::Started | What::NotReady)) {
        add(entries, name, What::Ready, at, String::new());
    }
}

/// Adds what is not known. Times of a status have whole seconds, so what is known of the container
/// from the same second was before.
fn add(entries: &mut Vec<Entry>, name: &str, what: What, at: Option<Timestamp>, detail: String) {
    let Some(time) = at.filter(|time| *time > Timestamp::UNIX_EPOCH) else { return };
    let near = |entry: &&Entry| {
        entry.container.as_deref() == Some(name) && entry.time.as_second() == time.as_second()
    };
    let mut near = entries.iter().filter(near);
    if near.clone().any(|entry| entry.what == what) {
        return;
    }
    let last = near.by_ref().map(|entry| entry.time).max();
    let time = last.map_or(time, |last| last.max(time));
    entries.push(Entry { time, container: Some(name.to_owned()), what, detail });
}
