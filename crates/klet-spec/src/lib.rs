//! From a pod and an image to an OCI runtime spec. Pure: values in, a value out.
//!
//! * [`environment`]: the container's variables and `$(NAME)` expansion;
//! * [`resources`]: cgroup settings, QoS class, `oom_score_adj`;
//! * [`security`]: capabilities, user, masked paths;
//! * [`seccomp`]: the `RuntimeDefault` profile;
//! * [`mounts`]: what every container sees below `/`;
//! * [`compose`]: all of it put together.
#![forbid(unsafe_code)]

pub mod compose;
pub mod environment;
pub mod mounts;
pub mod resources;
pub mod seccomp;
pub mod security;

/// A container that cannot be configured, under the kubelet's reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// `CreateContainerConfigError`: the pod refers to something that is not there or not allowed.
    #[error("{0}")]
    Config(String),
    /// `CreateContainerError`: the runtime could not make a container of it.
    #[error("{0}")]
    Create(String),
}

impl ConfigError {
    /// The waiting reason under which the kubelet shows this error.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Config(_) => "CreateContainerConfigError",
            Self::Create(_) => "CreateContainerError",
        }
    }
}
