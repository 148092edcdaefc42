//! The start of a container.

use std::os::fd::AsFd;

use crate::cgroup::Cgroups;
use crate::error::{Phase, StartError};
use crate::input::{ContainerInput, Started, Stdio};
use crate::launch::{Launch, Undo, entrance};
use crate::plan::{Step, environment, plan};
use crate::prepare::{Sources, prepare, streams};
use crate::seccomp::Filter;

/// Starts a container and returns once its program is executed.
///
/// `io` is `None` exactly if the spec asks for a terminal. The caller must be single-threaded.
///
/// # Errors
/// [`StartError`]; process and cgroup are gone again.
pub fn start(
    input: &ContainerInput<'_>,
    cgroups: &Cgroups,
    io: Option<Stdio>,
) -> Result<Started, StartError> {
    let plan = plan(input)?;
    let undo = Undo::new(cgroups.container(&plan.cgroup));
    undo.cgroup().create()?;
    let mut warnings = plan.warnings;
    let linux = input.spec.linux().as_ref();
    if let Some(resources) = linux.and_then(|linux| linux.resources().as_ref()) {
        warnings.extend(undo.cgroup().apply(resources)?.iter().map(ToString::to_string));
    }
    let (tasks, cgroup) = entrance(undo.cgroup())?;
    let filter = linux.and_then(|linux| linux.seccomp().as_ref());
    let filter = filter.map(Filter::compile).transpose()?;
    let process = input.spec.process().as_ref();
    let sources = Sources {
        rootfs: Some((input.rootfs, input.features)),
        process: input.join.map(|join| join.pidfd),
        host_mounts: input.host_mounts,
        filter: filter.as_ref(),
        arguments: process.and_then(|process| process.args().as_deref()).unwrap_or_default(),
        environment: environment(
            process.and_then(|process| process.env().as_deref()).unwrap_or_default().iter(),
        ),
        cgroup_v2: cgroups.is_v2(),
        tasks,
        namespaces: Vec::new(),
        root: None,
        image: None,
    };
    let mut prepared = prepare(&plan.steps, sources)?;
    warnings.append(&mut prepared.warnings);
    let terminal = plan.terminal.zip(prepared.devpts.as_ref().map(AsFd::as_fd));
    let (streams, console) = streams(io, terminal, plan.user)
        .map_err(|error| StartError::system(Phase::Step(Box::new(Step::StandardStreams)), error))?;
    prepared.devpts = None;
    let launch = Launch {
        steps: &plan.steps,
        prepared,
        streams,
        namespaces: plan.clone,
        process_namespace: input.join.filter(|_| plan.join_pid).map(|join| join.pidfd),
        cgroup,
    };
    let launched = launch.run(|| undo.cgroup().oom_kills().is_ok_and(|kills| kills > 0))?;
    warnings.extend(launched.warnings);
    let (pid, pidfd, cgroup) = (launched.pid, launched.pidfd, undo.keep());
    Ok(Started { pid, pidfd, cgroup, console, filter, warnings })
}
