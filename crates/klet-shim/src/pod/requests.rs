//! What a client may ask, and what is done about it.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use klet_cri::limits::{MAX_CAPTURE_BYTES, MAX_CONTAINERS, MAX_EXECS};
use klet_cri::{
    ContainerConfig, ContainerState, ExecConfig, ExecIo, NetworkMode, PROTOCOL, PodSnapshot, Reply,
    Request, SandboxConfig, ShimError, ShimErrorKind, ToShim, Versions,
};
use klet_runtime::SandboxInput;
use klet_sys::pidfd;

use super::{Pause, Pod, QUIET, error};
use crate::container::{Container, OomEvent, discard};
use crate::poll::Token;
use crate::record;
use crate::session::Session;

/// The static program that holds the sandbox.
static PAUSE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause"));

type Answer = Result<(Reply, Vec<OwnedFd>), ShimError>;

fn done() -> Answer {
    Ok((Reply::Done, Vec::new()))
}

impl Pod {
    /// Answers one request, at once or (captured exec) later.
    pub(super) fn answer(&mut self, client: u32, message: ToShim) {
        let greeted = self.clients.get(&client).is_some_and(|client| client.greeted);
        let id = message.id;
        let answer = match message.request {
            Request::Hello { versions, .. } => self.hello(client, versions),
            _ if !greeted => Err(error(ShimErrorKind::Protocol, "say hello first")),
            Request::CreateSandbox(_) | Request::StartContainer(_) | Request::Exec(_)
                if self.removal.is_some() =>
            {
                Err(error(ShimErrorKind::Protocol, "the pod is being removed"))
            }
            Request::CreateSandbox(config) => self.create_sandbox(config),
            Request::StartContainer(config) => self.start_container(*config),
            Request::StopContainer { id, signal, grace_ms } => self.stop(&id, signal, grace_ms),
            Request::RemoveContainer { id } => self.remove(&id),
            Request::Exec(config) => match self.exec(&config, (client, id)) {
                Some(answer) => answer,
                None => return,
            },
            Request::KillExec { exec_id } => self.with_session(exec_id, |session| {
                session.kill();
                Ok(())
            }),
            Request::ResizeExec { exec_id, columns, rows } => {
                self.with_session(exec_id, |session| session.resize(columns, rows))
            }
            Request::Status => Ok((Reply::Status(Box::new(self.snapshot())), Vec::new())),
            Request::RemoveSandbox => return self.begin_removal((client, id), Instant::now()),
        };
        match answer {
            Ok((reply, fds)) => self.reply(client, id, Ok(reply), fds),
            Err(error) => self.reply(client, id, Err(error), Vec::new()),
        }
    }

    fn hello(&mut self, client: u32, versions: Versions) -> Answer {
        let Some(version) = PROTOCOL.common(versions) else {
            let text = format!("this shim speaks versions {} to {}", PROTOCOL.min, PROTOCOL.max);
            return Err(error(ShimErrorKind::Version, text));
        };
        if let Some(client) = self.clients.get_mut(&client) {
            client.greeted = true;
        }
        let pid = i32::try_from(std::process::id()).unwrap_or(0);
        Ok((Reply::Hello { version, shim: env!("CARGO_PKG_VERSION").to_owned(), pid }, Vec::new()))
    }

