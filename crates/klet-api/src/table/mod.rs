//! kubectl's tables: one row per object, the same columns and texts.
//!
//! [`columns`] and [`row`] know the kinds; [`Printer`] aligns. They serve the command line as well
//! as the server's `meta.k8s.io/v1 Table`, so they know neither flags nor terminals.

mod kinds;
mod pod;
mod print;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use serde_json::Value;

pub use pod::{pod_row, pod_status};
pub use print::{Printer, escape, render};

/// One column of a kind's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// The header as the server names it, for example `Nominated Node`; printed in upper case.
    pub name: &'static str,
    /// Shown only with `-o wide` (`priority: 1` in a server-side table).
    pub wide: bool,
}

/// The cells of one object, one per column, wide ones included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// In the order of [`columns`].
    pub cells: Vec<String>,
}

const fn narrow(name: &'static str) -> Column {
    Column { name, wide: false }
}

const fn wide(name: &'static str) -> Column {
    Column { name, wide: true }
}

/// The columns of a kind (`Pod`, `ConfigMap`, ...). A kind not known here has name and age.
#[must_use]
pub fn columns(kind: &str) -> &'static [Column] {
    match kind {
        "Pod" => pod::COLUMNS,
        "Node" => kinds::NODE,
        "Event" => kinds::EVENT,
        "ConfigMap" => kinds::CONFIG_MAP,
        "Secret" => kinds::SECRET,
        "Namespace" => kinds::NAMESPACE,
        "Service" => kinds::SERVICE,
        "Deployment" => kinds::DEPLOYMENT,
        "ReplicaSet" => kinds::REPLICA_SET,
        _ => kinds::OTHER,
    }
}

/// The row of one object of this kind as it is at `now`.
#[must_use]
pub fn row(kind: &str, object: &Value, now: Timestamp) -> Row {
    match kind {
        "Pod" => pod_row(object, now),
        "Node" => kinds::node(object, now),
        "Event" => kinds::event(object, now),
        "ConfigMap" => kinds::config_map(object, now),
        "Secret" => kinds::secret(object, now),
        "Namespace" => kinds::namespace(object, now),
        "Service" => kinds::service(object, now),
        "Deployment" => kinds::deployment(object, now),
        "ReplicaSet" => kinds::replica_set(object, now),
        _ => kinds::other(object, now),
    }
}

/// The text at a JSON pointer, or nothing if it is missing, empty or no text.
fn text<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// The text at a JSON pointer, or `<none>`.
fn text_or_none(object: &Value, pointer: &str) -> String {
    text(object, pointer).unwrap_or("<none>").to_owned()
}

fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn entries(object: &Value, pointer: &str) -> usize {
    object.pointer(pointer).and_then(Value::as_object).map_or(0, serde_json::Map::len)
}

fn time(object: &Value, pointer: &str) -> Option<Timestamp> {
    text(object, pointer)?.parse().ok()
}

/// The AGE cell.
fn age(object: &Value, now: Timestamp) -> String {
    crate::duration::age(time(object, "/metadata/creationTimestamp"), now)
}

/// Labels or a selector on one line: `a=b,c=d`, or `<none>`.
#[must_use]
pub fn labels(map: Option<&Value>) -> String {
    let pairs: Vec<String> = map
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") }
}
