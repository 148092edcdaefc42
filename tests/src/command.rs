//! The command line in a world: `kletctl` as users run it, with pipes or a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::{World, binary, patience};

impl World {
    /// `kletctl` with the world's socket, not yet run.
    #[must_use]
    pub fn kletctl_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary("kletctl"));
        command.env("KLET_SOCKET", self.path("run/klet.sock")).args(args);
        command
    }

    /// Runs `kletctl` to its end, without input.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn kletctl(&self, args: &[&str]) -> anyhow::Result<Output> {
        let mut command = self.kletctl_command(args);
        command.stdin(Stdio::null()).output().context("cannot run kletctl (make build)")
    }

    /// Runs `kletctl` with a text as its input.
    ///
    /// # Errors
    /// It cannot be run, or ends before it has read the text.
    pub fn kletctl_with(&self, args: &[&str], input: &str) -> anyhow::Result<Output> {
        let mut command = self.kletctl_command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot run kletctl (make build)")?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        let text = input.to_owned();
        let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
        let output = child.wait_with_output()?;
        writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
        Ok(output)
    }

    /// Runs `kletctl` and gives its standard output.
    ///
    /// # Errors
    /// It cannot be run, or fails; with what it said.
    pub fn kletctl_ok(&self, args: &[&str]) -> anyhow::Result<String> {
        let output = self.kletctl(args)?;
        ensure!(output.status.success(), "kletctl {args:?}: {output:?}");
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// A command on a terminal of its own: what a person at a keyboard sees.
#[derive(Debug)]
pub struct Session {
    child: Child,
    master: File,
    seen: String,
    more: Receiver<Vec<u8>>,
}

impl Session {
    /// Starts a command as the owner of a new terminal of this size.
    ///
    /// # Errors
    /// There is no terminal to be had, or the command cannot be run.
    pub fn start(command: &Command, (columns, rows): (u16, u16)) -> anyhow::Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let slave = File::options()
            .read(true)
            .write(true)
            .open(std::ffi::OsString::from(ptsname(&master, Vec::new())?.into_string()?))?;
        let master = File::from(master);
        tcsetwinsize(&master, size(columns, rows))?;
        // setsid makes the terminal the controlling one and then becomes the command.
        let mut owner = Command::new("setsid");
        owner.arg("--ctty").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            owner.env(name, value.unwrap_or_default());
        }
        owner.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave);
        let child = owner.spawn()?;
        let (sender, more) = channel();
        let mut reader = master.try_clone()?;
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            // Ends when the last process has left the terminal.
            while let Ok(count @ 1..) = reader.read(&mut chunk) {
                if sender.send(chunk[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, master, seen: String::new(), more })
    }

    /// Types a text.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn type_in(&mut self, text: &str) -> anyhow::Result<()> {
        Ok(self.master.write_all(text.as_bytes())?)
    }

    /// Changes the size of the window.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn resize(&self, columns: u16, rows: u16) -> anyhow::Result<()> {
        Ok(tcsetwinsize(&self.master, size(columns, rows))?)
    }

    /// Waits until a text has appeared since the last text waited for.
    ///
    /// # Errors
    /// It does not appear in time.
    pub fn expect(&mut self, text: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience();
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.more.recv_timeout(left) {
                Ok(chunk) => self.seen.push_str(&String::from_utf8_lossy(&chunk)),
                Err(end) => bail!("{text:?} never appeared ({end}): {:?}", self.seen),
            }
        }
    }

    /// Waits for the command's end and gives its exit code.
    ///
    /// # Errors
    /// A signal ended it.
    pub fn end(mut self) -> anyhow::Result<i32> {
        self.child.wait()?.code().context("ended by a signal")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // After end() there is nobody left to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }
}
