//! `kubectl describe`'s texts: an object and what belongs to it in, lines out. No I/O.

mod container;
mod data;
mod env;
mod events;
mod fields;
mod generic;
mod node;
mod pod;
mod probe;
mod sheet;
#[cfg(test)]
mod tests;
mod volume;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use fields::{head, text};
use sheet::Sheet;

/// The present, for ages, and the zone in which times are shown.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    pub(crate) now: Timestamp,
    pub(crate) zone: TimeZone,
}

/// What is told beside the object itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Around {
    /// The events about it; `None` if they are not to be shown.
    pub(crate) events: Option<Vec<Value>>,
    /// The pods of a node.
    pub(crate) pods: Vec<Value>,
}

/// The text about one object.
pub(crate) fn describe(object: &Value, around: &Around, clock: &Clock) -> String {
    let mut sheet = Sheet::default();
    match text(object, "/kind") {
        "Pod" => pod::write(&mut sheet, object, clock),
        "Node" => node::write(&mut sheet, object, &around.pods, clock),
        "ConfigMap" => data::config_map(&mut sheet, object),
        "Secret" => {
            data::secret(&mut sheet, object);
            // kubectl shows no events about secrets.
            return sheet.finish();
        }
        "Namespace" => {
            head(&mut sheet, object);
            sheet.field(0, "Status", text(object, "/status/phase"));
            sheet.line(0, "\nNo resource quota.\n\nNo LimitRange resource.");
            return sheet.finish();
        }
        _ => generic::write(&mut sheet, object),
    }
    if let Some(events) = &around.events {
        events::write(&mut sheet, events, clock);
    }
    sheet.finish()
}
