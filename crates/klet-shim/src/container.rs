//! One attempt of one container: its process, its output, its end.

use std::time::{Duration, Instant};

use klet_cri::limits::DRAIN_DEADLINE_MS;
use klet_cri::log::Stream;
use klet_cri::{
    ContainerConfig, ContainerSnapshot, ContainerState, ExitRecord, Namespace, Rootfs, ShimError,
    ShimErrorKind,
};
use klet_runtime::cgroup::{Cgroup, Cgroups};
use klet_runtime::seccomp::Filter;
use klet_runtime::{ContainerInput, JoinSandbox, RootfsInput, Stdio};
use klet_sys::features::Features;
use klet_sys::pidfd::{self, Exit};
use oci_spec::runtime::Process;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::output::{Log, Source, now_ns};
use crate::poll::Channel;

/// Pauses between looks at the counter of processes killed for memory: doubling from the first to the last.
const OOM_LOOK_FIRST: Duration = Duration::from_millis(5);
const OOM_LOOK_LAST: Duration = Duration::from_secs(1);

/// Pause between tries to write the record of an end.
const RECORD_RETRY: Duration = Duration::from_secs(1);

/// A container of this pod, alive or ended.
#[derive(Debug)]
pub struct Container {
    pub snapshot: ContainerSnapshot,
    /// What execs take over: all of the spec that is still of use.
    process: Option<Process>,
    pub filter: Option<Filter>,
    pub live: Option<Live>,
    log: Log,
}

/// What exists only while something of the container does.
#[derive(Debug)]
pub struct Live {
    pub pidfd: OwnedFd,
    pub cgroup: Cgroup,
    out: Option<Source>,
    err: Option<Source>,
    /// Kept open so that a program reading its input waits.
    _stdin: Option<OwnedFd>,
    /// SIGKILL at this moment.
    pub kill_at: Option<Instant>,
    /// Tells of an out-of-memory; absent without a memory controller.
    pub oom: Option<OomEvent>,
    /// An out-of-memory was told: look at the counter at this moment, and then after this pause.
    oom_look: Option<(Instant, Duration)>,
    /// The process ended like this; its output is being drained until then.
    ended: Option<(ExitRecord, Instant)>,
    /// The record of its end could not be written: not again before this moment.
    put_off: Option<Instant>,
}

/// How an out-of-memory is told.
#[derive(Debug)]
pub enum OomEvent {
    /// An eventfd (cgroup v1).
    Counter(OwnedFd),
    /// The open `memory.events` (cgroup v2).
    File(OwnedFd),
}

impl OomEvent {
    /// Asks for it. Without it the verdict at the end stands all the same: the counter is read then.
    fn of(cgroup: &Cgroup, v2: bool) -> Option<Self> {
        match cgroup.oom_event_fd() {
            Ok(fd) => fd.map(if v2 { Self::File } else { Self::Counter }),
            Err(error) => {
                eprintln!("klet-shim: no notice of out-of-memory: {error}");
                None
            }
        }
    }

    /// Reads it, so that the next event tells again.
    fn clear(&self) {
        let mut bytes = [0; 512];
        // What was read does not matter.
        let _ = match self {
            Self::Counter(fd) => rustix::io::read(fd, &mut bytes),
            Self::File(fd) => rustix::io::pread(fd, &mut bytes, 0),
        };
    }
}

/// The exit code as shells and Kubernetes count it.
pub fn code(exit: Exit) -> i32 {
    match exit {
        Exit::Code(code) => code,
        Exit::Signal { signal, .. } => 128 + signal,
    }
}

/// Ends a process that was started but cannot be supervised, with all it started. Like every child
/// that belongs to nothing, it is reaped when it has ended.
pub fn discard(pidfd: &OwnedFd, cgroup: &Cgroup) {
    let _ = pidfd::send_signal(pidfd.as_fd(), libc::SIGKILL);
    let _ = cgroup.kill();
    // What cannot be removed now goes with the pod's cgroup.
    let _ = cgroup.remove();
}

fn internal(error: impl std::fmt::Display) -> ShimError {
    ShimError { kind: ShimErrorKind::Internal, message: error.to_string() }
}

