//! The Kubernetes API over HTTP: objects, watch, patch, streams. Knows no processes.
//!
//! [`ApiServer`] answers requests over a [`klet_store::Store`]; [`Registry`] gives the
//! daemon the same objects without HTTP; [`Node`], [`Admission`] and [`Extension`] are
//! what it asks of the daemon.
#![forbid(unsafe_code)]

pub mod body;
mod delete;
mod error;
pub mod events;
mod hooks;
mod meta;
mod query;
mod registry;
mod resource;
mod route;
mod server;
mod strategy;

pub use body::{Body, BoxError, ByteStream};
pub use error::ApiError;
pub use events::EventRecord;
pub use hooks::{
    Admission, AdmitAll, ExecRequest, ExecSession, Extension, LogOptions, LogStream, Node, NodeError,
};
pub use registry::{Registry, RegistryError, TypedEvent, TypedWatch};
pub use server::{ApiServer, Config, serve_connection, serve_unix};
