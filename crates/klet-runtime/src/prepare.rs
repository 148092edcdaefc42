//! Everything a child will need, made before it exists: descriptors, C strings, compiled filters.
//!
//! Each [`Step`] becomes one [`Op`] of the same number, so that a child's report needs the number only.

mod mount;
mod overlay;

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use klet_sys::exec::Vector;
use klet_sys::features::Features;
use klet_sys::in_root::{InRootPath, Symlinks};
use klet_sys::limits::Limit;
use klet_sys::mount::Attributes;
use klet_sys::node::Device;
use klet_sys::pty::{self, Terminal};
use klet_sys::{SysError, capability, fd};
use oci_spec::runtime::LinuxDeviceType;
use rustix::fs::FileType;
use rustix::thread::Gid;

pub(crate) use mount::{MountOp, Source};

use crate::error::{Phase, StartError};
use crate::input::{RootfsInput, Stdio};
use crate::plan::{CapabilitySets, Step};
use crate::seccomp::Filter;

/// One prepared step.
#[derive(Debug)]
pub(crate) enum Op {
    EnterTasks(Vec<OwnedFd>),
    OomScoreAdj(Vec<u8>),
    JoinProcess(OwnedFd, i32),
    JoinNamespace(OwnedFd),
    Unshare(i32),
    SlavePropagation,
    AttachRoot(OwnedFd),
    Mount(MountOp),
    Device(Target, Device, (u32, u32)),
    Link(Target, CString),
    Console(Target),
    MakeDirectory(Target),
    Mask(Target),
    Readonly(Target),
    Sysctl(CString, Vec<u8>),
    HostName(Vec<u8>),
    DomainName(Vec<u8>),
    Pivot,
    ReadonlyRoot,
    StandardStreams,
    ResourceLimit(Limit),
    NewKeyring,
    Umask(u32),
    NoNewPrivileges,
    Bound(capability::Set),
    User { user: u32, group: u32, groups: Vec<Gid> },
    Capabilities(CapabilitySets),
    WorkingDirectory(CString),
    FindProgram(Vec<CString>),
    CleanUp,
    Seccomp(Option<Filter>),
    Execute(Program),
}

/// A place inside the root and how links on the way to it are treated.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) path: InRootPath,
    pub(crate) symlinks: Symlinks,
}

/// What is executed.
#[derive(Debug)]
pub(crate) struct Program {
    /// An open image, or `None` for the file that was found.
    pub(crate) image: Option<OwnedFd>,
    pub(crate) arguments: Vector,
    pub(crate) environment: Vector,
}

/// The standard streams of the child.
#[derive(Debug)]
pub(crate) enum Streams {
    Terminal(OwnedFd),
    Plain(Stdio),
}

/// What the steps are prepared from, besides themselves.
#[derive(Debug)]
pub(crate) struct Sources<'a> {
    pub(crate) rootfs: Option<(RootfsInput<'a>, Features)>,
    pub(crate) process: Option<BorrowedFd<'a>>,
    /// The mount namespace of sources that are shared.
    pub(crate) host_mounts: Option<BorrowedFd<'a>>,
    pub(crate) filter: Option<&'a Filter>,
    pub(crate) arguments: &'a [String],
    pub(crate) environment: Vec<String>,
    pub(crate) cgroup_v2: bool,
    /// The `tasks` files of a v1 cgroup.
    pub(crate) tasks: Vec<OwnedFd>,
    /// Namespaces that have a descriptor and no path, in the order of their steps.
    pub(crate) namespaces: Vec<OwnedFd>,
    /// A root that is made already.
    pub(crate) root: Option<OwnedFd>,
    /// A program that has a descriptor and no path.
    pub(crate) image: Option<OwnedFd>,
}

/// All the child works with.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    pub(crate) ops: Vec<Op>,
    /// The empty read-only directory that hides others.
    pub(crate) cover: Option<OwnedFd>,
    /// The container's devpts, to open its terminal in.
    pub(crate) devpts: Option<OwnedFd>,
    pub(crate) warnings: Vec<String>,
}

