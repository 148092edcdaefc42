//! Field errors: one bad field of an object, rendered exactly as the API server renders it.

use std::fmt;

use serde_json::Value;

use crate::k8s_openapi::apimachinery::pkg::apis::meta::v1::StatusCause;

/// All bad fields of an object, in the order they were found.
pub type ErrorList = Vec<FieldError>;

/// The kind of a [`FieldError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A value is missing.
    Required,
    /// A value breaks a rule.
    Invalid,
    /// A value is not one of an enumeration.
    NotSupported,
    /// A value may not be given here.
    Forbidden,
    /// A value that must be unique is repeated.
    Duplicate,
    /// A reference leads nowhere.
    NotFound,
    /// A value has too many bytes.
    TooLong,
    /// A list has too many items.
    TooMany,
    /// The check itself failed.
    Internal,
}

impl ErrorKind {
    /// The cause reason used in `Status.details.causes`.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::Duplicate => "FieldValueDuplicate",
            Self::NotFound => "FieldValueNotFound",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::Internal => "InternalError",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Required => "Required value",
            Self::Invalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::Duplicate => "Duplicate value",
            Self::NotFound => "Not found",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
        }
    }
}

/// One bad field. Display is `PATH: TYPE: VALUE: DETAIL`, parts omitted when empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Where, such as `spec.containers[0].image`.
    pub path: String,
    /// What is wrong.
    pub kind: ErrorKind,
    /// The offending value, already rendered (strings quoted, objects as JSON).
    pub value: Option<String>,
    /// Why it is wrong; may be empty.
    pub detail: String,
}

impl FieldError {
    fn new(
        path: impl ToString,
        kind: ErrorKind,
        value: Option<Rendered>,
        detail: impl Into<String>,
    ) -> Self {
        Self { path: path.to_string(), kind, value: value.map(|v| v.0), detail: detail.into() }
    }

    /// `PATH: Required value[: detail]`
    #[must_use]
    pub fn required(path: impl ToString, detail: impl Into<String>) -> Self {
        Self::new(path, ErrorKind::Required, None, detail)
    }

    /// `PATH: Invalid value: VALUE: detail`
    #[must_use]
    pub fn invalid(
        path: impl ToString,
        value: impl Into<Rendered>,
        detail: impl Into<String>,
    ) -> Self {
        Self::new(path, ErrorKind::Invalid, Some(value.into()), detail)
    }

    /// `PATH: Unsupported value: "X": supported values: "A", "B"`, in the given order.
    #[must_use]
    pub fn not_supported(
        path: impl ToString,
        value: impl Into<Rendered>,
        supported: &[&str],
    ) -> Self {
        let supported: Vec<String> = supported.iter().map(|s| go_quote(s)).collect();
        let detail = if supported.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", supported.join(", "))
        };
        Self::new(path, ErrorKind::NotSupported, Some(value.into()), detail)
    }

    /// `PATH: Forbidden: detail`
    #[must_use]
    pub fn forbidden(path: impl ToString, detail: impl Into<String>) -> Self {
        Self::new(path, ErrorKind::Forbidden, None, detail)
    }

    /// `PATH: Duplicate value: VALUE`
    #[must_use]
    pub fn duplicate(path: impl ToString, value: impl Into<Rendered>) -> Self {
        Self::new(path, ErrorKind::Duplicate, Some(value.into()), "")
    }

    /// `PATH: Not found: VALUE`
    #[must_use]
    pub fn not_found(path: impl ToString, value: impl Into<Rendered>) -> Self {
        Self::new(path, ErrorKind::NotFound, Some(value.into()), "")
    }

    /// `PATH: Too long: may not be more than N bytes`
    #[must_use]
    pub fn too_long(path: impl ToString, max: usize) -> Self {
        Self::new(path, ErrorKind::TooLong, None, format!("may not be more than {max} bytes"))
    }

    /// `PATH: Too many: N: must have at most M items`
    #[must_use]
    pub fn too_many(path: impl ToString, actual: usize, max: usize) -> Self {
        let value = Rendered(actual.to_string());
        let items = if max == 1 { "item" } else { "items" };
        Self::new(path, ErrorKind::TooMany, Some(value), format!("must have at most {max} {items}"))
    }

    /// `PATH: Internal error: detail`
    #[must_use]
    pub fn internal(path: impl ToString, detail: impl Into<String>) -> Self {
        Self::new(path, ErrorKind::Internal, None, detail)
    }

    /// The error without its path, as used in `Status.details.causes[].message`.
    #[must_use]
    pub fn body(&self) -> String {
        let mut text = String::from(self.kind.title());
        if let Some(value) = &self.value {
            text.push_str(": ");
            text.push_str(value);
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.body())
    }
}