    fn create_sandbox(&mut self, config: SandboxConfig) -> Answer {
        if let (Some(_), Some(pause)) = (&self.sandbox, &self.pause) {
            return Ok((Reply::Sandbox { pause_pid: pause.pid }, copies(&pause.network)?));
        }
        let failed = |text: String| error(ShimErrorKind::Start, text);
        if self.host_mounts.is_none() {
            let host = klet_runtime::prepare_shim_mounts(&config.shm_path, config.shm_bytes);
            self.host_mounts = Some(host.map_err(|error| failed(error.to_string()))?);
        }
        record::write_identity(&self.run, &config.cgroup_parent)
            .map_err(|error| failed(format!("cannot write the shim's identity: {error}")))?;
        let cgroup = format!("{}/{}", config.cgroup_parent.trim_end_matches('/'), config.id);
        let pod_network = config.network == NetworkMode::Pod;
        let started = klet_runtime::start_sandbox(
            &SandboxInput {
                hostname: &config.hostname,
                new_network: pod_network,
                new_ipc: !config.host_ipc,
                new_pid: config.shared_pid,
                new_uts: pod_network,
                sysctls: &config.sysctls,
                cgroup: &cgroup,
                oom_score_adj: config.oom_score_adj,
                pause: PAUSE,
            },
            &self.cgroups,
        )
        .map_err(|error| failed(error.to_string()))?;
        let network: Vec<OwnedFd> =
            [started.network_namespace, started.route_socket].into_iter().flatten().collect();
        let watched = copies(&network).and_then(|fds| {
            let watched = self.poll.add(&started.pidfd, Token::Pause);
            watched.map_err(|error| failed(format!("cannot watch the sandbox: {error}")))?;
            Ok(fds)
        });
        let fds = watched.inspect_err(|_| discard(&started.pidfd, &started.cgroup))?;
        let (pid, cgroup) = (started.pid, started.cgroup);
        self.pause = Some(Pause { pid, pidfd: started.pidfd, cgroup, alive: true, network });
        self.sandbox = Some(config);
        Ok((Reply::Sandbox { pause_pid: pid }, fds))
    }

    fn start_container(&mut self, config: ContainerConfig) -> Answer {
        if self.containers.len() >= MAX_CONTAINERS {
            return Err(error(ShimErrorKind::Protocol, "too many containers in this pod"));
        }
        if let Some(known) = self.containers.values().find(|known| known.snapshot.id == config.id) {
            return started(known);
        }
        let pause = self.pause.as_ref().filter(|pause| pause.alive);
        let pause =
            pause.ok_or_else(|| error(ShimErrorKind::NotFound, "the pod has no sandbox"))?;
        let (container, failure) = Container::start(
            config,
            &self.cgroups,
            self.features,
            pause.pidfd.as_fd(),
            self.host_mounts.as_ref(),
        )?;
        let key = self.new_key();
        if let Err(cause) = self.watch_container(key, &container) {
            if let Some(live) = &container.live {
                discard(&live.pidfd, &live.cgroup);
            }
            let text = format!("cannot watch the container: {cause}");
            return Err(error(ShimErrorKind::Internal, text));
        }
        if let Err(error) = record::write_container(&self.run, &container.snapshot) {
            eprintln!("klet-shim: record of {}: {error}", container.snapshot.name);
        }
        let answer = match failure {
            Some(failure) => Err(failure),
            None => started(&container),
        };
        self.containers.insert(key, container);
        self.trim_at = Some(Instant::now() + QUIET);
        answer
    }

    fn watch_container(&self, key: u32, container: &Container) -> std::io::Result<()> {
        let Some(live) = &container.live else { return Ok(()) };
        self.poll.add(&live.pidfd, Token::ContainerExit(key))?;
        match &live.oom {
            Some(OomEvent::Counter(fd)) => self.poll.add(fd, Token::ContainerOom(key))?,
            Some(OomEvent::File(fd)) => self.poll.add_changes(fd, Token::ContainerOom(key))?,
            None => {}
        }
        for (channel, source) in container.sources() {
            self.poll.add(&source.fd, Token::ContainerOutput(key, channel))?;
        }
        Ok(())
    }

    fn container(&mut self, id: &str) -> Result<&mut Container, ShimError> {
        let found = self.containers.values_mut().find(|container| container.snapshot.id == id);
        found.ok_or_else(|| error(ShimErrorKind::NotFound, format!("no container {id}")))
    }

    fn stop(&mut self, id: &str, signal: i32, grace_ms: u64) -> Answer {
        let container = self.container(id)?;
        let Some(live) = &mut container.live else { return done() };
        let kill_at = Instant::now() + Duration::from_millis(grace_ms);
        let first = live.kill_at.is_none();
        live.kill_at = Some(live.kill_at.map_or(kill_at, |known| known.min(kill_at)));
        if first {
            // A process that has just ended is as good as stopped.
            let _ = pidfd::send_signal(live.pidfd.as_fd(), signal);
        }
        done()
    }

