//! Programs that klet is measured against.

pub mod oci;
pub mod podman;
