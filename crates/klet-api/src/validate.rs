//! Validation of objects before they are stored: every bad field at once, in Kubernetes' words.
//!
//! Objects are validated after defaulting. The checks follow Kubernetes 1.32 (with the later
//! container restart rules); fields that Kubernetes knows and klet does not run are refused by
//! name, from the table in [`crate::unsupported`].

mod affinity;
mod container;
mod diff;
mod dns;
mod env;
mod ephemeral;
mod meta;
mod objects;
mod pod;
mod probe;
mod projected;
mod resources;
mod scheduling;
mod security;
mod status;
mod update;
mod volume;

use crate::field::{ErrorList, FieldError, Path, Rendered};

pub use ephemeral::pod_ephemeral_update;
pub use meta::{object_meta, object_meta_update};
pub use objects::{
    config_map_create, config_map_update, event_create, namespace_create, namespace_update,
    node_create, node_update, secret_create, secret_update,
};
pub use pod::pod_create;
pub use status::pod_status_update;
pub use update::pod_update;

/// One Invalid error per complaint about `value`.
fn complain(errors: &mut ErrorList, path: Path<'_>, value: &str, complaints: Vec<String>) {
    errors.extend(complaints.into_iter().map(|text| FieldError::invalid(path, value, text)));
}

/// One Invalid error per complaint about a number.
fn complain_number(errors: &mut ErrorList, path: Path<'_>, value: i64, complaints: Vec<String>) {
    errors.extend(complaints.into_iter().map(|text| FieldError::invalid(path, value, text)));
}

/// An optional text, empty when absent.
fn text(field: Option<&String>) -> &str {
    field.map_or("", String::as_str)
}

/// An enumeration: empty is Required, anything not listed is Unsupported.
fn required_choice(errors: &mut ErrorList, path: Path<'_>, value: &str, supported: &[&str]) {
    if value.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else {
        choice(errors, path, value, supported);
    }
}

/// An enumeration in which nothing but the listed values is allowed.
fn choice(errors: &mut ErrorList, path: Path<'_>, value: &str, supported: &[&str]) {
    if !supported.contains(&value) {
        errors.push(FieldError::not_supported(path, value, supported));
    }
}

/// A number that must not be negative.
fn non_negative(errors: &mut ErrorList, path: Path<'_>, value: i64) {
    if value < 0 {
        errors.push(FieldError::invalid(path, value, "must be greater than or equal to 0"));
    }
}

/// An absent value in an error.
fn null() -> Rendered {
    Rendered::from(serde_json::Value::Null)
}

#[cfg(test)]
mod tests;
