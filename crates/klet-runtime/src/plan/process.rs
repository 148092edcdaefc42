//! The process section of a spec: identity, limits, capabilities, and the order they are put on in.

use klet_sys::capability::Set;
use klet_sys::limits::Limit;
use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities, PosixRlimitType, Process};

use super::{CapabilitySets, Identity, PlanError, Step, no_nul, text};

/// Refuses what no kernel could execute.
pub(super) fn check(process: &Process) -> Result<(), PlanError> {
    let arguments = process.args().as_deref().unwrap_or_default();
    if arguments.first().is_none_or(String::is_empty) {
        return Err(PlanError::NoCommand);
    }
    for argument in arguments {
        no_nul(argument, "a command argument")?;
    }
    for entry in process.env().as_deref().unwrap_or_default() {
        no_nul(entry, "an environment entry")?;
    }
    if !text(process.cwd(), "cwd")?.starts_with('/') {
        return Err(PlanError::RelativeWorkingDirectory);
    }
    Ok(())
}

/// Columns and rows of the terminal asked for.
pub(super) fn terminal(process: &Process) -> Option<(u16, u16)> {
    let size = process.console_size();
    let clamp = |cells: u64| u16::try_from(cells).unwrap_or(u16::MAX);
    process
        .terminal()
        .unwrap_or(false)
        .then(|| size.map_or((0, 0), |s| (clamp(s.width()), clamp(s.height()))))
}

/// The steps that turn the child, root of its container, into the process.
///
/// Without no_new_privs a filter can be loaded by CAP_SYS_ADMIN only, so before capabilities go; with it,
/// as late as possible, so that it need not allow what the steps before it do.
pub(super) fn steps(
    process: &Process,
    seccomp: bool,
    steps: &mut Vec<Step>,
    warnings: &mut Vec<String>,
) -> Result<(), PlanError> {
    for limit in process.rlimits().as_deref().unwrap_or_default() {
        let resource = resource(limit.typ());
        steps.push(Step::ResourceLimit(Limit { resource, soft: limit.soft(), hard: limit.hard() }));
    }
    steps.push(Step::NewKeyring);
    steps.push(Step::Umask(process.user().umask().unwrap_or(0o022)));
    let no_new_privileges = process.no_new_privileges().unwrap_or(false);
    let seccomp_early = seccomp && !no_new_privileges;
    if seccomp_early {
        steps.push(Step::Seccomp);
    }
    let capabilities = capabilities(process.capabilities().as_ref(), warnings);
    steps.push(Step::Bound(capabilities.bounding));
    steps.push(Step::User(identity(process)));
    steps.push(Step::Capabilities(capabilities));
    if no_new_privileges {
        steps.push(Step::NoNewPrivileges);
    }
    let program =
        process.args().as_deref().unwrap_or_default().first().ok_or(PlanError::NoCommand)?;
    steps.push(Step::WorkingDirectory(text(process.cwd(), "cwd")?));
    steps.push(Step::FindProgram(program.clone()));
    steps.push(Step::CleanUp);
    if seccomp && !seccomp_early {
        steps.push(Step::Seccomp);
    }
    steps.push(Step::Execute(program.clone()));
    Ok(())
}

fn identity(process: &Process) -> Identity {
    let user = process.user();
    Identity {
        user: user.uid(),
        group: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default(),
    }
}

fn capabilities(listed: Option<&LinuxCapabilities>, warnings: &mut Vec<String>) -> CapabilitySets {
    let Some(listed) = listed else { return CapabilitySets::default() };
    let set = |names: &Option<Capabilities>| {
        Set(names.iter().flatten().fold(0, |bits, capability| bits | 1 << number(*capability)))
    };
    let (permitted, inheritable) = (set(listed.permitted()), set(listed.inheritable()));
    let ambient = set(listed.ambient());
    if ambient.and(permitted).and(inheritable) != ambient {
        warnings.push(
            "ambient capabilities that are not permitted and inheritable are left out".to_owned(),
        );
    }
    CapabilitySets {
        bounding: set(listed.bounding()),
        effective: set(listed.effective()).and(permitted),
        permitted,
        ambient: ambient.and(permitted).and(inheritable),
    }
}

