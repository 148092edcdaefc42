//! Updates of a pod's spec: almost nothing may change.

use super::{complain_number, container, diff, meta, null, pod, text};
use crate::field::{ErrorList, FieldError, Path};
use crate::k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Toleration};
use crate::names;

const IMMUTABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Checks a defaulted update against the stored pod.
#[must_use]
pub fn pod_update(new: &Pod, old: &Pod) -> ErrorList {
    let mut errors = Vec::new();
    meta::check_update(&mut errors, &new.metadata, &old.metadata);
    check_mirror(&mut errors, new, old);
    let (Some(new), Some(old)) = (&new.spec, &old.spec) else {
        errors.push(FieldError::required("spec.containers", ""));
        return errors;
    };
    let root = Path::root("spec");
    let same_containers = check_container_lists(&mut errors, new, old, &root);
    if !same_containers {
        return errors;
    }
    check_deadline(&mut errors, new, old, &root);
    check_tolerations(&mut errors, new, old, &root);
    check_gates(&mut errors, new, old, &root);
    let allowed = with_allowed_changes(old, new);
    if allowed != *new {
        let why = format!("{IMMUTABLE}\n{}", diff::describe(new, &allowed));
        errors.push(FieldError::forbidden(root, why));
    } else if errors.is_empty() && new != old {
        pod::check_spec(&mut errors, new);
    }
    errors
}

/// What a mirror pod stands for is the node's to say.
fn check_mirror(errors: &mut ErrorList, new: &Pod, old: &Pod) {
    const MIRROR: &str = "kubernetes.io/config.mirror";
    let of = |pod: &Pod| pod.metadata.annotations.as_ref()?.get(MIRROR).cloned();
    let why = match (of(new), of(old)) {
        (new, old) if new == old => return,
        (_, Some(_)) => "may not remove or update mirror pod annotation",
        (_, None) => "may not add mirror pod annotation",
    };
    errors.push(FieldError::forbidden(format!("metadata.annotations[{MIRROR}]"), why));
}

/// Containers may change their image, but none may come or go.
fn check_container_lists(
    errors: &mut ErrorList,
    new: &PodSpec,
    old: &PodSpec,
    root: &Path<'_>,
) -> bool {
    let lists = [
        ("containers", new.containers.as_slice(), old.containers.as_slice()),
        (
            "initContainers",
            new.init_containers.as_deref().unwrap_or_default(),
            old.init_containers.as_deref().unwrap_or_default(),
        ),
    ];
    let mut same = true;
    for (field, new, old) in lists {
        let path = root.child(field);
        if new.len() != old.len() {
            errors
                .push(FieldError::forbidden(path, "pod updates may not add or remove containers"));
            same = false;
            continue;
        }
        for (i, (new, old)) in new.iter().zip(old).enumerate() {
            if new.image != old.image {
                container::image(errors, text(new.image.as_ref()), path.index(i).child("image"));
            }
        }
    }
    same
}

fn check_deadline(errors: &mut ErrorList, new: &PodSpec, old: &PodSpec, root: &Path<'_>) {
    let path = root.child("activeDeadlineSeconds");
    match (new.active_deadline_seconds, old.active_deadline_seconds) {
        (new, old) if new == old => {}
        (Some(new), old) => {
            let complaints = names::range(new, 0, i64::from(i32::MAX));
            if !complaints.is_empty() {
                complain_number(errors, path, new, complaints);
            } else if old.is_some_and(|old| new > old) {
                errors.push(FieldError::invalid(
                    path,
                    new,
                    "must be less than or equal to previous value",
                ));
            }
        }
        (None, _) => {
            let why = "must not update from a positive integer to nil value";
            errors.push(FieldError::invalid(path, null(), why));
        }
    }
}

fn check_tolerations(errors: &mut ErrorList, new: &PodSpec, old: &PodSpec, root: &Path<'_>) {
    let identity = |t: &Toleration| Toleration { toleration_seconds: None, ..t.clone() };
    let new: Vec<Toleration> = new.tolerations.iter().flatten().map(identity).collect();
    if old.tolerations.iter().flatten().any(|t| !new.contains(&identity(t))) {
        let why = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(FieldError::forbidden(root.child("tolerations"), why));
    }
}

fn check_gates(errors: &mut ErrorList, new: &PodSpec, old: &PodSpec, root: &Path<'_>) {
    let held: Vec<&str> = old.scheduling_gates.iter().flatten().map(|g| g.name.as_str()).collect();
    let added: Vec<&str> = new
        .scheduling_gates
        .iter()
        .flatten()
        .map(|g| g.name.as_str())
        .filter(|g| !held.contains(g))
        .collect();
    if let Some(first) = added.first() {
        let why = format!("only deletion is allowed, but found new scheduling gate '{first}'");
        errors.push(FieldError::forbidden(root.child("schedulingGates"), why));
    }
}

/// The old spec with every permitted change of the new one applied: what differs still is refused.
fn with_allowed_changes(old: &PodSpec, new: &PodSpec) -> PodSpec {
    let mut allowed = old.clone();
    copy_images(&mut allowed.containers, &new.containers);
    if let (Some(allowed), Some(new)) = (&mut allowed.init_containers, &new.init_containers) {
        copy_images(allowed, new);
    }
    allowed.active_deadline_seconds = new.active_deadline_seconds;
    allowed.tolerations.clone_from(&new.tolerations);
    allowed.scheduling_gates.clone_from(&new.scheduling_gates);
    // Ephemeral containers have their own subresource.
    let lifted = old.termination_grace_period_seconds.is_some_and(|s| s < 0);
    if lifted && new.termination_grace_period_seconds == Some(1) {
        allowed.termination_grace_period_seconds = Some(1);
    }
    allowed
}

fn copy_images(allowed: &mut [Container], new: &[Container]) {
    for (allowed, new) in allowed.iter_mut().zip(new) {
        allowed.image.clone_from(&new.image);
    }
}