impl Container {
    /// Starts it. When the start itself fails, the container is there, ended with code 128.
    ///
    /// # Errors
    /// The configuration cannot be carried out: then there is no container.
    pub fn start(
        config: ContainerConfig,
        cgroups: &Cgroups,
        features: Features,
        pause: BorrowedFd<'_>,
        host_mounts: Option<&OwnedFd>,
    ) -> Result<(Self, Option<ShimError>), ShimError> {
        let terminal = config.spec.process().as_ref().and_then(|p| p.terminal()).unwrap_or(false);
        let (io, out, err, stdin) = pipes(terminal, config.stdin).map_err(internal)?;
        let input = ContainerInput {
            id: &config.id,
            spec: &config.spec,
            rootfs: match &config.rootfs {
                Rootfs::Overlay { lower, upper, work } => {
                    RootfsInput::Overlay { lower, upper, work }
                }
                Rootfs::Directory(path) => RootfsInput::Directory(path),
            },
            join: Some(join(pause, &config.join)),
            host_mounts: host_mounts.map(AsFd::as_fd),
            features,
        };
        let started_at_ns = now_ns();
        let result = klet_runtime::start(&input, cgroups, io);
        let mut container = Self {
            snapshot: ContainerSnapshot {
                id: config.id.clone(),
                name: config.name.clone(),
                attempt: config.attempt,
                pid: None,
                state: ContainerState::Created,
                labels: config.labels.clone(),
                log_path: config.log.path.clone(),
                oom_kills: 0,
            },
            log: Log::open(config.log.clone()),
            live: None,
            process: config.spec.process().clone(),
            filter: None,
        };
        let started = match result {
            Ok(started) => started,
            Err(error) if error.is_config_error() => {
                let message = error.to_string();
                return Err(ShimError { kind: ShimErrorKind::InvalidConfig, message });
            }
            Err(error) => return Ok(container.not_started(error.to_string())),
        };
        let console = started.console.map(|console| Source::new(console, Stream::Stdout));
        let console = console.transpose().map_err(|error| {
            discard(&started.pidfd, &started.cgroup);
            internal(error)
        })?;
        container.filter = started.filter;
        container.snapshot.pid = Some(started.pid);
        container.snapshot.state = ContainerState::Running { started_at_ns };
        container.live = Some(Live {
            pidfd: started.pidfd,
            oom_look: None,
            oom: OomEvent::of(&started.cgroup, cgroups.is_v2()),
            cgroup: started.cgroup,
            out: console.or(out),
            err,
            _stdin: stdin,
            kill_at: None,
            ended: None,
            put_off: None,
        });
        // A process killed before the event was asked for is counted, too.
        container.count_oom_kills();
        Ok((container, None))
    }

    fn not_started(mut self, message: String) -> (Self, Option<ShimError>) {
        self.snapshot.state = ContainerState::Exited(ExitRecord {
            code: 128,
            oom_killed: false,
            start_error: Some(message.clone()),
            started_at_ns: 0,
            finished_at_ns: now_ns(),
        });
        (self, Some(ShimError { kind: ShimErrorKind::Start, message }))
    }

    /// The process section of the spec, for execs.
    ///
    /// # Errors
    /// There is none: a container without one is never started.
    pub fn process(&self) -> Result<&Process, ShimError> {
        self.process.as_ref().ok_or_else(|| internal("the container has no process section"))
    }

    /// Descriptors to wait for: the process, then its outputs.
    pub fn sources(&self) -> impl Iterator<Item = (Channel, &Source)> {
        let live = self.live.iter();
        live.flat_map(|live| {
            let out = live.out.iter().map(|source| (Channel::Out, source));
            out.chain(live.err.iter().map(|source| (Channel::Err, source)))
        })
    }

    /// The process ended: notes how, kills what it left, and begins to drain its output.
    pub fn process_ended(&mut self) {
        let Some(live) = &mut self.live else { return };
        if live.ended.is_some() {
            return;
        }
        let Ok(Some(exit)) = pidfd::try_wait(live.pidfd.as_fd(), true) else { return };
        let started_at_ns = match self.snapshot.state {
            ContainerState::Running { started_at_ns } => started_at_ns,
            ContainerState::Created | ContainerState::Exited(_) => 0,
        };
        // The counter is read before the cgroup can go: the verdict must not depend on an event.
        self.snapshot.oom_kills = live.cgroup.oom_kills().unwrap_or(0).max(self.snapshot.oom_kills);
        let oom_killed = self.snapshot.oom_kills > 0;
        let record = ExitRecord {
            code: code(exit),
            oom_killed,
            start_error: None,
            started_at_ns,
            finished_at_ns: now_ns(),
        };
        let _ = live.cgroup.kill();
        let until = Instant::now() + Duration::from_millis(DRAIN_DEADLINE_MS);
        live.ended = Some((record, until));
    }

    /// Moves output to the log; true when this channel is at its end and must not be waited for.
    pub fn pump(
        &mut self,
        channel: Channel,
        buffer: &mut [u8],
        records: &mut Vec<u8>,
    ) -> Option<Source> {
        let live = self.live.as_mut()?;
        let (slot, other) = match channel {
            Channel::Out => (&mut live.out, &live.err),
            Channel::Err => (&mut live.err, &live.out),
        };
        let other_in_line = other.as_ref().is_some_and(Source::in_line);
        let open = slot.as_mut()?.pump(&mut self.log, other_in_line, buffer, records);
        if open { None } else { slot.take() }
    }

