//! Where each field of a YAML document stands.

use std::collections::BTreeMap;

use granit_parser::{Event, Parser};

/// Fields to line and column (both from 1), for one document.
#[derive(Debug, Default, Clone)]
pub(crate) struct Places {
    fields: BTreeMap<String, (usize, usize)>,
}

impl Places {
    /// Where a field stands, or the nearest field around it. `limits[cpu]` means `limits.cpu`.
    pub(crate) fn find(&self, field: &str) -> Option<(usize, usize)> {
        let mut field = plain(field);
        loop {
            if let Some(place) = self.fields.get(&field) {
                return Some(*place);
            }
            let end = field.rfind(['.', '['])?;
            field.truncate(end);
        }
    }

    /// The places of one field's inner fields, named from there.
    pub(crate) fn below(&self, prefix: &str) -> Places {
        let inner = |(field, place): (&String, &(usize, usize))| {
            let rest = field.strip_prefix(prefix)?.strip_prefix('.')?;
            Some((rest.to_owned(), *place))
        };
        Places { fields: self.fields.iter().filter_map(inner).collect() }
    }
}

/// Writes map keys in brackets as fields.
fn plain(field: &str) -> String {
    let mut out = String::new();
    for part in field.split_inclusive(']') {
        match part.split_once('[') {
            Some((head, index)) if !index.starts_with(|c: char| c.is_ascii_digit()) => {
                out.push_str(head);
                out.push('.');
                out.push_str(index.trim_end_matches(']'));
            }
            _ => out.push_str(part),
        }
    }
    out
}

/// What we are inside of.
enum Level {
    /// A mapping; the key seen last while its value is awaited.
    Map { path: String, key: Option<String> },
    List { path: String, next: usize },
}

/// The places of every document of a text. A text that does not parse gives what came before.
pub(crate) fn of(text: &str) -> Vec<Places> {
    let mut documents: Vec<Places> = Vec::new();
    let mut levels: Vec<Level> = Vec::new();
    for parsed in Parser::new_from_str(text) {
        let Ok((event, span)) = parsed else { break };
        let place = (span.start.line(), span.start.col() + 1);
        match event {
            Event::DocumentStart(..) => {
                levels.clear();
                documents.push(Places::default());
            }
            Event::MappingEnd | Event::SequenceEnd => drop(levels.pop()),
            Event::MappingStart(..) => {
                let path = enter(&mut levels, &mut documents, place);
                levels.push(Level::Map { path, key: None });
            }
            Event::SequenceStart(..) => {
                let path = enter(&mut levels, &mut documents, place);
                levels.push(Level::List { path, next: 0 });
            }
            Event::Scalar(value, ..) => scalar(&mut levels, &mut documents, &value, place),
            Event::Alias(..) => drop(enter(&mut levels, &mut documents, place)),
            _ => {}
        }
    }
    documents
}

/// The path of the value that begins here.
fn enter(levels: &mut [Level], documents: &mut [Places], place: (usize, usize)) -> String {
    match levels.last_mut() {
        None => String::new(),
        Some(Level::Map { path, key }) => join(path, &key.take().unwrap_or_default()),
        Some(Level::List { path, next }) => {
            let element = format!("{path}[{next}]");
            *next += 1;
            record(documents, element.clone(), place);
            element
        }
    }
}

fn scalar(levels: &mut [Level], documents: &mut [Places], value: &str, place: (usize, usize)) {
    if let Some(Level::Map { path, key: key @ None }) = levels.last_mut() {
        *key = Some(value.to_owned());
        let field = join(path, value);
        record(documents, field, place);
    } else {
        enter(levels, documents, place);
    }
}

fn record(documents: &mut [Places], field: String, place: (usize, usize)) {
    if let Some(document) = documents.last_mut() {
        document.fields.entry(field).or_insert(place);
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
