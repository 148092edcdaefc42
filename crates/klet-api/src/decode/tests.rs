//! Tests of strict decoding.
