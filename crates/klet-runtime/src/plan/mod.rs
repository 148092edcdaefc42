//! A spec turned into an ordered list of steps: pure, so that order and content are tables in tests.

mod mounts;
mod process;
mod step;
#[cfg(test)]
mod tests;

use std::path::Path;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, LinuxNamespaceType, Process, Spec};

use crate::input::{ContainerInput, JoinSandbox};

pub use mounts::{Mount, MountSource};
pub(crate) use process::environment;
pub use step::{CapabilitySets, Device, Identity, PlanError, StartPlan, Step};

/// The devices every container has (config-linux.md, "Default Devices"): name, major, minor.
const DEFAULT_DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// The symlinks every container has (runtime-linux.md, "Dev symbolic links").
const DEFAULT_LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/core", "/proc/kcore"),
];

/// Namespaces that a container is cloned into or joins; pid is special, cgroup comes later.
const SHARED: i32 = libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;

/// What it takes to start this container.
///
/// # Errors
/// [`PlanError`]: the first thing in the spec that cannot be carried out.
pub fn plan(input: &ContainerInput<'_>) -> Result<StartPlan, PlanError> {
    let process = input.spec.process().as_ref().ok_or(PlanError::NoProcess)?;
    process::check(process)?;
    let namespaces = Namespaces::of(input.spec, input.join.as_ref())?;
    let terminal = process::terminal(process);
    let mut warnings = Vec::new();
    let mut steps = vec![Step::EnterCgroup];
    steps.extend(process.oom_score_adj().map(Step::OomScoreAdj));
    namespaces.steps(&mut steps);
    filesystem(input.spec, process, terminal.is_some(), &mut steps)?;
    names(input.spec, &namespaces, &mut steps)?;
    steps.push(Step::Pivot);
    if input.spec.root().as_ref().and_then(oci_spec::runtime::Root::readonly).unwrap_or(false) {
        steps.push(Step::ReadonlyRoot);
    }
    steps.push(Step::StandardStreams);
    process::steps(process, has_seccomp(input.spec), &mut steps, &mut warnings)?;
    Ok(StartPlan {
        clone: namespaces.clone,
        join_pid: namespaces.join_pid,
        cgroup: cgroup_path(input.spec)?,
        terminal,
        user: process.user().uid(),
        steps,
        warnings,
    })
}

/// What it takes to run one more process in a container: its namespaces, then the process part.
///
/// # Errors
/// [`PlanError`].
pub fn plan_exec(process: &Process, seccomp: bool) -> Result<(Vec<Step>, Vec<String>), PlanError> {
    process::check(process)?;
    let mut warnings = Vec::new();
    let mut steps = vec![Step::EnterCgroup];
    steps.extend(process.oom_score_adj().map(Step::OomScoreAdj));
    let all = SHARED | libc::CLONE_NEWNS | libc::CLONE_NEWCGROUP;
    steps.extend([Step::JoinProcess(all), Step::StandardStreams]);
    process::steps(process, seccomp, &mut steps, &mut warnings)?;
    Ok((steps, warnings))
}

fn has_seccomp(spec: &Spec) -> bool {
    spec.linux().as_ref().is_some_and(|linux| linux.seccomp().is_some())
}

fn cgroup_path(spec: &Spec) -> Result<String, PlanError> {
    let path = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_ref());
    path.and_then(|path| path.to_str()).map(str::to_owned).ok_or(PlanError::NoCgroup)
}

struct Namespaces {
    clone: i32,
    join: i32,
    join_pid: bool,
    cgroup: bool,
    paths: Vec<String>,
}

impl Namespaces {
    fn of(spec: &Spec, sandbox: Option<&JoinSandbox<'_>>) -> Result<Self, PlanError> {
        let mut this =
            Self { clone: 0, join: 0, join_pid: false, cgroup: false, paths: Vec::new() };
        if let Some(sandbox) = sandbox {
            for (shared, flag) in [
                (sandbox.network, libc::CLONE_NEWNET),
                (sandbox.ipc, libc::CLONE_NEWIPC),
                (sandbox.uts, libc::CLONE_NEWUTS),
            ] {
                this.join |= if shared { flag } else { 0 };
            }
            this.join_pid = sandbox.pid;
        }
        let listed = spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.namespaces().as_deref())
            .unwrap_or_default();
        for namespace in listed {
            match namespace.path() {
                Some(path) => this.paths.push(text(path, "namespace path")?),
                None => this.add(namespace.typ())?,
            }
        }
        if this.clone & libc::CLONE_NEWNS == 0 {
            return Err(PlanError::NoMountNamespace);
        }
        Ok(this)
    }

    /// A namespace without a path is new, unless the sandbox lends its own.
    fn add(&mut self, kind: LinuxNamespaceType) -> Result<(), PlanError> {
        let flag = match kind {
            LinuxNamespaceType::Mount => libc::CLONE_NEWNS,
            LinuxNamespaceType::Pid if self.join_pid => 0,
            LinuxNamespaceType::Pid => libc::CLONE_NEWPID,
            LinuxNamespaceType::Network => libc::CLONE_NEWNET,
            LinuxNamespaceType::Ipc => libc::CLONE_NEWIPC,
            LinuxNamespaceType::Uts => libc::CLONE_NEWUTS,
            LinuxNamespaceType::Cgroup => {
                self.cgroup = true;
                0
            }
            LinuxNamespaceType::User => return Err(PlanError::Namespace("user")),
            LinuxNamespaceType::Time => return Err(PlanError::Namespace("time")),
        };
        self.clone |= flag & !self.join;
        Ok(())
    }

    fn steps(&self, steps: &mut Vec<Step>) {
        if self.cgroup {
            steps.push(Step::Unshare(libc::CLONE_NEWCGROUP));
        }
        if self.join != 0 {
            steps.push(Step::JoinProcess(self.join));
        }
        steps.extend(self.paths.iter().cloned().map(Step::JoinNamespace));
        steps.extend([Step::SlavePropagation, Step::AttachRoot]);
    }
}

