//! What can go wrong with control groups, each with the file it happened to.

use std::io;
use std::path::{Path, PathBuf};

/// A control group operation failed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// Neither cgroup v1 controllers nor a cgroup2 mount were found.
    #[error("no cgroup hierarchy is mounted: mount cgroup2 on /sys/fs/cgroup")]
    NotMounted,
    /// The path was refused before anything was touched.
    #[error("cgroup path {path:?}: {why}")]
    Path { path: String, why: &'static str },
    /// A system call on a control file or directory failed.
    #[error("{operation} {}", path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A v2 group that holds processes cannot hand its controllers down.
    #[error(
        "{} holds processes ({}), so groups below it get no controllers: move them to a child of it, or \
         choose a cgroup parent that does not lead through it", path.display(), listed(pids)
    )]
    Occupied { path: PathBuf, pids: Vec<i32> },
    /// The kernel refused a limit that was asked for.
    #[error("write {value:?} to {}", file.display())]
    Limit {
        file: PathBuf,
        value: String,
        #[source]
        source: io::Error,
    },
    /// The resources contradict themselves or cannot be expressed.
    #[error("{0}")]
    Resources(String),
    /// The kernel did not get there in time.
    #[error("{operation} {}: not done after {millis} ms", path.display())]
    Timeout { operation: &'static str, path: PathBuf, millis: u64 },
}

impl CgroupError {
    pub(super) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { operation, path: path.to_owned(), source }
    }
}

/// The first few, for a message.
fn listed(pids: &[i32]) -> String {
    let mut words: Vec<_> = pids.iter().take(5).map(ToString::to_string).collect();
    if pids.len() > words.len() {
        words.push("…".to_owned());
    }
    words.join(", ")
}

/// Something optional was not set; the container runs without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The control file, or its name when the hierarchy is missing.
    pub file: String,
    pub value: String,
    pub reason: String,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} was not set to {:?}: {}", self.file, self.value, self.reason)
    }
}
