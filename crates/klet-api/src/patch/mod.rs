//! Patches of Kubernetes objects, as pure functions on JSON values.
//!
//! - [`merge_patch`]: RFC 7386, `application/merge-patch+json`.
//! - [`strategic_merge`]: `application/strategic-merge-patch+json`, where lists of known fields
//!   are merged by a key and `$`-directives replace, delete, order and retain.
//! - [`three_way`]: the strategic merge patch that `kubectl apply` sends, computed from what was
//!   applied last, what is wanted now and what the server has.
//!
//! Which list merges by which key is told by [`schema`](self): the `patchStrategy` and
//! `patchMergeKey` tags of the Kubernetes types. JSON Patch (RFC 6902) needs no knowledge of
//! types and is not here.

mod apply;
mod diff;
mod schema;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

pub use apply::strategic_merge;
pub use diff::{three_way, two_way};

/// Annotation in which `kubectl apply` keeps the object as it was applied last.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder/";
const DELETE_PRIMITIVES: &str = "$deleteFromPrimitiveList/";

/// A strategic merge patch that cannot be applied. The texts follow apimachinery's `mergepatch`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// Object and patch must both be JSON objects.
    #[error("the patch and the object it applies to must both be JSON objects")]
    NotAnObject,
    /// `$patch` has a value other than `replace`, `delete` or `merge`, or stands where it cannot.
    #[error("Unknown patch type found: {0}")]
    UnknownDirective(String),
    /// An element of a list that merges by key lacks the key.
    #[error("map: {element} does not contain declared merge key: {key}")]
    NoMergeKey {
        /// The element, as JSON.
        element: String,
        /// The merge key of its list.
        key: &'static str,
    },
    /// A `$`-directive has the wrong shape.
    #[error("invalid patch format of {directive} in {field}: {why}")]
    BadDirective {
        /// The directive, for example `$retainKeys`.
        directive: &'static str,
        /// The field it stands in or speaks of.
        field: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// Applies a JSON merge patch (RFC 7386): `null` deletes, objects merge, all else replaces.
#[must_use]
pub fn merge_patch(original: &Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut merged = original.as_object().cloned().unwrap_or_default();
    for (key, value) in patch {
        if value.is_null() {
            merged.remove(key);
        } else {
            let before = merged.get(key).unwrap_or(&Value::Null);
            let after = merge_patch(before, value);
            merged.insert(key.clone(), after);
        }
    }
    Value::Object(merged)
}

/// The position of the element with the same merge key.
fn position_by_key(list: &[Value], key: &str, wanted: &Value) -> Option<usize> {
    list.iter().position(|element| element.get(key) == Some(wanted))
}

/// The merge key of an element, or the error that says it has none.
fn key_of<'a>(element: &'a Value, key: &'static str) -> Result<&'a Value, PatchError> {
    element.get(key).ok_or_else(|| PatchError::NoMergeKey { element: element.to_string(), key })
}

/// An object reduced to its merge key, as `$setElementOrder` lists it.
fn only_key(element: &Value, key: &str) -> Option<Value> {
    let value = element.get(key)?.clone();
    Some(Value::Object(Map::from_iter([(key.to_owned(), value)])))
}
