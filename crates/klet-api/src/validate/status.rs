//! Updates of a pod's status.

use super::{complain, meta, text};
use crate::field::{ErrorList, FieldError, Path};
use crate::k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec, PodStatus};
use crate::names;

/// Checks a status update against the stored pod.
#[must_use]
pub fn pod_status_update(new: &Pod, old: &Pod) -> ErrorList {
    let mut errors = Vec::new();
    meta::check_update(&mut errors, &new.metadata, &old.metadata);
    let fresh = PodStatus::default();
    let new_status = new.status.as_ref().unwrap_or(&fresh);
    let old_status = old.status.as_ref().unwrap_or(&fresh);
    let root = Path::root("status");
    let new_class = text(new_status.qos_class.as_ref());
    let old_class = text(old_status.qos_class.as_ref());
    if !old_class.is_empty() && new_class != old_class {
        errors.push(FieldError::invalid(root.child("qosClass"), new_class, "field is immutable"));
    }
    check_conditions(&mut errors, new_status, &root);
    check_addresses(&mut errors, new_status, &root);
    if let Some(spec) = old.spec.as_ref() {
        check_states(&mut errors, new_status, old_status, spec, &root);
    }
    errors
}

fn check_conditions(errors: &mut ErrorList, status: &PodStatus, root: &Path<'_>) {
    let path = root.child("conditions");
    for (i, condition) in status.conditions.iter().flatten().enumerate() {
        let at = path.index(i);
        complain(
            errors,
            at.child("type"),
            &condition.type_,
            names::qualified_name(&condition.type_),
        );
    }
}

fn check_addresses(errors: &mut ErrorList, status: &PodStatus, root: &Path<'_>) {
    let path = root.child("podIPs");
    for (i, address) in status.pod_ips.iter().flatten().enumerate() {
        complain(errors, path.index(i), &address.ip, names::ip_address(&address.ip));
    }
    let path = root.child("hostIPs");
    for (i, address) in status.host_ips.iter().flatten().enumerate() {
        complain(errors, path.index(i).child("ip"), &address.ip, names::ip_address(&address.ip));
    }
}

fn check_states(
    errors: &mut ErrorList,
    new: &PodStatus,
    old: &PodStatus,
    spec: &PodSpec,
    root: &Path<'_>,
) {
    let pod_policy = spec.restart_policy.as_deref().unwrap_or("Always");
    let lists = [
        (
            "containerStatuses",
            &new.container_statuses,
            &old.container_statuses,
            &spec.containers[..],
        ),
        (
            "initContainerStatuses",
            &new.init_container_statuses,
            &old.init_container_statuses,
            spec.init_containers.as_deref().unwrap_or_default(),
        ),
    ];
    for (field, new, old, containers) in lists {
        let path = root.child(field);
        for (i, old) in old.iter().flatten().enumerate() {
            let Some(code) = terminated(old) else { continue };
            let container = containers.iter().find(|c| c.name == old.name);
            if may_restart(container, pod_policy, code) {
                continue;
            }
            let revived =
                new.iter().flatten().any(|s| s.name == old.name && terminated(s).is_none());
            if revived {
                let why = "may not be transitioned to non-terminated state";
                errors.push(FieldError::forbidden(path.index(i).child("state"), why));
            }
        }
    }
}

fn terminated(status: &ContainerStatus) -> Option<i32> {
    Some(status.state.as_ref()?.terminated.as_ref()?.exit_code)
}

/// Whether a container that ended with `code` may run again.
fn may_restart(container: Option<&Container>, pod_policy: &str, code: i32) -> bool {
    let own = container.and_then(|c| c.restart_policy.as_deref());
    let ruled = container
        .and_then(|c| c.restart_policy_rules.as_ref())
        .is_some_and(|rules| !rules.is_empty());
    match own.unwrap_or(pod_policy) {
        "Always" => true,
        "OnFailure" => code != 0 || ruled,
        _ => ruled,
    }
}