    fn remove(&mut self, id: &str) -> Answer {
        let container = self.container(id)?;
        if !matches!(container.snapshot.state, ContainerState::Exited(_)) {
            return Err(error(ShimErrorKind::Protocol, format!("container {id} has not ended")));
        }
        container.bury();
        self.containers.retain(|_, container| container.snapshot.id != id);
        record::remove_container(&self.run, id);
        done()
    }

    /// `None`: the answer comes when the program has ended.
    fn exec(&mut self, config: &ExecConfig, waiting: (u32, u64)) -> Option<Answer> {
        match self.start_session(config, waiting) {
            Ok((exec_id, fds)) => match config.io {
                ExecIo::Stream { .. } => Some(Ok((Reply::ExecStarted { exec_id }, fds))),
                ExecIo::Capture { .. } => None,
            },
            Err(error) => Some(Err(error)),
        }
    }

    fn start_session(
        &mut self,
        config: &ExecConfig,
        waiting: (u32, u64),
    ) -> Result<(u64, Vec<OwnedFd>), ShimError> {
        if self.sessions.len() >= MAX_EXECS {
            return Err(error(ShimErrorKind::Protocol, "too many exec sessions in this pod"));
        }
        if let ExecIo::Capture { limit, .. } = config.io
            && limit as usize > MAX_CAPTURE_BYTES
        {
            let text = format!("cannot capture {limit} bytes: at most {MAX_CAPTURE_BYTES}");
            return Err(error(ShimErrorKind::Protocol, text));
        }
        let number = self.next_exec;
        self.next_exec += 1;
        let container = self.container(&config.container_id)?;
        let (session, fds) = Session::start(config, container, number, waiting)?;
        let key = self.new_key();
        if let Err(cause) = self.watch_session(key, &session) {
            session.discard();
            let text = format!("cannot watch the command: {cause}");
            return Err(error(ShimErrorKind::Internal, text));
        }
        self.sessions.insert(key, session);
        Ok((number, fds))
    }

    fn watch_session(&self, key: u32, session: &Session) -> std::io::Result<()> {
        self.poll.add(&session.pidfd, Token::SessionExit(key))?;
        for (channel, fd) in session.sources() {
            self.poll.add(fd, Token::SessionOutput(key, channel))?;
        }
        Ok(())
    }

    fn with_session(
        &self,
        exec_id: u64,
        act: impl FnOnce(&Session) -> Result<(), ShimError>,
    ) -> Answer {
        let found = self.sessions.values().find(|session| session.number == exec_id);
        act(found.ok_or_else(|| error(ShimErrorKind::NotFound, "the exec session has ended"))?)?;
        done()
    }

    fn snapshot(&self) -> PodSnapshot {
        PodSnapshot {
            sandbox: self.sandbox.clone(),
            sandbox_ready: self.pause.as_ref().is_some_and(|pause| pause.alive),
            pause_pid: self.pause.as_ref().map(|pause| pause.pid),
            containers: self.containers.values().map(|c| c.snapshot.clone()).collect(),
        }
    }
}

/// Descriptors to give away while keeping them.
fn copies(fds: &[OwnedFd]) -> Result<Vec<OwnedFd>, ShimError> {
    let copies: std::io::Result<_> = fds.iter().map(OwnedFd::try_clone).collect();
    copies.map_err(|e| error(ShimErrorKind::Internal, format!("cannot copy a descriptor: {e}")))
}

fn started(container: &Container) -> Answer {
    match (&container.snapshot.state, container.snapshot.pid) {
        (ContainerState::Running { started_at_ns }, Some(pid)) => {
            Ok((Reply::Started { pid, started_at_ns: *started_at_ns }, Vec::new()))
        }
        _ => Err(error(ShimErrorKind::Start, "the container has ended")),
    }
}
