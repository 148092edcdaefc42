//! What changed between two objects, for messages.

use serde::Serialize;
use serde_json::Value;

/// Most changes listed.
const MAX_LINES: usize = 20;

/// One line per changed field: `  spec.hostname: "a" -> "b"`.
pub(super) fn describe<T: Serialize>(new: &T, old: &T) -> String {
    let mut lines = Vec::new();
    if let (Ok(new), Ok(old)) = (serde_json::to_value(new), serde_json::to_value(old)) {
        walk("", Some(&new), Some(&old), &mut lines);
    }
    if lines.len() > MAX_LINES {
        let more = lines.len() - MAX_LINES;
        lines.truncate(MAX_LINES);
        lines.push(format!("  … and {more} more"));
    }
    lines.join("\n")
}

fn walk(path: &str, new: Option<&Value>, old: Option<&Value>, lines: &mut Vec<String>) {
    match (new, old) {
        (new, old) if new == old => {}
        (Some(Value::Object(new)), Some(Value::Object(old))) => {
            let added = new.keys().filter(|k| !old.contains_key(*k));
            for key in old.keys().chain(added) {
                let dot = if path.is_empty() { "" } else { "." };
                walk(&format!("{path}{dot}{key}"), new.get(key), old.get(key), lines);
            }
        }
        (Some(Value::Array(new)), Some(Value::Array(old))) => {
            for i in 0..new.len().max(old.len()) {
                walk(&format!("{path}[{i}]"), new.get(i), old.get(i), lines);
            }
        }
        (new, old) => {
            let show = |value: Option<&Value>| {
                value.map_or_else(|| "(unset)".to_owned(), Value::to_string)
            };
            lines.push(format!("  {path}: {} -> {}", show(old), show(new)));
        }
    }
}
