//! Volumes and their mounts.

use std::collections::BTreeSet;

use super::{choice, complain, env, projected, text};
use crate::field::{ErrorList, FieldError, Path};
use crate::k8s_openapi::api::core::v1::{
    Container, DownwardAPIVolumeFile, EmptyDirVolumeSource, HostPathVolumeSource, KeyToPath,
    PodSpec, Volume, VolumeMount,
};
use crate::quantity::Quantity;
use crate::{names, unsupported};

const HOST_PATH_TYPES: &[&str] = &[
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];

/// Checks all volumes and returns their names.
pub(super) fn check<'s>(
    errors: &mut ErrorList,
    spec: &'s PodSpec,
    path: &Path<'_>,
) -> BTreeSet<&'s str> {
    let mut seen = BTreeSet::new();
    for (i, volume) in spec.volumes.iter().flatten().enumerate() {
        let at = path.index(i);
        source(errors, volume, spec, &at);
        let name = volume.name.as_str();
        if name.is_empty() {
            errors.push(FieldError::required(at.child("name"), ""));
            continue;
        }
        let complaints = names::dns_label(name);
        if complaints.is_empty() && !seen.insert(name) {
            errors.push(FieldError::duplicate(at.child("name"), name));
        }
        complain(errors, at.child("name"), name, complaints);
    }
    seen
}

fn source(errors: &mut ErrorList, volume: &Volume, spec: &PodSpec, at: &Path<'_>) {
    unsupported::check_volume_sources(volume, at, errors);
    if let Some(source) = &volume.empty_dir {
        empty_dir(errors, source, &at.child("emptyDir"));
    }
    if let Some(source) = &volume.host_path {
        host_path(errors, source, &at.child("hostPath"));
    }
    if let Some(source) = &volume.secret {
        let path = at.child("secret");
        if text(source.secret_name.as_ref()).is_empty() {
            errors.push(FieldError::required(path.child("secretName"), ""));
        }
        mode(errors, source.default_mode, path.child("defaultMode"));
        items(errors, source.items.as_deref().unwrap_or_default(), &path.child("items"));
    }
    if let Some(source) = &volume.downward_api {
        let path = at.child("downwardAPI");
        mode(errors, source.default_mode, path.child("defaultMode"));
        for file in source.items.iter().flatten() {
            downward_file(errors, file, &path);
        }
    }
    if let Some(source) = &volume.config_map {
        let path = at.child("configMap");
        if source.name.is_empty() {
            errors.push(FieldError::required(path.child("name"), ""));
        }
        mode(errors, source.default_mode, path.child("defaultMode"));
        items(errors, source.items.as_deref().unwrap_or_default(), &path.child("items"));
    }
    if let Some(source) = &volume.projected {
        projected::check(errors, source, spec, &at.child("projected"));
    }
}

fn empty_dir(errors: &mut ErrorList, source: &EmptyDirVolumeSource, path: &Path<'_>) {
    let Some(limit) = &source.size_limit else { return };
    if !Quantity::try_from(limit).is_ok_and(|q| !q.is_negative()) {
        let why = "SizeLimit field must be a valid resource quantity";
        errors.push(FieldError::forbidden(path.child("sizeLimit"), why));
    }
}

fn host_path(errors: &mut ErrorList, source: &HostPathVolumeSource, path: &Path<'_>) {
    if source.path.is_empty() {
        errors.push(FieldError::required(path.child("path"), ""));
    } else {
        no_backsteps(errors, &source.path, path.child("path"));
    }
    choice(errors, path.child("type"), text(source.type_.as_ref()), HOST_PATH_TYPES);
}

/// A file mode between 0 and 0777.
pub(super) fn mode(errors: &mut ErrorList, mode: Option<i32>, path: Path<'_>) {
    if let Some(mode) = mode.filter(|m| !(0..=0o777).contains(m)) {
        let why = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.push(FieldError::invalid(path, mode, why));
    }
}

pub(super) fn items(errors: &mut ErrorList, items: &[KeyToPath], path: &Path<'_>) {
    for (i, item) in items.iter().enumerate() {
        let at = path.index(i);
        if item.key.is_empty() {
            errors.push(FieldError::required(at.child("key"), ""));
        }
        if item.path.is_empty() {
            errors.push(FieldError::required(at.child("path"), ""));
        }
        local_file_path(errors, &item.path, at.child("path"));
        mode(errors, item.mode, at.child("mode"));
    }
}

