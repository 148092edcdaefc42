//! Manifests as people write them: multi-document YAML or JSON, read the way kubectl reads them,
//! with the source position of every field.
//!
//! Scalars follow Go's YAML 1.1 rules (`yes` is true, `0644` is octal), merge keys and anchors
//! work within a budget, duplicate keys are errors, and `List` objects are flattened.

mod compose;
mod error;
mod place;
mod scalar;

use std::sync::Arc;

use serde_json::Value;

pub use error::{ManifestError, excerpt};
pub use place::Mark;
use place::Place;

/// Largest manifest accepted, in bytes; the API server's own limit is lower.
pub const MAX_TEXT: usize = 16 * 1024 * 1024;

/// One object of a manifest.
#[derive(Clone, Debug)]
pub struct Document {
    /// The object.
    pub value: Value,
    /// The file it came from, as named to [`parse`].
    pub file: Arc<str>,
    place: Place,
}

impl Document {
    /// Line and column (both from 1) of the value at `field_path`, such as
    /// `spec.containers[0].image`. A path that does not exist leads to its nearest existing
    /// ancestor. `None` only when the document carries no positions.
    #[must_use]
    pub fn locate(&self, field_path: &str) -> Option<(usize, usize)> {
        self.mark(field_path).map(|m| (m.line, m.column))
    }

    /// Like [`locate`](Self::locate), but the place of the field's name rather than its value.
    #[must_use]
    pub fn locate_key(&self, field_path: &str) -> Option<(usize, usize)> {
        self.key_mark(field_path).map(|m| (m.line, m.column))
    }

    /// The full source range of the value at `field_path`, for [`excerpt`].
    #[must_use]
    pub fn mark(&self, field_path: &str) -> Option<Mark> {
        self.place.find(field_path).0
    }

    /// The full source range of the name of the field at `field_path`.
    #[must_use]
    pub fn key_mark(&self, field_path: &str) -> Option<Mark> {
        let (value, key) = self.place.find(field_path);
        key.or(value)
    }

    /// The object's `kind`, empty if it has none.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.value.get("kind").and_then(Value::as_str).unwrap_or_default()
    }

    /// The object's `apiVersion`, empty if it has none.
    #[must_use]
    pub fn api_version(&self) -> &str {
        self.value.get("apiVersion").and_then(Value::as_str).unwrap_or_default()
    }

    /// The object's name, empty if it has none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
    }
}

/// Reads all objects of a manifest. Empty documents are skipped.
///
/// # Errors
/// [`ManifestError`] with file, line and column for the first thing that cannot be read.
pub fn parse(text: &str, file_name: &str) -> Result<Vec<Document>, ManifestError> {
    let file: Arc<str> = file_name.into();
    if text.len() > MAX_TEXT {
        let message = format!("the manifest is larger than {} MiB", MAX_TEXT / 1024 / 1024);
        return Err(ManifestError::new(&file, None, message));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = Vec::new();
    for (value, place) in read(text, &file)? {
        flatten(value, place, &file, &mut documents)?;
    }
    Ok(documents)
}

/// Reads a text of one value of any shape, such as a patch.
///
/// # Errors
/// [`ManifestError`] with file, line and column, also when there are several documents or none.
pub fn value(text: &str, file_name: &str) -> Result<Value, ManifestError> {
    let file: Arc<str> = file_name.into();
    let mut documents = read(text, &file)?;
    match (documents.pop(), documents.first()) {
        (Some((value, _)), None) => Ok(value),
        (None, _) => Err(ManifestError::new(&file, None, "expected a value, found nothing")),
        (Some((_, place)), Some(_)) => {
            let message = "expected one document, found another";
            Err(ManifestError::new(&file, place.mark(), message))
        }
    }
}

/// Whether a plain (unquoted) scalar is read as text, and as nothing else.
pub(crate) fn is_plain_text(text: &str) -> bool {
    matches!(scalar::resolve(text), Some(Value::String(_)))
}

/// The documents of a text. YAML is a superset of JSON but for details, so a text that looks like
/// JSON and is not YAML gets a second chance as a stream of JSON values, without positions.
fn read(text: &str, file: &Arc<str>) -> Result<Vec<(Value, Place)>, ManifestError> {
    let result = compose::documents(text, file);
    match result {
        Err(error) if error.is_syntax() && text.trim_start().starts_with('{') => {
            read_json(text, file)
        }
        other => other,
    }
}

fn read_json(text: &str, file: &Arc<str>) -> Result<Vec<(Value, Place)>, ManifestError> {
    serde_json::Deserializer::from_str(text)
        .into_iter::<Value>()
        .map(|value| value.map(|v| (v, Place::unknown())))
        .collect::<Result<_, _>>()
        .map_err(|e| {
            let mark = Mark { line: e.line(), column: e.column(), start: 0, end: 0 };
            let full = e.to_string();
            let message = full.rsplit_once(" at line ").map_or(full.as_str(), |(m, _)| m);
            ManifestError::new(file, Some(mark), format!("not valid JSON: {message}"))
        })
}

fn flatten(
    value: Value,
    place: Place,
    file: &Arc<str>,
    out: &mut Vec<Document>,
) -> Result<(), ManifestError> {
    if value.is_null() {
        return Ok(());
    }
    let Value::Object(mut object) = value else {
        let found = scalar::describe(&value);
        let message = format!("expected an object with apiVersion and kind, found {found}");
        return Err(ManifestError::new(file, place.mark(), message));
    };
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    let item_kind = kind.strip_suffix("List").map(str::to_owned);
    match (item_kind, object.get_mut("items").map(Value::take)) {
        (Some(item_kind), Some(Value::Array(items))) => {
            let places = place.into_items("items");
            for (mut item, place) in items.into_iter().zip(places) {
                inherit_type(&mut item, &item_kind, object.get("apiVersion"));
                flatten(item, place, file, out)?;
            }
        }
        (_, taken) => {
            if let Some(items) = taken {
                object.insert("items".into(), items);
            }
            out.push(Document { value: Value::Object(object), file: file.clone(), place });
        }
    }
    Ok(())
}

/// Items of a typed list (`PodList`) may leave out what the list already says.
fn inherit_type(item: &mut Value, kind: &str, api_version: Option<&Value>) {
    let Value::Object(item) = item else { return };
    if kind.is_empty() {
        return;
    }
    item.entry("kind").or_insert_with(|| kind.into());
    if let Some(version) = api_version {
        item.entry("apiVersion").or_insert_with(|| version.clone());
    }
}

#[cfg(test)]
mod tests;
