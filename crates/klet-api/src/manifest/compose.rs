//! From YAML events to JSON values with positions.

use std::collections::HashMap;
use std::sync::Arc;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use serde_json::{Map, Value};

use super::error::ManifestError;
use super::place::{Children, Entry, Mark, Place};
use super::scalar;

/// Deepest nesting accepted; real objects stay below 30.
const MAX_DEPTH: usize = 100;
/// Most memory, in bytes, that anchors and aliases may add to a text.
const ALIAS_BUDGET: usize = 64 * 1024 * 1024;
/// What a value, with its position, takes beside its text; a rough upper figure.
const VALUE_COST: usize = 200;
const EXCESSIVE: &str = "the document contains excessive aliasing";
/// Most fields of one mapping whose duplicates are searched by walking.
const SMALL_MAP: usize = 16;

/// All documents of a text.
pub(super) fn documents(text: &str, file: &Arc<str>) -> Result<Vec<(Value, Place)>, ManifestError> {
    let options = granit_parser::options! { emit_comments: false };
    let parser = Parser::new_from_str_with_options(text, options);
    let mut composer =
        Composer { parser, text, file, anchors: HashMap::new(), budget: ALIAS_BUDGET };
    let mut documents = Vec::new();
    loop {
        let (event, _) = composer.next()?;
        match event {
            Event::StreamEnd => return Ok(documents),
            Event::DocumentStart(..) => {
                composer.anchors.clear();
                let (event, span) = composer.next()?;
                let node = composer.node(event, span, 0)?;
                documents.push((node.value, node.place));
            }
            _ => {}
        }
    }
}

/// The parser's complaint, in plainer words where its own speak of the grammar.
fn plainly(info: &str) -> &str {
    match info {
        "simple key expected ':'" => "expected 'name: value', found no ':' on this line",
        "mapping values are not allowed in this context" => {
            "unexpected ':' (check this line's indentation, and the ':' of the line before)"
        }
        "unclosed quote" => "this quote is never closed",
        other => other,
    }
}

/// A composed value.
#[derive(Clone)]
struct Node {
    value: Value,
    place: Place,
    /// Bytes of memory, roughly: what a copy costs.
    size: usize,
    depth: usize,
}

struct Composer<'t> {
    parser: Parser<'t, StrInput<'t>>,
    text: &'t str,
    file: &'t Arc<str>,
    anchors: HashMap<usize, Node>,
    budget: usize,
}

