//! What a deletion does to an object. Pure: decided on the object as it is.
//!
//! The rules are apiserver's `BeforeDelete` and the pod strategy's `CheckGracefulDelete`.

#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::meta;
use crate::query::Query;

/// `DeleteOptions`, of body and query.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeleteOptions {
    pub(crate) grace_period_seconds: Option<i64>,
    pub(crate) preconditions: Option<Preconditions>,
    pub(crate) dry_run: Option<Vec<String>>,
}

/// What must hold of the object for the deletion to happen.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Preconditions {
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
}

impl DeleteOptions {
    /// From the body if there is one, otherwise from the query.
    pub(crate) fn parse(body: &[u8], query: &Query) -> Result<Self, ApiError> {
        let mut options = if body.is_empty() {
            Self::default()
        } else {
            let bad = |error| ApiError::bad_request(format!("DeleteOptions: {error}"));
            serde_json::from_slice(body).map_err(bad)?
        };
        if options.grace_period_seconds.is_none() {
            options.grace_period_seconds = query.number("gracePeriodSeconds")?;
        }
        if query.dry_run()? {
            options.dry_run = Some(vec!["All".to_owned()]);
        }
        Ok(options)
    }

    pub(crate) fn is_dry_run(&self) -> bool {
        self.dry_run.as_ref().is_some_and(|values| !values.is_empty())
    }

    /// Why the object is not the one meant; `None` if it is.
    pub(crate) fn unmet(&self, object: &Value) -> Option<String> {
        let wanted = self.preconditions.as_ref()?;
        let checks = [
            ("UID", &wanted.uid, "uid"),
            ("ResourceVersion", &wanted.resource_version, "resourceVersion"),
        ];
        checks.into_iter().find_map(|(label, wanted, field)| {
            let wanted = wanted.as_deref()?;
            let found = meta::field(object, field).unwrap_or_default();
            (wanted != found).then(|| {
                format!(
                    "Precondition failed: {label} in precondition: {wanted}, \
                     {label} in object meta: {found}"
                )
            })
        })
    }
}

/// What is to be done with the object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Deletion {
    /// It goes at once.
    Remove,
    /// It goes at once, and watches see it marked like this first.
    Finish(Value),
    /// It stays for now, marked like this.
    Mark(Value),
    /// It is being deleted already, no later than asked for.
    Pending,
}

/// Whether something else must act before the object may go.
pub(crate) fn has_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty())
}

/// Whether a changed object goes, having been kept for its finalizers only.
pub(crate) fn is_finished(object: &Value) -> bool {
    let metadata = &object["metadata"];
    metadata["deletionTimestamp"].is_string()
        && metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && !has_finalizers(object)
}

/// The deletion of an object that ends with no grace: at once, or when its finalizers are gone.
pub(crate) fn plain(object: &Value, now: Timestamp) -> Deletion {
    if !has_finalizers(object) {
        return Deletion::Remove;
    }
    if object["metadata"]["deletionTimestamp"].is_string() {
        return Deletion::Pending;
    }
    Deletion::Mark(marked(object, 0, now))
}

/// The deletion of a namespace: at once if nothing is in it, otherwise when it is empty.
pub(crate) fn namespace(object: &Value, empty: bool, now: Timestamp) -> Deletion {
    if empty && !has_finalizers(object) {
        return Deletion::Remove;
    }
    if object["metadata"]["deletionTimestamp"].is_string() {
        return Deletion::Pending;
    }
    let mut object = object.clone();
    object["status"]["phase"] = json!("Terminating");
    if let Some(metadata) = meta::metadata(&mut object) {
        metadata.insert("deletionTimestamp".to_owned(), json!(meta::seconds(now)));
    }
    Deletion::Mark(object)
}

/// The deletion of a pod: `grace` seconds as asked for, otherwise as the pod says.
pub(crate) fn pod(object: &Value, grace: Option<i64>, now: Timestamp) -> Deletion {
    // A negative grace counts as the shortest one.
    let grace = grace.map(|grace| if grace < 0 { 1 } else { grace });
    let metadata = &object["metadata"];
    if let Some(deadline) = metadata["deletionTimestamp"].as_str() {
        return shorten(object, deadline, grace, now);
    }
    let spec = &object["spec"];
    let ended = matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    let unbound = spec["nodeName"].as_str().unwrap_or_default().is_empty();
    let wanted = grace.or(spec["terminationGracePeriodSeconds"].as_i64()).unwrap_or(0);
    let grace = match wanted {
        _ if ended || unbound => 0,
        negative if negative < 0 => 1,
        seconds => seconds,
    };
    mark_pod(object, grace, later(now, grace))
}

/// A second deletion may only bring the end nearer, counted from the first one's time.
fn shorten(object: &Value, deadline: &str, grace: Option<i64>, now: Timestamp) -> Deletion {
    let (Some(grace), Some(before)) =
        (grace, object["metadata"]["deletionGracePeriodSeconds"].as_i64())
    else {
        return Deletion::Pending;
    };
    if grace >= before {
        return Deletion::Pending;
    }
    let deadline = deadline.parse().unwrap_or(now);
    mark_pod(object, grace, later(deadline, grace - before))
}

/// The deletion of a pod that nothing of is left on its node.
pub(crate) fn ended_pod(object: &Value, now: Timestamp) -> Deletion {
    let metadata = &object["metadata"];
    let deadline = metadata["deletionTimestamp"].as_str().and_then(|time| time.parse().ok());
    let grace = metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    mark_pod(object, 0, deadline.map_or(now, |deadline| later(deadline, -grace)))
}

fn mark_pod(object: &Value, grace: i64, deadline: Timestamp) -> Deletion {
    let marked = marked(object, grace, deadline);
    if grace == 0 && !has_finalizers(object) {
        Deletion::Finish(marked)
    } else {
        Deletion::Mark(marked)
    }
}

/// `seconds` after `time` (before, if negative); the ends of time are far enough.
fn later(time: Timestamp, seconds: i64) -> Timestamp {
    time.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

pub(crate) fn marked(object: &Value, grace: i64, deadline: Timestamp) -> Value {
    let mut object = object.clone();
    let first = !object["metadata"]["deletionTimestamp"].is_string();
    if let Some(metadata) = meta::metadata(&mut object) {
        metadata.insert("deletionTimestamp".to_owned(), json!(meta::seconds(deadline)));
        metadata.insert("deletionGracePeriodSeconds".to_owned(), json!(grace));
        // Being deleted is a wish like any other.
        if let Some(generation) = metadata.get("generation").and_then(Value::as_i64)
            && first
        {
            metadata.insert("generation".to_owned(), json!(generation + 1));
        }
    }
    object
}
