//! Tests of field errors.
