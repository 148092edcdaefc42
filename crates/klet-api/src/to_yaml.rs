//! YAML output exactly as kubectl writes it: Go's emitter, its quoting, its folding of long lines
//! and its order of keys.

mod order;
mod text;

use serde_json::{Map, Value};

use text::Style;

/// Columns after which a text is continued on the next line at its next space.
const WIDTH: usize = 80;
/// Spaces per level.
const STEP: usize = 2;

/// Writes a value as YAML: two spaces per level, list items not indented under their field, text
/// quoted wherever a YAML 1.1 reader could take it for something else.
#[must_use]
pub fn to_yaml(value: &Value) -> String {
    let mut writer = Writer::default();
    match value {
        Value::Object(map) if !map.is_empty() => writer.mapping(map, 0, true),
        Value::Array(list) if !list.is_empty() => writer.sequence(list, 0, true),
        scalar => writer.scalar(scalar, STEP),
    }
    if !writer.out.ends_with('\n') {
        writer.out.push('\n');
    }
    writer.out
}

#[derive(Default)]
struct Writer {
    out: String,
    /// Characters on the present line.
    column: usize,
}

impl Writer {
    /// The fields of a mapping, each on its line; the first on the present line if `inline`.
    fn mapping(&mut self, map: &Map<String, Value>, indent: usize, inline: bool) {
        let mut fields: Vec<(&String, &Value)> = map.iter().collect();
        fields.sort_by(|(a, _), (b, _)| order::natural(a, b));
        for (index, (key, value)) in fields.into_iter().enumerate() {
            if index > 0 || !inline {
                self.line(indent);
            }
            self.text(key, None);
            self.put(":");
            match value {
                Value::Object(map) if !map.is_empty() => self.mapping(map, indent + STEP, false),
                Value::Array(list) if !list.is_empty() => self.sequence(list, indent, false),
                scalar => {
                    self.put(" ");
                    self.scalar(scalar, indent + STEP);
                }
            }
        }
    }

    fn sequence(&mut self, list: &[Value], indent: usize, inline: bool) {
        for (index, item) in list.iter().enumerate() {
            if index > 0 || !inline {
                self.line(indent);
            }
            self.put("- ");
            match item {
                Value::Object(map) if !map.is_empty() => self.mapping(map, indent + STEP, true),
                Value::Array(list) if !list.is_empty() => self.sequence(list, indent + STEP, true),
                scalar => self.scalar(scalar, indent + STEP),
            }
        }
    }

    /// A value on one line, or a text continued at `indent`.
    fn scalar(&mut self, value: &Value, indent: usize) {
        match value {
            Value::String(text) => self.text(text, Some(indent)),
            Value::Array(_) => self.put("[]"),
            Value::Object(_) => self.put("{}"),
            other => self.put(&other.to_string()),
        }
    }

    /// A text; without an indent it is a key and stays on its line.
    fn text(&mut self, text: &str, indent: Option<usize>) {
        match (text::style(text, indent.is_none()), indent) {
            (Style::Literal, Some(indent)) => self.literal(text, indent),
            (Style::Literal | Style::Double, _) => self.double_quoted(text, indent),
            (Style::Single, _) => {
                self.put("'");
                self.folded(text, indent, true);
                self.put("'");
            }
            (Style::Plain, _) => self.folded(text, indent, false),
        }
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.put("|");
        if text.starts_with([' ', '\n']) {
            self.put("2");
        }
        match text.strip_suffix('\n') {
            None => self.put("-"),
            Some(rest) if rest.is_empty() || rest.ends_with('\n') => self.put("+"),
            Some(_) => {}
        }
        self.out.push('\n');
        for line in text.split_inclusive('\n') {
            if line != "\n" {
                self.out.extend(std::iter::repeat_n(' ', indent));
            }
            self.out.push_str(line);
        }
        self.column = text.rsplit('\n').next().map_or(0, |last| last.chars().count());
    }

    /// A plain or single-quoted text: a single space beyond the width becomes a line break.
    fn folded(&mut self, text: &str, indent: Option<usize>, quoted: bool) {
        let mut after_space = false;
        let mut rest = text.chars();
        let mut first = true;
        while let Some(character) = rest.next() {
            let next = rest.clone().next();
            let inside = !quoted || (!first && next.is_some());
            let foldable = !after_space && self.column > WIDTH && next != Some(' ') && inside;
            first = false;
            match (character, indent) {
                (' ', Some(indent)) if foldable => self.line(indent),
                ('\'', _) if quoted => self.put("''"),
                _ => self.put_char(character),
            }
            after_space = character == ' ';
        }
    }

    fn double_quoted(&mut self, text: &str, indent: Option<usize>) {
        self.put("\"");
        let mut after_space = false;
        let mut rest = text.chars();
        let mut first = true;
        while let Some(character) = rest.next() {
            let next = rest.clone().next();
            let foldable = !after_space && self.column > WIDTH && !first && next.is_some();
            first = false;
            match (character, indent) {
                (' ', Some(indent)) if foldable => {
                    self.line(indent);
                    if next == Some(' ') {
                        self.put("\\");
                    }
                }
                _ => match text::escape(character) {
                    Some(escaped) => self.put(&escaped),
                    None => self.put_char(character),
                },
            }
            after_space = character == ' ';
        }
        self.put("\"");
    }

    /// Begins a line at `indent`.
    fn line(&mut self, indent: usize) {
        if !self.out.ends_with('\n') {
            self.out.push('\n');
        }
        self.out.extend(std::iter::repeat_n(' ', indent));
        self.column = indent;
    }

    fn put(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
    }

    fn put_char(&mut self, character: char) {
        self.out.push(character);
        self.column += 1;
    }
}

#[cfg(test)]
mod tests;
