//! The whole OCI runtime spec of one container.

use std::collections::HashSet;
use std::path::Path;

use klet_api::{Container, Pod};
use oci_spec::runtime::{
    Capabilities, Capability, Linux, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxDevice,
    LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType, LinuxNamespace,
    LinuxNamespaceBuilder, LinuxNamespaceType, LinuxSeccomp, Process, ProcessBuilder, RootBuilder,
    Spec, SpecBuilder, User, UserBuilder,
};

use crate::environment::{Environment, expand};
use crate::mounts::{ManagedFiles, Style, VolumeMount, managed, standard, volumes};
use crate::resources;
use crate::security::{self, Context};
use crate::{ConfigError, seccomp};

/// `PATH` of a container that brings none (containerd's default).
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the image says about running it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageFacts {
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    pub working_dir: String,
}

/// The user the container runs as, names already looked up in the image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResolvedUser {
    pub uid: u32,
    pub gid: u32,
    /// Groups the image gives this user.
    pub image_groups: Vec<u32>,
    pub home: Option<String>,
}

/// What the machine offers.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    pub memory_bytes: i64,
    /// Capabilities kletd holds; no container can get more.
    pub capabilities: HashSet<Capability>,
    /// Every device of the host, for privileged containers.
    pub devices: Vec<LinuxDevice>,
    /// Paths like `/sys/devices/system/cpu/cpu0/thermal_throttle`, expanded.
    pub extra_masked: Vec<String>,
    /// Control groups are version 2.
    pub cgroup_v2: bool,
}

/// Everything a spec is made of.
#[derive(Debug)]
pub struct Input<'a> {
    pub pod: &'a Pod,
    pub container: &'a Container,
    pub container_id: &'a str,
    pub image: &'a ImageFacts,
    pub user: &'a ResolvedUser,
    /// From [`crate::environment::environment`].
    pub environment: &'a Environment,
    pub hostname: &'a str,
    pub volumes: &'a [VolumeMount],
    pub files: &'a ManagedFiles,
    /// The pod's cgroup; the container's own is `<pod cgroup>/<container id>`.
    pub pod_cgroup: &'a str,
    /// A `Localhost` seccomp profile, already read.
    pub localhost_seccomp: Option<LinuxSeccomp>,
    pub machine: &'a Machine,
}

/// The OCI runtime spec of the container.
///
/// # Errors
/// `CreateContainerError` when there is no command, or for an unknown capability.
pub fn compose(input: &Input<'_>) -> Result<Spec, ConfigError> {
    let context = Context::of(input.pod, input.container);
    let capabilities = security::capabilities(context, &input.machine.capabilities)?;
    let pod_spec = input.pod.spec.as_ref();
    let style = Style {
        privileged: context.privileged(),
        host_network: pod_spec.and_then(|spec| spec.host_network) == Some(true),
    };
    let mut mounts = standard(style);
    mounts.extend(managed(input.files, input.volumes));
    mounts.extend(volumes(input.volumes));
    let root = RootBuilder::default()
        .path("rootfs")
        .readonly(context.read_only_root())
        .build()
        .expect("every required field is set");
    let mut spec = SpecBuilder::default()
        .version("1.1.0")
        .process(process(input, context, &capabilities)?)
        .root(root)
        .mounts(mounts)
        .linux(linux(input, context, &capabilities))
        .build()
        .expect("every required field is set");
    spec.set_hostname(None);
    Ok(spec)
}

/// Command and arguments, `$(NAME)` expanded with the pod's own variables.
///
/// # Errors
/// `CreateContainerError` when neither the pod nor the image names a program.
pub fn arguments(input: &Input<'_>) -> Result<Vec<String>, ConfigError> {
    let filled = |list: &Option<Vec<String>>| list.clone().filter(|list| !list.is_empty());
    let expanded = |list: Vec<String>| -> Vec<String> {
        list.iter().map(|text| expand(text, input.environment)).collect()
    };
    let entrypoint = match input.image.entrypoint.as_slice() {
        [only] if only.is_empty() => Vec::new(),
        list => list.to_vec(),
    };
    let argv = match (filled(&input.container.command), filled(&input.container.args)) {
        (Some(command), args) => expanded([command, args.unwrap_or_default()].concat()),
        (None, Some(args)) => [entrypoint, expanded(args)].concat(),
        (None, None) => [entrypoint, input.image.cmd.clone()].concat(),
    };
    if argv.is_empty() {
        return Err(ConfigError::Create(format!(
            "failed to generate container {:?} spec: failed to generate spec: no command specified",
            input.container_id
        )));
    }
    Ok(argv)
}

