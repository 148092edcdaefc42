//! Tests of YAML output.
