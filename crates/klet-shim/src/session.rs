//! One exec session in a running container.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use klet_cri::{ExecConfig, ExecIo, ExecOutcome, ShimError, ShimErrorKind};
use klet_runtime::cgroup::Cgroup;
use klet_runtime::{ExecInput, Stdio};
use klet_sys::pidfd;

use crate::container::{Container, code, discard};
use crate::output::{LAST_READS, Read, read};
use crate::poll::Channel;

/// How long whoever waits for a captured exec goes on waiting after it was killed. A process in an
/// uninterruptible wait of the kernel ends later, or never.
const KILLED: Duration = Duration::from_secs(2);

/// A program running beside a container's own.
#[derive(Debug)]
pub struct Session {
    pub number: u64,
    pub pid: i32,
    pub pidfd: OwnedFd,
    cgroup: Cgroup,
    kind: Kind,
    /// A duplicate of the terminal's master, for its window size.
    terminal: Option<OwnedFd>,
    ended: Option<i32>,
    /// Kill it, or answer although it does not end, at this moment.
    pub due: Option<Instant>,
}

#[derive(Debug)]
enum Kind {
    Capture(Box<Capture>),
    Stream,
    /// A captured one that was answered for and has yet to end.
    Abandoned,
}

#[derive(Debug)]
struct Capture {
    /// Who waits for the outcome: connection and request.
    waiting: (u32, u64),
    limit: usize,
    out: Option<OwnedFd>,
    err: Option<OwnedFd>,
    outcome: ExecOutcome,
    /// Killed for long enough: it is not waited for any more.
    given_up: bool,
}

/// How a session's end is told.
#[derive(Debug)]
pub enum End {
    Outcome { waiting: (u32, u64), outcome: ExecOutcome },
    Code(i32),
}

fn failed(error: impl std::fmt::Display) -> ShimError {
    ShimError { kind: ShimErrorKind::Start, message: error.to_string() }
}

impl Session {
    /// Starts the program; the descriptors are for the client.
    pub fn start(
        config: &ExecConfig,
        container: &Container,
        number: u64,
        waiting: (u32, u64),
    ) -> Result<(Self, Vec<OwnedFd>), ShimError> {
        let live = container.live.as_ref().ok_or_else(|| ShimError {
            kind: ShimErrorKind::NotFound,
            message: format!("container {} is not running", container.snapshot.name),
        })?;
        let (terminal, wants_stdin) = match &config.io {
            ExecIo::Stream { stdin, tty } => (*tty, *stdin),
            ExecIo::Capture { .. } => (None, false),
        };
        let input = ExecInput {
            process: container.process()?,
            filter: container.filter.as_ref(),
            args: &config.args,
            extra_env: &config.env,
            terminal,
            init_pidfd: live.pidfd.as_fd(),
            cgroup: &live.cgroup,
            exec_number: number,
        };
        let mut given = Vec::new();
        let io = if terminal.is_some() { None } else { Some(pipes(wants_stdin, &mut given)?) };
        let started = klet_runtime::exec(&input, io).map_err(failed)?;
        let mut session = Self {
            number,
            pid: started.pid,
            pidfd: started.pidfd,
            cgroup: started.cgroup,
            kind: Kind::Stream,
            terminal: None,
            ended: None,
            due: None,
        };
        given.extend(started.console);
        match session.connect(&config.io, waiting, given) {
            Ok(given) => Ok((session, given)),
            Err(error) => {
                session.discard();
                Err(error)
            }
        }
    }

    /// Takes its part of the descriptors; the others are for the client.
    fn connect(
        &mut self,
        io: &ExecIo,
        waiting: (u32, u64),
        given: Vec<OwnedFd>,
    ) -> Result<Vec<OwnedFd>, ShimError> {
        match io {
            ExecIo::Capture { limit, timeout_ms } => {
                self.capture(*limit, *timeout_ms, waiting, given)?;
                return Ok(Vec::new());
            }
            ExecIo::Stream { tty: Some(_), .. } => {
                let console = given.first().map(OwnedFd::try_clone);
                self.terminal = console.transpose().map_err(failed)?;
            }
            ExecIo::Stream { tty: None, .. } => {}
        }
        Ok(given)
    }

    /// Ends a session that cannot be supervised.
    pub fn discard(&self) {
        discard(&self.pidfd, &self.cgroup);
    }

    fn capture(
        &mut self,
        limit: u32,
        timeout_ms: Option<u64>,
        waiting: (u32, u64),
        pipes: Vec<OwnedFd>,
    ) -> Result<(), ShimError> {
        let mut ends = pipes.into_iter();
        let (out, err) = (ends.next(), ends.next());
        for end in [&out, &err].into_iter().flatten() {
            let flags = rustix::fs::fcntl_getfl(end).map_err(failed)?;
            rustix::fs::fcntl_setfl(end, flags | rustix::fs::OFlags::NONBLOCK).map_err(failed)?;
        }
        let limit = limit as usize;
        let outcome =
            ExecOutcome { code: 0, timed_out: false, output: Vec::new(), stderr: Vec::new() };
        self.kind =
            Kind::Capture(Box::new(Capture { waiting, limit, out, err, outcome, given_up: false }));
        self.due = timeout_ms.map(|timeout| Instant::now() + Duration::from_millis(timeout));
        Ok(())
    }

