//! `podman`, with storage, state and network configuration of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::oci::installed;
use crate::account::Account;
use crate::world::archive;

/// Podman and the place of its files.
#[derive(Debug)]
pub struct Podman {
    program: PathBuf,
    dir: PathBuf,
    /// Its containers' processor time.
    pub containers: Account,
}

impl Podman {
    /// `None` when podman or what it needs for pods is not installed.
    ///
    /// # Errors
    /// The image cannot be loaded.
    pub fn new(dir: &Path) -> anyhow::Result<Option<Self>> {
        let (Some(program), Some(_), true) =
            (installed("podman"), installed("catatonit"), installed("crun").is_some())
        else {
            return Ok(None);
        };
        let containers = Account::of("libpod_parent");
        let podman = Self { program, dir: dir.join("podman"), containers };
        fs::create_dir_all(podman.dir.join("net"))?;
        fs::write(
            podman.dir.join("containers.conf"),
            // Without CAP_SYS_RESOURCE podman's own defaults are refused by the kernel.
            "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=20000:20000\"]\n\
             [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n",
        )?;
        let image = archive("busybox");
        podman.run(&["load", "--quiet", "--input", &image.to_string_lossy()])?;
        Ok(Some(podman))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env("CONTAINERS_CONF", self.dir.join("containers.conf"))
            .arg("--root")
            .arg(self.dir.join("store"))
            .arg("--runroot")
            .arg(self.dir.join("runroot"))
            .arg("--network-config-dir")
            .arg(self.dir.join("net"))
            .args(["--runtime", "crun"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// It fails.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<()> {
        self.wait(self.spawn(arguments)?, arguments)
    }

    /// Starts a command. Its errors go to a file, because containers inherit the stream.
    ///
    /// # Errors
    /// It cannot be executed.
    pub fn spawn(&self, arguments: &[&str]) -> anyhow::Result<Child> {
        let errors = fs::File::create(self.dir.join("errors"))?;
        self.command(arguments).stderr(errors).spawn().context("cannot execute podman")
    }

    /// Waits for a command.
    ///
    /// # Errors
    /// It failed.
    pub fn wait(&self, mut child: Child, arguments: &[&str]) -> anyhow::Result<()> {
        let status = child.wait()?;
        let text = fs::read_to_string(self.dir.join("errors")).unwrap_or_default();
        ensure!(status.success(), "podman {arguments:?}: {text}");
        Ok(())
    }

    /// Writes a manifest (JSON is YAML) and gives its path.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn manifest(&self, name: &str, pod: &Value) -> anyhow::Result<String> {
        let path = self.dir.join(format!("{name}.yaml"));
        fs::write(&path, pod.to_string())?;
        Ok(path.to_string_lossy().into_owned())
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = self.run(&["pod", "rm", "--force", "--time", "0", "--all"]);
        let _ = self.run(&["rm", "--force", "--time", "0", "--all"]);
    }
}
