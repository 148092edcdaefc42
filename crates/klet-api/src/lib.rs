//! Kubernetes objects for klet. Pure: no I/O, no clock.
#![forbid(unsafe_code)]

pub use k8s_openapi;
pub use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus};

pub mod duration;
pub mod patch;
pub mod table;
pub mod decode;
pub mod defaults;
pub mod field;
pub mod quantity;
pub mod unsupported;
pub mod validate;
pub mod names;
pub mod selector;
pub mod status_error;
pub mod manifest;
pub mod to_yaml;
