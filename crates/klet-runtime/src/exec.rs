//! One more process in a running container.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use klet_sys::in_root::{Symlinks, open};
use klet_sys::{SysError, fd, pidfd};
use oci_spec::runtime::Process;
use rustix::fs::OFlags;

use crate::error::{Phase, StartError};
use crate::input::{ExecInput, Execed, Stdio};
use crate::launch::{Launch, Undo, entrance};
use crate::plan::{Step, environment, plan_exec};
use crate::prepare::{Sources, prepare, streams};

/// Executes a command in a running container, with the container's user, capabilities, filter and
/// limits, and returns once it is executed.
///
/// `io` is `None` exactly if `input.terminal` is set. The caller must be single-threaded.
///
/// # Errors
/// [`StartError`]; process and sub-cgroup are gone again.
pub fn exec(input: &ExecInput<'_>, io: Option<Stdio>) -> Result<Execed, StartError> {
    let process = session(input.process, input.args);
    let (steps, mut warnings) = plan_exec(&process, input.filter.is_some())?;
    let undo = Undo::new(input.cgroup.exec_child(input.exec_number)?);
    let (tasks, cgroup) = entrance(undo.cgroup())?;
    let inherited = process.env().as_deref().unwrap_or_default();
    let sources = Sources {
        rootfs: None,
        process: Some(input.init_pidfd),
        host_mounts: None,
        filter: input.filter,
        arguments: input.args,
        environment: environment(inherited.iter().chain(input.extra_env)),
        cgroup_v2: cgroup.is_some(),
        tasks,
        namespaces: Vec::new(),
        root: None,
        image: None,
    };
    let mut prepared = prepare(&steps, sources)?;
    warnings.append(&mut prepared.warnings);
    let console_error =
        |error| StartError::system(Phase::Step(Box::new(Step::StandardStreams)), error);
    let devpts =
        input.terminal.map(|_| devpts(input.init_pidfd)).transpose().map_err(console_error)?;
    let terminal = input.terminal.zip(devpts.as_ref().map(AsFd::as_fd));
    let (streams, console) = streams(io, terminal, process.user().uid()).map_err(console_error)?;
    let process_namespace = Some(input.init_pidfd);
    let launch =
        Launch { steps: &steps, prepared, streams, namespaces: 0, process_namespace, cgroup };
    let launched = launch.run(|| false)?;
    warnings.extend(launched.warnings);
    Ok(Execed { pid: launched.pid, pidfd: launched.pidfd, cgroup: undo.keep(), console, warnings })
}

/// The container's process section with another command.
fn session(process: &Process, args: &[String]) -> Process {
    let mut process = process.clone();
    process.set_args(Some(args.to_vec()));
    process.set_terminal(Some(false));
    process
}

/// The container's devpts, through the root of its init. The pidfd is asked again afterwards, so the
/// number cannot have come to mean another process.
fn devpts(init: BorrowedFd<'_>) -> Result<OwnedFd, SysError> {
    let pid = pidfd::number(init)?;
    let path = crate::prepare::c_string(&format!("/proc/{pid}/root"))?;
    let root = fd::open(&path, OFlags::PATH | OFlags::DIRECTORY)?;
    pidfd::send_signal(init, 0)?;
    open(root.as_fd(), c"dev/pts", OFlags::PATH | OFlags::DIRECTORY, Symlinks::Refused)
}