impl std::error::Error for FieldError {}

/// The causes of a Status, one per bad field.
#[must_use]
pub fn to_causes(errors: &[FieldError]) -> Vec<StatusCause> {
    let cause = |e: &FieldError| StatusCause {
        reason: Some(e.kind.reason().to_owned()),
        message: Some(e.body()),
        field: Some(e.path.clone()),
    };
    errors.iter().map(cause).collect()
}

/// All errors on one line, as the API server joins them: `ERR` or `[ERR1, ERR2]`.
/// Errors that read the same are given once.
#[must_use]
pub fn aggregate(errors: &[FieldError]) -> String {
    let mut lines: Vec<String> = Vec::with_capacity(errors.len());
    for line in errors.iter().map(ToString::to_string) {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    match lines.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

/// A value as it appears in an error: strings quoted, numbers and booleans bare, the rest JSON.
#[derive(Clone, Debug)]
pub struct Rendered(String);

impl From<&str> for Rendered {
    fn from(value: &str) -> Self {
        Self(go_quote(value))
    }
}

impl From<&String> for Rendered {
    fn from(value: &String) -> Self {
        Self(go_quote(value))
    }
}

impl From<String> for Rendered {
    fn from(value: String) -> Self {
        Self(go_quote(&value))
    }
}

impl From<bool> for Rendered {
    fn from(value: bool) -> Self {
        Self(value.to_string())
    }
}

impl From<i32> for Rendered {
    fn from(value: i32) -> Self {
        Self(value.to_string())
    }
}

impl From<i64> for Rendered {
    fn from(value: i64) -> Self {
        Self(value.to_string())
    }
}

impl From<Value> for Rendered {
    fn from(value: Value) -> Self {
        Self(value.to_string())
    }
}

impl Rendered {
    /// An object rendered as JSON.
    pub fn json(value: &impl serde::Serialize) -> Self {
        Self(serde_json::to_string(value).unwrap_or_else(|_| String::from("{}")))
    }
}

/// Quotes a string the way Go's `%q` does.
#[must_use]
pub fn go_quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || c == '\u{7f}' => {
                out.push_str(&format!("\\x{:02x}", c as u32))
            }
            c if c.is_control() || is_unprintable(c) => {
                out.push_str(&format!("\\u{:04x}", c as u32))
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Spaces and marks that Go's `strconv.IsPrint` refuses, besides control characters.
fn is_unprintable(c: char) -> bool {
    matches!(c, '\u{a0}' | '\u{ad}' | '\u{1680}' | '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}'
        | '\u{205f}'..='\u{206f}' | '\u{3000}' | '\u{e000}'..='\u{f8ff}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// A field path under construction: a chain on the stack, rendered only when an error needs it.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    /// The first step of a path, such as `spec`.
    #[must_use]
    pub const fn root(name: &'a str) -> Self {
        Self { parent: None, step: Step::Field(name) }
    }

    /// `self.name`
    #[must_use]
    pub const fn child(&'a self, name: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Field(name) }
    }

    /// `self[index]`
    #[must_use]
    pub const fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), step: Step::Index(index) }
    }

    /// `self[key]`
    #[must_use]
    pub const fn key(&'a self, key: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Key(key) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Field(name) if self.parent.is_some() => write!(f, ".{name}"),
            Step::Field(name) => f.write_str(name),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(key) => write!(f, "[{key}]"),
        }
    }
}

#[cfg(test)]
mod tests;