/// Mounts, devices, links, the working directory, and what is hidden: everything below the root.
fn filesystem(
    spec: &Spec,
    process: &Process,
    terminal: bool,
    steps: &mut Vec<Step>,
) -> Result<(), PlanError> {
    let mut has_terminals = false;
    for mount in spec.mounts().as_deref().unwrap_or_default() {
        let mount = mounts::mount(mount)?;
        has_terminals |= mount.destination == "/dev/pts";
        steps.push(Step::Mount(mount));
    }
    let linux = spec.linux().as_ref();
    devices(linux.and_then(|linux| linux.devices().as_deref()).unwrap_or_default(), steps)?;
    for (path, target) in DEFAULT_LINKS {
        steps.push(Step::Link { path: path.to_owned(), target });
    }
    if has_terminals {
        steps.push(Step::Link { path: "/dev/ptmx".to_owned(), target: "pts/ptmx" });
    }
    if terminal {
        if !has_terminals {
            return Err(PlanError::NoTerminals);
        }
        steps.push(Step::Console);
    }
    steps.push(Step::MakeWorkingDirectory(text(process.cwd(), "cwd")?));
    for path in linux.and_then(|linux| linux.readonly_paths().as_deref()).unwrap_or_default() {
        steps.push(Step::Readonly(no_nul(path, "readonly path")?));
    }
    for path in linux.and_then(|linux| linux.masked_paths().as_deref()).unwrap_or_default() {
        steps.push(Step::Mask(no_nul(path, "masked path")?));
    }
    Ok(())
}

fn devices(listed: &[LinuxDevice], steps: &mut Vec<Step>) -> Result<(), PlanError> {
    for (name, major, minor) in DEFAULT_DEVICES {
        let path = format!("/dev/{name}");
        if listed.iter().any(|device| device.path() == Path::new(&path)) {
            continue;
        }
        let kind = LinuxDeviceType::C;
        steps.push(Step::Device(Device {
            path,
            kind,
            major,
            minor,
            mode: 0o666,
            user: 0,
            group: 0,
        }));
    }
    for device in listed {
        let path = text(device.path(), "device path")?;
        let (Ok(major), Ok(minor)) = (u32::try_from(device.major()), u32::try_from(device.minor()))
        else {
            return Err(PlanError::Device(path));
        };
        if !path.starts_with('/') {
            return Err(PlanError::Device(path));
        }
        steps.push(Step::Device(Device {
            kind: device.typ(),
            major,
            minor,
            mode: device.file_mode().unwrap_or(0o666) & 0o7777,
            user: device.uid().unwrap_or(0),
            group: device.gid().unwrap_or(0),
            path,
        }));
    }
    Ok(())
}

/// Kernel parameters, host name and domain name, for namespaces that are the container's own.
fn names(spec: &Spec, namespaces: &Namespaces, steps: &mut Vec<Step>) -> Result<(), PlanError> {
    if let Some(listed) = spec.linux().as_ref().and_then(|linux| linux.sysctl().as_ref()) {
        let mut sorted: Vec<_> = listed.iter().collect();
        sorted.sort();
        let (shared, new) = (namespaces.join, namespaces.clone);
        for (name, value) in sorted {
            steps.push(sysctl(
                name,
                value,
                new & libc::CLONE_NEWNET != 0,
                new & !shared & libc::CLONE_NEWIPC != 0,
            )?);
        }
    }
    if namespaces.clone & libc::CLONE_NEWUTS != 0 {
        steps.extend(spec.hostname().clone().map(Step::HostName));
        steps.extend(spec.domainname().clone().map(Step::DomainName));
    }
    Ok(())
}

/// One kernel parameter, if it belongs to a namespace that is new.
pub(crate) fn sysctl(
    name: &str,
    value: &str,
    new_network: bool,
    new_ipc: bool,
) -> Result<Step, PlanError> {
    let refused = |why| PlanError::Sysctl { name: name.to_owned(), why };
    let slashed = if name.contains('/') { name.to_owned() } else { name.replace('.', "/") };
    if slashed.contains('\0') || value.contains('\0') {
        return Err(refused("contains a NUL byte"));
    }
    if slashed.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(refused("is not a name below /proc/sys"));
    }
    let network = slashed.starts_with("net/");
    let ipc = slashed.starts_with("fs/mqueue/")
        || matches!(slashed.as_str(), "kernel/sem")
        || ["kernel/shm", "kernel/msg"].iter().any(|prefix| slashed.starts_with(prefix));
    match (network, ipc) {
        (true, _) if !new_network => Err(refused("needs a network namespace of its own")),
        (_, true) if !new_ipc => Err(refused("needs an IPC namespace of its own")),
        (false, false) => Err(refused("is not namespaced")),
        _ => Ok(Step::Sysctl { name: slashed, value: value.to_owned() }),
    }
}

fn text(path: &Path, what: &'static str) -> Result<String, PlanError> {
    no_nul(&path.to_string_lossy(), what)
}

fn no_nul(text: &str, what: &'static str) -> Result<String, PlanError> {
    if text.contains('\0') { Err(PlanError::Nul(what)) } else { Ok(text.to_owned()) }
}
