//! Ids of sandboxes and containers: 64 hex digits, random.

use anyhow::Context;

/// A new id.
///
/// # Errors
/// The kernel has no randomness to give.
pub fn random() -> anyhow::Result<String> {
    Ok(hex(&bytes::<32>()?))
}

/// A short random name, 8 hex digits.
///
/// # Errors
/// As [`random`].
pub fn short() -> anyhow::Result<String> {
    Ok(hex(&bytes::<4>()?))
}

fn bytes<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(anyhow::Error::from).context("no random id")?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
