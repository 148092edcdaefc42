//! Worlds for end-to-end tests.
//!
//! A [`World`] is a kletd of its own in private network and mount namespaces, with its own root, run
//! directory and cgroup parent. Its end checks that nothing was left behind.

mod command;
mod exec;
mod faults;
pub mod pods;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

pub use command::Session;

/// How long a fact may take to become true before a test fails, on a machine of usual speed.
const PATIENCE: Duration = Duration::from_secs(60);

/// The node's name in every world.
pub const NODE: &str = "test-node";

pub use exec::{Exec, ExecEnd};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A daemon and everything that is its own.
#[derive(Debug)]
pub struct World {
    directory: PathBuf,
    cgroup: String,
    /// Further arguments of the daemon.
    arguments: Vec<String>,
    /// The daemon starts in a control group of its own, as a service does, and has its pods below it.
    service: bool,
    /// Holds the namespaces while daemons come and go.
    holder: Child,
    daemon: Option<Child>,
}

/// The workspace's directory.
#[must_use]
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

/// A binary of the release build, as users run it; `KLET_BIN` names another directory of binaries.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let directory = std::env::var_os("KLET_BIN").map(PathBuf::from);
    directory.unwrap_or_else(|| workspace().join("target/release")).join(name)
}

/// Where `make images` puts its archives; `KLET_IMAGES` names another directory.
#[must_use]
pub fn images() -> PathBuf {
    let directory = std::env::var_os("KLET_IMAGES").map(PathBuf::from);
    directory.unwrap_or_else(|| workspace().join("target/images"))
}

/// How long a fact may take to become true before a test fails. `KLET_PATIENCE` is a factor for slow
/// machines.
#[must_use]
pub fn patience() -> Duration {
    let factor = std::env::var("KLET_PATIENCE").ok().and_then(|factor| factor.parse().ok());
    PATIENCE * factor.unwrap_or(1)
}

impl World {
    /// A new world with a running daemon and the named images (`busybox`, `nginx`) loaded.
    ///
    /// # Errors
    /// The machine does not allow it; `make build images` was not run.
    pub fn new(images: &[&str]) -> anyhow::Result<Self> {
        let mut world = Self::without_daemon()?;
        world.begin(images)?;
        Ok(world)
    }

