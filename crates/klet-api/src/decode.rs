//! Strict, positioned decoding of JSON into Kubernetes types.
//!
//! One pass does three things: it builds the typed object, finds every unknown and duplicate
//! field, and, when a value has the wrong kind, says where and what was expected. No schema is
//! needed: the types' own `Deserialize` announces the known field names of each struct.

mod access;
mod amount;
mod tracker;
mod wrap;

use serde::de::DeserializeOwned;
use serde_json::Value;

use tracker::Tracker;
pub use tracker::{DecodeError, StrictError};
use wrap::Tracked;

/// A decoded object and what strict field validation has to say about it.
#[derive(Clone, Debug)]
pub struct Decoded<T> {
    /// The object, unknown fields dropped, quantities in canonical form.
    pub object: T,
    /// Unknown and duplicate fields, in document order.
    pub strict: Vec<StrictError>,
}

impl<T> Decoded<T> {
    /// The object, or all strict errors if there are any (`fieldValidation=Strict`).
    ///
    /// # Errors
    /// [`StrictErrors`] when the document has unknown or duplicate fields.
    pub fn into_strict(self) -> Result<T, StrictErrors> {
        if self.strict.is_empty() { Ok(self.object) } else { Err(StrictErrors(self.strict)) }
    }
}

/// All strict errors of a document; Display is the API server's text
/// (`strict decoding error: unknown field "spec.foo", duplicate field "spec.bar"`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrictErrors(pub Vec<StrictError>);

impl std::fmt::Display for StrictErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("strict decoding error: ")?;
        for (i, error) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for StrictErrors {}

/// Decodes JSON text. Duplicate fields are found (the last one wins).
///
/// # Errors
/// [`DecodeError`] when the text is not JSON or a value has the wrong kind.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<Decoded<T>, DecodeError> {
    let mut tracker = Tracker::default();
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let result = T::deserialize(Tracked::new(&mut json, &mut tracker)).and_then(|object| {
        json.end()?;
        Ok(object)
    });
    finish(result, tracker)
}

/// Decodes a JSON value (which cannot hold duplicates).
///
/// # Errors
/// [`DecodeError`] when a value has the wrong kind.
pub fn from_value<T: DeserializeOwned>(value: &Value) -> Result<Decoded<T>, DecodeError> {
    let mut tracker = Tracker::default();
    let result = T::deserialize(Tracked::new(value, &mut tracker));
    finish(result, tracker)
}

fn finish<T>(
    result: Result<T, serde_json::Error>,
    tracker: Tracker,
) -> Result<Decoded<T>, DecodeError> {
    match result {
        Ok(object) => Ok(Decoded { object, strict: tracker.into_strict() }),
        Err(error) => Err(tracker.into_error(&error)),
    }
}

#[cfg(test)]
mod tests;
