//! The values that decisions are made of.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::backoff::BackOff;

/// A point in time, always an argument.
pub type Time = jiff::Timestamp;

/// Which list of the pod spec a container stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContainerKind {
    Init,
    App,
}

impl ContainerKind {
    /// `involvedObject.fieldPath` of an event about container `name`.
    #[must_use]
    pub fn field_path(self, name: &str) -> String {
        match self {
            Self::Init => format!("spec.initContainers{{{name}}}"),
            Self::App => format!("spec.containers{{{name}}}"),
        }
    }
}

/// What the node shows of one pod at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Observed {
    pub sandbox: Sandbox,
    /// Every container record still known, of every attempt, in no particular order.
    pub containers: Vec<ContainerRecord>,
    /// Probe verdicts, by container id: verdicts of earlier attempts never count.
    pub verdicts: BTreeMap<String, Verdicts>,
    /// Volumes, snapshots, cgroups, addresses or directories of the pod still exist on the node.
    pub leftovers: bool,
}

/// The pod sandbox (pause and the namespaces it holds).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Sandbox {
    #[default]
    Absent,
    /// It existed and is no longer whole: pause died, its shim is gone, the machine rebooted.
    NotReady {
        id: String,
        attempt: u32,
    },
    Ready {
        id: String,
        attempt: u32,
        ips: Vec<IpAddr>,
    },
}

/// One attempt of one container, as the runtime knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerRecord {
    pub id: String,
    pub name: String,
    /// restartCount of this attempt.
    pub attempt: u32,
    /// `spec.image` it was started from.
    pub image: String,
    /// Image as the runtime reports it.
    pub image_ref: String,
    pub image_id: String,
    /// [`crate::plan::definition_hash`] of the container spec it was started from.
    pub definition: u64,
    pub state: RecordState,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordState {
    Created,
    Running {
        started_at: Time,
    },
    Exited {
        /// Absent when its program was never executed.
        started_at: Option<Time>,
        finished_at: Time,
        code: i32,
        /// `Completed`, `Error`, `OOMKilled`, `StartError`, `ContainerStatusUnknown`.
        reason: String,
        /// Termination message, start error text.
        message: String,
    },
    /// Its supervisor is gone: it may or may not run.
    Unknown,
}

/// What a probe says about one container attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verdict {
    #[default]
    Unknown,
    Success,
    Failure,
}

/// Verdicts of the three probes of one container attempt. A probe that is not configured
/// stays `Unknown` and is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdicts {
    pub startup: Verdict,
    pub liveness: Verdict,
    pub readiness: Verdict,
}

/// What the kubelet keeps in memory only: lost when the daemon restarts, and nothing is wrong then.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Memory {
    /// Why the last attempt to start a container failed (the kubelet's reason cache), by container name.
    pub start_failures: BTreeMap<String, StartFailure>,
    /// When to try again to start a container whose last start failed, by container name.
    pub retry: BTreeMap<String, Time>,
    /// Crash back-off by container name and definition: kept by [`Memory::starting`],
    /// forgotten when the definition changes.
    pub crash: BTreeMap<String, BackOff>,
    /// Image pull back-off by image.
    pub pull: BTreeMap<String, BackOff>,
    /// The pod must end although nobody deleted it (eviction, deadline): reason and message.
    pub doomed: Option<StartFailure>,
    /// Most seconds such an end may take, if fewer than the pod's own.
    pub doomed_grace: Option<i64>,
}

/// A waiting reason and its message; also a pod's reason and message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartFailure {
    pub reason: String,
    pub message: String,
}

/// What the node knows of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeFacts {
    pub name: String,
    pub host_ips: Vec<IpAddr>,
}

/// The outcome of planning.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// Carried out in order; the first failure ends the round. Each may be repeated.
    pub actions: Vec<Action>,
    /// Nothing changes by itself before this moment (a back-off or a deadline ends).
    pub wake_at: Option<Time>,
}

/// One effect. The executor has nothing left to choose.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Stop every running container, each with its hook and grace, then the sandbox.
    KillPod(KillPod),
    /// Make the sandbox; volumes are mounted before.
    CreateSandbox { attempt: u32 },
    /// Stop one container that still runs (or whose state is unknown).
    StopContainer(Kill),
    /// Forget exited attempts nobody needs any more.
    RemoveContainers { ids: Vec<String> },
    /// Pull, create, start, postStart.
    StartContainer(Start),
    /// A container waits out its crash back-off: remember and tell, start nothing.
    BackOff { kind: ContainerKind, name: String, message: String, until: Time },
    /// Everything stopped: remove volumes, snapshots, cgroups, address and directories.
    CleanUp,
    /// The deleted pod left nothing behind: remove the object.
    RemoveObject,
}

/// The end of a whole pod.
#[derive(Debug, Clone, PartialEq)]
pub struct KillPod {
    /// Containers to stop, in the order of the spec; all are stopped at the same time.
    pub containers: Vec<Kill>,
    /// Because the sandbox changed (event `SandboxChanged`), not because the pod ends.
    pub sandbox_changed: bool,
}

/// The end of one container.
#[derive(Debug, Clone, PartialEq)]
pub struct Kill {
    pub kind: ContainerKind,
    pub name: String,
    pub id: String,
    /// Text of the `Killing` event.
    pub message: String,
    /// Seconds between the beginning (preStop included) and SIGKILL.
    pub grace_seconds: i64,
    /// Run the container's preStop hook first.
    pub pre_stop: bool,
}

/// The next attempt of one container.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    pub kind: ContainerKind,
    pub name: String,
    /// restartCount of the new attempt.
    pub attempt: u32,
    /// When the last attempt had ended, as this plan saw it: the crash back-off counts from
    /// there. A container stopped by this very plan had not ended yet.
    pub last_exit: Option<Time>,
}
