//! The Kubernetes API over HTTP: objects, watch, patch, streams. Knows no processes.
//!
//! [`ApiServer`] answers requests over a [`klet_store::Store`]; [`Registry`] gives the
//! daemon the same objects without HTTP; [`Node`], [`Admission`] and [`Extension`] are
//! what it asks of the daemon.
#![forbid(unsafe_code)]

pub mod body;
mod container;
mod delete;
mod discovery;
mod error;
pub mod events;
mod exec;
mod hooks;
mod log;
mod meta;
mod mirror;
mod namespace;
mod present;
mod query;
mod read;
mod registry;
mod remove;
mod resource;
mod route;
mod select;
mod server;
mod strategy;
mod watch;
mod write;

pub use body::{Body, BoxError, ByteStream};
pub use discovery::{KUBERNETES, git_version};
pub use error::ApiError;
pub use events::EventRecord;
pub use hooks::{
    Admission, AdmitAll, ExecRequest, ExecSession, Extension, LogOptions, LogStream, Node,
    NodeError,
};
pub use mirror::{MIRROR, node_uid};
pub use registry::{Registry, RegistryError, TypedEvent, TypedWatch};
pub use server::{ApiServer, Config, serve_connection, serve_unix};
