//! Where a decode is, and what it found so far.

use std::fmt;

use crate::field::go_quote;

/// Most strict errors kept; a hostile document may hold millions.
const MAX_STRICT: usize = 100;

/// A field that strict validation refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StrictError {
    /// No such field; the nearest known name at that place is suggested.
    Unknown {
        /// Where, such as `spec.containers[0].imge`.
        path: String,
        /// The known field with the most similar name, if one is similar.
        suggestion: Option<&'static str>,
    },
    /// The field occurs more than once.
    Duplicate {
        /// Where.
        path: String,
    },
}

impl StrictError {
    /// The field's path.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Unknown { path, .. } | Self::Duplicate { path } => path,
        }
    }

    /// The known field that was probably meant.
    #[must_use]
    pub fn suggestion(&self) -> Option<&'static str> {
        match self {
            Self::Unknown { suggestion, .. } => *suggestion,
            Self::Duplicate { .. } => None,
        }
    }
}

/// The API server's text, without the suggestion.
impl fmt::Display for StrictError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { path, .. } => write!(f, "unknown field {}", go_quote(path)),
            Self::Duplicate { path } => write!(f, "duplicate field {}", go_quote(path)),
        }
    }
}

impl std::error::Error for StrictError {}

/// Why a document could not be decoded. Display follows Go's `encoding/json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// Where, such as `spec.containers[0].tty`; empty for the document itself.
    pub path: String,
    /// What was expected there, in plain words (`true or false`); empty if the text is not JSON.
    pub expected: String,
    /// What was found there (`the string "yes"`); empty if the text is not JSON.
    pub found: String,
    text: String,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for DecodeError {}

impl DecodeError {
    /// The error for a person: `expected true or false, found the string "yes"`, or the
    /// decoder's text when no kind is involved.
    #[must_use]
    pub fn explain(&self) -> String {
        if self.expected.is_empty() {
            return self.text.clone();
        }
        format!("expected {}, found {}", self.expected, self.found)
    }
}

/// One step of a path.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Key(Box<str>),
    Index(usize),
}

/// What the typed field wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Any,
    Bool,
    Int(&'static str),
    Float,
    Text,
    Map,
    Seq,
    Struct(&'static str),
}

impl Want {
    fn go_type(self) -> String {
        match self {
            Self::Any => "interface {}".into(),
            Self::Bool => "bool".into(),
            Self::Int(name) => name.into(),
            Self::Float => "float64".into(),
            Self::Text => "string".into(),
            Self::Map => "map[string]interface {}".into(),
            Self::Seq => "[]interface {}".into(),
            Self::Struct(name) => format!("v1.{name}"),
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Any => "another kind of value",
            Self::Bool => "true or false",
            Self::Int(_) => "a whole number",
            Self::Float => "a number",
            Self::Text => "a string (put quotes around it)",
            Self::Map | Self::Struct(_) => "a mapping of fields",
            Self::Seq => "a list",
        }
    }
}

/// A value of the wrong kind.
#[derive(Clone, Debug)]
struct Mismatch {
    want: Want,
    go_found: String,
    found: String,
}

#[derive(Debug, Default)]
pub(super) struct Tracker {
    pub(super) path: Vec<Step>,
    /// Names of the structs being decoded, outermost first.
    pub(super) structs: Vec<&'static str>,
    strict: Vec<StrictError>,
    mismatch: Option<Mismatch>,
    /// Path and enclosing struct at the first failure.
    failed_at: Option<(String, String, &'static str)>,
}

impl Tracker {
    pub(super) fn unknown(&mut self, key: &str, known: &'static [&'static str]) {
        if self.strict.len() < MAX_STRICT {
            let path = self.path_with(key);
            self.strict.push(StrictError::Unknown { path, suggestion: nearest(key, known) });
        }
    }

    pub(super) fn duplicate(&mut self, key: &str) {
        if self.strict.len() < MAX_STRICT {
            let path = self.path_with(key);
            self.strict.push(StrictError::Duplicate { path });
        }
    }

    pub(super) fn mismatch(&mut self, want: Want, go_found: String, found: String) {
        self.mismatch.get_or_insert(Mismatch { want, go_found, found });
        self.fail();
    }

    /// Remembers the place of the first failure.
    pub(super) fn fail(&mut self) {
        if self.failed_at.is_none() {
            let owner = self.structs.last().copied().unwrap_or_default();
            self.failed_at = Some((self.render(true), self.render(false), owner));
        }
    }

    pub(super) fn into_strict(self) -> Vec<StrictError> {
        self.strict
    }

    pub(super) fn into_error(self, error: &serde_json::Error) -> DecodeError {
        let (path, bare, owner) = self.failed_at.unwrap_or_default();
        let Some(Mismatch { want, go_found, found }) = self.mismatch else {
            let text = strip_position(error);
            let text = if error.is_syntax() || error.is_eof() { error.to_string() } else { text };
            return DecodeError { path, expected: String::new(), found: String::new(), text };
        };
        let place = if bare.is_empty() {
            String::from("value")
        } else {
            format!("struct field {owner}.{bare}")
        };
        let text =
            format!("json: cannot unmarshal {go_found} into Go {place} of type {}", want.go_type());
        DecodeError { path, expected: want.words().into(), found, text }
    }

    fn path_with(&self, key: &str) -> String {
        let mut path = self.render(true);
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(key);
        path
    }

    fn render(&self, indices: bool) -> String {
        let mut out = String::new();
        for step in &self.path {
            match step {
                Step::Key(key) => {
                    if !out.is_empty() {
                        out.push('.');
                    }
                    out.push_str(key);
                }
                Step::Index(index) if indices => out.push_str(&format!("[{index}]")),
                Step::Index(_) => {}
            }
        }
        out
    }
}

/// `serde_json` appends ` at line L column C`, which means nothing for a decoded value.
fn strip_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) if error.is_data() => text[..end].to_owned(),
        _ => text,
    }
}

/// The known name most similar to `key`, if it is similar enough to be a slip.
pub(super) fn nearest(key: &str, known: &'static [&'static str]) -> Option<&'static str> {
    if key.len() > 64 {
        return None;
    }
    let limit = (key.len() / 3).clamp(1, 3);
    known
        .iter()
        .map(|name| (distance(key, name), *name))
        .filter(|(d, _)| *d <= limit)
        .min_by_key(|(d, _)| *d)
        .map(|(_, name)| name)
}

/// Edit distance (insert, delete, replace, swap of neighbours), ignoring ASCII case.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<u8> = a.bytes().map(|c| c.to_ascii_lowercase()).collect();
    let b: Vec<u8> = b.bytes().map(|c| c.to_ascii_lowercase()).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}