/// Prepares every step.
pub(crate) fn prepare(steps: &[Step], mut sources: Sources<'_>) -> Result<Prepared, StartError> {
    let mut prepared = Prepared::default();
    prepared.ops.reserve(steps.len());
    for step in steps {
        let op = match step {
            Step::Seccomp => Op::Seccomp(sources.filter.cloned()),
            Step::Capabilities(sets) => Op::Capabilities(held(*sets, &mut prepared.warnings)?),
            Step::Mount(planned) => {
                let op = mount::prepare(planned, &sources, &mut prepared.devpts);
                Op::Mount(op.map_err(|error| at(step, error))?)
            }
            other => simple(other, &mut sources).map_err(|error| at(step, error))?,
        };
        if matches!(op, Op::Mask(_)) && prepared.cover.is_none() {
            prepared.cover = Some(mount::cover().map_err(|error| at(step, error))?);
        }
        prepared.ops.push(op);
    }
    Ok(prepared)
}

fn at(step: &Step, error: SysError) -> StartError {
    StartError::system(Phase::Step(Box::new(step.clone())), error)
}

fn simple(step: &Step, sources: &mut Sources<'_>) -> Result<Op, SysError> {
    Ok(match step {
        Step::EnterCgroup => Op::EnterTasks(std::mem::take(&mut sources.tasks)),
        Step::OomScoreAdj(value) => Op::OomScoreAdj(value.to_string().into_bytes()),
        Step::JoinProcess(flags) => Op::JoinProcess(duplicate(sources.process)?, *flags),
        Step::JoinNamespace(path) => Op::JoinNamespace(namespace(path, sources)?),
        Step::Unshare(flags) => Op::Unshare(*flags),
        Step::SlavePropagation => Op::SlavePropagation,
        Step::AttachRoot => Op::AttachRoot(root(sources)?),
        Step::Device(device) => device_op(device)?,
        Step::Link { path, target } => Op::Link(place(path)?, c_string(target)?),
        Step::Console => Op::Console(place("/dev/console")?),
        Step::MakeWorkingDirectory(path) => Op::MakeDirectory(place(path)?),
        Step::Mask(path) => Op::Mask(place(path)?),
        Step::Readonly(path) => Op::Readonly(place(path)?),
        Step::Sysctl { name, value } => {
            Op::Sysctl(c_string(&format!("sys/{name}"))?, value.clone().into_bytes())
        }
        Step::HostName(name) => Op::HostName(name.clone().into_bytes()),
        Step::DomainName(name) => Op::DomainName(name.clone().into_bytes()),
        Step::Pivot => Op::Pivot,
        Step::ReadonlyRoot => Op::ReadonlyRoot,
        _ => process(step, sources)?,
    })
}

fn process(step: &Step, sources: &mut Sources<'_>) -> Result<Op, SysError> {
    Ok(match step {
        Step::StandardStreams => Op::StandardStreams,
        Step::ResourceLimit(limit) => Op::ResourceLimit(*limit),
        Step::Umask(mask) => Op::Umask(*mask),
        Step::NoNewPrivileges => Op::NoNewPrivileges,
        Step::Bound(set) => Op::Bound(*set),
        Step::User(identity) => Op::User {
            user: identity.user,
            group: identity.group,
            groups: identity.groups.iter().map(|group| Gid::from_raw(*group)).collect(),
        },
        Step::WorkingDirectory(path) => Op::WorkingDirectory(c_string(path)?),
        Step::FindProgram(name) => Op::FindProgram(candidates(name, &sources.environment)?),
        Step::CleanUp => Op::CleanUp,
        Step::Execute(_) => Op::Execute(program(sources)?),
        _ => Op::NewKeyring,
    })
}

fn duplicate(process: Option<BorrowedFd<'_>>) -> Result<OwnedFd, SysError> {
    let process = process.ok_or(SysError::new("setns", libc::ESRCH))?;
    process
        .try_clone_to_owned()
        .map_err(|error| SysError::new("dup", error.raw_os_error().unwrap_or(libc::EIO)))
}

fn namespace(path: &str, sources: &mut Sources<'_>) -> Result<OwnedFd, SysError> {
    if !sources.namespaces.is_empty() {
        return Ok(sources.namespaces.remove(0));
    }
    fd::open(&c_string(path)?, rustix::fs::OFlags::RDONLY).map_err(|error| error.on(path))
}

fn root(sources: &mut Sources<'_>) -> Result<OwnedFd, SysError> {
    match (sources.root.take(), sources.rootfs) {
        (Some(root), _) => Ok(root),
        (None, Some((rootfs, features))) => mount::root(rootfs, features),
        (None, None) => Err(SysError::new("open_tree", libc::ENOENT)),
    }
}

/// A path inside the root. Below `/proc`, `/sys` and `/dev` a link is an attack (CVE-2019-19921, CVE-2025-31133).
pub(crate) fn place(path: &str) -> Result<Target, SysError> {
    let path = InRootPath::new(path).ok_or(SysError::new("openat2", libc::EINVAL))?;
    let special = path.first().is_some_and(|name| [c"proc", c"sys", c"dev"].contains(&name));
    let symlinks = if special { Symlinks::Refused } else { Symlinks::Inside };
    Ok(Target { path, symlinks })
}

