//! The test machine itself: a QEMU process, its two serial lines, and an end in any case.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// The line before it says how the tests went.
const VERDICT: &str = "klet-vm: ";

/// What to boot.
#[derive(Debug)]
pub(crate) struct Machine<'a> {
    pub(crate) kernel: &'a Path,
    pub(crate) archive: &'a Path,
    /// Where the kernel's own console goes.
    pub(crate) console: &'a Path,
    pub(crate) accelerator: &'a str,
    pub(crate) deadline: Duration,
}

impl Machine<'_> {
    /// Boots it, hands what the tests print to `out` as it comes, and returns the verdict's words.
    ///
    /// # Errors
    /// It does not start, ends without a verdict, or is not done by the deadline.
    pub(crate) fn run(&self, out: &mut impl Write) -> anyhow::Result<String> {
        let mut command = self.command();
        // QEMU's own complaints stand before what the kernel says.
        command.stderr(File::create(self.console)?);
        follow(&mut command, self.deadline, out)
    }

    fn command(&self) -> Command {
        // It does not outlive this program either, however this program ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
        command.args(["-machine", "q35", "-cpu", "max", "-smp", "2", "-m", "4G", "-nodefaults"]);
        command.args(["-accel", self.accelerator, "-display", "none", "-no-reboot"]);
        command.arg("-serial").arg(format!("file:{}", self.console.display()));
        command.args(["-serial", "stdio"]);
        command.arg("-kernel").arg(self.kernel).arg("-initrd").arg(self.archive);
        command.args(["-append", "console=ttyS0 quiet panic=-1 cgroup_no_v1=all"]);
        command
    }
}

fn follow(
    command: &mut Command,
    deadline: Duration,
    out: &mut impl Write,
) -> anyhow::Result<String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut machine = Ended(command.spawn().context("cannot start setpriv and QEMU")?);
    let output = machine.0.stdout.take().context("no output")?;
    let (sender, lines) = channel();
    let reader = std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            if sender.send(std::mem::take(&mut line)).is_err() {
                break;
            }
        }
    });
    let end = Instant::now() + deadline;
    let mut verdict = None;
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                let text = String::from_utf8_lossy(&line);
                match text.trim_end().strip_prefix(VERDICT) {
                    Some(words) => verdict = Some(words.to_owned()),
                    None => out.write_all(&line)?,
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                bail!("the virtual machine was not done after {deadline:?} and was ended")
            }
        }
    }
    machine.0.wait()?;
    let _ = reader.join();
    verdict.context("the virtual machine ended without a verdict")
}

/// A process that does not outlive its owner.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that does as the script says.
    fn follow_script(script: &str, deadline: Duration) -> (Result<String, String>, String) {
        let mut out = Vec::new();
        let verdict = follow(Command::new("sh").args(["-c", script]), deadline, &mut out);
        (verdict.map_err(|error| error.to_string()), String::from_utf8(out).unwrap())
    }

    #[test]
    fn output_is_handed_on_and_the_verdict_kept() {
        let minute = Duration::from_secs(60);
        let script = "echo == a; printf 'klet-vm: failed: a b\\r\\n'; echo end";
        let (verdict, out) = follow_script(script, minute);
        assert_eq!((verdict.as_deref(), &*out), (Ok("failed: a b"), "== a\nend\n"));
        let (verdict, _) = follow_script("echo klet-vm:", minute);
        assert_eq!(verdict.unwrap_err(), "the virtual machine ended without a verdict");
    }

    #[test]
    fn what_hangs_is_ended() {
        let (verdict, _) = follow_script("exec sleep 1000", Duration::from_secs(1));
        assert_eq!(verdict.unwrap_err(), "the virtual machine was not done after 1s and was ended");
    }
}
