//! A pod's life, drawn: a line per container over a time axis, and what happened below. No I/O.

mod axis;
mod draw;
mod life;
#[cfg(test)]
mod tests;
mod words;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use klet_api::table::{Printer, pod_row};
use serde::Deserialize;
use serde_json::Value;

use axis::Axis;
use draw::Canvas;
use life::Life;

/// One thing that happened, as kletd recorded it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Entry {
    pub(crate) time: Timestamp,
    /// Absent when it concerns the whole pod.
    pub(crate) container: Option<String>,
    pub(crate) what: What,
    pub(crate) detail: String,
}

/// The kinds of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum What {
    Accepted,
    Deleting,
    SandboxCreated,
    SandboxRemoved,
    InitStarted,
    Started,
    StartFailed,
    Completed,
    Failed,
    PostStartBegan,
    PostStartDone,
    PostStartFailed,
    PreStopBegan,
    PreStopDone,
    PreStopFailed,
    ProbeSuccess,
    ProbeFailure,
    Ready,
    NotReady,
    Killing,
    BackOff,
    Adopted,
    CleanedUp,
    /// From a newer daemon.
    #[serde(other)]
    Other,
}

/// How to draw.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    /// Columns of the terminal.
    pub(crate) width: usize,
    /// Only ASCII characters.
    pub(crate) ascii: bool,
    pub(crate) color: bool,
    pub(crate) now: Timestamp,
    pub(crate) zone: TimeZone,
}

/// The drawing and the list.
pub(crate) fn render(pod: &Value, entries: &[Entry], look: &Look) -> String {
    let life = Life::of(pod, entries, look.now);
    let title = title(pod, look.now);
    let names = life.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
    let margin = names.min(draw::NAME_MAX) + 2;
    let axis = Axis::new(&life.times(), look.width.saturating_sub(margin).max(draw::WIDTH_MIN));
    let canvas = Canvas { axis: &axis, look, margin };
    let drawing = canvas.draw(&life);
    format!("{title}\n\n{drawing}\n{}", list(&life, look))
}

/// `default/web   1/1 ready   Running   2 restarts`.
fn title(pod: &Value, now: Timestamp) -> String {
    let text = |pointer| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    let row = pod_row(pod, now).cells;
    let cell = |index: usize| row.get(index).map_or("", String::as_str);
    let (ready, status, restarts) = (cell(1), cell(2), cell(3));
    format!("{namespace}/{name}: {status}, {ready} ready, restarts: {restarts}")
}

fn list(life: &Life, look: &Look) -> String {
    let mut lines = vec![["TIME", "AFTER", "CONTAINER", "WHAT"].map(ToOwned::to_owned).to_vec()];
    for entry in &life.entries {
        let time = entry.time.to_zoned(look.zone.clone()).strftime("%H:%M:%S%.3f").to_string();
        let after = words::elapsed(entry.time.duration_since(life.begin));
        let container = entry.container.clone().unwrap_or_else(|| "-".to_owned());
        lines.push(vec![time, after, container, words::sentence(entry)]);
    }
    Printer::new().lines(&lines)
}
