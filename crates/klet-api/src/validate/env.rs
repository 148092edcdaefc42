//! Environment variables and references to fields, resources, ConfigMaps and Secrets.

use super::{complain, text};
use crate::field::{ErrorList, FieldError, Path};
use crate::k8s_openapi::api::core::v1::{
    EnvFromSource, EnvVar, EnvVarSource, ObjectFieldSelector, ResourceFieldSelector,
};
use crate::quantity::Quantity;
use crate::{names, unsupported};

/// Fields an environment variable may show.
const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields a downward volume may show.
pub(super) const VOLUME_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];
/// Fields that exist but that neither may show.
const OTHER_FIELDS: &[&str] =
    &["spec.restartPolicy", "spec.schedulerName", "status.phase", "spec.host"];
/// Resources that can be shown.
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const BYTE_DIVISORS: &[&str] =
    &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

pub(super) fn check(errors: &mut ErrorList, env: &[EnvVar], path: &Path<'_>) {
    for (i, variable) in env.iter().enumerate() {
        let at = path.index(i);
        if variable.name.is_empty() {
            errors.push(FieldError::required(at.child("name"), ""));
        } else {
            complain(errors, at.child("name"), &variable.name, names::env_name(&variable.name));
        }
        if let Some(source) = &variable.value_from {
            value_from(errors, source, text(variable.value.as_ref()), &at.child("valueFrom"));
        }
    }
}