pub(super) fn downward_file(errors: &mut ErrorList, file: &DownwardAPIVolumeFile, path: &Path<'_>) {
    if file.path.is_empty() {
        errors.push(FieldError::required(path.child("path"), ""));
    }
    local_file_path(errors, &file.path, path.child("path"));
    match (&file.field_ref, &file.resource_field_ref) {
        (Some(field), other) => {
            env::field_ref(errors, field, env::VOLUME_FIELDS, &path.child("fieldRef"));
            if other.is_some() {
                let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.push(FieldError::invalid(path, "resource", why));
            }
        }
        (None, Some(resource)) => {
            env::resource_ref(errors, resource, true, &path.child("resourceFieldRef"));
        }
        (None, None) => {
            errors.push(FieldError::required(
                path,
                "one of fieldRef and resourceFieldRef is required",
            ));
        }
    }
    mode(errors, file.mode, path.child("mode"));
}

fn no_backsteps(errors: &mut ErrorList, value: &str, path: Path<'_>) {
    if value.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(path, value, "must not contain '..'"));
    }
}

/// A relative path that never steps up.
pub(super) fn local_descending_path(errors: &mut ErrorList, value: &str, path: Path<'_>) {
    if value.starts_with('/') {
        errors.push(FieldError::invalid(path, value, "must be a relative path"));
    }
    no_backsteps(errors, value, path);
}

/// A path inside a volume whose bookkeeping entries begin with two dots.
pub(super) fn local_file_path(errors: &mut ErrorList, value: &str, path: Path<'_>) {
    local_descending_path(errors, value, path);
    let steps_up = value.split('/').any(|part| part == "..");
    if value.starts_with("..") && !steps_up {
        errors.push(FieldError::invalid(path, value, "must not start with '..'"));
    }
}

pub(super) fn check_mounts(
    errors: &mut ErrorList,
    container: &Container,
    volumes: &BTreeSet<&str>,
    path: &Path<'_>,
) {
    let mut targets = BTreeSet::new();
    for (i, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let at = path.index(i);
        if mount.name.is_empty() {
            errors.push(FieldError::required(at.child("name"), ""));
        }
        if !volumes.contains(mount.name.as_str()) {
            errors.push(FieldError::not_found(at.child("name"), &mount.name));
        }
        if mount.mount_path.is_empty() {
            errors.push(FieldError::required(at.child("mountPath"), ""));
        }
        if !targets.insert(&mount.mount_path) {
            errors.push(FieldError::invalid(
                at.child("mountPath"),
                &mount.mount_path,
                "must be unique",
            ));
        }
        // The paths below carry no index: so it is in Kubernetes.
        sub_paths(errors, mount, path);
        propagation(errors, mount, container, path);
        unsupported::check_mount(errors, mount, &at);
    }
}

fn sub_paths(errors: &mut ErrorList, mount: &VolumeMount, path: &Path<'_>) {
    let plain = text(mount.sub_path.as_ref());
    let expression = text(mount.sub_path_expr.as_ref());
    if !plain.is_empty() {
        local_descending_path(errors, plain, path.child("subPath"));
    }
    if !expression.is_empty() {
        if !plain.is_empty() {
            let why = "subPathExpr and subPath are mutually exclusive";
            errors.push(FieldError::invalid(path.child("subPathExpr"), expression, why));
        }
        local_descending_path(errors, expression, path.child("subPathExpr"));
    }
}

fn propagation(
    errors: &mut ErrorList,
    mount: &VolumeMount,
    container: &Container,
    path: &Path<'_>,
) {
    let privileged = container.security_context.as_ref().and_then(|c| c.privileged) == Some(true);
    if let Some(mode) = &mount.mount_propagation {
        let at = path.child("mountPropagation");
        choice(errors, at, mode, &["Bidirectional", "HostToContainer", "None"]);
        if mode == "Bidirectional" && !privileged {
            let why = "Bidirectional mount propagation is available only to privileged containers";
            errors.push(FieldError::forbidden(at, why));
        }
    }
    let Some(recursive) = &mount.recursive_read_only else { return };
    let at = path.child("recursiveReadOnly");
    choice(errors, at, recursive, &["Disabled", "Enabled", "IfPossible"]);
    if !matches!(recursive.as_str(), "Enabled" | "IfPossible") {
        return;
    }
    if mount.read_only != Some(true) {
        errors.push(FieldError::forbidden(at, "may only be specified when readOnly is true"));
    }
    if !matches!(mount.mount_propagation.as_deref(), None | Some("None")) {
        let why = "may only be specified when mountPropagation is None or not specified";
        errors.push(FieldError::forbidden(at, why));
    }
}