fn device_op(device: &crate::plan::Device) -> Result<Op, SysError> {
    let kind = match device.kind {
        LinuxDeviceType::B => FileType::BlockDevice,
        LinuxDeviceType::P => FileType::Fifo,
        _ => FileType::CharacterDevice,
    };
    let node = Device { kind, mode: device.mode, major: device.major, minor: device.minor };
    Ok(Op::Device(place(&device.path)?, node, (device.user, device.group)))
}

pub(crate) fn c_string(text: &str) -> Result<CString, SysError> {
    CString::new(text)
        .map_err(|_| SysError::new("execve", libc::EINVAL).on(text.replace('\0', "\\0")))
}

fn vector(strings: &[String]) -> Result<Vector, SysError> {
    Ok(Vector::new(strings.iter().map(|text| c_string(text)).collect::<Result<_, _>>()?))
}

fn program(sources: &mut Sources<'_>) -> Result<Program, SysError> {
    Ok(Program {
        image: sources.image.take(),
        arguments: vector(sources.arguments)?,
        environment: vector(&sources.environment)?,
    })
}

/// Where a program may be: as named if the name has a slash, else in the directories of the
/// container's own PATH. An empty entry there is the working directory, which nobody means: left out.
fn candidates(name: &str, environment: &[String]) -> Result<Vec<CString>, SysError> {
    if name.contains('/') {
        return Ok(vec![c_string(name)?]);
    }
    let path = environment.iter().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or_default();
    path.split(':')
        .filter(|directory| !directory.is_empty())
        .map(|directory| c_string(&format!("{directory}/{name}")))
        .collect()
}

/// CHOWN, DAC_OVERRIDE, FSETID, FOWNER, MKNOD, NET_RAW, SETGID, SETUID, SETFCAP, SETPCAP,
/// NET_BIND_SERVICE, SYS_CHROOT, KILL, AUDIT_WRITE: what containers get unasked.
const DEFAULT_CAPABILITIES: u64 = 0xa804_25fb;

/// The sets cut to what this process has itself; what was surely asked for by name is reported.
fn held(asked: CapabilitySets, warnings: &mut Vec<String>) -> Result<CapabilitySets, StartError> {
    let held = capability::get().map_err(StartError::prepare)?.permitted;
    let missing = asked.permitted.0 & !held.0 & !DEFAULT_CAPABILITIES;
    if missing != 0 {
        let numbers: Vec<_> =
            (0..64).filter(|n| missing >> n & 1 == 1).map(|n: u32| n.to_string()).collect();
        warnings.push(format!(
            "capabilities this machine does not grant are left out: {}",
            numbers.join(", ")
        ));
    }
    Ok(CapabilitySets {
        bounding: asked.bounding,
        effective: asked.effective.and(held),
        permitted: asked.permitted.and(held),
        ambient: asked.ambient.and(held),
    })
}

/// The standard streams: a terminal's slave side, or the caller's pipes given to the container's user.
pub(crate) fn streams(
    io: Option<Stdio>,
    terminal: Option<((u16, u16), BorrowedFd<'_>)>,
    user: u32,
) -> Result<(Streams, Option<OwnedFd>), SysError> {
    if let Some(((columns, rows), devpts)) = terminal {
        let Terminal { master, slave } = pty::open_terminal(devpts)?;
        if columns > 0 && rows > 0 {
            pty::set_size(master.as_fd(), columns, rows)?;
        }
        pty::grant(slave.as_fd(), user)?;
        return Ok((Streams::Terminal(fd::above_standard_streams(slave)?), Some(master)));
    }
    let io = io.ok_or(SysError::new("stdio", libc::EBADF))?;
    let own = |file: OwnedFd| {
        if user != 0 && fd::is_pipe(&file)? {
            fd::change_owner(&file, user, None)?;
        }
        fd::above_standard_streams(file)
    };
    let stdin = io.stdin.map(own).transpose()?;
    Ok((Streams::Plain(Stdio { stdin, stdout: own(io.stdout)?, stderr: own(io.stderr)? }), None))
}

/// Read-only, for [`klet_sys::mount::set_attributes`].
pub(crate) const READONLY: Attributes =
    Attributes { set: libc::MOUNT_ATTR_RDONLY, clear: 0, propagation: 0 };
