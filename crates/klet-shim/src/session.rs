//! One exec session in a running container.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use klet_cri::limits::{DRAIN_DEADLINE_MS, MAX_CAPTURE_BYTES, MAX_FRAME_BYTES};
use klet_cri::{ExecConfig, ExecIo, ExecOutcome, ShimError, ShimErrorKind};
use klet_runtime::cgroup::Cgroup;
use klet_runtime::{ExecInput, Stdio};
use klet_sys::pidfd;

use crate::container::{Container, code};
use crate::output::{Read, read};
use crate::poll::Channel;

/// What one captured exec may bring back: in JSON a byte takes up to four, and stderr is sent twice.
const CAPTURE: usize = {
    let fits = (MAX_FRAME_BYTES - 4096) / 8;
    if fits < MAX_CAPTURE_BYTES { fits } else { MAX_CAPTURE_BYTES }
};

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
    /// Kill it (while it runs) or stop draining (when it ended) at this moment.
    pub due: Option<Instant>,
}

#[derive(Debug)]
enum Kind {
    Capture(Box<Capture>),
    Stream,
}

#[derive(Debug)]
struct Capture {
    /// Who waits for the outcome: connection and request.
    waiting: (u32, u64),
    limit: usize,
    out: Option<OwnedFd>,
    err: Option<OwnedFd>,
    outcome: ExecOutcome,
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
            spec: &container.spec,
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
        if let Some(console) = started.console {
            session.terminal = Some(console.try_clone().map_err(failed)?);
            given.push(console);
        }
        if let ExecIo::Capture { limit, timeout_ms } = &config.io {
            session.capture(*limit, *timeout_ms, waiting, std::mem::take(&mut given))?;
        }
        Ok((session, given))
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
        let limit = usize::try_from(limit).unwrap_or(CAPTURE).min(CAPTURE);
        let outcome =
            ExecOutcome { code: 0, timed_out: false, output: Vec::new(), stderr: Vec::new() };
        self.kind = Kind::Capture(Box::new(Capture { waiting, limit, out, err, outcome }));
        self.due = timeout_ms.map(|timeout| Instant::now() + Duration::from_millis(timeout));
        Ok(())
    }

    /// Captured pipes to wait for.
    pub fn sources(&self) -> Vec<(Channel, &OwnedFd)> {
        let Kind::Capture(capture) = &self.kind else { return Vec::new() };
        let out = capture.out.iter().map(|fd| (Channel::Out, fd));
        out.chain(capture.err.iter().map(|fd| (Channel::Err, fd))).collect()
    }

    /// Collects output up to the limit and throws the rest away; gives a pipe at its end back.
    pub fn collect(&mut self, channel: Channel, buffer: &mut [u8]) -> Option<OwnedFd> {
        let Kind::Capture(capture) = &mut self.kind else { return None };
        let slot = match channel {
            Channel::Out => &mut capture.out,
            Channel::Err => &mut capture.err,
        };
        // One buffer at a time: an endless writer must not keep the loop from its other work.
        match read(slot.as_ref()?, buffer) {
            Read::Later => None,
            Read::End => slot.take(),
            Read::Some(count) => {
                let outcome = &mut capture.outcome;
                append(&mut outcome.output, &buffer[..count], capture.limit);
                if channel == Channel::Err {
                    append(&mut outcome.stderr, &buffer[..count], capture.limit);
                }
                None
            }
        }
    }

    /// The program ended: what it started and left is killed, its pipes are drained.
    pub fn process_ended(&mut self) {
        if self.ended.is_some() {
            return;
        }
        if let Ok(Some(exit)) = pidfd::try_wait(self.pidfd.as_fd(), false) {
            self.ended = Some(code(exit));
            if matches!(self.kind, Kind::Capture(_)) {
                let _ = self.cgroup.kill();
            }
            self.due = Some(Instant::now() + Duration::from_millis(DRAIN_DEADLINE_MS));
        }
    }

    /// The time is up: kill everything it started.
    pub fn timed_out(&mut self) {
        if let Kind::Capture(capture) = &mut self.kind {
            capture.outcome.timed_out = true;
        }
        self.due = None;
        self.kill();
    }

    pub fn kill(&self) {
        let _ = pidfd::send_signal(self.pidfd.as_fd(), libc::SIGKILL);
        let _ = self.cgroup.kill();
    }

    pub fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// The end, if it has come: the program ended and its output is complete or overdue.
    pub fn end(&mut self, now: Instant) -> Option<End> {
        let code = self.ended?;
        let overdue = self.due.is_none_or(|due| now >= due);
        match &mut self.kind {
            Kind::Stream => Some(End::Code(code)),
            Kind::Capture(capture) => {
                if !overdue && (capture.out.is_some() || capture.err.is_some()) {
                    return None;
                }
                let mut outcome = capture.outcome.clone();
                outcome.code = code;
                Some(End::Outcome { waiting: capture.waiting, outcome })
            }
        }
    }

    /// Its cgroup is of no more use; programs left in the background by a streamed session stay.
    pub fn bury(self) {
        if self.cgroup.processes().is_ok_and(|processes| processes.is_empty()) {
            let _ = self.cgroup.remove();
        }
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
