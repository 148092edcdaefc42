//! Field selectors: `metadata.name=x,status.phase!=Running`.

use serde_json::Value;

use super::{MAX_LEN, SelectorError};

/// Fields that every kind can be selected on.
const COMMON: &[&str] = &["metadata.name", "metadata.namespace"];

/// Further fields per resource.
const FIELDS: &[(&str, &[&str])] = &[
    (
        "pods",
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
    ),
    (
        "events",
        &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
    ),
    ("nodes", &["spec.unschedulable"]),
    ("namespaces", &["status.phase"]),
    ("secrets", &["type"]),
    ("services", &["spec.clusterIP", "spec.type"]),
];

/// One condition on a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTerm {
    /// The field's dotted path.
    pub field: String,
    /// Whether equality (`=`, `==`) or inequality (`!=`) is asked for.
    pub equal: bool,
    /// The value compared with; an absent field reads as empty.
    pub value: String,
}

/// All terms must hold; none selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    /// The conditions.
    pub terms: Vec<FieldTerm>,
}

impl FieldSelector {
    /// Parses the query form. `\` escapes `\`, `,` and `=` in values.
    ///
    /// # Errors
    /// [`SelectorError::Field`] naming the term that is not `field=value`.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.len() > MAX_LEN {
            return Err(SelectorError::TooLong);
        }
        let mut terms = Vec::new();
        for part in split_terms(text) {
            if part.is_empty() {
                continue;
            }
            let term = parse_term(part)
                .ok_or_else(|| SelectorError::Field(text.to_owned(), part.to_owned()))?;
            terms.push(term);
        }
        Ok(Self { terms })
    }

    /// Refuses fields that the resource (plural name) cannot be selected on.
    ///
    /// # Errors
    /// [`SelectorError::Unsupported`] with the first such field.
    pub fn check(&self, resource: &str) -> Result<(), SelectorError> {
        let own =
            FIELDS.iter().find(|(name, _)| *name == resource).map_or(&[][..], |(_, fields)| fields);
        let known = |field: &str| COMMON.contains(&field) || own.contains(&field);
        match self.terms.iter().find(|t| !known(&t.field)) {
            Some(term) => Err(SelectorError::Unsupported(term.field.clone())),
            None => Ok(()),
        }
    }

    /// Whether the selector selects everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value that `field` must equal, if the selector says so.
    #[must_use]
    pub fn required(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|t| t.equal && t.field == field).map(|t| t.value.as_str())
    }

    /// Whether an object satisfies all terms; `lookup` gives a field's text, empty if absent.
    pub fn matches_with(&self, mut lookup: impl FnMut(&str) -> String) -> bool {
        self.terms.iter().all(|t| (lookup(&t.field) == t.value) == t.equal)
    }

    /// Whether an object in JSON form satisfies all terms.
    #[must_use]
    pub fn matches(&self, object: &Value) -> bool {
        self.matches_with(|field| field_text(object, field))
    }
}

/// A field's text as selectors see it.
fn field_text(object: &Value, field: &str) -> String {
    let path = match field {
        // An event's source is the component that reported it.
        "source" => "source.component",
        "spec.unschedulable" | "spec.hostNetwork" => return truth(lookup(object, field)),
        other => other,
    };
    match lookup(object, path) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

fn truth(value: Option<&Value>) -> String {
    value.and_then(Value::as_bool).unwrap_or(false).to_string()
}

fn lookup<'v>(object: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(object, |value, key| value.get(key))
}

/// Splits at commas that are not escaped.
fn split_terms(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut escaped = false;
    for (i, b) in text.bytes().enumerate() {
        match b {
            b'\\' => escaped = !escaped,
            b',' if !escaped => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            _ => escaped = false,
        }
        if b == b',' {
            escaped = false;
        }
    }
    parts.push(&text[start..]);
    parts
}

fn parse_term(part: &str) -> Option<FieldTerm> {
    let at = part.find(['=', '!'])?;
    let (field, rest) = part.split_at(at);
    let (equal, value) = match rest {
        _ if rest.starts_with("!=") => (false, &rest[2..]),
        _ if rest.starts_with("==") => (true, &rest[2..]),
        _ if rest.starts_with('=') => (true, &rest[1..]),
        _ => return None,
    };
    if field.is_empty() {
        return None;
    }
    Some(FieldTerm { field: field.to_owned(), equal, value: unescape(value)? })
}

fn unescape(value: &str) -> Option<String> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next()? {
                escaped @ ('\\' | ',' | '=') => out.push(escaped),
                _ => return None,
            },
            // A bare separator would be ambiguous.
            '=' => return None,
            c => out.push(c),
        }
    }
    Some(out)
}
