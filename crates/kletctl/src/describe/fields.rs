//! Reading objects, and the lines that all kinds have.

use jiff::Timestamp;
use serde_json::Value;

use super::Clock;
use super::sheet::Sheet;

/// Longest annotation that stands beside its key; longer lines are cut.
const ANNOTATION_CHARS: usize = 140;

/// The text at a JSON pointer; empty if there is none.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The text, or `<none>`.
pub(super) fn or_none(text: &str) -> &str {
    if text.is_empty() { "<none>" } else { text }
}

pub(super) fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

pub(super) fn flag(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer).and_then(Value::as_bool).unwrap_or(false)
}

pub(super) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The keys and texts of a map, by key.
pub(super) fn pairs<'a>(
    object: &'a Value,
    pointer: &str,
) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
    let map = object.pointer(pointer).and_then(Value::as_object);
    map.into_iter().flatten().map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
}

/// Texts of a list.
pub(super) fn texts<'a>(object: &'a Value, pointer: &str) -> Vec<&'a str> {
    list(object, pointer).iter().filter_map(Value::as_str).collect()
}

pub(super) fn time(object: &Value, pointer: &str) -> Option<Timestamp> {
    text(object, pointer).parse().ok()
}

/// A number or a text, as ports are.
pub(super) fn either(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

impl Clock {
    /// A time as kubectl writes it: `Mon, 02 Jan 2006 15:04:05 +0000`. A missing one is Go's zero.
    pub(super) fn date(&self, object: &Value, pointer: &str) -> String {
        match time(object, pointer) {
            Some(time) => {
                time.to_zoned(self.zone.clone()).strftime("%a, %d %b %Y %H:%M:%S %z").to_string()
            }
            None => "Mon, 01 Jan 0001 00:00:00 +0000".to_owned(),
        }
    }

    /// How long ago, or `<unknown>`.
    pub(super) fn ago(&self, object: &Value, pointer: &str) -> String {
        klet_api::duration::age(time(object, pointer), self.now)
    }
}

/// Name and namespace, labels, annotations.
pub(super) fn head(sheet: &mut Sheet, object: &Value) {
    names(sheet, object);
    labels(sheet, "Labels", object, "/metadata/labels");
    annotations(sheet, object);
}

pub(super) fn names(sheet: &mut Sheet, object: &Value) {
    sheet.field(0, "Name", text(object, "/metadata/name"));
    sheet.some(0, "Namespace", text(object, "/metadata/namespace"));
}

/// A map as `key=value`, one per line.
pub(super) fn labels(sheet: &mut Sheet, title: &str, object: &Value, pointer: &str) {
    let lines: Vec<String> =
        pairs(object, pointer).map(|(key, value)| format!("{key}={value}")).collect();
    sheet.column(title, &lines);
}

pub(super) fn annotations(sheet: &mut Sheet, object: &Value) {
    const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
    let mut lines = Vec::new();
    for (key, value) in pairs(object, "/metadata/annotations").filter(|(key, _)| *key != APPLIED) {
        let value = value.strip_suffix('\n').unwrap_or(value);
        if value.len() + key.len() + 2 <= ANNOTATION_CHARS && !value.contains('\n') {
            lines.push(format!("{key}: {value}"));
            continue;
        }
        lines.push(format!("{key}:"));
        lines.extend(value.split('\n').map(|line| format!("  {}", cut(line))));
    }
    sheet.column("Annotations", &lines);
}

fn cut(line: &str) -> String {
    match line.char_indices().nth(ANNOTATION_CHARS - 2) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.to_owned(),
    }
}
