//! Why a start failed, in the words the kubelet's users know from runc.

use std::error::Error;
use std::fmt;

use klet_sys::SysError;

use crate::cgroup::CgroupError;
use crate::handshake::Report;
use crate::plan::{MountSource, PlanError, Step};
use crate::seccomp::SeccompError;

/// Where a start failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// The spec cannot be carried out; nothing was touched.
    Plan,
    /// The cgroup could not be made or limited.
    Cgroup,
    /// Something the child needs could not be prepared.
    Prepare,
    /// The process could not be made.
    Clone,
    /// The child failed at this step, or its part of the preparation did.
    Step(Box<Step>),
    /// The child ended before it could execute the program.
    Handshake,
}

/// A container, exec session or sandbox that was not started. Nothing of it is left.
#[derive(Debug)]
pub struct StartError {
    /// Where.
    pub phase: Phase,
    cause: Box<Cause>,
}

#[derive(Debug)]
enum Cause {
    Plan(PlanError),
    Cgroup(CgroupError),
    Seccomp(SeccompError),
    System(SysError),
    Killed(String),
}

impl StartError {
    /// Whether the spec itself is at fault (CreateContainerConfigError) rather than its execution.
    #[must_use]
    pub fn is_config_error(&self) -> bool {
        // A relative working directory is found out by runc at the start, so users see a StartError.
        match &*self.cause {
            Cause::Plan(error) => !matches!(error, PlanError::RelativeWorkingDirectory),
            Cause::Seccomp(_) => true,
            _ => false,
        }
    }

    pub(crate) fn system(phase: Phase, error: SysError) -> Self {
        Self { phase, cause: Box::new(Cause::System(error)) }
    }

    pub(crate) fn prepare(error: SysError) -> Self {
        Self::system(Phase::Prepare, error)
    }

    /// The step is the plan's, the call and errno come from the child.
    pub(crate) fn from_child(step: Step, report: &Report) -> Self {
        let error = SysError { call: "", object: report.call.clone(), errno: report.errno };
        Self::system(Phase::Step(Box::new(step)), error)
    }

    pub(crate) fn killed(how: String) -> Self {
        Self { phase: Phase::Handshake, cause: Box::new(Cause::Killed(how)) }
    }

    /// Whether the program's file was missing or not executable, rather than anything about the container.
    #[must_use]
    pub fn is_missing_program(&self) -> bool {
        matches!(&self.phase, Phase::Step(step) if matches!(**step, Step::FindProgram(_) | Step::Execute(_)))
    }
}

impl From<PlanError> for StartError {
    fn from(error: PlanError) -> Self {
        Self { phase: Phase::Plan, cause: Box::new(Cause::Plan(error)) }
    }
}

impl From<CgroupError> for StartError {
    fn from(error: CgroupError) -> Self {
        Self { phase: Phase::Cgroup, cause: Box::new(Cause::Cgroup(error)) }
    }
}

impl From<SeccompError> for StartError {
    fn from(error: SeccompError) -> Self {
        Self { phase: Phase::Plan, cause: Box::new(Cause::Seccomp(error)) }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Phase::Step(step), Cause::System(error)) = (&self.phase, &*self.cause) {
            return describe(f, step, error);
        }
        match &*self.cause {
            // The words of a plan error are the whole text: runc's validator says them alone.
            Cause::Plan(PlanError::RelativeWorkingDirectory) => {
                f.write_str("Cwd must be an absolute path")
            }
            Cause::Plan(error) => write!(f, "the container's spec cannot be carried out: {error}"),
            Cause::Seccomp(error) => write!(f, "the seccomp profile cannot be compiled: {error}"),
            Cause::Cgroup(error) => {
                write!(f, "unable to apply cgroup configuration: {error}")?;
                match error.source() {
                    Some(source) => write!(f, ": {source}"),
                    None => Ok(()),
                }
            }
            Cause::System(error) => write!(f, "unable to start container process: {error}"),
            Cause::Killed(how) => write!(f, "unable to start container process: {how}"),
        }
    }
}

impl Error for StartError {}