impl<'t> Composer<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), ManifestError> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => Err(self.syntax_error(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn error(&self, mark: Mark, message: impl Into<String>) -> ManifestError {
        ManifestError::new(self.file, Some(mark), message)
    }

    fn syntax_error(&self, error: &ScanError) -> ManifestError {
        let at = error.marker();
        let line = at.line().max(1);
        let mark = Mark { line, column: at.col() + 1, start: 0, end: 0 };
        let content = self.text.lines().nth(line - 1).unwrap_or_default();
        let indent: String = content.chars().take_while(|c| c.is_whitespace()).collect();
        let message = if indent.contains('\t') {
            let column = indent.chars().position(|c| c == '\t').unwrap_or(0) + 1;
            let mark = Mark { column, ..mark };
            let message = String::from("YAML does not allow tabs for indentation: use spaces");
            return ManifestError::syntax(self.file, mark, message);
        } else {
            format!("not valid YAML: {}", plainly(&error.info()))
        };
        ManifestError::syntax(self.file, mark, message)
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node, ManifestError> {
        let mark = mark_of(&span);
        if depth > MAX_DEPTH {
            return Err(self.error(mark, format!("nested more than {MAX_DEPTH} levels deep")));
        }
        let (anchor, node) = match event {
            Event::Alias(id) => return self.alias(id, mark, depth),
            Event::Scalar(text, style, anchor, tag) => {
                let value = self.scalar(&text, style, tag.as_deref(), mark)?;
                (anchor, Node::leaf(value, mark))
            }
            Event::SequenceStart(_, anchor, _) => (anchor, self.sequence(mark, depth)?),
            Event::MappingStart(_, anchor, _) => (anchor, self.mapping(mark, depth)?),
            _ => return Err(self.error(mark, "expected a value")),
        };
        if anchor != 0 {
            let rest = self.budget.checked_sub(node.size);
            self.budget = rest.ok_or_else(|| self.error(mark, EXCESSIVE))?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, mark: Mark, depth: usize) -> Result<Node, ManifestError> {
        let Some(target) = self.anchors.get(&id) else {
            return Err(self.error(mark, "an anchor may not contain an alias to itself"));
        };
        if target.size > self.budget || depth + target.depth > MAX_DEPTH {
            return Err(self.error(mark, EXCESSIVE));
        }
        let mut node = target.clone();
        self.budget -= node.size;
        node.place.mark = Some(mark);
        Ok(node)
    }

    fn scalar(
        &self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        mark: Mark,
    ) -> Result<Value, ManifestError> {
        let unusable = || self.error(mark, format!("{text} is not a number an object can hold"));
        let core = tag.and_then(|tag| tag.suffix_in_namespace("tag:yaml.org,2002:"));
        match (core.as_deref(), style) {
            (Some("binary"), _) => self.binary(text, mark),
            (Some("str"), _) => Ok(text.into()),
            (Some(kind @ ("int" | "float" | "bool" | "null")), _) => {
                let value = scalar::resolve(text).ok_or_else(unusable)?;
                let fits = match kind {
                    "int" => value.is_i64() || value.is_u64(),
                    "float" => value.is_number(),
                    "bool" => value.is_boolean(),
                    _ => value.is_null(),
                };
                let found = scalar::describe(&value);
                if fits {
                    Ok(value)
                } else {
                    Err(self.error(mark, format!("expected !!{kind}, found {found}")))
                }
            }
            (None, ScalarStyle::Plain) if tag.is_none() => {
                scalar::resolve(text).ok_or_else(unusable)
            }
            _ => Ok(text.into()),
        }
    }

    /// `!!binary` holds base64 of a text.
    fn binary(&self, text: &str, mark: Mark) -> Result<Value, ManifestError> {
        use base64::Engine as _;
        let packed: String = text.split_whitespace().collect();
        let bytes = base64::engine::general_purpose::STANDARD.decode(packed);
        let decoded = bytes.ok().and_then(|b| String::from_utf8(b).ok());
        decoded
            .map(Value::from)
            .ok_or_else(|| self.error(mark, "!!binary must hold base64 of UTF-8 text"))
    }

    fn sequence(&mut self, mark: Mark, depth: usize) -> Result<Node, ManifestError> {
        let mut values = Vec::new();
        let mut places = Vec::new();
        let (mut size, mut inner) = (VALUE_COST, 0);
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                let place = Place { mark: Some(mark), children: Children::Seq(places) };
                return Ok(Node { value: Value::Array(values), place, size, depth: inner + 1 });
            }
            let node = self.node(event, span, depth + 1)?;
            size += node.size;
            inner = inner.max(node.depth);
            values.push(node.value);
            places.push(node.place);
        }
    }

    fn mapping(&mut self, mark: Mark, depth: usize) -> Result<Node, ManifestError> {
        let mut fields = Fields::default();
        let mut merges: Vec<(Node, Mark)> = Vec::new();
        let (mut size, mut inner) = (VALUE_COST, 0);
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let key_mark = mark_of(&span);
            let merge =
                matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
            let key = self.key(event, span, depth)?;
            let (event, span) = self.next()?;
            let node = self.node(event, span, depth + 1)?;
            size += node.size + key.len() + VALUE_COST;
            inner = inner.max(node.depth);
            if merge {
                merges.push((node, key_mark));
                continue;
            }
            if let Some(first) = fields.position(&key) {
                let first =
                    first.map_or_else(String::new, |m| format!(" (first at line {})", m.line));
                let quoted = crate::field::go_quote(&key);
                return Err(self.error(key_mark, format!("duplicate key {quoted}{first}")));
            }
            fields.add(key, Some(key_mark), node.value, node.place);
        }
        for (node, mark) in merges {
            self.merge(&mut fields, node, mark)?;
        }
        let place = Place { mark: Some(mark), children: Children::Map(fields.entries) };
        Ok(Node { value: Value::Object(fields.values), place, size, depth: inner + 1 })
    }

    /// A mapping's key as text; scalars resolve first, so a plain `yes` is the key `true`.
    fn key(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<String, ManifestError> {
        let mark = mark_of(&span);
        match self.node(event, span, depth + 1)?.value {
            Value::String(text) => Ok(text),
            Value::Bool(value) => Ok(value.to_string()),
            Value::Number(value) => Ok(value.to_string()),
            other => {
                let found = scalar::describe(&other);
                Err(self.error(mark, format!("expected a field name, found {found}")))
            }
        }
    }

    /// Merges a `<<` value: fields already there win.
    fn merge(&self, fields: &mut Fields, node: Node, mark: Mark) -> Result<(), ManifestError> {
        let wrong = || self.error(mark, "'<<' needs a mapping or a list of mappings");
        match (node.value, node.place.children) {
            (Value::Object(values), Children::Map(entries)) => {
                fields.merge(values, entries);
                Ok(())
            }
            (Value::Array(values), Children::Seq(places)) => {
                for (value, place) in values.into_iter().zip(places) {
                    let (Value::Object(values), Children::Map(entries)) = (value, place.children)
                    else {
                        return Err(wrong());
                    };
                    fields.merge(values, entries);
                }
                Ok(())
            }
            _ => Err(wrong()),
        }
    }
}

impl Node {
    fn leaf(value: Value, mark: Mark) -> Self {
        let size = VALUE_COST + value.as_str().map_or(0, str::len);
        Self { value, place: Place { mark: Some(mark), children: Children::None }, size, depth: 1 }
    }
}

/// The fields of a mapping under construction.
#[derive(Default)]
struct Fields {
    values: Map<String, Value>,
    entries: Vec<Entry>,
}

impl Fields {
    /// Whether the key is there, and where.
    fn position(&self, key: &str) -> Option<Option<Mark>> {
        if self.entries.len() > SMALL_MAP && !self.values.contains_key(key) {
            return None;
        }
        self.entries.iter().find(|e| e.key == key).map(|e| e.key_mark)
    }

    fn add(&mut self, key: String, key_mark: Option<Mark>, value: Value, place: Place) {
        self.values.insert(key.clone(), value);
        self.entries.push(Entry { key, key_mark, value: place });
    }

    fn merge(&mut self, mut values: Map<String, Value>, entries: Vec<Entry>) {
        for entry in entries {
            if self.position(&entry.key).is_none()
                && let Some(value) = values.remove(&entry.key)
            {
                self.add(entry.key, entry.key_mark, value, entry.value);
            }
        }
    }
}

fn mark_of(span: &Span) -> Mark {
    let start = span.start.byte_offset().unwrap_or(0);
    let end = span.end.byte_offset().unwrap_or(start);
    Mark { line: span.start.line().max(1), column: span.start.col() + 1, start, end }
}
