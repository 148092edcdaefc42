//! The vocabulary of plans: what a step is, and why there may be no plan.

use klet_sys::capability::Set;
use klet_sys::limits::Limit;
use oci_spec::runtime::LinuxDeviceType;

use super::Mount;

/// One thing the child does between clone and exec. The order in the plan is the order of doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Enter the cgroup. First, so that everything after it is charged and limited.
    EnterCgroup,
    /// Set the out-of-memory score adjustment, through the host's procfs.
    OomScoreAdj(i32),
    /// Enter namespaces (`CLONE_NEW*`) of the sandbox or of the container's init.
    JoinProcess(i32),
    /// Enter a namespace named by a file.
    JoinNamespace(String),
    /// Get namespaces (`CLONE_NEW*`) that must be rooted in what was entered before: the cgroup's.
    Unshare(i32),
    /// Keep mounts made from here on from the host.
    SlavePropagation,
    /// Attach the root file system.
    AttachRoot,
    /// Make one mount of the spec.
    Mount(Mount),
    /// Make a device node.
    Device(Device),
    /// Make a symbolic link.
    Link {
        /// Where the link lies.
        path: String,
        /// What it says.
        target: &'static str,
    },
    /// Attach the terminal as `/dev/console`.
    Console,
    /// Make the working directory if it is missing.
    MakeWorkingDirectory(String),
    /// Hide a path.
    Mask(String),
    /// Make a path read-only.
    Readonly(String),
    /// Set a kernel parameter of the container's namespaces.
    Sysctl {
        /// Slashed name below `/proc/sys`.
        name: String,
        /// The value.
        value: String,
    },
    /// Set the host name.
    HostName(String),
    /// Set the NIS domain name.
    DomainName(String),
    /// Make the root file system read-only.
    ReadonlyRoot,
    /// Make the root file system the root.
    Pivot,
    /// Start a session and, with a terminal, take control of it; place the standard streams.
    StandardStreams,
    /// Set a resource limit, cut to what this process may set.
    ResourceLimit(Limit),
    /// Leave the caller's keyring.
    NewKeyring,
    /// Set the file mode creation mask.
    Umask(u32),
    /// Give up the gaining of privileges.
    NoNewPrivileges,
    /// Drop all other capabilities from the bounding set.
    Bound(Set),
    /// Change groups and user.
    User(Identity),
    /// Set the capability sets.
    Capabilities(CapabilitySets),
    /// Enter the working directory and prove that it lies inside the root.
    WorkingDirectory(String),
    /// Find the program.
    FindProgram(String),
    /// Close everything but the standard streams at exec, and give signals their default actions.
    CleanUp,
    /// Load the seccomp filter.
    Seccomp,
    /// Become the program.
    Execute(String),
}

/// A device node to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Where.
    pub path: String,
    /// Character, block device or FIFO.
    pub kind: LinuxDeviceType,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub user: u32,
    /// Group.
    pub group: u32,
}

/// Who a process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// User.
    pub user: u32,
    /// Primary group.
    pub group: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// The capability sets of a process. The inheritable set holds what is ambient and nothing else:
/// more would let a program with inheritable file capabilities gain them (CVE-2022-24769).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CapabilitySets {
    /// Bounding set.
    pub bounding: Set,
    /// Effective set.
    pub effective: Set,
    /// Permitted set.
    pub permitted: Set,
    /// Ambient set.
    pub ambient: Set,
}

/// What must happen to start a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartPlan {
    /// `CLONE_NEW*` flags of the clone.
    pub clone: i32,
    /// Clone into the sandbox's process namespace.
    pub join_pid: bool,
    /// The container's cgroup, below every hierarchy's mount.
    pub cgroup: String,
    /// Columns and rows of the terminal, if there is one; (0, 0) leaves the size alone.
    pub terminal: Option<(u16, u16)>,
    /// The owner of the standard streams.
    pub user: u32,
    /// What the child does, in order.
    pub steps: Vec<Step>,
    /// What is less than the spec asks, knowably in advance.
    pub warnings: Vec<String>,
}

/// The spec cannot be carried out; nothing was touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The spec has no process section.
    #[error("the spec describes no process")]
    NoProcess,
    /// There is nothing to execute.
    #[error("no command specified")]
    NoCommand,
    /// The working directory is relative (runc's words).
    #[error("Cwd must be an absolute path")]
    RelativeWorkingDirectory,
    /// A string that goes to the kernel contains a NUL byte.
    #[error("{0} contains a NUL byte")]
    Nul(&'static str),
    /// The cgroup path is missing.
    #[error("the spec names no cgroup path")]
    NoCgroup,
    /// The namespace is not offered.
    #[error("{0} namespaces are not supported")]
    Namespace(&'static str),
    /// A container needs a mount namespace of its own.
    #[error("the spec asks for no mount namespace")]
    NoMountNamespace,
    /// A mount the runtime cannot make.
    #[error("mount at {destination:?}: {why}")]
    Mount {
        /// Its destination.
        destination: String,
        /// What is wrong.
        why: String,
    },
    /// A terminal needs a devpts of the container's own.
    #[error("a terminal needs a devpts mount at /dev/pts")]
    NoTerminals,
    /// A device number is out of range or its path relative.
    #[error("device {0:?}: the path must be absolute and the numbers valid")]
    Device(String),
    /// A kernel parameter that is not namespaced here.
    #[error("sysctl {name:?}: {why}")]
    Sysctl {
        /// Its name.
        name: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A capability the kernel of this machine has not, or that does not belong together.
    #[error("capability {0} is unknown")]
    Capability(String),
}
