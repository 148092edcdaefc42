//! A real supervisor, driven over its own socket as kletd does.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail, ensure};
use klet_cri::paths::PodRunDir;
use klet_cri::{
    ContainerConfig, Event, FromShim, LogConfig, Namespace, NetworkMode, PROTOCOL, Reply, Request,
    Rootfs, SandboxConfig, ToShim, frame, limits,
};
use oci_spec::runtime::Spec;

use crate::world::until;

/// The uid of the pod that the supervisor is told.
const POD: &str = "bench";

/// A supervisor with a sandbox.
#[derive(Debug)]
pub struct Shim {
    process: Child,
    stream: UnixStream,
    incoming: Vec<u8>,
    next: u64,
    pub pause: i32,
    pub shm: PathBuf,
    logs: PathBuf,
}

/// Where kletd's build leaves the supervisor that it carries inside itself.
fn program() -> PathBuf {
    let name = format!("target/shim/{}-unknown-linux-gnu/tiny/klet-shim", std::env::consts::ARCH);
    klet_e2e::workspace().join(name)
}

impl Shim {
    /// Starts a supervisor and its sandbox.
    ///
    /// # Errors
    /// It was not built, does not listen, or cannot make the sandbox.
    pub fn start(dir: &Path, cgroup: &str) -> anyhow::Result<Self> {
        let run = dir.join("run/direct");
        let paths = PodRunDir::new(&run, POD);
        let logs = dir.join("direct-logs");
        fs::create_dir_all(paths.path())?;
        fs::create_dir_all(&logs)?;
        let process = Command::new(program())
            .arg("--run")
            .arg(&run)
            .args(["--pod", POD, "--cgroup", &format!("{cgroup}/direct-shim")])
            .env_clear()
            .stdin(Stdio::null())
            .spawn()
            .context("cannot start the supervisor (make build)")?;
        until("the supervisor listens", || Ok(paths.socket().exists()))?;
        let stream = UnixStream::connect(paths.socket())?;
        let incoming = Vec::new();
        let mut shim =
            Self { process, stream, incoming, next: 0, pause: 0, shm: paths.shm(), logs };
        shim.call(Request::Hello { versions: PROTOCOL, client: "bench".to_owned() })?;
        shim.pause = shim.sandbox(cgroup)?;
        Ok(shim)
    }

    fn sandbox(&mut self, cgroup: &str) -> anyhow::Result<i32> {
        let config = SandboxConfig {
            id: "sandbox".to_owned(),
            pod_uid: POD.to_owned(),
            namespace: "default".to_owned(),
            name: POD.to_owned(),
            hostname: "bench".to_owned(),
            network: NetworkMode::Pod,
            host_ipc: false,
            host_pid: false,
            shared_pid: false,
            sysctls: BTreeMap::new(),
            cgroup_parent: format!("{cgroup}/direct"),
            shm_bytes: 64 << 20,
            shm_path: self.shm.clone(),
            oom_score_adj: 0,
        };
        match self.call(Request::CreateSandbox(config))? {
            Reply::Sandbox { pause_pid } => Ok(pause_pid),
            other => bail!("the supervisor answered {other:?}"),
        }
    }

    /// Starts a container, waits for its end, and has it removed.
    ///
    /// # Errors
    /// Any of it.
    pub fn run(&mut self, id: &str, spec: &Spec, rootfs: Rootfs) -> anyhow::Result<()> {
        let config = ContainerConfig {
            id: id.to_owned(),
            name: "c".to_owned(),
            attempt: 0,
            spec: spec.clone(),
            rootfs,
            join: vec![Namespace::Network, Namespace::Uts, Namespace::Ipc],
            log: LogConfig {
                path: self.logs.join("0.log"),
                max_bytes: limits::LOG_MAX_BYTES,
                max_files: limits::LOG_MAX_FILES,
            },
            stdin: false,
            labels: BTreeMap::new(),
        };
        let number = self.send(Request::StartContainer(Box::new(config)))?;
        let (mut started, mut exited) = (false, false);
        while !(started && exited) {
            match self.receive()? {
                FromShim::Reply { id, result } if id == number => {
                    result?;
                    started = true;
                }
                FromShim::Event(Event::ContainerExited { .. }) => exited = true,
                FromShim::Reply { .. } | FromShim::Event(_) => {}
            }
        }
        self.call(Request::RemoveContainer { id: id.to_owned() }).map(drop)
    }

    fn call(&mut self, request: Request) -> anyhow::Result<Reply> {
        let number = self.send(request)?;
        loop {
            if let FromShim::Reply { id, result } = self.receive()?
                && id == number
            {
                return Ok(result?);
            }
        }
    }

    fn send(&mut self, request: Request) -> anyhow::Result<u64> {
        self.next += 1;
        self.stream.write_all(&frame::encode(&ToShim { id: self.next, request })?)?;
        Ok(self.next)
    }

    fn receive(&mut self) -> anyhow::Result<FromShim> {
        loop {
            if let Some(message) = frame::take(&mut self.incoming)? {
                return Ok(message);
            }
            let mut chunk = [0; 16 << 10];
            let length = self.stream.read(&mut chunk)?;
            ensure!(length > 0, "the supervisor is gone");
            self.incoming.extend_from_slice(&chunk[..length]);
        }
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        let _ = self.call(Request::RemoveSandbox);
        let _ = self.process.wait();
    }
}
