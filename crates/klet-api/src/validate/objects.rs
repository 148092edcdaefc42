//! ConfigMaps, Secrets, Namespaces, Nodes and Events.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{complain, meta, text};
use crate::field::{ErrorList, FieldError, Path};
use crate::k8s_openapi::ByteString;
use crate::k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Node, Secret};
use crate::names;

/// Most bytes of a ConfigMap's or Secret's values together.
const DATA_MAX: usize = 1024 * 1024;
const WHEN_IMMUTABLE: &str = "field is immutable when `immutable` is set";

/// Checks a ConfigMap before it is created.
#[must_use]
pub fn config_map_create(config_map: &ConfigMap) -> ErrorList {
    let mut errors = Vec::new();
    meta::check(&mut errors, &config_map.metadata, true, names::dns_subdomain);
    let mut total = 0;
    let path = Path::root("data");
    for (key, value) in config_map.data.iter().flatten() {
        complain(&mut errors, path.key(key), key, names::config_key(key));
        if config_map.binary_data.as_ref().is_some_and(|b| b.contains_key(key)) {
            errors.push(FieldError::invalid(
                path.key(key),
                key,
                "duplicate of key present in binaryData",
            ));
        }
        total += value.len();
    }
    let path = Path::root("binaryData");
    for (key, value) in config_map.binary_data.iter().flatten() {
        complain(&mut errors, path.key(key), key, names::config_key(key));
        total += value.0.len();
    }
    if total > DATA_MAX {
        errors.push(FieldError::too_long("", DATA_MAX));
    }
    errors
}

/// Checks an update of a ConfigMap.
#[must_use]
pub fn config_map_update(new: &ConfigMap, old: &ConfigMap) -> ErrorList {
    let mut errors = meta::object_meta_update(&new.metadata, &old.metadata);
    if old.immutable == Some(true) {
        let changed = [
            ("immutable", new.immutable != Some(true)),
            ("data", new.data.clone().unwrap_or_default() != old.data.clone().unwrap_or_default()),
            (
                "binaryData",
                new.binary_data.clone().unwrap_or_default()
                    != old.binary_data.clone().unwrap_or_default(),
            ),
        ];
        forbid_changes(&mut errors, &changed);
    }
    errors.extend(config_map_create(new));
    errors
}

fn forbid_changes(errors: &mut ErrorList, changed: &[(&str, bool)]) {
    for (field, changed) in changed {
        if *changed {
            errors.push(FieldError::forbidden(field, WHEN_IMMUTABLE));
        }
    }
}

/// Checks a Secret before it is created (after defaulting moved `stringData` into `data`).
#[must_use]
pub fn secret_create(secret: &Secret) -> ErrorList {
    let mut errors = Vec::new();
    meta::check(&mut errors, &secret.metadata, true, names::dns_subdomain);
    let path = Path::root("data");
    let empty = BTreeMap::new();
    let data = secret.data.as_ref().unwrap_or(&empty);
    for key in data.keys() {
        complain(&mut errors, path.key(key), key, names::config_key(key));
    }
    if data.values().map(|v| v.0.len()).sum::<usize>() > DATA_MAX {
        errors.push(FieldError::too_long(path, DATA_MAX));
    }
    check_secret_type(&mut errors, secret, data, &path);
    errors
}

fn check_secret_type(
    errors: &mut ErrorList,
    secret: &Secret,
    data: &BTreeMap<String, ByteString>,
    path: &Path<'_>,
) {
    let mut require = |key: &str| {
        if !data.contains_key(key) {
            errors.push(FieldError::required(path.key(key), ""));
        }
    };
    match text(secret.type_.as_ref()) {
        "kubernetes.io/dockercfg" => check_json(errors, data, ".dockercfg", path),
        "kubernetes.io/dockerconfigjson" => check_json(errors, data, ".dockerconfigjson", path),
        "kubernetes.io/ssh-auth" => require("ssh-privatekey"),
        "kubernetes.io/tls" => {
            require("tls.crt");
            require("tls.key");
        }
        "kubernetes.io/basic-auth" if !data.contains_key("username") => {
            require("username");
            require("password");
        }
        "kubernetes.io/service-account-token" => {
            let key = "kubernetes.io/service-account.name";
            let annotations = secret.metadata.annotations.as_ref();
            if annotations.and_then(|a| a.get(key)).is_none_or(String::is_empty) {
                let at = Path::root("metadata");
                errors.push(FieldError::required(at.child("annotations").key(key), ""));
            }
        }
        _ => {}
    }
}

