//! Durable Kubernetes objects: resourceVersion, optimistic concurrency, watch.
//!
//! ```text
//!  create/update/delete/modify ──► writer thread ──► redb (one fsync per group of writes)
//!                                      │ then
//!                                      ▼
//!  get/list ◄────────────────────── State: objects, one history ring per resource
//!  watch    ◄── woken, reads on ───────┘
//! ```
//!
//! What holds for every caller:
//!
//! * a write that returned `Ok` is on the disk;
//! * a write that returned an error left memory as it was;
//! * readers see only what is on the disk, in the order of `resourceVersion`;
//! * `resourceVersion` never repeats, across restarts too;
//! * a watch delivers every change after its start exactly once, or ends with [`Expired`].
#![forbid(unsafe_code)]

mod disk;
mod error;
mod key;
mod lock;
mod open;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod watch;
mod writer;

pub use error::{Expired, ModifyError, OpenError, WriteError};
pub use key::Key;
pub use state::{Event, EventKind, Object};
pub use store::{Options, Store};
pub use watch::Watch;
pub use writer::{Change, View};