    /// As [`Self::new`], but in the host's own network and mount namespaces, for people who want
    /// to reach the pods from outside.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn on_host(images: &[&str]) -> anyhow::Result<Self> {
        let mut world = Self::held_by(&["sh", "-c"])?;
        world.begin(images)?;
        Ok(world)
    }

    /// As [`Self::new`], with the daemon and its pods in the control group `service` of this world.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn service(images: &[&str]) -> anyhow::Result<Self> {
        let mut world = Self::without_daemon()?;
        world.service = true;
        fs::create_dir_all(world.service_group())?;
        world.begin(images)?;
        Ok(world)
    }

    fn service_group(&self) -> PathBuf {
        controller("memory").join(&self.cgroup[1..]).join("service")
    }

    fn begin(&mut self, images: &[&str]) -> anyhow::Result<()> {
        self.start()?;
        images.iter().try_for_each(|image| self.load(image))
    }

    /// A new world in which no daemon was started yet.
    ///
    /// # Errors
    /// The machine does not allow it.
    pub fn without_daemon() -> anyhow::Result<Self> {
        Self::held_by(&["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c"])
    }

    /// A world in the namespaces of a process that `shell` starts.
    fn held_by(shell: &[&str]) -> anyhow::Result<Self> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("klet-test-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(&name);
        fs::create_dir_all(directory.join("manifests"))?;
        let (program, arguments) = shell.split_first().context("no shell")?;
        let holder = Command::new(program)
            .args(arguments)
            .arg("ip link set lo up && echo ready && exec sleep infinity")
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot make namespaces (util-linux and iproute2 are needed)")?;
        let cgroup = format!("/{name}");
        let (arguments, service) = (Vec::new(), false);
        let mut world = Self { directory, cgroup, arguments, service, holder, daemon: None };
        let mut ready = [0; 6];
        world.holder.stdout.as_mut().context("no output")?.read_exact(&mut ready)?;
        Ok(world)
    }

    /// Starts the daemon and waits until it answers.
    ///
    /// # Errors
    /// It does not answer in time.
    pub fn start(&mut self) -> anyhow::Result<()> {
        self.spawn()?;
        let number = self.daemon.as_ref().context("no daemon runs")?.id();
        let ended = self.until("the daemon answers", |world| {
            if world.request("GET", "/readyz", b"").is_ok() {
                return Ok(Some(false));
            }
            Ok(has_ended(number)?.then_some(true))
        })?;
        if ended {
            bail!("the daemon ended at once\n{}", self.log_tail());
        }
        Ok(())
    }

    /// Starts the daemon and does not wait for it.
    ///
    /// # Errors
    /// It cannot be executed.
    pub fn spawn(&mut self) -> anyhow::Result<()> {
        let log = fs::File::options().create(true).append(true).open(self.path("kletd.log"))?;
        let daemon = self.command(&[]).stderr(log).spawn().context("cannot start kletd")?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// kletd in this world's namespaces, with this world's directories.
    fn command(&self, further: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--mount", "--target", &self.holder.id().to_string()]);
        let mut parent = self.cgroup.clone();
        if self.service {
            command.args(["sh", "-c", "echo $$ >\"$0\" && exec \"$@\""]);
            command.arg(self.service_group().join("cgroup.procs"));
            parent.push_str("/service/kubepods");
        }
        command.arg(binary("kletd"));
        for directory in ["root", "run", "log", "manifests"] {
            let flag = if directory == "log" { "log-dir" } else { directory };
            // A flag is given once.
            let name = format!("--{flag}");
            if !further.contains(&name.as_str()) && !self.arguments.contains(&name) {
                command.arg(format!("--{flag}")).arg(self.path(directory));
            }
        }
        command.args(["--cgroup-parent", &parent, "--node-name", NODE]);
        command.args(["--log-level", "debug"]).args(&self.arguments).args(further);
        command
    }

    /// Kills the daemon as a crash would.
    ///
    /// # Errors
    /// There is none.
    pub fn kill_daemon(&mut self) -> anyhow::Result<()> {
        let mut daemon = self.daemon.take().context("no daemon runs")?;
        daemon.kill()?;
        daemon.wait()?;
        Ok(())
    }

    /// A path of this world.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Loads an image that `make images` made.
    ///
    /// # Errors
    /// There is none of this name, or the daemon refuses it.
    pub fn load(&self, image: &str) -> anyhow::Result<()> {
        let archive = images().join(format!("{image}.tar"));
        let bytes =
            fs::read(&archive).with_context(|| format!("{} (make images)", archive.display()))?;
        let answer = self.request("POST", "/klet/v1/images/load", &bytes)?;
        ensure!(answer.get("loaded").is_some(), "loading {image}: {answer}");
        Ok(())
    }

    /// One request; an HTTP error is an error with the answer as its text.
    ///
    /// # Errors
    /// No connection, an error status, an answer that is no JSON.
    pub fn request(&self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<Value> {
        let text = self.request_text(method, path, body)?;
        Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// One request, answered with text.
    ///
    /// # Errors
    /// As [`Self::request`].
    pub fn request_text(&self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<String> {
        let mut stream = UnixStream::connect(self.path("run/klet.sock"))?;
        stream.set_read_timeout(Some(patience()))?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: klet\r\nConnection: close\r\nAccept: application/json\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let end =
            answer.windows(4).position(|window| window == b"\r\n\r\n").context("no answer")?;
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let body = &answer[end + 4..];
        let body = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
            unchunk(body)?
        } else {
            body.to_vec()
        };
        let body = String::from_utf8_lossy(&body).into_owned();
        let status = head.split(' ').nth(1).unwrap_or_default();
        ensure!(status.starts_with('2'), "{method} {path}: {status} {body}");
        Ok(body)
    }

    /// Creates a pod in the default namespace.
    ///
    /// # Errors
    /// The API refuses it.
    pub fn create(&self, pod: &Value) -> anyhow::Result<Value> {
        self.request("POST", "/api/v1/namespaces/default/pods", pod.to_string().as_bytes())
    }

    /// A pod of the default namespace.
    ///
    /// # Errors
    /// There is none.
    pub fn pod(&self, name: &str) -> anyhow::Result<Value> {
        self.request("GET", &format!("/api/v1/namespaces/default/pods/{name}"), b"")
    }

    /// `REASON MESSAGE` of every event about a pod.
    ///
    /// # Errors
    /// No answer.
    pub fn events(&self, pod: &str) -> anyhow::Result<Vec<String>> {
        let list = self.request("GET", "/api/v1/namespaces/default/events", b"")?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let about = items.iter().filter(|event| event["involvedObject"]["name"] == pod);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(about
            .map(|event| format!("{} {}", text(&event["reason"]), text(&event["message"])))
            .collect())
    }

    /// Waits for a fact. The daemon's log ends up in the error when it never comes.
    ///
    /// # Errors
    /// The fact does not become true within [`patience`].
    pub fn until<T>(
        &self,
        what: &str,
        mut look: impl FnMut(&Self) -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + patience();
        loop {
            let seen = look(self);
            if let Ok(Some(fact)) = seen {
                return Ok(fact);
            }
            if Instant::now() > deadline {
                bail!("never true: {what} (last look: {:?})\n{}", seen.err(), self.log_tail());
            }
            // The pace of looking, not a wait for anything.
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.path("kletd.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Deletes a pod and waits until it is gone.
    ///
    /// # Errors
    /// It stays.
    pub fn delete(&self, name: &str) -> anyhow::Result<()> {
        let path = format!("/api/v1/namespaces/default/pods/{name}");
        self.request("DELETE", &path, b"")?;
        self.until("the pod is gone", |world| {
            let gone = world.request("GET", &path, b"").err().map(|error| error.to_string());
            Ok(gone.filter(|error| error.contains(" 404 ")).map(drop))
        })
    }

    /// Everything that klet has made and that outlives no pod: processes, cgroups, mounts, links.
    ///
    /// # Errors
    /// The machine cannot be looked at.
    pub fn leftovers(&self) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        for directory in ["run/pods", "root/pods", "root/snapshots"] {
            for entry in fs::read_dir(self.path(directory)).into_iter().flatten().flatten() {
                found.push(format!("{directory}/{}", entry.file_name().to_string_lossy()));
            }
        }
        for tree in own_trees(&self.cgroup) {
            pods_below(&tree, &mut found);
        }
        let links = self.inside(&["ip", "-o", "link"])?;
        let veths = links.lines().filter(|line| line.contains("klet") && !line.contains("klet0:"));
        found.extend(veths.map(ToOwned::to_owned));
        let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", self.holder.id()))?;
        let own = self.directory.display().to_string();
        // The directory of pods is a mount of its own where the host's mounts are not shared.
        let pods = format!(" {own}/root/pods ");
        let left = |line: &&str| line.contains(&own) && !line.contains(&pods);
        found.extend(mounts.lines().filter(left).map(ToOwned::to_owned));
        Ok(found)
    }

    /// Process numbers of a pod's first container.
    ///
    /// # Errors
    /// The container has no cgroup: it does not run.
    pub fn processes_of(&self, pod: &Value) -> anyhow::Result<Vec<String>> {
        let id = pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap_or_default();
        let id = id.trim_start_matches("klet://");
        let mut pids = Vec::new();
        for tree in own_trees(&self.cgroup) {
            walk(&tree, &mut |path| {
                if path.ends_with(id) && pids.is_empty() {
                    let text = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
                    pids.extend(text.lines().map(ToOwned::to_owned));
                }
            });
        }
        ensure!(!pids.is_empty(), "no process in container {id}");
        Ok(pids)
    }

    /// Runs a command in the world's namespaces.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn inside(&self, command: &[&str]) -> anyhow::Result<String> {
        let output = Command::new("nsenter")
            .args(["--net", "--mount", "--target", &self.holder.id().to_string()])
            .args(command)
            .stdin(Stdio::null())
            .output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Checks that nothing is left, and ends the world.
    ///
    /// # Errors
    /// What was left.
    pub fn end(self) -> anyhow::Result<()> {
        self.until("nothing is left behind", |world| {
            let left = world.leftovers()?;
            ensure!(left.is_empty(), "left behind: {left:#?}");
            Ok(Some(()))
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        // What a failed test left in its cgroups is ended with it: these processes are the world's own.
        for pid in processes(&self.cgroup) {
            let _ = Command::new("kill").args(["-9", &pid]).output();
        }
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        let deadline = Instant::now() + Duration::from_secs(5);
        while !remove_cgroups(&self.cgroup) && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// A child that ended and was not waited for is a zombie.
fn has_ended(pid: u32) -> anyhow::Result<bool> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    Ok(stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
}

/// Whether this machine has control groups version 2 and nothing else.
#[must_use]
pub fn cgroup_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Where the groups of a controller begin.
#[must_use]
pub fn controller(name: &str) -> PathBuf {
    let root = PathBuf::from("/sys/fs/cgroup");
    if cgroup_v2() { root } else { root.join(name) }
}

fn walk(directory: &Path, visit: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&entry.path(), visit);
        }
    }
    visit(directory);
}

fn own_trees(cgroup: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let name = cgroup.trim_start_matches('/');
    let mut trees: Vec<PathBuf> = fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join(name))
        .collect();
    trees.push(root.join(name));
    trees.into_iter().filter(|path| path.is_dir()).collect()
}

fn processes(cgroup: &str) -> Vec<String> {
    let mut pids = Vec::new();
    for tree in own_trees(cgroup) {
        walk(&tree, &mut |path| {
            let text = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
            pids.extend(text.lines().map(ToOwned::to_owned));
        });
    }
    pids.sort();
    pids.dedup();
    pids
}

fn remove_cgroups(cgroup: &str) -> bool {
    let mut gone = true;
    for tree in own_trees(cgroup) {
        walk(&tree, &mut |path| gone &= fs::remove_dir(path).is_ok());
    }
    gone
}

fn pods_below(own: &Path, found: &mut Vec<String>) {
    walk(own, &mut |path| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        if name.is_some_and(|name| name.starts_with("pod")) && path.is_dir() {
            found.push(path.display().to_string());
        }
    });
}

/// Joins the chunks of a chunked body.
fn unchunk(mut body: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|window| window == b"\r\n").context("no chunk size")?;
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end])?.trim(), 16)?;
        let data = &body[end + 2..];
        if size == 0 {
            return Ok(whole);
        }
        ensure!(data.len() >= size + 2, "a chunk is cut off");
        whole.extend_from_slice(&data[..size]);
        body = &data[size + 2..];
    }
}
