//! What goes wrong, on purpose: killed daemons, reboots, raw clients, odd mounts.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::{World, own_trees, patience, processes, walk};

/// How a daemon that was expected to end did.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl World {
    /// A new world whose daemon gets further arguments.
    ///
    /// # Errors
    /// As [`World::new`].
    pub fn with_arguments(images: &[&str], arguments: &[&str]) -> anyhow::Result<Self> {
        let mut world = Self::without_daemon()?;
        world.set_arguments(arguments);
        world.start()?;
        for image in images {
            world.load(image)?;
        }
        Ok(world)
    }

    /// Further arguments of daemons started from now on.
    pub fn set_arguments(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(ToString::to_string).collect();
    }

    /// The running daemon's process number.
    ///
    /// # Errors
    /// None runs.
    pub fn daemon_pid(&self) -> anyhow::Result<u32> {
        Ok(self.daemon.as_ref().context("no daemon runs")?.id())
    }

    /// Asks the daemon to stop, as a service manager does, and waits for it.
    ///
    /// # Errors
    /// It does not stop.
    pub fn stop_daemon(&mut self) -> anyhow::Result<Option<i32>> {
        let mut daemon = self.daemon.take().context("no daemon runs")?;
        Command::new("kill").arg(daemon.id().to_string()).status()?;
        Ok(daemon.wait()?.code())
    }

    /// Starts another daemon in this world that is expected to end by itself.
    ///
    /// # Errors
    /// It cannot be executed.
    pub fn doomed_daemon(&self, arguments: &[&str]) -> anyhow::Result<Ended> {
        let output = self.command(arguments).stdin(Stdio::null()).output()?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(Ended { code: output.status.code(), stderr })
    }

    /// What the daemons of this world have logged.
    #[must_use]
    pub fn daemon_log(&self) -> String {
        fs::read_to_string(self.path("kletd.log")).unwrap_or_default()
    }

    /// Bytes of memory that are the daemon's (PSS).
    ///
    /// # Errors
    /// No daemon runs.
    pub fn daemon_memory(&self) -> anyhow::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.daemon_pid()?))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        let kib: u64 = line.context("no Pss")?.trim().trim_end_matches(" kB").parse()?;
        Ok(kib << 10)
    }

    /// Kills the daemon and everything it runs, and takes away what does not outlive a machine:
    /// the run directory, the mounts, the network. The root directory stays.
    ///
    /// # Errors
    /// Something resists.
    pub fn reboot(&mut self) -> anyhow::Result<()> {
        self.kill_daemon()?;
        self.until("every process is gone", |world| {
            let pids = processes(&world.cgroup);
            for pid in &pids {
                Command::new("kill").args(["-9", pid]).output()?;
            }
            Ok(pids.is_empty().then_some(()))
        })?;
        for mount in self.mounts()? {
            self.inside(&["umount", "-l", &mount])?;
        }
        for tree in own_trees(&self.cgroup) {
            walk(&tree, &mut |path| drop(fs::remove_dir(path)));
        }
        fs::remove_dir_all(self.path("run"))?;
        self.inside(&["ip", "link", "delete", "klet0"])?;
        self.inside(&["nft", "flush", "ruleset"])?;
        Ok(())
    }

    /// Mount points below this world's directory, the innermost first.
    fn mounts(&self) -> anyhow::Result<Vec<String>> {
        let text = fs::read_to_string(format!("/proc/{}/mountinfo", self.holder.id()))?;
        let own = self.path("").display().to_string();
        let points = text.lines().filter_map(|line| line.split(' ').nth(4));
        let mut own: Vec<String> =
            points.filter(|point| point.starts_with(&own)).map(ToOwned::to_owned).collect();
        own.reverse();
        Ok(own)
    }

    /// Runs a command in the world's namespaces that must succeed.
    ///
    /// # Errors
    /// It fails; its error output.
    pub fn must(&self, command: &[&str]) -> anyhow::Result<()> {
        let output = self.enter(command).output()?;
        ensure!(
            output.status.success(),
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// A command in the world's namespaces, not started yet.
    #[must_use]
    pub fn enter(&self, command: &[&str]) -> Command {
        let mut entered = Command::new("nsenter");
        entered.args(["--net", "--mount", "--target", &self.holder.id().to_string()]);
        entered.args(command);
        entered
    }

    /// A connection to the API socket.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn connect(&self) -> anyhow::Result<UnixStream> {
        let stream = UnixStream::connect(self.path("run/klet.sock"))?;
        stream.set_read_timeout(Some(patience()))?;
        stream.set_write_timeout(Some(patience()))?;
        Ok(stream)
    }

    /// Sends bytes as they are and returns everything the daemon says until it closes. A daemon
    /// that closes before it has taken everything is no error.
    ///
    /// # Errors
    /// Nobody listens; the daemon does not close in time.
    pub fn raw(&self, bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
        let mut stream = self.connect()?;
        let _refused = stream.write_all(bytes);
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => {
                Err(error).context("the daemon does not close the connection")
            }
            Ok(_) | Err(_) => Ok(answer),
        }
    }

    /// Runs a command in a container by the exec subresource; everything that comes back, frames
    /// and all, until the daemon closes.
    ///
    /// # Errors
    /// As [`World::raw`].
    pub fn exec(&self, pod: &str, container: &str, command: &[&str]) -> anyhow::Result<Vec<u8>> {
        /// A close frame from a client: empty, with a mask of zeros.
        const CLOSE: [u8; 6] = [0x88, 0x80, 0, 0, 0, 0];
        let words: Vec<String> = command.iter().map(|word| format!("command={word}")).collect();
        let mut stream = self.connect()?;
        stream.write_all(
            format!(
                "GET /api/v1/namespaces/default/pods/{pod}/exec?container={container}&stdout=true&stderr=true&{} HTTP/1.1\r\n\
                 Host: klet\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
                 Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n",
                words.join("&")
            )
            .as_bytes(),
        )?;
        let mut answer = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            // The command's status is the last word.
            let over = answer.windows(8).any(|window| window == b"\"status\"");
            if over {
                let _gone = stream.write_all(&CLOSE);
            }
            match stream.read(&mut chunk) {
                Ok(0) => break,
                Err(error) if over && error.kind() == ErrorKind::ConnectionReset => break,
                count => answer.extend_from_slice(&chunk[..count?]),
            }
        }
        let text = String::from_utf8_lossy(&answer);
        ensure!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 101 "), "exec: {text}");
        Ok(answer)
    }
}
