//! What a pod should do next: pure decisions, made of values, for values.
//!
//! Nothing here reads a clock, does I/O or fails. `kletd` looks at the world
//! ([`Observed`]), keeps what the kubelet keeps in memory only ([`Memory`]), and asks:
//!
//! * [`plan::plan`]: which [`Action`]s now, and when to look again;
//! * [`status::status`]: what the API should say about the pod;
//! * [`fit`]: whether the node has room for it;
//! * [`probe`]: whether to probe now and what an outcome means;
//! * [`backoff`]: how long to wait before the next attempt.
#![forbid(unsafe_code)]

pub mod backoff;
pub mod fit;
mod memory;
pub mod model;
pub mod plan;
mod pods;
pub mod probe;
pub mod status;
#[cfg(test)]
mod testing;
pub mod text;

pub use model::{
    Action, ContainerKind, ContainerRecord, Kill, KillPod, Memory, NodeFacts, Observed, Plan,
    RecordState, Sandbox, Start, StartFailure, Time, Verdict, Verdicts,
};
