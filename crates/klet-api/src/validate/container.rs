//! App and init containers.

use std::collections::BTreeSet;

use super::probe::{self, Kind};
use super::{
    choice, complain, complain_number, env, required_choice, resources, security, text, volume,
};
use crate::field::{ErrorList, FieldError, Path};
use crate::k8s_openapi::api::core::v1::{Container, ContainerPort, ContainerRestartRule, PodSpec};
use crate::{names, unsupported};

const MAX_RESTART_RULES: usize = 20;
const MAX_EXIT_CODES: usize = 255;
/// The probes and hooks that only run beside the app.
const NOT_FOR_INIT: &str = "may not be set for init containers without restartPolicy=Always";

/// Checks containers against the pod they are part of.
pub(super) struct Checker<'a> {
    spec: &'a PodSpec,
    volumes: &'a BTreeSet<&'a str>,
    grace: i64,
}

impl<'a> Checker<'a> {
    pub(super) fn new(spec: &'a PodSpec, volumes: &'a BTreeSet<&'a str>) -> Self {
        let grace = spec.termination_grace_period_seconds.unwrap_or(30);
        Self { spec, volumes, grace }
    }

    pub(super) fn check_app<'c>(
        &self,
        errors: &mut ErrorList,
        container: &'c Container,
        path: &Path<'_>,
        seen: &mut BTreeSet<&'c str>,
    ) {
        self.check_common(errors, container, path);
        unique_name(errors, container, path, seen);
        self.check_hooks_and_probes(errors, container, path);
        restart_policy(errors, container, path);
    }

    pub(super) fn check_init<'c>(
        &self,
        errors: &mut ErrorList,
        container: &'c Container,
        path: &Path<'_>,
        seen: &mut BTreeSet<&'c str>,
    ) {
        self.check_common(errors, container, path);
        unique_name(errors, container, path, seen);
        port_conflicts(errors, container, path, &mut BTreeSet::new());
        restart_policy(errors, container, path);
        if container.restart_policy.as_deref() == Some("Always") {
            self.check_hooks_and_probes(errors, container, path);
            return;
        }
        let refused = [
            ("lifecycle", container.lifecycle.is_some()),
            ("livenessProbe", container.liveness_probe.is_some()),
            ("readinessProbe", container.readiness_probe.is_some()),
            ("startupProbe", container.startup_probe.is_some()),
        ];
        for (field, present) in refused {
            if present {
                errors.push(FieldError::forbidden(path.child(field), NOT_FOR_INIT));
            }
        }
    }

    /// What holds for every container, whatever its role.
    pub(super) fn check_common(
        &self,
        errors: &mut ErrorList,
        container: &Container,
        path: &Path<'_>,
    ) {
        let name = path.child("name");
        if container.name.is_empty() {
            errors.push(FieldError::required(name, ""));
        } else {
            complain(errors, name, &container.name, names::dns_label(&container.name));
        }
        image(errors, text(container.image.as_ref()), path.child("image"));
        let policy = text(container.termination_message_policy.as_ref());
        let at = path.child("terminationMessagePolicy");
        required_choice(errors, at, policy, &["File", "FallbackToLogsOnError"]);
        ports(errors, container.ports.as_deref().unwrap_or_default(), &path.child("ports"));
        env::check(errors, container.env.as_deref().unwrap_or_default(), &path.child("env"));
        env::check_from(
            errors,
            container.env_from.as_deref().unwrap_or_default(),
            &path.child("envFrom"),
        );
        volume::check_mounts(errors, container, self.volumes, &path.child("volumeMounts"));
        let pull = text(container.image_pull_policy.as_ref());
        let at = path.child("imagePullPolicy");
        required_choice(errors, at, pull, &["Always", "IfNotPresent", "Never"]);
        if let Some(value) = &container.resources {
            resources::check(errors, value, &path.child("resources"));
        }
        resize_policy(errors, container, self.spec, &path.child("resizePolicy"));
        if let Some(context) = &container.security_context {
            security::check_container(errors, context, self.spec, &path.child("securityContext"));
        }
        unsupported::check_container(errors, container, path);
    }

    fn check_hooks_and_probes(
        &self,
        errors: &mut ErrorList,
        container: &Container,
        path: &Path<'_>,
    ) {
        if let Some(lifecycle) = &container.lifecycle {
            let os = self.spec.os.as_ref().map(|os| os.name.as_str());
            probe::check_lifecycle(errors, lifecycle, self.grace, os, &path.child("lifecycle"));
        }
        let probes = [
            ("livenessProbe", &container.liveness_probe, Kind::Liveness),
            ("readinessProbe", &container.readiness_probe, Kind::Readiness),
            ("startupProbe", &container.startup_probe, Kind::Startup),
        ];
        for (field, value, kind) in probes {
            if let Some(value) = value {
                probe::check(errors, value, kind, self.grace, &path.child(field));
            }
        }
    }
}

fn unique_name<'c>(
    errors: &mut ErrorList,
    container: &'c Container,
    path: &Path<'_>,
    seen: &mut BTreeSet<&'c str>,
) {
    if !container.name.is_empty() && !seen.insert(&container.name) {
        errors.push(FieldError::duplicate(path.child("name"), &container.name));
    }
}

pub(super) fn image(errors: &mut ErrorList, image: &str, path: Path<'_>) {
    if image.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if image.trim() != image {
        errors.push(FieldError::invalid(
            path,
            image,
            "must not have leading or trailing whitespace",
        ));
    }
}

