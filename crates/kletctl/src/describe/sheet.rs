//! Text in columns that fit their content: cells end at a tab, and adjacent lines that have a cell in
//! the same place share its width. This is how `kubectl describe` aligns (Go's `text/tabwriter` with a
//! padding of two).

use std::fmt::Write;

const PADDING: usize = 2;

/// Lines on their way to the reader.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    aligned: String,
    open: String,
}

impl Sheet {
    /// A line, indented by two spaces per level. Tabs in `text` part its cells.
    pub(super) fn line(&mut self, level: usize, text: &str) {
        for _ in 0..level {
            self.open.push_str("  ");
        }
        self.open.push_str(&visible(text));
        self.open.push('\n');
    }

    /// `NAME:` and what belongs to it.
    pub(super) fn field(&mut self, level: usize, name: &str, value: impl std::fmt::Display) {
        self.line(level, &format!("{name}:\t{value}"));
    }

    /// As [`Self::field`], when there is something to say.
    pub(super) fn some(&mut self, level: usize, name: &str, value: &str) {
        if !value.is_empty() {
            self.field(level, name, value);
        }
    }

    /// A name with values on lines of their own, below each other; `<none>` without any.
    pub(super) fn column(&mut self, name: &str, values: &[String]) {
        let mut head = format!("{name}:");
        if values.is_empty() {
            head.push_str("\t<none>");
            return self.line(0, &head);
        }
        for value in values {
            self.line(0, &format!("{head}\t{value}"));
            head.clear();
        }
    }

    /// What follows is aligned for itself.
    pub(super) fn part(&mut self) {
        self.aligned.push_str(&align(&std::mem::take(&mut self.open)));
    }

    pub(super) fn finish(mut self) -> String {
        self.part();
        self.aligned
    }
}

/// A text from outside, with nothing in it that acts on a terminal. Tabs and line breaks stay.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\t' | '\n' => out.push(character),
            '\r' => out.push_str("\\r"),
            '\0'..='\x1f' => {
                out.push('^');
                out.push(char::from(character as u8 + b'@'));
            }
            '\x7f' => out.push_str("^?"),
            '\u{80}'..='\u{9f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.extend(character.escape_unicode());
            }
            other => out.push(other),
        }
    }
    out
}

struct Line<'a> {
    cells: Vec<&'a str>,
    /// Of each cell that ends at a tab: all but the last.
    widths: Vec<usize>,
}

fn align(text: &str) -> String {
    let mut lines: Vec<Line<'_>> = text
        .split_terminator('\n')
        .map(|line| {
            let cells: Vec<&str> = line.split('\t').collect();
            let widths = cells[1..].iter().map(|_| 0).collect();
            Line { cells, widths }
        })
        .collect();
    let columns = lines.iter().map(|line| line.widths.len()).max().unwrap_or(0);
    for column in 0..columns {
        let has = |line: &Line<'_>| line.widths.len() > column;
        for run in lines.chunk_by_mut(|a, b| has(a) == has(b)).filter(|run| has(&run[0])) {
            let width = run.iter().map(|line| line.cells[column].chars().count()).max();
            let width = width.unwrap_or(0) + PADDING;
            run.iter_mut().for_each(|line| line.widths[column] = width);
        }
    }
    let mut out = String::with_capacity(text.len() * 2);
    for line in &lines {
        for (cell, width) in line.cells.iter().zip(&line.widths) {
            // Writing to a String cannot fail.
            let _ = write!(out, "{cell:width$}");
        }
        out.push_str(line.cells[line.cells.len() - 1]);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjacent_lines_share_widths_and_others_do_not() {
        let text = "a:\tx\nlonger:\ty\tz\nno cells\nb:\t\tü\n";
        assert_eq!(align(text), "a:       x\nlonger:  y  z\nno cells\nb:    ü\n");
        assert_eq!(align(""), "");
    }

    #[test]
    fn values_from_outside_cannot_act() {
        let mut sheet = Sheet::default();
        sheet.field(1, "K", "a\x1b[31m\rb\u{202e}\u{9b}");
        assert_eq!(sheet.finish(), "  K:  a^[[31m\\rb\\u{202e}\\u{9b}\n");
    }
}
