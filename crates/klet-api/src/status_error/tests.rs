//! Tests of status_error.
