//! A shim of a test's own: private mount and network namespaces, a temporary run directory, its
//! own cgroups, and a client that speaks the protocol. All gone with the value.
#![expect(unreachable_pub, clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use klet_cri::paths::PodRunDir;
use klet_cri::{
    ContainerConfig, ContainerSnapshot, Event, ExecConfig, ExecIo, ExecOutcome, ExitRecord,
    FromShim, LogConfig, Namespace, NetworkMode, PROTOCOL, PodSnapshot, Reply, Request, Rootfs,
    SandboxConfig, ShimError, ToShim, frame,
};
use klet_runtime::cgroup::Cgroups;
use nix::sched::CloneFlags;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

static NUMBER: AtomicU32 = AtomicU32::new(0);
/// No fact a test waits for takes longer, on a machine of usual speed.
const PATIENCE: Duration = Duration::from_secs(20);

/// `usual`, or longer where `KLET_PATIENCE` is the factor for a slow machine.
pub fn patience(usual: Duration) -> Duration {
    let factor = std::env::var("KLET_PATIENCE").ok().and_then(|factor| factor.parse().ok());
    usual * factor.unwrap_or(1)
}

pub struct World {
    directory: tempfile::TempDir,
    cgroup: String,
    shim: Child,
}

impl World {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        for name in ["bin", "tmp", "proc", "dev"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        // A process copies the program: descriptors of ours open for writing could reach a child.
        let copied =
            Command::new("cp").args(["/bin/busybox"]).arg(root.join("bin/busybox")).status();
        assert!(copied.unwrap().success());
        for name in ["sh", "sleep", "yes", "head", "setsid", "cat", "tail", "killall", "true"] {
            symlink("busybox", root.join("bin").join(name)).unwrap();
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let cgroup = format!("/klet-shim-test-{}-{number}", std::process::id());
        std::fs::create_dir_all(directory.path().join("run/pods/uid")).unwrap();
        std::fs::create_dir(directory.path().join("shm")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_klet-shim"));
        command.arg("--run").arg(directory.path().join("run")).args(["--pod", "uid", "--cgroup"]);
        command.arg(format!("{cgroup}/shim")).stdin(Stdio::null());
        // The namespaces of the thread that starts it are the shim's.
        let start = move || {
            nix::sched::unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).unwrap();
            command.spawn().unwrap()
        };
        let shim = std::thread::spawn(start).join().unwrap();
        Self { directory, cgroup, shim }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn run(&self) -> PodRunDir {
        PodRunDir::new(&self.path("run"), "uid")
    }

    pub fn shim_pid(&self) -> u32 {
        self.shim.id()
    }

    /// A greeted client; the shim may just be starting.
    pub fn connect(&self) -> Client {
        let deadline = Instant::now() + patience(PATIENCE);
        let stream = loop {
            match UnixStream::connect(self.run().socket()) {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            std::thread::yield_now();
        };
        let mut client = Client {
            stream,
            buffer: Vec::new(),
            fds: Vec::new(),
            next: 0,
            events: VecDeque::new(),
        };
        let hello = Request::Hello { versions: PROTOCOL, client: "test".to_owned() };
        let Ok(Reply::Hello { pid, .. }) = client.ask(hello) else { panic!("no hello") };
        assert_eq!(u32::try_from(pid).unwrap(), self.shim_pid());
        client
    }

    /// A client with a sandbox.
    pub fn sandbox(&self) -> Client {
        let mut client = self.connect();
        let Ok(Reply::Sandbox { pause_pid }) = client.ask(self.sandbox_request()) else {
            panic!("no sandbox")
        };
        assert!(pause_pid > 1);
        client
    }

    pub fn sandbox_request(&self) -> Request {
        Request::CreateSandbox(SandboxConfig {
            id: "a".repeat(64),
            pod_uid: "uid".to_owned(),
            namespace: "default".to_owned(),
            name: "pod".to_owned(),
            hostname: "pod".to_owned(),
            network: NetworkMode::Pod,
            host_ipc: false,
            host_pid: false,
            shared_pid: false,
            sysctls: Default::default(),
            cgroup_parent: format!("{}/pod", self.cgroup),
            shm_bytes: 1 << 20,
            shm_path: self.path("shm"),
            oom_score_adj: 0,
        })
    }

    pub fn container(&self, id: &str, script: &str) -> ContainerConfig {
        let id = format!("{id:0>64}");
        let spec: Value = json!({
            "ociVersion": "1.2.0",
            "root": {"path": "root"},
            "process": {
                "args": ["/bin/sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"],
                "user": {"uid": 0, "gid": 0},
            },
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "linux": {
                "namespaces": [{"type": "mount"}, {"type": "pid"}],
                "cgroupsPath": format!("{}/pod/{id}", self.cgroup),
            },
        });
        let logs = self.path(&format!("logs-{id}"));
        std::fs::create_dir_all(&logs).unwrap();
        ContainerConfig {
            id,
            name: "main".to_owned(),
            attempt: 0,
            spec: serde_json::from_value(spec).unwrap(),
            rootfs: Rootfs::Directory(self.path("root")),
            join: vec![Namespace::Network, Namespace::Ipc, Namespace::Uts],
            log: LogConfig { path: logs.join("0.log"), max_bytes: 1 << 20, max_files: 5 },
            stdin: false,
            labels: [("k".to_owned(), "v".to_owned())].into(),
        }
    }

    /// The processes in all cgroups of this world but the shim's own.
    pub fn processes(&self) -> Vec<i32> {
        let pod = Cgroups::detect().unwrap().container(&format!("{}/pod", self.cgroup));
        pod.processes().unwrap()
    }

    /// Whether a pod's or container's cgroup exists in any hierarchy.
    pub fn leaves(&self) -> Vec<PathBuf> {
        let root = PathBuf::from("/sys/fs/cgroup");
        let below = std::fs::read_dir(&root).unwrap().flatten().map(|entry| entry.path());
        std::iter::once(root.clone())
            .chain(below)
            .map(|mount| mount.join(&self.cgroup[1..]).join("pod"))
            .filter_map(|pod| std::fs::read_dir(pod).ok())
            .flat_map(|entries| entries.flatten())
            .filter(|entry| entry.file_type().unwrap().is_dir())
            .map(|entry| entry.path())
            .collect()
    }

    /// The cgroups below a container's own, in any hierarchy.
    pub fn leaves_below(&self, id: &str) -> Vec<PathBuf> {
        let below = |leaf: PathBuf| std::fs::read_dir(leaf).into_iter().flatten().flatten();
        let containers = self.leaves().into_iter().filter(|leaf| leaf.ends_with(id));
        let entries = containers.flat_map(below);
        entries.filter(|entry| entry.file_type().unwrap().is_dir()).map(|e| e.path()).collect()
    }

    /// Waits for the shim to end by itself.
    pub fn shim_ends(&mut self) -> i32 {
        let pidfd = klet_sys::pidfd::open(i32::try_from(self.shim.id()).unwrap()).unwrap();
        wait_readable(&pidfd);
        self.shim.wait().unwrap().code().unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.shim.kill();
        let _ = self.shim.wait();
        let all = Cgroups::detect().unwrap().container(&self.cgroup);
        let _ = all.kill();
        let _ = all.remove();
    }
}

fn wait_readable(fd: impl std::os::fd::AsFd) {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    let limit = Timespec::try_from(patience(PATIENCE)).unwrap();
    assert_eq!(poll(&mut fds, Some(&limit)).unwrap(), 1, "nothing came in time");
}

/// One connection.
pub struct Client {
    stream: UnixStream,
    buffer: Vec<u8>,
    fds: Vec<OwnedFd>,
    next: u64,
    events: VecDeque<Event>,
}

impl Client {
    pub fn ask(&mut self, request: Request) -> Result<Reply, ShimError> {
        let id = self.send(request);
        self.reply(id)
    }

    /// Sends a request whose answer is fetched later.
    pub fn send(&mut self, request: Request) -> u64 {
        self.next += 1;
        let bytes = frame::encode(&ToShim { id: self.next, request }).unwrap();
        std::io::Write::write_all(&mut &self.stream, &bytes).unwrap();
        self.next
    }

    /// Waits for the answer to one request.
    pub fn reply(&mut self, wanted: u64) -> Result<Reply, ShimError> {
        loop {
            match self.message() {
                FromShim::Event(event) => self.events.push_back(event),
                FromShim::Reply { id, result } => {
                    assert_eq!(id, wanted);
                    return result;
                }
            }
        }
    }

    /// Waits for an event, which may have come already.
    pub fn event(&mut self, wanted: &Event) {
        while !self.events.contains(wanted) {
            match self.message() {
                FromShim::Event(event) => self.events.push_back(event),
                FromShim::Reply { .. } => panic!("a reply to nothing"),
            }
        }
    }

    /// Waits until a container has written something.
    pub fn log_contains(&self, config: &ContainerConfig, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !std::fs::read_to_string(&config.log.path).unwrap_or_default().contains(text) {
            assert!(Instant::now() < deadline, "never said: {text}");
            std::thread::yield_now();
        }
    }

    fn message(&mut self) -> FromShim {
        loop {
            if let Some(message) = frame::take(&mut self.buffer).unwrap() {
                return message;
            }
            wait_readable(&self.stream);
            let mut chunk = [0; 4096];
            let received = klet_sys::socket::receive(&self.stream, &mut chunk).unwrap();
            assert!(received.length > 0, "the shim hung up");
            self.buffer.extend_from_slice(&chunk[..received.length]);
            self.fds.extend(received.descriptors);
        }
    }

    /// The descriptors that came so far.
    pub fn take_fds(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.fds)
    }

    pub fn start(&mut self, config: &ContainerConfig) -> i32 {
        match self.ask(Request::StartContainer(Box::new(config.clone()))) {
            Ok(Reply::Started { pid, .. }) => pid,
            other => panic!("{other:?}"),
        }
    }

    /// Waits for the event of `id`'s end and reads its record from disk.
    pub fn exited(&mut self, world: &World, id: &str) -> ExitRecord {
        self.event(&Event::ContainerExited { id: id.to_owned() });
        let text = std::fs::read(world.run().record(id)).unwrap();
        let record: klet_cri::paths::ContainerRecord = serde_json::from_slice(&text).unwrap();
        match record.container.state {
            klet_cri::ContainerState::Exited(record) => record,
            other => panic!("announced before it was recorded: {other:?}"),
        }
    }

    pub fn exec(&mut self, id: &str, script: &str, timeout_ms: Option<u64>) -> ExecOutcome {
        let args = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let io = ExecIo::Capture { limit: 1 << 16, timeout_ms };
        let config = ExecConfig { container_id: id.to_owned(), args, env: Vec::new(), io };
        match self.ask(Request::Exec(Box::new(config))) {
            Ok(Reply::ExecDone(outcome)) => outcome,
            other => panic!("{other:?}"),
        }
    }

    pub fn status(&mut self) -> PodSnapshot {
        match self.ask(Request::Status) {
            Ok(Reply::Status(snapshot)) => *snapshot,
            other => panic!("{other:?}"),
        }
    }

    pub fn only_container(&mut self) -> ContainerSnapshot {
        self.status().containers.pop().unwrap()
    }
}
