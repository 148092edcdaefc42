//! Security contexts of pods and containers.

use std::collections::BTreeSet;

use super::{choice, complain_number, container, text, volume};
use crate::field::{ErrorList, FieldError, Path, Rendered};
use crate::k8s_openapi::api::core::v1::{
    AppArmorProfile, PodSecurityContext, PodSpec, SeccompProfile, SecurityContext, Sysctl,
};
use crate::names;

const SYSCTL_MAX: usize = 253;
const APPARMOR_MAX: usize = 4095;
const PROFILE_TYPES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];

pub(super) fn check_pod(errors: &mut ErrorList, spec: &PodSpec, root: &Path<'_>) {
    let path = root.child("securityContext");
    if spec.host_network == Some(true) {
        container::host_network_ports(errors, &spec.containers, &root.child("containers"));
        container::host_network_ports(
            errors,
            spec.init_containers.as_deref().unwrap_or_default(),
            &root.child("initContainers"),
        );
    }
    if spec.share_process_namespace == Some(true) && spec.host_pid == Some(true) {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(FieldError::invalid(path.child("shareProcessNamespace"), true, why));
    }
    let Some(context) = &spec.security_context else { return };
    check_ids(errors, context, &path);
    sysctls(errors, context.sysctls.as_deref().unwrap_or_default(), spec, &path.child("sysctls"));
    if let Some(policy) = &context.fs_group_change_policy {
        choice(errors, path.child("fsGroupChangePolicy"), policy, &["Always", "OnRootMismatch"]);
    }
    if let Some(profile) = &context.seccomp_profile {
        seccomp(errors, profile, &path.child("seccompProfile"));
    }
    if let Some(profile) = &context.app_armor_profile {
        app_armor(errors, profile, &path.child("appArmorProfile"));
    }
    if let Some(policy) = &context.supplemental_groups_policy {
        choice(errors, path.child("supplementalGroupsPolicy"), policy, &["Merge", "Strict"]);
    }
}

fn check_ids(errors: &mut ErrorList, context: &PodSecurityContext, path: &Path<'_>) {
    let ids = [
        ("fsGroup", context.fs_group),
        ("runAsUser", context.run_as_user),
        ("runAsGroup", context.run_as_group),
    ];
    for (field, id) in ids {
        if let Some(id) = id {
            complain_number(errors, path.child(field), id, names::user_id(id));
        }
    }
    let groups = path.child("supplementalGroups");
    for (i, id) in context.supplemental_groups.iter().flatten().enumerate() {
        complain_number(errors, groups.index(i), *id, names::user_id(*id));
    }
}

fn sysctls(errors: &mut ErrorList, sysctls: &[Sysctl], spec: &PodSpec, path: &Path<'_>) {
    let mut seen = BTreeSet::new();
    for (i, sysctl) in sysctls.iter().enumerate() {
        let at = path.index(i);
        let at = at.child("name");
        let name = dotted(&sysctl.name);
        if sysctl.name.is_empty() {
            errors.push(FieldError::required(at, ""));
        } else if !is_sysctl_name(&sysctl.name) {
            let why = format!(
                r"must have at most {SYSCTL_MAX} characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
            );
            errors.push(FieldError::invalid(at, &sysctl.name, why));
        } else if seen.contains(&name) {
            errors.push(FieldError::duplicate(at, &sysctl.name));
        }
        if spec.host_network == Some(true) && name.starts_with("net.") {
            let why = "may not be specified when 'hostNetwork' is true";
            errors.push(FieldError::invalid(at, &sysctl.name, why));
        }
        if spec.host_ipc == Some(true) && is_ipc_sysctl(&name) {
            let why = "may not be specified when 'hostIPC' is true";
            errors.push(FieldError::invalid(at, &sysctl.name, why));
        }
        seen.insert(name);
    }
}

/// The dotted form. When the first separator is a slash, slashes separate and dots are literal.
fn dotted(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(at) if name.as_bytes()[at] == b'/' => name
            .chars()
            .map(|c| {
                if c == '/' {
                    '.'
                } else if c == '.' {
                    '/'
                } else {
                    c
                }
            })
            .collect(),
        _ => name.to_owned(),
    }
}

