//! Requests, replies and events between `kletd` and a shim.
//!
//! The vocabulary is closed and small. A request has an id chosen by the client; its
//! reply carries the same id. Events carry no instruction: they say "look again", and
//! whatever they tell can also be read with [`Request::Status`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

/// Protocol versions a side speaks, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    pub min: u16,
    pub max: u16,
}

/// The versions this build speaks.
pub const PROTOCOL: Versions = Versions { min: 1, max: 1 };

impl Versions {
    /// The newest version both sides speak, if any.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u16> {
        let newest = self.max.min(other.max);
        (newest >= self.min.max(other.min)).then_some(newest)
    }
}

/// One frame from a client to the shim.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ToShim {
    /// Chosen by the client; echoed in the reply. Unique per connection while unanswered.
    pub id: u64,
    pub request: Request,
}

/// One frame from the shim to a client.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum FromShim {
    Reply { id: u64, result: Result<Reply, ShimError> },
    Event(Event),
}

/// What a client may ask. Every request may be repeated: asking for what is already
/// so succeeds and changes nothing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Request {
    /// First on every connection. Refused with `Version` when no version is common.
    Hello { versions: Versions, client: String },
    /// Make the pod sandbox: namespaces held by a pause process, shared `/dev/shm`.
    /// Reply [`Reply::Sandbox`]; unless `NetworkMode::Host`, two descriptors ride on it:
    /// the sandbox's network namespace, then a `NETLINK_ROUTE` socket opened inside it.
    CreateSandbox(SandboxConfig),
    /// Create and start a container. Reply [`Reply::Started`] once its program was executed,
    /// or an error that names the step. After a failed start a record with an
    /// [`ExitRecord`] of code 128 exists, unless the error kind is `InvalidConfig`.
    StartContainer(Box<ContainerConfig>),
    /// Send `signal` now and SIGKILL to the whole container `grace_ms` later (0: at once), by the
    /// shim's own timer. A repeated stop may only shorten the deadline. Reply `Done` at once;
    /// the end is told by [`Event::ContainerExited`].
    StopContainer { id: String, signal: i32, grace_ms: u64 },
    /// Forget an exited container: its record and its cgroup.
    RemoveContainer { id: String },
    /// Run a program inside a running container.
    Exec(Box<ExecConfig>),
    /// SIGKILL an exec session and everything it started.
    KillExec { exec_id: u64 },
    /// Set the window size of an exec session's terminal.
    ResizeExec { exec_id: u64, columns: u16, rows: u16 },
    /// Reply [`Reply::Status`].
    Status,
    /// Kill everything in the pod, remove its cgroups and records. Reply `Done` when all is gone;
    /// then the shim exits. `Internal` names the processes that do not end within
    /// [`REMOVAL_DEADLINE_MS`](crate::limits::REMOVAL_DEADLINE_MS); the shim goes on waiting, may be asked
    /// again, and exits when they have ended.
    RemoveSandbox,
}

/// A successful answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Reply {
    Hello {
        version: u16,
        shim: String,
        pid: i32,
    },
    Sandbox {
        pause_pid: i32,
    },
    Started {
        pid: i32,
        started_at_ns: i64,
    },
    /// The exec session runs. With [`ExecIo::Stream`] descriptors ride on it: with a terminal
    /// the pty master alone; else stdin's write end (if asked for), stdout's and stderr's read ends.
    ExecStarted {
        exec_id: u64,
    },
    /// A captured exec ended (only for [`ExecIo::Capture`]).
    ExecDone(ExecOutcome),
    Status(Box<PodSnapshot>),
    Done,
}

/// Why a request failed, with a text made for the pod's events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ShimError {
    pub kind: ShimErrorKind,
    pub message: String,
}

/// Decides the kubelet reason under which a failure is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShimErrorKind {
    /// No common protocol version.
    Version,
    /// The request cannot be understood or breaks a bound.
    Protocol,
    /// Unknown container, exec session or sandbox.
    NotFound,
    /// The container configuration cannot be carried out (kubelet: `CreateContainerError`).
    InvalidConfig,
    /// Creating or starting failed at a step (kubelet: `RunContainerError`, terminated `StartError`).
    Start,
    /// Anything else.
    Internal,
}

/// The pod sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxConfig {
    /// Sandbox id: 64 hex digits.
    pub id: String,
    pub pod_uid: String,
    pub namespace: String,
    pub name: String,
    pub hostname: String,
    pub network: NetworkMode,
    /// Keep the host's IPC namespace.
    pub host_ipc: bool,
    /// Keep the host's PID namespace for the containers.
    pub host_pid: bool,
    /// One PID namespace for the pod, pause being PID 1 (`shareProcessNamespace`).
    pub shared_pid: bool,
    /// Namespaced sysctls, dot or slash separated names as the user wrote them.
    pub sysctls: BTreeMap<String, String>,
    /// The pod's cgroup below each controller's mount, e.g. `/kubepods/burstable/pod<uid>`. Made by kletd;
    /// the shim adds a leaf for pause and one per container.
    pub cgroup_parent: String,
    /// Size limit of the shared `/dev/shm`, bytes.
    pub shm_bytes: u64,
    /// Where containers bind the pod's `/dev/shm` from (a mount point in the shim's mount namespace).
    pub shm_path: PathBuf,
    /// oom_score_adj of pause (clamped, never fatal).
    pub oom_score_adj: i32,
}

