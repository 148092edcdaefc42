//! What the callers hand in and get back: plain data and owned descriptors.

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use klet_sys::features::Features;
use oci_spec::runtime::{Process, Spec};

use crate::cgroup::Cgroup;
use crate::seccomp::Filter;

/// One container to start.
#[derive(Debug)]
pub struct ContainerInput<'a> {
    /// The container's name in error texts; its cgroup is `linux.cgroupsPath` of the spec.
    pub id: &'a str,
    /// The OCI runtime spec; `root.path` is not used, [`Self::rootfs`] is.
    pub spec: &'a Spec,
    /// Where the root filesystem comes from.
    pub rootfs: RootfsInput<'a>,
    /// The pod's sandbox whose namespaces are entered, or `None` for a container alone.
    pub join: Option<JoinSandbox<'a>>,
    /// What the kernel can do.
    pub features: Features,
    /// The mount namespace that mounts with shared propagation share with, if not the caller's own.
    pub host_mounts: Option<BorrowedFd<'a>>,
}

/// The source of a container's root filesystem.
#[derive(Debug, Clone, Copy)]
pub enum RootfsInput<'a> {
    /// An overlay: image layers, the topmost first, and the writable layer.
    Overlay {
        /// Read-only layers, topmost first.
        lower: &'a [PathBuf],
        /// The container's own writable layer.
        upper: &'a Path,
        /// Overlay's work directory, on the file system of `upper`.
        work: &'a Path,
    },
    /// A directory, bind-mounted with everything below it.
    Directory(&'a Path),
}

/// Which namespaces of the sandbox's process a container shares.
#[derive(Debug, Clone, Copy)]
pub struct JoinSandbox<'a> {
    /// The sandbox's process.
    pub pidfd: BorrowedFd<'a>,
    /// Share the network namespace.
    pub network: bool,
    /// Share the System V IPC and message queue namespace.
    pub ipc: bool,
    /// Share the host name.
    pub uts: bool,
    /// Share the process namespace (`shareProcessNamespace`).
    pub pid: bool,
}

/// The three standard streams of a process without a terminal.
#[derive(Debug)]
pub struct Stdio {
    /// `None`: the container's own `/dev/null`.
    pub stdin: Option<OwnedFd>,
    /// Usually the write end of a pipe.
    pub stdout: OwnedFd,
    /// Usually the write end of a pipe.
    pub stderr: OwnedFd,
}

/// A container whose process has been executed.
#[derive(Debug)]
pub struct Started {
    /// The init process, as the caller's pid namespace numbers it.
    pub pid: i32,
    /// A handle on the init process; readable once it has ended.
    pub pidfd: OwnedFd,
    /// The container's cgroup. The caller removes it after the end.
    pub cgroup: Cgroup,
    /// The master side of the terminal, if the spec asked for one.
    pub console: Option<OwnedFd>,
    /// The compiled seccomp profile, for later execs.
    pub filter: Option<Filter>,
    /// What could not be done to the letter on this machine (a clamped limit, for example).
    pub warnings: Vec<String>,
}

/// One command to execute inside a running container.
#[derive(Debug)]
pub struct ExecInput<'a> {
    /// The container's process section: user, capabilities, limits and environment are taken from it.
    pub process: &'a Process,
    /// The container's seccomp filter, as [`Started`] gave it.
    pub filter: Option<&'a Filter>,
    /// The command and its arguments.
    pub args: &'a [String],
    /// Environment entries (`NAME=value`) added to, or replacing, those of the spec.
    pub extra_env: &'a [String],
    /// A terminal of this many columns and rows, or `None` for plain streams.
    pub terminal: Option<(u16, u16)>,
    /// The container's init process.
    pub init_pidfd: BorrowedFd<'a>,
    /// The container's cgroup.
    pub cgroup: &'a Cgroup,
    /// Distinguishes the sessions of one container; names the session's sub-cgroup.
    pub exec_number: u64,
}

/// A command running inside a container.
#[derive(Debug)]
pub struct Execed {
    /// The process, as the caller's pid namespace numbers it.
    pub pid: i32,
    /// A handle on the process; readable once it has ended.
    pub pidfd: OwnedFd,
    /// The session's own sub-cgroup. The caller removes it after the end.
    pub cgroup: Cgroup,
    /// The master side of the terminal, if one was asked for.
    pub console: Option<OwnedFd>,
    /// What could not be done to the letter on this machine.
    pub warnings: Vec<String>,
}

/// The process that holds a pod's shared namespaces.
#[derive(Debug)]
pub struct SandboxInput<'a> {
    /// The host name set in a new UTS namespace.
    pub hostname: &'a str,
    /// Create a network namespace (`false`: host network).
    pub new_network: bool,
    /// Create an IPC namespace (`false`: host IPC).
    pub new_ipc: bool,
    /// Create a process namespace whose PID 1 the sandbox is (`shareProcessNamespace`).
    pub new_pid: bool,
    /// Create a UTS namespace (`false`: the host's name).
    pub new_uts: bool,
    /// Namespaced kernel parameters, by their dotted or slashed name.
    pub sysctls: &'a BTreeMap<String, String>,
    /// The sandbox's cgroup, as a path below every hierarchy's mount.
    pub cgroup: &'a str,
    /// The out-of-memory score adjustment of the sandbox process.
    pub oom_score_adj: i32,
    /// The pause program: a static ELF image.
    pub pause: &'a [u8],
}

/// A running sandbox.
#[derive(Debug)]
pub struct StartedSandbox {
    /// The sandbox process, as the caller's pid namespace numbers it.
    pub pid: i32,
    /// A handle on the sandbox process; readable once it has ended.
    pub pidfd: OwnedFd,
    /// The sandbox's cgroup. The caller removes it after the end.
    pub cgroup: Cgroup,
    /// The new network namespace, if one was asked for.
    pub network_namespace: Option<OwnedFd>,
    /// A NETLINK_ROUTE socket that belongs to the new network namespace.
    pub route_socket: Option<OwnedFd>,
    /// What could not be done to the letter on this machine.
    pub warnings: Vec<String>,
}
