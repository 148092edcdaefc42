//! Pods at creation: the order of the checks is Kubernetes'.

use std::collections::BTreeSet;

use super::container::Checker;
use super::{
    choice, complain, complain_number, container, dns, meta, required_choice, scheduling, security,
    text, volume,
};
use crate::field::{ErrorList, FieldError, Path};
use crate::k8s_openapi::api::core::v1::{Pod, PodSpec};
use crate::{names, unsupported};

/// Checks a defaulted pod before it is created.
#[must_use]
pub fn pod_create(pod: &Pod) -> ErrorList {
    let mut errors = Vec::new();
    meta::check(&mut errors, &pod.metadata, true, names::dns_subdomain);
    match &pod.spec {
        Some(spec) => check_spec(&mut errors, spec),
        None => errors.push(FieldError::required("spec.containers", "")),
    }
    if pod
        .spec
        .as_ref()
        .is_some_and(|s| s.ephemeral_containers.as_ref().is_some_and(|e| !e.is_empty()))
    {
        errors.push(FieldError::forbidden("spec.ephemeralContainers", "cannot be set on create"));
    }
    errors
}

/// Checks everything of a spec but its ephemeral containers.
pub(super) fn check_spec(errors: &mut ErrorList, spec: &PodSpec) {
    let root = Path::root("spec");
    let volumes = volume::check(errors, spec, &root.child("volumes"));
    check_containers(errors, spec, &volumes, &root);
    let restart = text(spec.restart_policy.as_ref());
    required_choice(
        errors,
        root.child("restartPolicy"),
        restart,
        &["Always", "OnFailure", "Never"],
    );
    dns::policy(errors, spec, &root);
    if let Some(selector) = &spec.node_selector {
        meta::labels(errors, selector, root.child("nodeSelector"));
    }
    security::check_pod(errors, spec, &root);
    scheduling::affinity_of(errors, spec, &root);
    dns::config(errors, spec, &root);
    check_gates(errors, spec, &root);
    scheduling::topology(errors, spec, &root);
    check_host_users(errors, spec, &root);
    check_names(errors, spec, &root);
    scheduling::tolerations(errors, spec, &root);
    check_host_aliases(errors, spec, &root);
    check_classes(errors, spec, &root);
    container::check_pod_level(errors, spec, &root);
    unsupported::check_pod(errors, spec, &root);
}

fn check_containers(
    errors: &mut ErrorList,
    spec: &PodSpec,
    volumes: &BTreeSet<&str>,
    root: &Path<'_>,
) {
    let path = root.child("containers");
    if spec.containers.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    let checker = Checker::new(spec, volumes);
    let mut seen = BTreeSet::new();
    for (i, item) in spec.containers.iter().enumerate() {
        checker.check_app(errors, item, &path.index(i), &mut seen);
    }
    container::host_port_conflicts(errors, &spec.containers, &path);
    let path = root.child("initContainers");
    for (i, item) in spec.init_containers.iter().flatten().enumerate() {
        checker.check_init(errors, item, &path.index(i), &mut seen);
    }
}

fn check_gates(errors: &mut ErrorList, spec: &PodSpec, root: &Path<'_>) {
    let path = root.child("readinessGates");
    for (i, gate) in spec.readiness_gates.iter().flatten().enumerate() {
        let at = path.index(i);
        complain(
            errors,
            at.child("conditionType"),
            &gate.condition_type,
            names::qualified_name(&gate.condition_type),
        );
    }
    let path = root.child("schedulingGates");
    let mut seen = BTreeSet::new();
    for (i, gate) in spec.scheduling_gates.iter().flatten().enumerate() {
        let at = path.index(i);
        complain(errors, at, &gate.name, names::qualified_name(&gate.name));
        if !seen.insert(&gate.name) {
            errors.push(FieldError::duplicate(at, &gate.name));
        }
    }
    if !seen.is_empty() && !text(spec.node_name.as_ref()).is_empty() {
        let why = "cannot be set until all schedulingGates have been cleared";
        errors.push(FieldError::forbidden(root.child("nodeName"), why));
    }
}

