//! Ephemeral containers, which only the `ephemeralcontainers` subresource may add.

use std::collections::BTreeSet;

use super::container::Checker;
use super::{diff, meta, text};
use crate::field::{ErrorList, FieldError, Path};
use crate::k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod, PodSpec};

/// Annotation that marks the API's copy of a static pod.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Checks an update through the `ephemeralcontainers` subresource: containers may be added, those
/// already there may not change. Only `spec.ephemeralContainers` is looked at.
#[must_use]
pub fn pod_ephemeral_update(new: &Pod, old: &Pod) -> ErrorList {
    let mut errors = Vec::new();
    meta::check_update(&mut errors, &new.metadata, &old.metadata);
    let (Some(new_spec), Some(old_spec)) = (&new.spec, &old.spec) else { return errors };
    let root = Path::root("spec");
    let path = root.child("ephemeralContainers");
    if new.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(MIRROR)) {
        errors.push(FieldError::forbidden(path, "static pods do not support ephemeral containers"));
    }
    check_all(&mut errors, new_spec, &path);
    check_kept(&mut errors, new_spec, old_spec, &path);
    errors
}

fn check_kept(errors: &mut ErrorList, new: &PodSpec, old: &PodSpec, path: &Path<'_>) {
    for old in old.ephemeral_containers.iter().flatten() {
        let name = crate::field::go_quote(&old.name);
        match new.ephemeral_containers.iter().flatten().find(|c| c.name == old.name) {
            None => {
                let why = format!("existing ephemeral containers {name} may not be removed\n");
                errors.push(FieldError::forbidden(path, why));
            }
            Some(new) if new != old => {
                let changes = diff::describe(new, old);
                let why =
                    format!("existing ephemeral containers {name} may not be changed\n{changes}");
                errors.push(FieldError::forbidden(path, why));
            }
            Some(_) => {}
        }
    }
}

fn check_all(errors: &mut ErrorList, spec: &PodSpec, path: &Path<'_>) {
    let volumes: BTreeSet<&str> = spec.volumes.iter().flatten().map(|v| v.name.as_str()).collect();
    let checker = Checker::new(spec, &volumes);
    let targets: BTreeSet<&str> = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .map(|c| c.name.as_str())
        .collect();
    let mut seen = targets.clone();
    for (i, ephemeral) in spec.ephemeral_containers.iter().flatten().enumerate() {
        let at = path.index(i);
        checker.check_common(errors, &common_part(ephemeral), &at);
        if !ephemeral.name.is_empty() && !seen.insert(&ephemeral.name) {
            errors.push(FieldError::duplicate(at.child("name"), &ephemeral.name));
        }
        let target = text(ephemeral.target_container_name.as_ref());
        if !target.is_empty() && !targets.contains(target) {
            errors.push(FieldError::not_found(at.child("targetContainerName"), target));
        }
        refuse_fields(errors, ephemeral, &at);
    }
}

/// The fields an ephemeral container shares with the others and may set.
fn common_part(container: &EphemeralContainer) -> Container {
    Container {
        name: container.name.clone(),
        image: container.image.clone(),
        image_pull_policy: container.image_pull_policy.clone(),
        termination_message_policy: container.termination_message_policy.clone(),
        env: container.env.clone(),
        env_from: container.env_from.clone(),
        volume_mounts: container.volume_mounts.clone(),
        security_context: container.security_context.clone(),
        ..Container::default()
    }
}

fn refuse_fields(errors: &mut ErrorList, container: &EphemeralContainer, at: &Path<'_>) {
    const WHY: &str = "cannot be set for an Ephemeral Container";
    let resources = container.resources.as_ref();
    let refused = [
        ("ports", container.ports.as_ref().is_some_and(|p| !p.is_empty())),
        ("livenessProbe", container.liveness_probe.is_some()),
        ("readinessProbe", container.readiness_probe.is_some()),
        ("startupProbe", container.startup_probe.is_some()),
        ("lifecycle", container.lifecycle.is_some()),
        ("resources", resources.is_some_and(|r| r.limits.is_some() || r.requests.is_some())),
        ("restartPolicy", container.restart_policy.is_some()),
        ("resizePolicy", container.resize_policy.as_ref().is_some_and(|p| !p.is_empty())),
    ];
    for (field, present) in refused {
        if present {
            errors.push(FieldError::forbidden(at.child(field), WHY));
        }
    }
    let mounts = at.child("volumeMounts");
    for (i, mount) in container.volume_mounts.iter().flatten().enumerate() {
        for (field, value) in [("subPath", &mount.sub_path), ("subPathExpr", &mount.sub_path_expr)]
        {
            if !text(value.as_ref()).is_empty() {
                errors.push(FieldError::forbidden(mounts.index(i).child(field), WHY));
            }
        }
    }
}