/// Layers of the environment, later ones winning: HOSTNAME, image, pod.
fn variables(input: &Input<'_>) -> Vec<String> {
    let mut merged = Environment::new();
    merged.insert("HOSTNAME".to_owned(), input.hostname.to_owned());
    for pair in &input.image.env {
        if let Some((name, value)) = pair.split_once('=') {
            merged.insert(name.to_owned(), value.to_owned());
        }
    }
    if input.container.tty == Some(true) {
        merged.insert("TERM".to_owned(), "xterm".to_owned());
    }
    merged.extend(input.environment.clone());
    merged.entry("PATH".to_owned()).or_insert_with(|| DEFAULT_PATH.to_owned());
    if let Some(home) = &input.user.home {
        merged.entry("HOME".to_owned()).or_insert_with(|| home.clone());
    }
    merged.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn process(
    input: &Input<'_>,
    context: Context<'_>,
    capabilities: &Capabilities,
) -> Result<Process, ConfigError> {
    let cwd = [input.container.working_dir.as_deref(), Some(input.image.working_dir.as_str())]
        .into_iter()
        .flatten()
        .find(|dir| !dir.is_empty())
        .unwrap_or("/");
    let held = LinuxCapabilitiesBuilder::default()
        .bounding(capabilities.clone())
        .effective(capabilities.clone())
        .permitted(capabilities.clone())
        .inheritable(HashSet::new())
        .ambient(HashSet::new())
        .build()
        .expect("every required field is set");
    let qos = resources::qos(input.pod);
    ProcessBuilder::default()
        .terminal(input.container.tty.unwrap_or(false))
        .user(user(input, context))
        .args(arguments(input)?)
        .env(variables(input))
        .cwd(cwd)
        .capabilities(held)
        .rlimits(Vec::new())
        .no_new_privileges(context.no_new_privileges())
        .oom_score_adj(resources::oom_score_adj(qos, input.container, input.machine.memory_bytes))
        .build()
        .map_err(|error| ConfigError::Create(error.to_string()))
}

fn user(input: &Input<'_>, context: Context<'_>) -> User {
    let mut groups = context.groups();
    if context.merges_image_groups() {
        groups.extend(&input.user.image_groups);
    }
    // The primary group is always among the supplementary ones (containerd, CVE-2022-36109).
    groups.push(input.user.gid);
    groups.sort_unstable();
    groups.dedup();
    UserBuilder::default()
        .uid(input.user.uid)
        .gid(input.user.gid)
        .additional_gids(groups)
        .build()
        .expect("every required field is set")
}

fn linux(input: &Input<'_>, context: Context<'_>, capabilities: &Capabilities) -> Linux {
    let mut limits = resources::container(input.container, input.machine.cgroup_v2);
    // The builder starts from runc's example configuration: what is not wanted must be emptied.
    let mut linux = LinuxBuilder::default()
        .masked_paths(Vec::new())
        .readonly_paths(Vec::new())
        .devices(Vec::new());
    if context.privileged() {
        limits.set_devices(Some(vec![every_device()]));
        linux = linux.devices(input.machine.devices.clone());
    } else {
        limits.set_devices(Some(device_rules()));
        if !context.unmasked_proc() {
            let masked = security::MASKED.iter().map(ToString::to_string);
            let read_only = security::READ_ONLY.iter().map(ToString::to_string);
            linux = linux
                .masked_paths(
                    masked.chain(input.machine.extra_masked.iter().cloned()).collect::<Vec<_>>(),
                )
                .readonly_paths(read_only.collect::<Vec<_>>());
        }
    }
    if let Some(profile) = seccomp_profile(input, context, capabilities) {
        linux = linux.seccomp(profile);
    }
    linux
        .resources(limits)
        .cgroups_path(Path::new(input.pod_cgroup).join(input.container_id))
        .namespaces(namespaces(input.pod, context))
        .build()
        .expect("every required field is set")
}

fn seccomp_profile(
    input: &Input<'_>,
    context: Context<'_>,
    capabilities: &Capabilities,
) -> Option<LinuxSeccomp> {
    if context.privileged() {
        return None;
    }
    match context.seccomp()? {
        ("RuntimeDefault", _) => Some(seccomp::runtime_default(capabilities)),
        ("Localhost", _) => input.localhost_seccomp.clone(),
        _ => None,
    }
}

/// Namespaces that are the container's own; the pod's are joined by the shim.
fn namespaces(pod: &Pod, context: Context<'_>) -> Vec<LinuxNamespace> {
    let spec = pod.spec.as_ref();
    let set = |flag: Option<bool>| flag == Some(true);
    let shared_pid = spec.is_some_and(|s| set(s.share_process_namespace) || set(s.host_pid));
    let mut kinds = vec![LinuxNamespaceType::Mount];
    if !shared_pid {
        kinds.push(LinuxNamespaceType::Pid);
    }
    if !context.privileged() {
        kinds.push(LinuxNamespaceType::Cgroup);
    }
    kinds
        .into_iter()
        .map(|kind| LinuxNamespaceBuilder::default().typ(kind).build().expect("every field is set"))
        .collect()
}

fn rule(allow: bool, device: Option<(LinuxDeviceType, i64, Option<i64>)>) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroupBuilder::default().allow(allow).access("rwm");
    if let Some((kind, major, minor)) = device {
        rule = rule.typ(kind).major(major);
        if let Some(minor) = minor {
            rule = rule.minor(minor);
        }
    }
    rule.build().expect("every required field is set")
}

fn every_device() -> LinuxDeviceCgroup {
    rule(true, None)
}

/// Deny all, then the harmless devices every program expects.
fn device_rules() -> Vec<LinuxDeviceCgroup> {
    let character = |major, minor| rule(true, Some((LinuxDeviceType::C, major, minor)));
    vec![
        rule(false, None),
        character(1, Some(3)),
        character(1, Some(5)),
        character(1, Some(7)),
        character(1, Some(8)),
        character(1, Some(9)),
        character(5, Some(0)),
        character(5, Some(1)),
        character(5, Some(2)),
        character(136, None),
    ]
}

#[cfg(test)]
mod tests;