    /// Captured pipes to wait for.
    pub fn sources(&self) -> Vec<(Channel, &OwnedFd)> {
        let Kind::Capture(capture) = &self.kind else { return Vec::new() };
        let out = capture.out.iter().map(|fd| (Channel::Out, fd));
        out.chain(capture.err.iter().map(|fd| (Channel::Err, fd))).collect()
    }

    /// Collects one buffer of output; gives a pipe at its end back. Never more at a time: an endless
    /// writer must not keep the loop from its other work.
    pub fn collect(&mut self, channel: Channel, buffer: &mut [u8]) -> Option<OwnedFd> {
        let Kind::Capture(capture) = &mut self.kind else { return None };
        match capture.read(channel, buffer) {
            Some(Read::End) => capture.slot(channel).take(),
            _ => None,
        }
    }

    /// The program ended. What it left in the background is the container's from now on.
    pub fn process_ended(&mut self) {
        if self.ended.is_none()
            && let Ok(Some(exit)) = pidfd::try_wait(self.pidfd.as_fd(), false)
        {
            self.ended = Some(code(exit));
        }
    }

    /// The time is up: first everything it started is killed, then it is waited for no longer.
    pub fn overdue(&mut self, now: Instant) {
        self.due = None;
        if let Kind::Capture(capture) = &mut self.kind {
            if capture.outcome.timed_out {
                capture.given_up = true;
            } else {
                capture.outcome.timed_out = true;
                self.due = Some(now + KILLED);
                self.kill();
            }
        }
    }

    pub fn kill(&self) {
        let _ = pidfd::send_signal(self.pidfd.as_fd(), libc::SIGKILL);
        let _ = self.cgroup.kill();
    }

    pub fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// What is to be told, once: the program ended, or it was killed and does not end. All that it
    /// wrote itself is in its pipes by then; who else holds them is not waited for.
    pub fn end(&mut self, buffer: &mut [u8]) -> Option<End> {
        let killed = matches!(&self.kind, Kind::Capture(capture) if capture.given_up);
        let code = self.ended.or(killed.then_some(128 + libc::SIGKILL))?;
        match std::mem::replace(&mut self.kind, Kind::Abandoned) {
            Kind::Abandoned => None,
            Kind::Stream => Some(End::Code(code)),
            Kind::Capture(mut capture) => {
                for channel in [Channel::Out, Channel::Err] {
                    let mut last = (0..LAST_READS).map_while(|_| capture.read(channel, buffer));
                    while matches!(last.next(), Some(Read::Some(_))) {}
                }
                capture.outcome.code = code;
                Some(End::Outcome { waiting: capture.waiting, outcome: capture.outcome })
            }
        }
    }

    /// Removes its cgroup, or hands it back while programs in the background are in it.
    pub fn bury(self) -> Option<Cgroup> {
        if remove_if_empty(&self.cgroup) { None } else { Some(self.cgroup) }
    }

    pub fn resize(&self, columns: u16, rows: u16) -> Result<(), ShimError> {
        match &self.terminal {
            Some(terminal) => {
                klet_sys::pty::set_size(terminal.as_fd(), columns, rows).map_err(failed)
            }
            None => Ok(()),
        }
    }
}

/// Removes a cgroup that has no processes; false while it has.
pub fn remove_if_empty(cgroup: &Cgroup) -> bool {
    let empty = cgroup.processes().is_ok_and(|processes| processes.is_empty());
    empty && cgroup.remove().is_ok()
}

impl Capture {
    fn slot(&mut self, channel: Channel) -> &mut Option<OwnedFd> {
        match channel {
            Channel::Out => &mut self.out,
            Channel::Err => &mut self.err,
        }
    }

    /// One read: kept up to the limit, thrown away beyond. `None` without a pipe.
    fn read(&mut self, channel: Channel, buffer: &mut [u8]) -> Option<Read> {
        let read = read(self.slot(channel).as_ref()?, buffer);
        if let Read::Some(count) = read {
            append(&mut self.outcome.output, &buffer[..count], self.limit);
            if channel == Channel::Err {
                append(&mut self.outcome.stderr, &buffer[..count], self.limit);
            }
        }
        Some(read)
    }
}

fn append(to: &mut Vec<u8>, bytes: &[u8], limit: usize) {
    let room = limit.saturating_sub(to.len()).min(bytes.len());
    to.extend_from_slice(&bytes[..room]);
}

/// The program's ends; ours go to `given`: stdin if asked for, stdout, stderr.
fn pipes(stdin: bool, given: &mut Vec<OwnedFd>) -> Result<Stdio, ShimError> {
    let pipe = || klet_sys::fd::pipe().map_err(failed);
    let mut reader = None;
    if stdin {
        let (end, writer) = pipe()?;
        reader = Some(end);
        given.push(writer);
    }
    let ((out, stdout), (err, stderr)) = (pipe()?, pipe()?);
    given.extend([out, err]);
    Ok(Stdio { stdin: reader, stdout, stderr })
}