fn ports(errors: &mut ErrorList, ports: &[ContainerPort], path: &Path<'_>) {
    let mut seen = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let at = path.index(i);
        let name = text(port.name.as_ref());
        if !name.is_empty() {
            let complaints = names::port_name(name);
            if complaints.is_empty() && !seen.insert(name) {
                errors.push(FieldError::duplicate(at.child("name"), name));
            }
            complain(errors, at.child("name"), name, complaints);
        }
        let number = port.container_port;
        if number == 0 {
            errors.push(FieldError::required(at.child("containerPort"), ""));
        } else {
            complain_number(
                errors,
                at.child("containerPort"),
                i64::from(number),
                names::port_number(number),
            );
        }
        if let Some(number) = port.host_port.filter(|n| *n != 0) {
            complain_number(
                errors,
                at.child("hostPort"),
                i64::from(number),
                names::port_number(number),
            );
        }
        let protocol = text(port.protocol.as_ref());
        required_choice(errors, at.child("protocol"), protocol, &["SCTP", "TCP", "UDP"]);
    }
}

/// Host ports that two app containers ask for.
pub(super) fn host_port_conflicts(
    errors: &mut ErrorList,
    containers: &[Container],
    path: &Path<'_>,
) {
    let mut seen = BTreeSet::new();
    for (i, container) in containers.iter().enumerate() {
        port_conflicts(errors, container, &path.index(i), &mut seen);
    }
}

fn port_conflicts(
    errors: &mut ErrorList,
    container: &Container,
    path: &Path<'_>,
    seen: &mut BTreeSet<String>,
) {
    let ports = path.child("ports");
    for (i, port) in container.ports.iter().flatten().enumerate() {
        let Some(number) = port.host_port.filter(|n| *n != 0) else { continue };
        let claim =
            format!("{}/{}/{number}", text(port.protocol.as_ref()), text(port.host_ip.as_ref()));
        if seen.contains(&claim) {
            errors.push(FieldError::duplicate(ports.index(i).child("hostPort"), claim));
        } else {
            seen.insert(claim);
        }
    }
}

/// With the host's network a container port is a host port.
pub(super) fn host_network_ports(
    errors: &mut ErrorList,
    containers: &[Container],
    path: &Path<'_>,
) {
    for (i, container) in containers.iter().enumerate() {
        let at = path.index(i);
        let at = at.child("ports");
        for (j, port) in container.ports.iter().flatten().enumerate() {
            let host_port = port.host_port.unwrap_or(0);
            if host_port != port.container_port {
                let why = "must match `containerPort` when `hostNetwork` is true";
                errors.push(FieldError::invalid(at.index(j).child("hostPort"), host_port, why));
            }
        }
    }
}

fn resize_policy(errors: &mut ErrorList, container: &Container, spec: &PodSpec, path: &Path<'_>) {
    let mut seen = BTreeSet::new();
    for (i, policy) in container.resize_policy.iter().flatten().enumerate() {
        let at = path.index(i);
        if !seen.insert(&policy.resource_name) {
            errors.push(FieldError::duplicate(at, &policy.resource_name));
        }
        choice(errors, at.child("resourceName"), &policy.resource_name, &["cpu", "memory"]);
        let restart = at.child("restartPolicy");
        required_choice(
            errors,
            restart,
            &policy.restart_policy,
            &["NotRequired", "RestartContainer"],
        );
        if spec.restart_policy.as_deref() == Some("Never")
            && policy.restart_policy == "RestartContainer"
        {
            let why = "must be 'NotRequired' when `restartPolicy` is 'Never'";
            errors.push(FieldError::invalid(restart, &policy.restart_policy, why));
        }
    }
}

fn restart_policy(errors: &mut ErrorList, container: &Container, path: &Path<'_>) {
    let rules = container.restart_policy_rules.as_deref().unwrap_or_default();
    let at = path.child("restartPolicy");
    match &container.restart_policy {
        Some(policy) => choice(errors, at, policy, &["Always", "Never", "OnFailure"]),
        None if !rules.is_empty() => {
            errors.push(FieldError::required(
                at,
                "must specify restartPolicy when restart rules are used",
            ));
        }
        None => {}
    }
    let at = path.child("restartPolicyRules");
    if rules.len() > MAX_RESTART_RULES {
        errors.push(FieldError::too_many(at, rules.len(), MAX_RESTART_RULES));
    }
    for (i, rule) in rules.iter().enumerate() {
        restart_rule(errors, rule, &at.index(i));
    }
}

fn restart_rule(errors: &mut ErrorList, rule: &ContainerRestartRule, at: &Path<'_>) {
    required_choice(errors, at.child("action"), &rule.action, &["Restart", "RestartAllContainers"]);
    let path = at.child("exitCodes");
    let Some(codes) = &rule.exit_codes else {
        errors.push(FieldError::required(path, "must be specified"));
        return;
    };
    required_choice(errors, path.child("operator"), &codes.operator, &["In", "NotIn"]);
    let count = codes.values.as_ref().map_or(0, Vec::len);
    if count > MAX_EXIT_CODES {
        errors.push(FieldError::too_many(path.child("values"), count, MAX_EXIT_CODES));
    }
}

/// Resources of the pod as a whole.
pub(super) fn check_pod_level(errors: &mut ErrorList, spec: &PodSpec, root: &Path<'_>) {
    if let Some(value) = &spec.resources {
        resources::check_pod_level(errors, value, spec, &root.child("resources"));
    }
    let overhead = root.child("overhead");
    for (name, quantity) in spec.overhead.iter().flatten() {
        resources::check_quantity(errors, name, quantity, &overhead.key(name));
    }
}
