//! One clone, from prepared steps to an executed program or to nothing at all.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use klet_sys::clone::{Cloned, fork_like};
use klet_sys::pidfd::{self, Exit};
use klet_sys::{SysError, fd, namespace};

use crate::cgroup::{Cgroup, EnterFiles};
use crate::child;
use crate::error::{Phase, StartError, warning};
use crate::handshake::{self, Outcome};
use crate::plan::Step;
use crate::prepare::{Prepared, Streams};

/// A process that executes its program.
pub(crate) struct Launched {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) warnings: Vec<String>,
}

/// What to clone.
pub(crate) struct Launch<'a> {
    pub(crate) steps: &'a [Step],
    pub(crate) prepared: Prepared,
    pub(crate) streams: Streams,
    /// `CLONE_NEW*` of the clone.
    pub(crate) namespaces: i32,
    /// Whose process namespace the child is born into, if not the caller's or its own.
    pub(crate) process_namespace: Option<BorrowedFd<'a>>,
    /// The v2 cgroup the child is born into.
    pub(crate) cgroup: Option<OwnedFd>,
}

impl Launch<'_> {
    /// Clones, lets the child walk its steps, and returns once the program is executed. After an
    /// error the child has been reaped.
    pub(crate) fn run(self, oom_kills: impl FnOnce() -> bool) -> Result<Launched, StartError> {
        let (reader, writer) = fd::pipe().map_err(StartError::prepare)?;
        let writer = fd::above_standard_streams(writer).map_err(StartError::prepare)?;
        let elsewhere =
            self.process_namespace.map(ElsewhereBorn::begin).transpose().map_err(clone_error)?;
        let cloned =
            fork_like(self.namespaces, self.cgroup.as_ref().map(AsFd::as_fd)).map_err(clone_error);
        if let Ok(Cloned::Child) = cloned {
            child::run(&self.prepared, &self.streams, writer.as_fd());
        }
        drop(elsewhere);
        drop(writer);
        let Cloned::Parent { pid, pidfd } = cloned? else {
            unreachable!("the child never returns")
        };
        let outcome = handshake::receive(&reader).map_err(|error| {
            let _ = pidfd::send_signal(pidfd.as_fd(), libc::SIGKILL);
            let _ = pidfd::wait(pidfd.as_fd());
            StartError::prepare(error)
        })?;
        let warnings = self.judge(&outcome, &pidfd, oom_kills)?;
        Ok(Launched { pid, pidfd, warnings })
    }

    fn judge(
        &self,
        outcome: &Outcome,
        pidfd: &OwnedFd,
        oom_kills: impl FnOnce() -> bool,
    ) -> Result<Vec<String>, StartError> {
        let step = |number: usize| self.steps.get(number).cloned().unwrap_or(Step::CleanUp);
        if let Some(failure) = &outcome.failure {
            let _ = pidfd::wait(pidfd.as_fd());
            return Err(StartError::from_child(step(failure.step), failure));
        }
        if !outcome.ready {
            let exit = pidfd::wait(pidfd.as_fd());
            return Err(StartError::killed(epitaph(exit, oom_kills())));
        }
        Ok(outcome.warnings.iter().map(|report| warning(&step(report.step), report)).collect())
    }
}

fn clone_error(error: SysError) -> StartError {
    StartError::system(Phase::Clone, error)
}

/// Why there is no program, in runc's words for the one common case.
fn epitaph(exit: Result<Exit, SysError>, out_of_memory: bool) -> String {
    match exit {
        _ if out_of_memory => "container init was OOM-killed (memory limit too low?)".to_owned(),
        Ok(Exit::Signal { signal, .. }) => {
            format!("the process was killed by signal {signal} before its program ran")
        }
        Ok(Exit::Code(code)) => format!("the process exited with {code} before its program ran"),
        Err(error) => format!("the process ended before its program ran: {error}"),
    }
}

/// While it lives, children are born into another process namespace; then into the caller's again.
struct ElsewhereBorn {
    own: OwnedFd,
}

impl ElsewhereBorn {
    fn begin(process: BorrowedFd<'_>) -> Result<Self, SysError> {
        let own = pidfd::open(std::process::id().cast_signed())?;
        namespace::join_process(process, libc::CLONE_NEWPID)?;
        Ok(Self { own })
    }
}

impl Drop for ElsewhereBorn {
    fn drop(&mut self) {
        namespace::join_process(self.own.as_fd(), libc::CLONE_NEWPID)
            .expect("a process may always return to its own process namespace");
    }
}

/// How a child gets into its cgroup: descriptors it writes to, or the directory it is cloned into.
pub(crate) fn entrance(cgroup: &Cgroup) -> Result<(Vec<OwnedFd>, Option<OwnedFd>), StartError> {
    Ok(match cgroup.enter_files()? {
        EnterFiles::V1(tasks) => (tasks, None),
        EnterFiles::V2 { directory } => (Vec::new(), Some(directory)),
    })
}

/// A cgroup that is removed again unless its process has come to life.
pub(crate) struct Undo(Option<Cgroup>);

impl Undo {
    pub(crate) fn new(cgroup: Cgroup) -> Self {
        Self(Some(cgroup))
    }

    pub(crate) fn cgroup(&self) -> &Cgroup {
        self.0.as_ref().expect("the cgroup is there until it is kept")
    }

    /// The start succeeded: the cgroup is the caller's.
    pub(crate) fn keep(mut self) -> Cgroup {
        self.0.take().expect("the cgroup is there until it is kept")
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        if let Some(cgroup) = self.0.take() {
            // What cannot be removed now has the owner's name and is found by the next clean-up.
            let _ = cgroup.kill();
            let _ = cgroup.remove();
        }
    }
}