/// Which network namespace the pod lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkMode {
    Pod,
    Host,
}

/// A namespace of the sandbox that a container joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Namespace {
    Network,
    Ipc,
    Uts,
    Pid,
}

/// One attempt of one container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ContainerConfig {
    /// 64 hex digits, new for every attempt.
    pub id: String,
    pub name: String,
    /// Kubernetes' restartCount of this attempt.
    pub attempt: u32,
    /// The container as an OCI runtime spec; `linux.namespaces` lists only *new* namespaces.
    pub spec: Spec,
    pub rootfs: Rootfs,
    /// Namespaces of the sandbox to join instead of making new ones.
    pub join: Vec<Namespace>,
    pub log: LogConfig,
    /// Keep a stdin pipe open (`stdin: true`); else stdin is `/dev/null`.
    pub stdin: bool,
    /// Opaque to the shim, given back in [`ContainerSnapshot`]: what kletd needs to know the container again.
    pub labels: BTreeMap<String, String>,
}

/// Where the root filesystem comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rootfs {
    /// Overlay of read-only layers, topmost first, and a writable upper directory.
    Overlay {
        lower: Vec<PathBuf>,
        upper: PathBuf,
        work: PathBuf,
    },
    Directory(PathBuf),
}

/// Where and how a container's output is logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// `<log-dir>/<ns>_<pod>_<uid>/<container>/<n>.log`; the directory exists.
    pub path: PathBuf,
    pub max_bytes: u64,
    pub max_files: u32,
}

/// A program to run inside a running container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecConfig {
    pub container_id: String,
    /// Program and arguments; environment, user, cwd, capabilities are the container's own.
    pub args: Vec<String>,
    /// Additional environment, `NAME=value`.
    pub env: Vec<String>,
    pub io: ExecIo,
}

/// What happens to an exec session's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExecIo {
    /// Collect up to `limit` bytes of stdout and stderr together (at most
    /// [`MAX_CAPTURE_BYTES`](crate::limits::MAX_CAPTURE_BYTES)), discard the rest; kill the whole process tree
    /// after `timeout_ms`. The reply is sent when the program has ended or was killed; what it left in the
    /// background of its own will lives on in the container.
    Capture { limit: u32, timeout_ms: Option<u64> },
    /// Hand descriptors to the client; the end is told by [`Event::ExecExited`].
    Stream { stdin: bool, tty: Option<(u16, u16)> },
}

/// How a captured exec ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecOutcome {
    /// Exit code, 128+n after signal n.
    pub code: i32,
    pub timed_out: bool,
    /// stdout and stderr as they came, cut at the limit.
    pub output: Vec<u8>,
    /// stderr alone, cut at the limit (kubelet's hook messages quote it).
    pub stderr: Vec<u8>,
}

/// The end of a container, as written to disk before it is announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// Exit code, 128+n after signal n; 128 when it never started.
    pub code: i32,
    /// An OOM kill was counted in the container's cgroup.
    pub oom_killed: bool,
    /// Set when the container never executed its program: what failed.
    pub start_error: Option<String>,
    /// Nanoseconds since the epoch; 0 when it never started.
    pub started_at_ns: i64,
    pub finished_at_ns: i64,
}

/// Everything the shim knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PodSnapshot {
    pub sandbox: Option<SandboxConfig>,
    /// Pause is alive.
    pub sandbox_ready: bool,
    pub pause_pid: Option<i32>,
    pub containers: Vec<ContainerSnapshot>,
}

/// One container record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSnapshot {
    pub id: String,
    pub name: String,
    pub attempt: u32,
    pub pid: Option<i32>,
    pub state: ContainerState,
    pub labels: BTreeMap<String, String>,
    pub log_path: PathBuf,
    /// Processes of this container that the kernel killed for memory so far.
    #[serde(default)]
    pub oom_kills: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    /// Being started: its program is not executed yet.
    Created,
    Running {
        started_at_ns: i64,
    },
    Exited(ExitRecord),
}

/// Something changed: look again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    ContainerExited {
        id: String,
    },
    ExecExited {
        exec_id: u64,
        code: i32,
    },
    /// The kernel killed a process of this container for memory; the container may live on. How many:
    /// [`ContainerSnapshot::oom_kills`].
    OomKilled {
        id: String,
    },
    /// Pause died.
    SandboxDied,
    /// Disk full or write failed: this many log bytes were dropped so far.
    LogDropped {
        id: String,
        bytes: u64,
    },
}
