//! A world for one container: a root file system, a spec, pipes, and a cgroup of the test's own.
#![expect(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test file uses its part")]

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use klet_runtime::cgroup::Cgroups;
use klet_runtime::{ContainerInput, RootfsInput, StartError, Started, Stdio, start};
use klet_sys::features::Features;
use klet_sys::pidfd::{self, Exit};
use oci_spec::runtime::Spec;
use serde_json::{Value, json};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Held while a program file is written and while a process is made: a child that inherited the
/// open file of another test would make that file's execution fail with ETXTBSY.
static FILES: Mutex<()> = Mutex::new(());

/// Keeps other tests from writing programs or making processes.
pub fn alone() -> MutexGuard<'static, ()> {
    FILES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The world; gone with the value.
pub struct World {
    pub directory: tempfile::TempDir,
    pub cgroups: Cgroups,
    pub cgroup: String,
    pub spec: Value,
    pub features: Features,
}

/// How a container ended and what it said.
#[derive(Debug)]
pub struct Ended {
    pub exit: Exit,
    pub stdout: String,
    pub stderr: String,
    pub warnings: Vec<String>,
}

impl World {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        for name in ["bin", "etc", "tmp", "data"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        let guard = alone();
        std::fs::copy("/bin/busybox", root.join("bin/busybox"))
            .expect("busybox-static is installed");
        drop(guard);
        for name in [
            "sh", "cat", "ls", "id", "mount", "touch", "hostname", "stty", "sleep", "test",
            "readlink",
        ] {
            symlink("busybox", root.join("bin").join(name)).unwrap();
        }
        std::fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let cgroup = format!("/klet-test-{}-{number}", std::process::id());
        let spec = spec(&format!("{cgroup}/main"));
        let (cgroups, features) = (Cgroups::detect().unwrap(), Features::probe());
        Self { directory, cgroups, cgroup, spec, features }
    }

    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn shell(mut self, script: &str) -> Self {
        self.spec["process"]["args"] = json!(["sh", "-c", script]);
        self
    }

    pub fn spec(&self) -> Spec {
        serde_json::from_value(self.spec.clone()).unwrap()
    }

    pub fn start(&self, io: Option<Stdio>) -> Result<Started, StartError> {
        let root = self.root();
        self.start_on(RootfsInput::Directory(&root), io)
    }

    pub fn start_on(
        &self,
        rootfs: RootfsInput<'_>,
        io: Option<Stdio>,
    ) -> Result<Started, StartError> {
        let spec = self.spec();
        let _guard = alone();
        let input = ContainerInput {
            id: "test",
            spec: &spec,
            rootfs,
            join: None,
            host_mounts: None,
            features: self.features,
        };
        start(&input, &self.cgroups, io)
    }

    /// Runs the container to its end.
    pub fn run(&self) -> Result<Ended, StartError> {
        let root = self.root();
        self.run_on(RootfsInput::Directory(&root))
    }

    pub fn run_on(&self, rootfs: RootfsInput<'_>) -> Result<Ended, StartError> {
        let (io, stdout, stderr) = pipes();
        let started = self.start_on(rootfs, Some(io))?;
        let (stdout, stderr) = (read(stdout), read(stderr));
        let exit = pidfd::wait(started.pidfd.as_fd()).unwrap();
        started.cgroup.remove().unwrap();
        Ok(Ended { exit, stdout, stderr, warnings: started.warnings })
    }

    /// What the container printed, after it ended well.
    pub fn output(&self) -> String {
        let ended = self.run().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(ended.exit, Exit::Code(0), "{ended:?}");
        ended.stdout
    }

    /// The text of the failure to start; nothing may be left of the attempt.
    pub fn failure(&self) -> String {
        let error = self.run().expect_err("the start must fail");
        for hierarchy in ["memory", "pids", "unified", "."] {
            let left =
                Path::new("/sys/fs/cgroup").join(hierarchy).join(&self.cgroup[1..]).join("main");
            assert!(!left.exists(), "{} is left", left.display());
        }
        error.to_string()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let parent = self.cgroups.container(&self.cgroup);
        let _ = parent.kill();
        let _ = parent.remove();
    }
}

/// Pipes for a container's streams, and their read ends.
pub fn pipes() -> (Stdio, OwnedFd, OwnedFd) {
    let (out_reader, stdout) = klet_sys::fd::pipe().unwrap();
    let (err_reader, stderr) = klet_sys::fd::pipe().unwrap();
    (Stdio { stdin: None, stdout, stderr }, out_reader, err_reader)
}

/// All there is to read.
pub fn read(pipe: OwnedFd) -> String {
    let mut text = String::new();
    std::fs::File::from(pipe).read_to_string(&mut text).unwrap();
    text
}

pub const CAPABILITIES: [&str; 3] = ["CAP_CHOWN", "CAP_SETUID", "CAP_NET_BIND_SERVICE"];

/// A spec like those that pods get.
fn spec(cgroup: &str) -> Value {
    let quiet = ["nosuid", "noexec", "nodev"];
    json!({
        "ociVersion": "1.2.0",
        "process": {
            "user": {"uid": 0, "gid": 0, "additionalGids": [10, 20]},
            "args": ["true"],
            "env": ["PATH=/bin", "GREETING=hello"],
            "cwd": "/",
            "capabilities": {
                "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES,
            },
            "noNewPrivileges": true,
            "oomScoreAdj": 1000,
        },
        "root": {"path": "unused", "readonly": false},
        "hostname": "pod",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": quiet},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": quiet},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
             "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]},
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "resources": {"pids": {"limit": 50}},
            "namespaces": [
                {"type": "mount"}, {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"},
                {"type": "cgroup"},
            ],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/acpi", "/sys/firmware", "/proc/none"],
            "readonlyPaths": ["/proc/sys", "/proc/bus"],
        },
    })
}
