//! Processor time, memory and disk writes, as the kernel counts them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The processor time of a control group and all below it.
#[derive(Debug, Clone)]
pub struct Account(PathBuf);

impl Account {
    /// Makes the group `name` (a path below the mount) if it is missing.
    ///
    /// # Errors
    /// The machine has no control group that counts processor time.
    pub fn make(name: &str) -> anyhow::Result<Self> {
        let account = Self::of(name);
        fs::create_dir_all(&account.0)
            .with_context(|| format!("cannot make the cgroup {}", account.0.display()))?;
        Ok(account)
    }

    /// A group that somebody else makes.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let v1 = Path::new("/sys/fs/cgroup/cpuacct");
        let mount = if v1.is_dir() { v1 } else { Path::new("/sys/fs/cgroup") };
        Self(mount.join(name.trim_start_matches('/')))
    }

    /// Moves a process into the group.
    ///
    /// # Errors
    /// The process is gone.
    pub fn admit(&self, pid: u32) -> anyhow::Result<()> {
        let path = self.0.join("cgroup.procs");
        fs::write(&path, pid.to_string())
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Milliseconds of processor time used so far; 0 for a group that does not exist.
    #[must_use]
    pub fn used(&self) -> f64 {
        if let Ok(text) = fs::read_to_string(self.0.join("cpuacct.usage")) {
            return text.trim().parse::<f64>().unwrap_or(0.0) / 1e6;
        }
        let text = fs::read_to_string(self.0.join("cpu.stat")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
        line.and_then(|number| number.trim().parse::<f64>().ok()).unwrap_or(0.0) / 1e3
    }
}

/// Milliseconds of processor time of this process itself.
#[must_use]
pub fn own_time() -> f64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID);
    time.map_or(0.0, |time| time.tv_sec() as f64 * 1e3 + time.tv_nsec() as f64 / 1e6)
}

/// The proportional set size of a process, KiB.
///
/// # Errors
/// The process is gone.
pub fn pss(pid: u32) -> anyhow::Result<f64> {
    field(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
}

/// Bytes that the process caused to be written to a disk.
///
/// # Errors
/// The process is gone.
pub fn written(pid: u32) -> anyhow::Result<f64> {
    field(&format!("/proc/{pid}/io"), "write_bytes:")
}

/// Threads of a process.
///
/// # Errors
/// The process is gone.
pub fn threads(pid: u32) -> anyhow::Result<f64> {
    field(&format!("/proc/{pid}/status"), "Threads:")
}

/// How often the threads of a process were woken up: they gave the processor away by themselves.
///
/// # Errors
/// The process is gone.
pub fn wakeups(pid: u32) -> anyhow::Result<f64> {
    let mut sum = 0.0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        let status = task.path().join("status");
        sum += field(&status.to_string_lossy(), "voluntary_ctxt_switches:")?;
    }
    Ok(sum)
}

fn field(path: &str, name: &str) -> anyhow::Result<f64> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let word = line.and_then(|rest| rest.split_whitespace().next());
    word.and_then(|word| word.parse().ok()).with_context(|| format!("{path} has no {name}"))
}

/// Every process that runs a program of this name, also one without a file: `(pid, parent)`.
#[must_use]
pub fn processes(program: &str) -> Vec<(u32, u32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let image = fs::read_link(entry.path().join("exe")).ok()?;
            let name = image.file_name()?.to_str()?;
            let name = name.strip_prefix("memfd:").unwrap_or(name);
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
            (name.trim_end_matches(" (deleted)") == program).then_some((pid, parent))
        })
        .collect()
}
