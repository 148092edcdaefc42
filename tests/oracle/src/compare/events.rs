//! Events: which, with which text, how often, in which order.

use std::collections::BTreeMap;

use super::{Observed, SAME_MOMENT};
use crate::notes::{EventAt, EventKey, Notes};

/// Counts may differ by this many, or this part of the recorded count.
const COUNT: u64 = 1;
const COUNT_PART: f64 = 0.35;

/// One event in all its repetitions.
#[derive(Debug, Clone)]
struct Event {
    key: EventKey,
    message: String,
    /// First arrival, in seconds.
    first: f64,
    count: u64,
}

impl Event {
    fn name(&self) -> String {
        let EventKey { severity, reason, field } = &self.key;
        let place = if field.is_empty() { "pod" } else { field };
        format!("event {severity} {reason} of {place}")
    }
}

pub(super) fn differences(golden: &Notes, seen: &Observed) -> Vec<String> {
    // Both sides are counted up to the same time after the last status.
    let last = golden.shots.last().map_or(0.0, |shot| shot.at);
    let until = last + (seen.ended - seen.reached).max(0.0);
    let mut recorded = gather(&golden.events);
    for event in &mut recorded {
        event.count = golden.count(&event.key, &event.message, until);
    }
    let mut own = gather(&seen.events);
    let mut found = Vec::new();
    let mut pairs = Vec::new();
    let mut left = Vec::new();
    for event in recorded {
        match take(&mut own, |own| own.key == event.key && own.message == event.message) {
            Some(own) => pairs.push((event, own)),
            None => left.push(event),
        }
    }
    for event in left {
        match take(&mut own, |own| own.key == event.key) {
            Some(own) => {
                let (name, was, is) = (event.name(), &event.message, &own.message);
                found.push(format!("{name}: recorded {was:?}, klet {is:?}"));
                pairs.push((event, own));
            }
            None if event.count > 0 => {
                found.push(format!("{} missing: {:?}", event.name(), event.message));
            }
            None => {}
        }
    }
    let added = own.iter().map(|own| format!("{} added: {:?}", own.name(), own.message));
    found.extend(added);
    counts(&pairs, &mut found);
    order(&pairs, &mut found);
    found
}

/// Takes the first element for which `is` holds.
fn take(events: &mut Vec<Event>, is: impl Fn(&Event) -> bool) -> Option<Event> {
    let index = events.iter().position(is)?;
    Some(events.remove(index))
}

/// Arrivals put together, in the order of the first.
fn gather(arrivals: &[EventAt]) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    let mut known: BTreeMap<(EventKey, String), usize> = BTreeMap::new();
    for arrival in arrivals {
        let key = (arrival.key.clone(), arrival.message.clone());
        let index = *known.entry(key).or_insert(events.len());
        if index == events.len() {
            let EventAt { at, key, message, .. } = arrival.clone();
            events.push(Event { key, message, first: at, count: 0 });
        }
        if let Some(event) = events.get_mut(index) {
            event.count = event.count.max(arrival.count);
        }
    }
    events
}

fn counts(pairs: &[(Event, Event)], found: &mut Vec<String>) {
    for (recorded, own) in pairs {
        if recorded.count == 0 {
            continue;
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "counts of events are small"
        )]
        let part = (recorded.count as f64 * COUNT_PART).round() as u64;
        if recorded.count.abs_diff(own.count) > part.max(COUNT) {
            let (was, is) = (recorded.count, own.count);
            found.push(format!("{} count: recorded {was}, klet {is}", recorded.name()));
        }
    }
}

/// What came clearly before on the real node must not come after in klet.
fn order(pairs: &[(Event, Event)], found: &mut Vec<String>) {
    for (first, own_first) in pairs {
        for (second, own_second) in pairs {
            let recorded = second.first - first.first;
            if recorded > SAME_MOMENT && own_second.first < own_first.first {
                found.push(format!("{} comes before {}", second.name(), first.name()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::Logs;
    use super::*;

    const GOLDEN: &str = "## Status x\n 1.0 ADDED phase=Running\n## Events x\n \
        1.0 x1 Normal Pulled [spec.containers{a}] is there\n \
        2.0 x1 Normal Created [spec.containers{a}] made a\n \
        3.0 x4 Warning Unhealthy [spec.containers{a}] bad\n \
        9.0 x40 Warning Unhealthy [spec.containers{a}] bad\n";

    fn compare(events: &str) -> Vec<String> {
        let golden = Notes::parse(GOLDEN).expect("notes");
        let text = format!("## Status x\n 1.0 ADDED phase=Running\n## Events x\n{events}");
        let events = Notes::parse(&text).expect("notes").events;
        let (object, logs) = (Value::Null, Logs::default());
        // Looked for 3 s after the last status: until 4.0 of the record.
        let shots = Vec::new();
        differences(&golden, &Observed { shots, events, object, logs, ended: 5.0, reached: 2.0 })
    }

    #[test]
    fn the_same_has_no_differences_whatever_came_later() {
        let same = " 0.1 x1 Normal Pulled [spec.containers{a}] is there\n \
            0.2 x1 Normal Created [spec.containers{a}] made a\n 0.3 x5 Warning Unhealthy [spec.containers{a}] bad\n";
        assert_eq!(compare(same), [""; 0]);
    }

    #[test]
    fn another_text_another_count_another_order_and_what_is_missing_are_told() {
        let other = " 0.2 x1 Normal Created [spec.containers{a}] made b\n \
            0.3 x1 Warning Unhealthy [spec.containers{a}] bad\n 0.4 x1 Normal More [] more\n";
        let wanted = [
            "event Normal Pulled of spec.containers{a} missing: \"is there\"",
            "event Normal Created of spec.containers{a}: recorded \"made a\", klet \"made b\"",
            "event Normal More of pod added: \"more\"",
            "event Warning Unhealthy of spec.containers{a} count: recorded 4, klet 1",
        ];
        assert_eq!(compare(other), wanted);
        let order = " 0.5 x1 Normal Pulled [spec.containers{a}] is there\n \
            0.2 x1 Normal Created [spec.containers{a}] made a\n 0.6 x4 Warning Unhealthy [spec.containers{a}] bad\n";
        let wanted = "event Normal Created of spec.containers{a} comes before event Normal Pulled of spec.containers{a}";
        assert_eq!(compare(order), [wanted]);
    }
}