    /// The kernel tells of an out-of-memory here or above: whether it was here, the counter says.
    pub fn out_of_memory(&mut self, now: Instant) {
        if let Some(live) = &mut self.live {
            live.oom.iter().for_each(OomEvent::clear);
            live.oom_look = Some((now, OOM_LOOK_FIRST));
        }
    }

    /// Looks at the counter if it is time; v1 tells before it kills, so more than one look may be needed.
    pub fn finds_oom_kill(&mut self, now: Instant) -> bool {
        let Some(live) = &mut self.live else { return false };
        let Some((_, pause)) = live.oom_look.take_if(|(at, _)| now >= *at) else { return false };
        if pause <= OOM_LOOK_LAST {
            live.oom_look = Some((now + pause, pause * 2));
        }
        let found = self.count_oom_kills();
        if let Some(live) = self.live.as_mut().filter(|_| found) {
            live.oom_look = None;
        }
        found
    }

    /// Reads the kernel's count of processes killed for memory; true when there are more.
    fn count_oom_kills(&mut self) -> bool {
        let Some(live) = &self.live else { return false };
        let kills = live.cgroup.oom_kills().unwrap_or(0);
        let more = kills > self.snapshot.oom_kills;
        self.snapshot.oom_kills = self.snapshot.oom_kills.max(kills);
        more
    }

    /// Log bytes lost so far.
    pub fn dropped(&self) -> u64 {
        self.log.dropped
    }

    /// When something is due: a SIGKILL, or the end of draining.
    pub fn due(&self) -> Option<Instant> {
        let live = self.live.as_ref()?;
        let end = match &live.ended {
            Some((_, until)) => Some(live.put_off.unwrap_or(*until)),
            None => live.kill_at,
        };
        end.into_iter().chain(live.oom_look.map(|(at, _)| at)).min()
    }

    /// Is it over? Then this is its end, to be written before [`Self::bury`]. Output that is there
    /// is logged, whoever else may hold the pipes.
    pub fn finish(
        &mut self,
        now: Instant,
        buffer: &mut [u8],
        records: &mut Vec<u8>,
    ) -> Option<ContainerSnapshot> {
        let live = self.live.as_mut()?;
        let (record, until) = live.ended.as_ref()?;
        let draining = now < *until && (live.out.is_some() || live.err.is_some());
        if draining || live.put_off.is_some_and(|at| now < at) {
            return None;
        }
        if let Some(source) = &mut live.out {
            let other_in_line = live.err.as_ref().is_some_and(Source::in_line);
            source.finish(&mut self.log, other_in_line, buffer, records);
        }
        if let Some(source) = &mut live.err {
            source.finish(&mut self.log, false, buffer, records);
        }
        let state = ContainerState::Exited(record.clone());
        Some(ContainerSnapshot { state, pid: None, ..self.snapshot.clone() })
    }

    /// The record could not be written: the process stays a zombie, known as running, until it is.
    pub fn put_off(&mut self, now: Instant) {
        if let Some(live) = &mut self.live {
            live.put_off = Some(now + RECORD_RETRY);
        }
    }

    /// Reaps the process and removes its cgroup.
    pub fn bury(&mut self) {
        if let Some(live) = self.live.take() {
            let _ = pidfd::try_wait(live.pidfd.as_fd(), false);
            let _ = live.cgroup.remove();
        }
    }

    /// SIGKILL to everything in it.
    pub fn kill(&mut self) {
        if let Some(live) = &mut self.live {
            live.kill_at = None;
            let _ = pidfd::send_signal(live.pidfd.as_fd(), libc::SIGKILL);
            let _ = live.cgroup.kill();
        }
    }
}

type Pipes = (Option<Stdio>, Option<Source>, Option<Source>, Option<OwnedFd>);

/// The container's ends and ours.
fn pipes(terminal: bool, stdin: bool) -> std::io::Result<Pipes> {
    if terminal {
        return Ok((None, None, None, None));
    }
    let pipe = || klet_sys::fd::pipe().map_err(std::io::Error::other);
    let ((out, stdout), (err, stderr)) = (pipe()?, pipe()?);
    let (stdin, writer) = match stdin.then(pipe).transpose()? {
        Some((reader, writer)) => (Some(reader), Some(writer)),
        None => (None, None),
    };
    let io = Stdio { stdin, stdout, stderr };
    Ok((
        Some(io),
        Some(Source::new(out, Stream::Stdout)?),
        Some(Source::new(err, Stream::Stderr)?),
        writer,
    ))
}

fn join<'a>(pidfd: BorrowedFd<'a>, namespaces: &[Namespace]) -> JoinSandbox<'a> {
    JoinSandbox {
        pidfd,
        network: namespaces.contains(&Namespace::Network),
        ipc: namespaces.contains(&Namespace::Ipc),
        uts: namespaces.contains(&Namespace::Uts),
        pid: namespaces.contains(&Namespace::Pid),
    }
}