fn is_sysctl_name(name: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let segment = |s: &str| {
        let bytes = s.as_bytes();
        let legal = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(b);
        edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(legal)
    };
    name.len() <= SYSCTL_MAX && name.split(['.', '/']).all(segment)
}

fn is_ipc_sysctl(name: &str) -> bool {
    name == "kernel.sem"
        || ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|p| name.starts_with(p))
}

pub(super) fn check_container(
    errors: &mut ErrorList,
    context: &SecurityContext,
    spec: &PodSpec,
    path: &Path<'_>,
) {
    for (field, id) in [("runAsUser", context.run_as_user), ("runAsGroup", context.run_as_group)] {
        if let Some(id) = id {
            complain_number(errors, path.child(field), id, names::user_id(id));
        }
    }
    if let Some(mount) = &context.proc_mount {
        let at = path.child("procMount");
        choice(errors, at, mount, &["Default", "Unmasked"]);
        if mount == "Unmasked" && spec.host_users != Some(false) {
            errors.push(FieldError::invalid(
                at,
                mount,
                "`hostUsers` must be false to use `Unmasked`",
            ));
        }
    }
    if let Some(profile) = &context.seccomp_profile {
        seccomp(errors, profile, &path.child("seccompProfile"));
    }
    privilege_escalation(errors, context, path);
    if let Some(profile) = &context.app_armor_profile {
        app_armor(errors, profile, &path.child("appArmorProfile"));
    }
}

fn privilege_escalation(errors: &mut ErrorList, context: &SecurityContext, path: &Path<'_>) {
    if context.allow_privilege_escalation != Some(false) {
        return;
    }
    if context.privileged == Some(true) {
        let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        errors.push(FieldError::invalid(path, Rendered::json(context), why));
    }
    let mut added = context.capabilities.iter().filter_map(|c| c.add.as_ref()).flatten();
    if added.any(|name| name == "CAP_SYS_ADMIN") {
        let why =
            "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
        errors.push(FieldError::invalid(path, Rendered::json(context), why));
    }
}

fn seccomp(errors: &mut ErrorList, profile: &SeccompProfile, path: &Path<'_>) {
    let at = path.child("localhostProfile");
    match (profile.type_.as_str(), &profile.localhost_profile) {
        ("Localhost", None) => {
            errors.push(FieldError::required(at, "must be set when seccomp type is Localhost"));
        }
        ("Localhost", Some(file)) => volume::local_descending_path(errors, file, at),
        (_, Some(file)) => {
            errors.push(FieldError::invalid(
                at,
                file,
                "can only be set when seccomp type is Localhost",
            ));
        }
        _ => {}
    }
    if profile.type_.is_empty() {
        errors.push(FieldError::required(
            path.child("type"),
            "type is required when seccompProfile is set",
        ));
    } else {
        choice(errors, path.child("type"), &profile.type_, &PROFILE_TYPES);
    }
}

fn app_armor(errors: &mut ErrorList, profile: &AppArmorProfile, path: &Path<'_>) {
    let at = path.child("localhostProfile");
    let file = text(profile.localhost_profile.as_ref());
    match profile.type_.as_str() {
        "Localhost" if file.trim().is_empty() => {
            errors.push(FieldError::required(at, "must be set when AppArmor type is Localhost"));
        }
        "Localhost" => {
            if file.trim() != file {
                errors.push(FieldError::invalid(at, file, "must not be padded with whitespace"));
            }
            if file.len() > APPARMOR_MAX {
                errors.push(FieldError::too_long(at, APPARMOR_MAX));
            }
        }
        "" => errors.push(FieldError::required(
            path.child("type"),
            "type is required when appArmorProfile is set",
        )),
        "RuntimeDefault" | "Unconfined" => {
            if profile.localhost_profile.is_some() {
                errors.push(FieldError::invalid(
                    at,
                    file,
                    "can only be set when AppArmor type is Localhost",
                ));
            }
        }
        other => errors.push(FieldError::not_supported(path.child("type"), other, &PROFILE_TYPES)),
    }
}
