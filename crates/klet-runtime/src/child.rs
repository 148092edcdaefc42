//! The child between clone and exec. It walks prepared steps; it allocates nothing, takes no lock,
//! runs no destructor that matters and never returns.

mod filesystem;
mod process;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use klet_sys::SysError;
use klet_sys::process::{exit_now, set_dumpable, set_umask};

use crate::handshake;
use crate::prepare::{Op, Prepared, Streams};

/// What the steps hand on to each other.
pub(crate) struct Child<'a> {
    prepared: &'a Prepared,
    streams: &'a Streams,
    report: BorrowedFd<'a>,
    root: Option<BorrowedFd<'a>>,
    /// The container's null device, verified.
    null: Option<OwnedFd>,
    /// A procfs of the container's namespaces that lies nowhere.
    procfs: Option<OwnedFd>,
    cover_attached: bool,
    /// Which candidate the program was found at.
    found: usize,
}

/// How a step went.
enum Done {
    Well,
    /// Less than asked: worth telling, no reason to give up.
    Less(SysError),
}

/// Walks the steps, the last of which executes the program.
pub(crate) fn run(prepared: &Prepared, streams: &Streams, report: BorrowedFd<'_>) -> ! {
    let mut child = Child {
        prepared,
        streams,
        report,
        root: None,
        null: None,
        procfs: None,
        cover_attached: false,
        found: 0,
    };
    // Nodes and directories get the modes they are made with, and processes of a container that is
    // joined can neither trace this one nor open its files (CVE-2016-9962, CVE-2019-5736).
    set_umask(0);
    let _ = set_dumpable(false);
    for (number, op) in prepared.ops.iter().enumerate() {
        match child.perform(op) {
            Ok(Done::Well) => {}
            Ok(Done::Less(error)) => handshake::warn(report, number, &error),
            Err(error) => {
                handshake::fail(report, number, &error);
                break;
            }
        }
    }
    exit_now(127)
}

impl<'a> Child<'a> {
    fn perform(&mut self, op: &'a Op) -> Result<Done, SysError> {
        match op {
            Op::OomScoreAdj(value) => return process::oom_score_adj(value),
            Op::ResourceLimit(limit) => return process::resource_limit(*limit),
            Op::EnterTasks(_)
            | Op::JoinProcess(..)
            | Op::JoinNamespace(_)
            | Op::Unshare(_)
            | Op::HostName(_)
            | Op::DomainName(_)
            | Op::Sysctl(..) => self.namespaces(op)?,
            Op::SlavePropagation
            | Op::AttachRoot(_)
            | Op::Mount(_)
            | Op::Device(..)
            | Op::Link(..)
            | Op::Console(_)
            | Op::MakeDirectory(_)
            | Op::Mask(_)
            | Op::Readonly(_)
            | Op::Pivot
            | Op::ReadonlyRoot => self.filesystem(op)?,
            _ => self.process(op)?,
        }
        Ok(Done::Well)
    }

    /// The root, from the step that attached it on; the process's own root when there was none.
    fn root(&self) -> Result<BorrowedFd<'a>, SysError> {
        self.root.ok_or(SysError::new("openat2", libc::ENOENT))
    }
}

/// A descriptor that lives as long as the child's walk.
fn borrowed(file: &OwnedFd) -> BorrowedFd<'_> {
    file.as_fd()
}
