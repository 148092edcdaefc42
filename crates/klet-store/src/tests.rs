//! Tests that stand between redb and a simulated disk: power cuts and failing writes.

mod crash;
mod failure;
mod simulated;
