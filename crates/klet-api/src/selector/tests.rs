//! Tests of selector.
