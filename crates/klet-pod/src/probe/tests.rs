//! Probe worker.
