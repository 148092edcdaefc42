//! `crun` and `runc`: one command per container.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::Value;

/// The path of a program, if it is installed.
#[must_use]
pub fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    let mut places = std::env::split_paths(&path).chain(system).map(|place| place.join(program));
    places.find(|path| path.is_file())
}

/// A runtime with a bundle: `config.json` beside nothing.
#[derive(Debug)]
pub struct Runtime {
    program: PathBuf,
    bundle: PathBuf,
}

impl Runtime {
    /// `None` when the program is not installed.
    ///
    /// # Errors
    /// The bundle cannot be written.
    pub fn new(program: &str, bundle: &Path, config: &Value) -> anyhow::Result<Option<Self>> {
        fs::create_dir_all(bundle)?;
        fs::write(bundle.join("config.json"), serde_json::to_vec(config)?)?;
        let bundle = bundle.to_owned();
        Ok(installed(program).map(|program| Self { program, bundle }))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(&self.bundle).stdin(Stdio::null());
        command.stdout(Stdio::null());
        command
    }

    fn execute(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let output = self.command(arguments).stderr(Stdio::piped()).output();
        let output =
            output.with_context(|| format!("cannot execute {}", self.program.display()))?;
        let text = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{} {arguments:?}: {text}", self.program.display());
        Ok(())
    }

    /// `run`: from nothing to a container that has run and is gone.
    ///
    /// # Errors
    /// The runtime fails.
    pub fn run(&self, id: &str) -> anyhow::Result<()> {
        self.execute(&["run", id])
    }

    /// Starts a container that stays.
    ///
    /// # Errors
    /// The runtime fails.
    pub fn start(&self, id: &str) -> anyhow::Result<()> {
        // The container keeps the streams open: nobody may wait for their end.
        let mut command = self.command(&["run", "--detach", id]);
        let status = command.stderr(Stdio::null()).status()?;
        ensure!(status.success(), "{} run --detach failed", self.program.display());
        Ok(())
    }

    /// `exec` of a program in a container that runs.
    ///
    /// # Errors
    /// The runtime fails.
    pub fn exec(&self, id: &str, program: &str) -> anyhow::Result<()> {
        self.execute(&["exec", id, program])
    }

    /// Ends a container.
    ///
    /// # Errors
    /// The runtime fails.
    pub fn remove(&self, id: &str) -> anyhow::Result<()> {
        self.execute(&["delete", "--force", id])
    }
}
