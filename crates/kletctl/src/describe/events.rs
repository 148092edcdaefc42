//! The events about an object, oldest first.

use klet_api::duration::age;
use serde_json::Value;

use super::Clock;
use super::fields::{number, text, time};
use super::sheet::Sheet;

/// `Events:` with a table, or `<none>`.
pub(super) fn write(sheet: &mut Sheet, events: &[Value], clock: &Clock) {
    if events.is_empty() {
        return sheet.line(0, "Events:\t<none>");
    }
    sheet.part();
    let mut events: Vec<&Value> = events.iter().collect();
    events.sort_by_key(|event| (time(event, "/lastTimestamp"), version(event)));
    sheet.line(0, "Events:");
    sheet.line(1, "Type\tReason\tAge\tFrom\tMessage");
    sheet.line(1, "----\t------\t----\t----\t-------");
    for event in events {
        let source = match text(event, "/source/component") {
            "" => text(event, "/reportingComponent"),
            component => component,
        };
        let (kind, reason) = (text(event, "/type"), text(event, "/reason"));
        let row = [kind, reason, &seen(event, clock), source, &message(event)].join("\t");
        sheet.line(1, &row);
    }
}

/// Times have whole seconds; the store counts its writes.
fn version(event: &Value) -> u64 {
    text(event, "/metadata/resourceVersion").parse().unwrap_or(0)
}

/// The text, with the part of the object it is about.
fn message(event: &Value) -> String {
    let message = text(event, "/message").trim();
    match text(event, "/involvedObject/fieldPath") {
        "" => message.to_owned(),
        path => format!("{path}: {message}"),
    }
}

/// When it was seen: `5s`, or `5s (x3 over 20s)` if it came again.
fn seen(event: &Value, clock: &Clock) -> String {
    let first = time(event, "/eventTime").or_else(|| time(event, "/firstTimestamp"));
    let first = age(first, clock.now);
    let repeated = |last: &str, count: i64| format!("{last} (x{count} over {first})");
    if event.get("series").is_some_and(Value::is_object) {
        let last = clock.ago(event, "/series/lastObservedTime");
        return repeated(&last, number(event, "/series/count"));
    }
    match number(event, "/count") {
        count @ 2.. => repeated(&clock.ago(event, "/lastTimestamp"), count),
        _ => first,
    }
}
