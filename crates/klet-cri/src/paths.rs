//! Names of the files through which kletd and shims find each other.
//!
//! ```text
//! <run>/pods/<uid>/            0700, one per pod, tmpfs in production: gone after a reboot
//!   shim.sock                  control socket, 0600
//!   shim.json                  ShimIdentity, written before the socket listens
//!   shm/                       mount point of the pod's /dev/shm (in the shim's mount namespace only)
//!   containers/<id>.json       ContainerRecord, rewritten (tmp + rename) at every state change
//! ```

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::message::ContainerSnapshot;

/// Which process is the shim of a pod: enough to never mistake another process for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimIdentity {
    pub pid: i32,
    /// Field 22 of `/proc/<pid>/stat`, clock ticks after boot.
    pub start_time: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// The pod's cgroup, so that what a dead shim left can be killed.
    pub cgroup_parent: String,
    pub version: String,
}

/// One file of `containers/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRecord {
    pub container: ContainerSnapshot,
}

/// The runtime directory of one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodRunDir(PathBuf);

impl PodRunDir {
    #[must_use]
    pub fn new(run: &Path, pod_uid: &str) -> Self {
        Self(run.join("pods").join(pod_uid))
    }
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.0.join("shim.sock")
    }
    #[must_use]
    pub fn identity(&self) -> PathBuf {
        self.0.join("shim.json")
    }
    #[must_use]
    pub fn shm(&self) -> PathBuf {
        self.0.join("shm")
    }
    #[must_use]
    pub fn containers(&self) -> PathBuf {
        self.0.join("containers")
    }
    #[must_use]
    pub fn record(&self, container_id: &str) -> PathBuf {
        self.containers().join(format!("{container_id}.json"))
    }
}
