//! Failures, in the kubelet's words.

/// A volume or a part of one cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VolumeError {
    /// Event `FailedMount`.
    #[error("MountVolume.SetUp failed for volume {volume:?} : {why}")]
    SetUp { volume: String, why: String },
    /// `CreateContainerConfigError`: the sub-path leads out of its volume or cannot be bound.
    #[error("failed to prepare subPath for volumeMount {volume:?} of container {container:?}")]
    SubPath { volume: String, container: String },
    /// The sub-path is absent and cannot be made.
    #[error(
        "failed to create subPath directory for volumeMount {volume:?} of container {container:?}"
    )]
    SubPathDirectory { volume: String, container: String },
    /// Something below the pod's directory resists.
    #[error("cannot take down {path}: {why}")]
    TearDown { path: String, why: String },
}

impl VolumeError {
    pub(crate) fn set_up(volume: &str, why: String) -> Self {
        Self::SetUp { volume: volume.to_owned(), why }
    }
}
