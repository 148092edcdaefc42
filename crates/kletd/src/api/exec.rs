//! `exec`: the shim starts the program, its descriptors are connected to the API's stream.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use klet_api::Pod;
use klet_apiserver::{ExecRequest, ExecSession, NodeError};
use klet_cri::{ContainerState, ExecConfig, ExecIo, Reply, Request};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use super::Backend;
use super::tty::Terminal;
use crate::shim::Shim;

/// Window size until the client tells its own.
const WINDOW: (u16, u16) = (80, 24);

/// Starts a command in a running container.
///
/// # Errors
/// The container does not run, or the program cannot be started.
pub async fn open(
    backend: &Backend,
    pod: &Pod,
    container: &str,
    request: ExecRequest,
) -> Result<ExecSession, NodeError> {
    let uid = klet_apiserver::node_uid(pod);
    let not_running = || NodeError::bad_request(format!("container {container} is not running"));
    let shim = backend.shim(uid).await.ok_or_else(not_running)?;
    let snapshot = shim.status().await.map_err(|error| NodeError::internal(error.to_string()))?;
    let running = snapshot.containers.iter().find(|candidate| {
        candidate.name == container && matches!(candidate.state, ContainerState::Running { .. })
    });
    let config = ExecConfig {
        container_id: running.ok_or_else(not_running)?.id.clone(),
        args: request.command.clone(),
        env: Vec::new(),
        io: ExecIo::Stream { stdin: request.stdin, tty: request.tty.then_some(WINDOW) },
    };
    let (reply, fds) = shim.exec(config).await.map_err(|error| {
        NodeError::internal(format!("error executing command in container: {error}"))
    })?;
    let Reply::ExecStarted { exec_id } = reply else {
        return Err(NodeError::internal(format!("the supervisor answered {reply:?}")));
    };
    session(shim, exec_id, &request, fds).map_err(|error| NodeError::internal(error.to_string()))
}

fn session(
    shim: Shim,
    exec_id: u64,
    request: &ExecRequest,
    fds: Vec<OwnedFd>,
) -> std::io::Result<ExecSession> {
    let exit = shim.exec_end(exec_id);
    let mut fds = fds.into_iter();
    let mut next = || fds.next().ok_or(std::io::ErrorKind::UnexpectedEof);
    let mut session = ExecSession {
        stdin: None,
        stdout: None,
        stderr: None,
        resize: None,
        exit,
        guard: Box::new(KillOnDrop { shim: shim.clone(), exec_id }),
    };
    if request.tty {
        let master = next()?;
        let writer = Terminal::new(master.try_clone()?)?;
        session.stdin = request.stdin.then(|| Box::new(writer) as _);
        session.stdout = Some(Box::new(Terminal::new(master)?));
        session.resize = Some(resizer(shim, exec_id));
        return Ok(session);
    }
    if request.stdin {
        session.stdin = Some(Box::new(pipe::Sender::from_file(nonblocking(next()?)?)?));
    }
    let stdout = pipe::Receiver::from_file(nonblocking(next()?)?)?;
    let stderr = pipe::Receiver::from_file(nonblocking(next()?)?)?;
    session.stdout = request.stdout.then(|| Box::new(stdout) as _);
    session.stderr = request.stderr.then(|| Box::new(stderr) as _);
    Ok(session)
}

fn nonblocking(fd: OwnedFd) -> std::io::Result<File> {
    let flags = rustix::fs::fcntl_getfl(fd.as_fd())?;
    rustix::fs::fcntl_setfl(fd.as_fd(), flags | rustix::fs::OFlags::NONBLOCK)?;
    Ok(File::from(fd))
}

/// Passes window sizes on to the shim.
fn resizer(shim: Shim, exec_id: u64) -> mpsc::Sender<(u16, u16)> {
    let (sender, mut sizes) = mpsc::channel(4);
    tokio::spawn(async move {
        while let Some((columns, rows)) = sizes.recv().await {
            if shim.call(Request::ResizeExec { exec_id, columns, rows }).await.is_err() {
                return;
            }
        }
    });
    sender
}

/// A client that goes away takes its command with it.
struct KillOnDrop {
    shim: Shim,
    exec_id: u64,
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let (shim, exec_id) = (self.shim.clone(), self.exec_id);
        tokio::spawn(async move {
            // Ended already is the normal case.
            let _ = shim.call(Request::KillExec { exec_id }).await;
        });
    }
}
