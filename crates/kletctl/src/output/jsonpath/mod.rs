//! kubectl's JSONPath templates: `{.items[*].metadata.name}`, filters, ranges, quoted text.

mod eval;
mod parse;
#[cfg(test)]
mod tests;

use serde_json::Value;

/// A template, read and ready.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Text(String),
    Path(Vec<Step>),
    Range { over: Vec<Step>, body: Vec<Node> },
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    /// `[*]` or `.*`
    Every,
    /// `..`
    Descend,
    /// `[0]`, `[-1]`, `[0,2]`
    Indexes(Vec<i64>),
    /// `['a','b']`
    Fields(Vec<String>),
    /// `[start:end:step]`
    Slice(Option<i64>, Option<i64>, i64),
    /// `[?(@.type=="Ready")]`
    Filter(Operand, Option<(Comparison, Operand)>),
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    /// `@.a.b`
    Path(Vec<Step>),
    Literal(Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Template {
    /// Reads a template: text with expressions in braces.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Ok(Template { nodes: parse::template(text)? })
    }

    /// Reads a single expression where braces and the leading dot may be left out, as
    /// `custom-columns`, `--sort-by` and `wait --for=jsonpath` take it.
    pub(crate) fn parse_relaxed(text: &str) -> Result<Self, String> {
        let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
        if inner.is_empty() || inner.contains(['{', '}']) {
            return Err("unexpected path string, expected a 'name1.name2' or '.name1.name2' or \
                '{name1.name2}' or '{.name1.name2}'"
                .to_owned());
        }
        let dot = if inner.starts_with(['.', '[', '$', '@']) { "" } else { "." };
        Self::parse(&format!("{{{dot}{inner}}}"))
    }

    /// The template filled in. What is missing leaves nothing.
    pub(crate) fn render(&self, root: &Value) -> String {
        let mut out = String::new();
        eval::render(&self.nodes, root, root, &mut out);
        out
    }

    /// The values of all expressions.
    pub(crate) fn values<'a>(&self, root: &'a Value) -> Vec<&'a Value> {
        self.nodes
            .iter()
            .filter_map(|node| match node {
                Node::Path(steps) => Some(eval::walk(steps, root, root)),
                _ => None,
            })
            .flatten()
            .collect()
    }
}

/// A value as text: strings bare, all else as JSON.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        other => other.to_string(),
    }
}
