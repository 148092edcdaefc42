//! What is measured: one module per group of rows.

pub mod container;
pub mod many;
pub mod memory;
pub mod pod;
pub mod probe;

use std::time::Instant;

/// Milliseconds that `act` takes.
///
/// # Errors
/// Those of `act`.
pub fn timed(act: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let begun = Instant::now();
    act()?;
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}