/// A failed step in runc's words where runc has them.
fn describe(f: &mut fmt::Formatter<'_>, step: &Step, error: &SysError) -> fmt::Result {
    f.write_str("unable to start container process: ")?;
    let errno = error.errno;
    match step {
        Step::FindProgram(name) if name.contains('/') && errno.0 == libc::EACCES => {
            write!(f, "exec: {name:?}: {errno}")
        }
        Step::FindProgram(name) if name.contains('/') => {
            write!(f, "exec: {name:?}: stat {name}: {errno}")
        }
        Step::FindProgram(name) if errno.0 == libc::ENOENT => {
            write!(f, "exec: {name:?}: executable file not found in $PATH")
        }
        Step::FindProgram(name) => write!(f, "exec: {name:?}: {errno}"),
        Step::Execute(name) => write!(f, "exec {name}: {errno}"),
        Step::MakeWorkingDirectory(path) => write!(f, "mkdir {path}: {errno}"),
        Step::WorkingDirectory(path) => {
            write!(f, "chdir to cwd ({path:?}) set in config.json failed: {errno}")
        }
        Step::Mount(mount) => {
            f.write_str("error during container init: error mounting ")?;
            match &mount.source {
                MountSource::Bind { path, .. } => write!(f, "{path:?}")?,
                MountSource::FileSystem { kind, .. } => write!(f, "{kind:?}")?,
                MountSource::Cgroup => f.write_str("\"cgroup\"")?,
            }
            write!(f, " to rootfs at {:?}: ", mount.destination)?;
            call(f, error)
        }
        other => {
            write!(f, "error during container init: {}: ", title(other))?;
            call(f, error)
        }
    }
}

/// The call that failed: the child's comes as the object, the parent's with both.
fn call(f: &mut fmt::Formatter<'_>, error: &SysError) -> fmt::Result {
    if error.call.is_empty() {
        write!(f, "{}: {}", error.object, error.errno)
    } else {
        write!(f, "{error}")
    }
}

pub(crate) fn title(step: &Step) -> String {
    match step {
        Step::EnterCgroup => "entering the cgroup".to_owned(),
        Step::OomScoreAdj(value) => format!("setting oom_score_adj to {value}"),
        Step::JoinProcess(_) => "joining namespaces".to_owned(),
        Step::JoinNamespace(path) => format!("joining namespace {path}"),
        Step::Unshare(_) => "creating namespaces".to_owned(),
        Step::SlavePropagation => "isolating mounts".to_owned(),
        Step::AttachRoot => "mounting the root filesystem".to_owned(),
        Step::Mount(mount) => format!("mounting {}", mount.destination),
        Step::Device(device) => format!("creating device {}", device.path),
        Step::Link { path, .. } => format!("creating link {path}"),
        Step::Console => "setting up /dev/console".to_owned(),
        Step::MakeWorkingDirectory(path) | Step::WorkingDirectory(path) => {
            format!("working directory {path}")
        }
        Step::Mask(path) => format!("masking {path}"),
        Step::Readonly(path) => format!("making {path} read-only"),
        Step::Sysctl { name, value } => format!("setting sysctl {name} to {value}"),
        Step::HostName(name) => format!("setting the host name to {name}"),
        Step::DomainName(name) => format!("setting the domain name to {name}"),
        Step::ReadonlyRoot => "making the root filesystem read-only".to_owned(),
        Step::Pivot => "changing the root".to_owned(),
        Step::StandardStreams => "placing the standard streams".to_owned(),
        Step::ResourceLimit(limit) => {
            format!("setting resource limit {} to {}:{}", limit.resource, limit.soft, limit.hard)
        }
        Step::NewKeyring => "joining a session keyring".to_owned(),
        Step::Umask(_) => "setting the umask".to_owned(),
        Step::NoNewPrivileges => "setting no_new_privs".to_owned(),
        Step::Bound(_) => "bounding capabilities".to_owned(),
        Step::User(identity) => {
            format!("changing to user {} and group {}", identity.user, identity.group)
        }
        Step::Capabilities(_) => "setting capabilities".to_owned(),
        Step::FindProgram(name) | Step::Execute(name) => format!("executing {name}"),
        Step::CleanUp => "closing descriptors".to_owned(),
        Step::Seccomp => "loading the seccomp filter".to_owned(),
    }
}

/// A step that was done less than to the letter.
pub(crate) fn warning(step: &Step, report: &Report) -> String {
    format!(
        "{}: {}: {}; the nearest allowed value is in force",
        title(step),
        report.call,
        report.errno
    )
}