/// Environment of the program: later entries of the same name replace earlier ones.
pub(crate) fn environment<'a>(entries: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for entry in entries {
        let name = entry.split_once('=').map_or(entry.as_str(), |(name, _)| name);
        let same = kept
            .iter()
            .position(|old| old.split_once('=').map_or(old.as_str(), |(n, _)| n) == name);
        match same {
            Some(index) => kept[index].clone_from(entry),
            None => kept.push(entry.clone()),
        }
    }
    kept
}

const fn resource(kind: PosixRlimitType) -> u32 {
    match kind {
        PosixRlimitType::RlimitCpu => libc::RLIMIT_CPU,
        PosixRlimitType::RlimitFsize => libc::RLIMIT_FSIZE,
        PosixRlimitType::RlimitData => libc::RLIMIT_DATA,
        PosixRlimitType::RlimitStack => libc::RLIMIT_STACK,
        PosixRlimitType::RlimitCore => libc::RLIMIT_CORE,
        PosixRlimitType::RlimitRss => libc::RLIMIT_RSS,
        PosixRlimitType::RlimitNproc => libc::RLIMIT_NPROC,
        PosixRlimitType::RlimitNofile => libc::RLIMIT_NOFILE,
        PosixRlimitType::RlimitMemlock => libc::RLIMIT_MEMLOCK,
        PosixRlimitType::RlimitAs => libc::RLIMIT_AS,
        PosixRlimitType::RlimitLocks => libc::RLIMIT_LOCKS,
        PosixRlimitType::RlimitSigpending => libc::RLIMIT_SIGPENDING,
        PosixRlimitType::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
        PosixRlimitType::RlimitNice => libc::RLIMIT_NICE,
        PosixRlimitType::RlimitRtprio => libc::RLIMIT_RTPRIO,
        PosixRlimitType::RlimitRttime => libc::RLIMIT_RTTIME,
    }
}

/// The capability's number in `<linux/capability.h>`.
const fn number(capability: Capability) -> u32 {
    match capability {
        Capability::Chown => 0,
        Capability::DacOverride => 1,
        Capability::DacReadSearch => 2,
        Capability::Fowner => 3,
        Capability::Fsetid => 4,
        Capability::Kill => 5,
        Capability::Setgid => 6,
        Capability::Setuid => 7,
        Capability::Setpcap => 8,
        Capability::LinuxImmutable => 9,
        Capability::NetBindService => 10,
        Capability::NetBroadcast => 11,
        Capability::NetAdmin => 12,
        Capability::NetRaw => 13,
        Capability::IpcLock => 14,
        Capability::IpcOwner => 15,
        Capability::SysModule => 16,
        Capability::SysRawio => 17,
        Capability::SysChroot => 18,
        Capability::SysPtrace => 19,
        Capability::SysPacct => 20,
        Capability::SysAdmin => 21,
        Capability::SysBoot => 22,
        Capability::SysNice => 23,
        Capability::SysResource => 24,
        Capability::SysTime => 25,
        Capability::SysTtyConfig => 26,
        Capability::Mknod => 27,
        Capability::Lease => 28,
        Capability::AuditWrite => 29,
        Capability::AuditControl => 30,
        Capability::Setfcap => 31,
        Capability::MacOverride => 32,
        Capability::MacAdmin => 33,
        Capability::Syslog => 34,
        Capability::WakeAlarm => 35,
        Capability::BlockSuspend => 36,
        Capability::AuditRead => 37,
        Capability::Perfmon => 38,
        Capability::Bpf => 39,
        Capability::CheckpointRestore => 40,
    }
}
