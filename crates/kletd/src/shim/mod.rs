//! Shims as kletd sees them: started, spoken to, found again.

pub mod client;
pub mod launch;

pub use client::{ANSWER, CallError, Shim, WORK};
pub use launch::Launcher;
