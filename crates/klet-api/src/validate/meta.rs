//! Object metadata.

use std::collections::BTreeMap;

use super::{complain, null};
use crate::field::{ErrorList, FieldError, Path, Rendered};
use crate::k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use crate::names;

/// Most bytes of all annotations together.
const ANNOTATIONS_MAX: usize = 256 * 1024;
/// Finalizers that need no domain.
const STANDARD_FINALIZERS: [&str; 3] = ["orphan", "foregroundDeletion", "kubernetes"];

/// How a kind names its objects.
pub(super) type NameCheck = fn(&str) -> Vec<String>;

/// Checks the metadata of a namespaced object whose name is a DNS subdomain.
#[must_use]
pub fn object_meta(meta: &ObjectMeta) -> ErrorList {
    let mut errors = Vec::new();
    check(&mut errors, meta, true, names::dns_subdomain);
    errors
}

/// Checks that an update leaves an object's identity alone.
#[must_use]
pub fn object_meta_update(new: &ObjectMeta, old: &ObjectMeta) -> ErrorList {
    let mut errors = Vec::new();
    check_update(&mut errors, new, old);
    errors
}

pub(super) fn check(
    errors: &mut ErrorList,
    meta: &ObjectMeta,
    namespaced: bool,
    name_check: NameCheck,
) {
    let root = Path::root("metadata");
    check_name(errors, meta, &root, name_check);
    let namespace = super::text(meta.namespace.as_ref());
    let path = root.child("namespace");
    if namespaced && namespace.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if namespaced {
        complain(errors, path, namespace, names::dns_label(namespace));
    } else if !namespace.is_empty() {
        errors.push(FieldError::forbidden(path, "not allowed on this type"));
    }
    if let Some(map) = &meta.labels {
        labels(errors, map, root.child("labels"));
    }
    if let Some(map) = &meta.annotations {
        annotations(errors, map, root.child("annotations"));
    }
    owner_references(errors, meta.owner_references.as_deref().unwrap_or_default(), &root);
    finalizers(errors, meta.finalizers.as_deref().unwrap_or_default(), &root);
}

fn check_name(errors: &mut ErrorList, meta: &ObjectMeta, root: &Path<'_>, name_check: NameCheck) {
    let base = super::text(meta.generate_name.as_ref());
    if !base.is_empty() {
        // The base may end in a dash: the generated part follows.
        let masked = match base.strip_suffix('-') {
            Some(rest) if !rest.is_empty() => format!("{rest}a"),
            _ => base.to_owned(),
        };
        complain(errors, root.child("generateName"), base, name_check(&masked));
    }
    let name = super::text(meta.name.as_ref());
    if name.is_empty() {
        errors.push(FieldError::required(root.child("name"), "name or generateName is required"));
    } else {
        complain(errors, root.child("name"), name, name_check(name));
    }
}

/// Checks labels, and maps that follow the same rules (node selectors).
pub(super) fn labels(errors: &mut ErrorList, map: &BTreeMap<String, String>, path: Path<'_>) {
    for (key, value) in map {
        complain(errors, path, key, names::qualified_name(key));
        complain(errors, path, value, names::label_value(value));
    }
}

fn annotations(errors: &mut ErrorList, map: &BTreeMap<String, String>, path: Path<'_>) {
    for key in map.keys() {
        // Annotation keys may use capitals in their domain.
        complain(errors, path, key, names::qualified_name(&key.to_lowercase()));
    }
    let total: usize = map.iter().map(|(k, v)| k.len() + v.len()).sum();
    if total > ANNOTATIONS_MAX {
        errors.push(FieldError::too_long(path, ANNOTATIONS_MAX));
    }
}

fn owner_references(errors: &mut ErrorList, owners: &[OwnerReference], root: &Path<'_>) {
    let path = root.child("ownerReferences");
    for owner in owners {
        let fields = [
            ("apiVersion", &owner.api_version, "version must not be empty"),
            ("kind", &owner.kind, "kind must not be empty"),
            ("name", &owner.name, "name must not be empty"),
            ("uid", &owner.uid, "uid must not be empty"),
        ];
        for (name, value, text) in fields {
            if value.is_empty() {
                errors.push(FieldError::invalid(path.child(name), value, text));
            }
        }
    }
    let controllers: Vec<&str> =
        owners.iter().filter(|o| o.controller == Some(true)).map(|o| o.kind.as_str()).collect();
    if let [first, second, ..] = controllers.as_slice() {
        let text = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {second}"
        );
        errors.push(FieldError::invalid(path, Rendered::json(&owners), text));
    }
}

fn finalizers(errors: &mut ErrorList, finalizers: &[String], root: &Path<'_>) {
    let path = root.child("finalizers");
    for finalizer in finalizers {
        let complaints = names::qualified_name(finalizer);
        let well_formed = complaints.is_empty();
        complain(errors, path, finalizer, complaints);
        if well_formed
            && !finalizer.contains('/')
            && !STANDARD_FINALIZERS.contains(&finalizer.as_str())
        {
            let text = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid(path, finalizer, text));
        }
    }
}

pub(super) fn check_update(errors: &mut ErrorList, new: &ObjectMeta, old: &ObjectMeta) {
    let root = Path::root("metadata");
    let texts = [
        ("name", &new.name, &old.name),
        ("namespace", &new.namespace, &old.namespace),
        ("uid", &new.uid, &old.uid),
    ];
    for (field, new, old) in texts {
        if new != old {
            let value = new.as_ref().map_or_else(|| Rendered::from(""), Rendered::from);
            errors.push(FieldError::invalid(root.child(field), value, "field is immutable"));
        }
    }
    let times = [
        ("creationTimestamp", &new.creation_timestamp, &old.creation_timestamp),
        ("deletionTimestamp", &new.deletion_timestamp, &old.deletion_timestamp),
    ];
    for (field, new, old) in times {
        if new != old {
            errors.push(FieldError::invalid(
                root.child(field),
                Rendered::json(new),
                "field is immutable",
            ));
        }
    }
    if new.deletion_grace_period_seconds != old.deletion_grace_period_seconds {
        let value = new.deletion_grace_period_seconds.map_or_else(null, Rendered::from);
        errors.push(FieldError::invalid(
            root.child("deletionGracePeriodSeconds"),
            value,
            "field is immutable",
        ));
    }
    if old.deletion_timestamp.is_some() {
        let kept = old.finalizers.as_deref().unwrap_or_default();
        let added: Vec<&String> =
            new.finalizers.iter().flatten().filter(|f| !kept.contains(f)).collect();
        if !added.is_empty() {
            let text = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"
            );
            errors.push(FieldError::forbidden(root.child("finalizers"), text));
        }
    }
    if let Some(map) = &new.labels {
        labels(errors, map, root.child("labels"));
    }
    if let Some(map) = &new.annotations {
        annotations(errors, map, root.child("annotations"));
    }
    owner_references(errors, new.owner_references.as_deref().unwrap_or_default(), &root);
    finalizers(errors, new.finalizers.as_deref().unwrap_or_default(), &root);
}
