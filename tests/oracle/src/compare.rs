//! What klet did beside what the real node did: a list of differences, each one line.
//!
//! Pure: everything here works on values that were read or recorded before. The wording of a
//! difference is what the rows of `docs/compatibility.md` match, so it holds no times, ids or
//! numbers that change from run to run, except where the number is the point.

mod events;
mod logs;
mod object;
mod sequence;

use serde_json::Value;

use crate::notes::{EventAt, Notes};
use crate::shot::Shot;

pub(crate) use logs::Logs;
pub(crate) use sequence::reached;

/// Most a span between two statuses may differ from the recorded one: this much, and this part of it.
pub(crate) const SPAN_SECONDS: f64 = 2.5;
pub(crate) const SPAN_PART: f64 = 0.2;
/// A status that stood shorter than this may be missing on the other side: the kubelet looks
/// at its containers once a second, and sees only what stands then.
pub(crate) const GLIMPSE: f64 = 2.0;
/// Events of the real node that came this close together came in no order.
pub(crate) const SAME_MOMENT: f64 = 0.3;

/// What the real node showed.
#[derive(Debug)]
pub(crate) struct Golden {
    pub(crate) notes: Notes,
    /// The object at the end.
    pub(crate) object: Value,
    pub(crate) logs: Logs,
}

/// What klet showed.
#[derive(Debug)]
pub(crate) struct Observed {
    pub(crate) shots: Vec<Shot>,
    pub(crate) events: Vec<EventAt>,
    pub(crate) object: Value,
    pub(crate) logs: Logs,
    /// How long klet was looked at, in seconds.
    pub(crate) ended: f64,
    /// When the last recorded status was reached; the end if it never was.
    pub(crate) reached: f64,
}

/// All differences, in the order sequence, events, object, logs.
pub(crate) fn differences(golden: &Golden, seen: &Observed) -> Vec<String> {
    let mut found = sequence::differences(&golden.notes.shots, &seen.shots);
    found.extend(events::differences(&golden.notes, seen));
    found.extend(object::differences(&golden.object, &seen.object));
    found.extend(logs::differences(&golden.logs, &seen.logs));
    found
}