fn check_host_users(errors: &mut ErrorList, spec: &PodSpec, root: &Path<'_>) {
    if spec.host_users != Some(false) {
        return;
    }
    // The odd capitals are Kubernetes'.
    let shared = [
        ("hostNetwork", spec.host_network),
        ("HostPID", spec.host_pid),
        ("HostIPC", spec.host_ipc),
    ];
    for (field, value) in shared {
        if value == Some(true) {
            errors.push(FieldError::forbidden(
                root.child(field),
                "when `pod.Spec.HostUsers` is false",
            ));
        }
    }
}

fn check_names(errors: &mut ErrorList, spec: &PodSpec, root: &Path<'_>) {
    let subdomains =
        [("serviceAccountName", &spec.service_account_name), ("nodeName", &spec.node_name)];
    for (field, value) in subdomains {
        let value = text(value.as_ref());
        if !value.is_empty() {
            complain(errors, root.child(field), value, names::dns_subdomain(value));
        }
    }
    if let Some(deadline) = spec.active_deadline_seconds {
        let complaints = names::range(deadline, 1, i64::from(i32::MAX));
        complain_number(errors, root.child("activeDeadlineSeconds"), deadline, complaints);
    }
    if spec.termination_grace_period_seconds.is_none() {
        errors.push(FieldError::required(root.child("terminationGracePeriodSeconds"), ""));
    }
    for (field, value) in [("hostname", &spec.hostname), ("subdomain", &spec.subdomain)] {
        let value = text(value.as_ref());
        if !value.is_empty() {
            complain(errors, root.child(field), value, names::dns_label(value));
        }
    }
    check_hostname_override(errors, spec, root);
}

fn check_hostname_override(errors: &mut ErrorList, spec: &PodSpec, root: &Path<'_>) {
    let Some(name) = &spec.hostname_override else { return };
    let path = root.child("hostnameOverride");
    complain(errors, path, name, names::dns_subdomain(name));
    if name.len() > 64 {
        errors.push(FieldError::invalid(path, name, "must be no more than 64 characters"));
    }
    if spec.host_network == Some(true) {
        errors.push(FieldError::forbidden(path, "may not be specified when `hostNetwork` is true"));
    }
    if spec.set_hostname_as_fqdn == Some(true) {
        errors.push(FieldError::forbidden(
            path,
            "may not be specified when `setHostnameAsFQDN` is true",
        ));
    }
}

fn check_host_aliases(errors: &mut ErrorList, spec: &PodSpec, root: &Path<'_>) {
    let path = root.child("hostAliases");
    for (i, alias) in spec.host_aliases.iter().flatten().enumerate() {
        let at = path.index(i);
        complain(errors, at.child("ip"), &alias.ip, names::ip_address(&alias.ip));
        let hosts = at.child("hostnames");
        for (j, host) in alias.hostnames.iter().flatten().enumerate() {
            complain(errors, hosts.index(j), host, names::dns_subdomain(host));
        }
    }
}

fn check_classes(errors: &mut ErrorList, spec: &PodSpec, root: &Path<'_>) {
    for (field, value) in [
        ("priorityClassName", &spec.priority_class_name),
        ("runtimeClassName", &spec.runtime_class_name),
    ] {
        let value = text(value.as_ref());
        if !value.is_empty() {
            complain(errors, root.child(field), value, names::dns_subdomain(value));
        }
    }
    if let Some(policy) = &spec.preemption_policy {
        choice(errors, root.child("preemptionPolicy"), policy, &["Never", "PreemptLowerPriority"]);
    }
    if let Some(os) = &spec.os {
        let path = root.child("os");
        let name = path.child("name");
        if os.name.is_empty() {
            errors.push(FieldError::required(name, "cannot be empty"));
        } else {
            choice(errors, name, &os.name, &["linux", "windows"]);
        }
    }
}