fn value_from(errors: &mut ErrorList, source: &EnvVarSource, value: &str, path: &Path<'_>) {
    let mut sources = 0;
    if let Some(field) = &source.field_ref {
        sources += 1;
        field_ref(errors, field, ENV_FIELDS, &path.child("fieldRef"));
    }
    if let Some(resource) = &source.resource_field_ref {
        sources += 1;
        resource_ref(errors, resource, false, &path.child("resourceFieldRef"));
    }
    if let Some(selector) = &source.config_map_key_ref {
        sources += 1;
        key_ref(errors, &selector.name, &selector.key, &path.child("configMapKeyRef"));
    }
    if let Some(selector) = &source.secret_key_ref {
        sources += 1;
        key_ref(errors, &selector.name, &selector.key, &path.child("secretKeyRef"));
    }
    sources += usize::from(unsupported::check_env_source(errors, source, path));
    if sources == 0 {
        let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`";
        errors.push(FieldError::invalid(path, "", why));
    }
    if !value.is_empty() && sources > 0 {
        errors.push(FieldError::invalid(
            path,
            "",
            "may not be specified when `value` is not empty",
        ));
    } else if sources > 1 {
        errors.push(FieldError::invalid(
            path,
            "",
            "may not have more than one field specified at a time",
        ));
    }
}

fn key_ref(errors: &mut ErrorList, name: &str, key: &str, path: &Path<'_>) {
    object_name(errors, name, path.child("name"));
    if key.is_empty() {
        errors.push(FieldError::required(path.child("key"), ""));
    } else {
        complain(errors, path.child("key"), key, names::config_key(key));
    }
}

/// The name of a ConfigMap or Secret that must be given.
fn object_name(errors: &mut ErrorList, name: &str, path: Path<'_>) {
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else {
        complain(errors, path, name, names::dns_subdomain(name));
    }
}

/// `metadata.labels['key']` split into the map and the key.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let inner = path.strip_suffix("']")?;
    let (map, key) = inner.split_once("['")?;
    (!map.is_empty()).then_some((map, key))
}

pub(super) fn field_ref(
    errors: &mut ErrorList,
    field: &ObjectFieldSelector,
    allowed: &[&str],
    path: &Path<'_>,
) {
    if text(field.api_version.as_ref()).is_empty() {
        errors.push(FieldError::required(path.child("apiVersion"), ""));
        return;
    }
    let at = path.child("fieldPath");
    let wanted = field.field_path.as_str();
    if wanted.is_empty() {
        errors.push(FieldError::required(at, ""));
        return;
    }
    let conversion = |why: &str| {
        FieldError::invalid(at, wanted, format!("error converting fieldPath: {why}: {wanted}"))
    };
    if let Some((map, key)) = subscript(wanted) {
        match map {
            "metadata.annotations" => {
                complain(errors, *path, key, names::qualified_name(&key.to_lowercase()))
            }
            "metadata.labels" => complain(errors, *path, key, names::qualified_name(key)),
            _ => errors.push(conversion("field label does not support subscript")),
        }
        return;
    }
    let known = [ENV_FIELDS, VOLUME_FIELDS, OTHER_FIELDS].iter().any(|list| list.contains(&wanted));
    if !known {
        errors.push(conversion("field label not supported"));
    } else if !allowed.contains(&wanted) {
        errors.push(FieldError::not_supported(at, wanted, allowed));
    }
}

pub(super) fn resource_ref(
    errors: &mut ErrorList,
    field: &ResourceFieldSelector,
    in_volume: bool,
    path: &Path<'_>,
) {
    if in_volume && text(field.container_name.as_ref()).is_empty() {
        errors.push(FieldError::required(path.child("containerName"), ""));
    } else if field.resource.is_empty() {
        errors.push(FieldError::required(path.child("resource"), ""));
    } else if !RESOURCES.contains(&field.resource.as_str()) && !is_huge_pages(&field.resource) {
        errors.push(FieldError::not_supported(path.child("resource"), &field.resource, RESOURCES));
    }
    divisor(errors, field, path);
}

fn is_huge_pages(resource: &str) -> bool {
    resource.starts_with("limits.hugepages-") || resource.starts_with("requests.hugepages-")
}

fn divisor(errors: &mut ErrorList, field: &ResourceFieldSelector, path: &Path<'_>) {
    let Some(Ok(divisor)) = field.divisor.as_ref().map(Quantity::try_from) else { return };
    if divisor.is_zero() {
        return;
    }
    let (allowed, list, name): (&[&str], String, &str) = match field.resource.as_str() {
        "limits.cpu" | "requests.cpu" => (&["1m", "1"], "1m and 1".into(), "cpu"),
        "limits.memory" | "requests.memory" => (BYTE_DIVISORS, BYTE_DIVISORS.join(", "), "memory"),
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => {
            (BYTE_DIVISORS, BYTE_DIVISORS.join(", "), "local ephemeral storage")
        }
        name if is_huge_pages(name) => (BYTE_DIVISORS, BYTE_DIVISORS.join(", "), "hugepages"),
        _ => return,
    };
    if !allowed.iter().any(|text| Quantity::parse(text) == Ok(divisor)) {
        let why = format!("only divisor's values {list} are supported with the {name} resource");
        errors.push(FieldError::invalid(path.child("divisor"), &field.resource, why));
    }
}

pub(super) fn check_from(errors: &mut ErrorList, sources: &[EnvFromSource], path: &Path<'_>) {
    for (i, source) in sources.iter().enumerate() {
        let at = path.index(i);
        let prefix = text(source.prefix.as_ref());
        if !prefix.is_empty() {
            complain(errors, at.child("prefix"), prefix, names::env_name(prefix));
        }
        if let Some(reference) = &source.config_map_ref {
            object_name(errors, &reference.name, at.child("configMapRef").child("name"));
        }
        if let Some(reference) = &source.secret_ref {
            object_name(errors, &reference.name, at.child("secretRef").child("name"));
        }
        match (&source.config_map_ref, &source.secret_ref) {
            (None, None) => {
                let why = "must specify one of: `configMapRef` or `secretRef`";
                errors.push(FieldError::invalid(path, "", why));
            }
            (Some(_), Some(_)) => {
                let why = "may not have more than one field specified at a time";
                errors.push(FieldError::invalid(path, "", why));
            }
            _ => {}
        }
    }
}
