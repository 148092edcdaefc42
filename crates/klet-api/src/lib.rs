//! Kubernetes objects for klet: decoding, defaults, validation, selectors, tables, patches, and
//! the manifests people write. Pure: no I/O, no clock.
#![forbid(unsafe_code)]

pub use k8s_openapi;
pub use k8s_openapi::api::core::v1::{
    ConfigMap, Container, Event, Namespace, Node, Pod, PodSpec, PodStatus, Secret, Service,
};

pub mod decode;
pub mod defaults;
pub mod duration;
pub mod field;
pub mod manifest;
pub mod names;
pub mod patch;
pub mod quantity;
pub mod selector;
pub mod status_error;
pub mod table;
pub mod to_yaml;
pub mod unsupported;
pub mod validate;
