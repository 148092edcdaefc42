//! Pod volumes on the node: emptyDir, hostPath, configMap, secret, downwardAPI, projected, and safe
//! sub-paths.
//!
//! kletd makes volumes ready before the sandbox exists and takes them down after the last
//! container ended. Everything lies below the pod's own directory, which no container can reach:
//!
//! ```text
//! <base>/volumes/kubernetes.io~empty-dir/NAME     0777; tmpfs for medium Memory
//! <base>/volumes/kubernetes.io~configmap/NAME     written atomically
//! <base>/volumes/kubernetes.io~secret/NAME        the same, on tmpfs; so ~projected, ~downward-api
//! <base>/volume-subpaths/VOLUME/CONTAINER/INDEX   bind mounts of checked sub-paths
//! ```
//!
//! What lies *inside* a volume was written by a container and is hostile: it is only ever reached by
//! handles, without following links out of the volume and without crossing into another mount.
#![forbid(unsafe_code)]

mod atomic;
mod downward;
mod empty_dir;
mod error;
mod host_path;
mod mounts;
mod ownership;
mod payload;
mod remove;
mod set_up;
mod sub_path;
mod usage;

use std::path::{Path, PathBuf};

use klet_api::Pod;
use klet_api::k8s_openapi::api::core::v1::{ConfigMap, ResourceFieldSelector, Secret};

pub use error::VolumeError;
pub use mounts::{share, tear_down};
pub use set_up::{set_up, update};
pub use sub_path::{SubPath, sub_path};
pub use usage::{Usage, usage};

/// Where references lead.
pub trait Sources {
    /// A ConfigMap, if it exists.
    fn config_map(&self, namespace: &str, name: &str) -> Option<ConfigMap>;

    /// A Secret, if it exists.
    fn secret(&self, namespace: &str, name: &str) -> Option<Secret>;

    /// A `resourceFieldRef` of a downwardAPI file: it needs what the node has to give.
    ///
    /// # Errors
    /// The text for the pod's `FailedMount` event.
    fn resource(&self, _pod: &Pod, selector: &ResourceFieldSelector) -> Result<String, String> {
        Err(format!("resource {} is not available in volumes on this node", selector.resource))
    }
}

/// A pod's directory on the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodDirs {
    base: PathBuf,
}

impl PodDirs {
    /// `base` is `<root>/pods/<uid>`.
    #[must_use]
    pub fn new(base: PathBuf) -> Self {
        Self { base }
    }

    /// The pod's directory.
    #[must_use]
    pub fn base(&self) -> &Path {
        &self.base
    }

    fn volume(&self, plugin: &str, name: &str) -> PathBuf {
        self.base.join("volumes").join(format!("kubernetes.io~{plugin}")).join(name)
    }

    fn sub_paths(&self) -> PathBuf {
        self.base.join("volume-subpaths")
    }
}

/// A volume that is ready to be mounted into containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodVolume {
    /// Where it lies on the host.
    pub host_path: PathBuf,
    /// Containers get it read-only whatever their mounts say (configMap, secret and the like).
    pub read_only_always: bool,
}

#[cfg(test)]
mod tests;