/// A key that must hold JSON; its contents never appear in a message.
fn check_json(
    errors: &mut ErrorList,
    data: &BTreeMap<String, ByteString>,
    key: &str,
    path: &Path<'_>,
) {
    let at = path.key(key);
    match data.get(key) {
        None => errors.push(FieldError::required(at, "")),
        Some(bytes) if serde_json::from_slice::<Value>(&bytes.0).is_err() => {
            let why = "the contents are not valid JSON";
            errors.push(FieldError::invalid(at, "<secret contents redacted>", why));
        }
        Some(_) => {}
    }
}

/// Checks an update of a Secret.
#[must_use]
pub fn secret_update(new: &Secret, old: &Secret) -> ErrorList {
    let mut errors = meta::object_meta_update(&new.metadata, &old.metadata);
    if old.immutable == Some(true) {
        let changed = [
            ("immutable", new.immutable != Some(true)),
            ("data", new.data.clone().unwrap_or_default() != old.data.clone().unwrap_or_default()),
        ];
        forbid_changes(&mut errors, &changed);
    }
    if new.type_ != old.type_ {
        errors.push(FieldError::invalid("type", text(new.type_.as_ref()), "field is immutable"));
    }
    errors.extend(secret_create(new));
    errors
}

/// Checks a Namespace before it is created.
#[must_use]
pub fn namespace_create(namespace: &Namespace) -> ErrorList {
    let mut errors = Vec::new();
    meta::check(&mut errors, &namespace.metadata, false, names::dns_label);
    errors
}

/// Checks an update of a Namespace.
#[must_use]
pub fn namespace_update(new: &Namespace, old: &Namespace) -> ErrorList {
    meta::object_meta_update(&new.metadata, &old.metadata)
}

/// Checks a Node before it is created.
#[must_use]
pub fn node_create(node: &Node) -> ErrorList {
    let mut errors = Vec::new();
    meta::check(&mut errors, &node.metadata, false, names::dns_subdomain);
    let root = Path::root("spec");
    let path = root.child("taints");
    for (i, taint) in node.spec.iter().filter_map(|s| s.taints.as_ref()).flatten().enumerate() {
        let at = path.index(i);
        complain(&mut errors, at.child("key"), &taint.key, names::qualified_name(&taint.key));
        let value = text(taint.value.as_ref());
        complain(&mut errors, at.child("value"), value, names::label_value(value));
        let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        super::required_choice(&mut errors, at.child("effect"), &taint.effect, &effects);
    }
    errors
}

/// Checks an update of a Node.
#[must_use]
pub fn node_update(new: &Node, old: &Node) -> ErrorList {
    let mut errors = meta::object_meta_update(&new.metadata, &old.metadata);
    errors.extend(node_create(new));
    errors
}

/// Checks an Event before it is created.
#[must_use]
pub fn event_create(event: &Event) -> ErrorList {
    let mut errors = Vec::new();
    meta::check(&mut errors, &event.metadata, true, names::dns_subdomain);
    let own = text(event.metadata.namespace.as_ref());
    let about = text(event.involved_object.namespace.as_ref());
    // Events of cluster-wide objects live in the namespace `default`.
    let fits = about == own || about.is_empty() && own == "default";
    if !fits {
        let why = "does not match event.namespace";
        errors.push(FieldError::invalid("involvedObject.namespace", about, why));
    }
    errors
}
