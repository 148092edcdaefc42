//! kubectl's column printer: left-aligned, at least six wide, three spaces between.

use super::{Column, Row};

const WIDTH_MIN: usize = 6;
const PADDING: usize = 3;

/// Aligns lines of cells. Widths only grow, so that the rows of a watch stay under their header.
#[derive(Debug, Default)]
pub struct Printer {
    widths: Vec<usize>,
}

impl Printer {
    /// A printer that has seen nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The lines aligned with each other and with all lines before, each ended by a newline.
    /// The last cell of a line is not padded. Cells are escaped with [`escape`].
    pub fn lines(&mut self, lines: &[Vec<String>]) -> String {
        let lines: Vec<Vec<String>> =
            lines.iter().map(|cells| cells.iter().map(|cell| escape(cell)).collect()).collect();
        for cells in &lines {
            self.widths.resize(self.widths.len().max(cells.len()), WIDTH_MIN);
            for (width, cell) in self.widths.iter_mut().zip(cells) {
                *width = (*width).max(cell.chars().count() + PADDING);
            }
        }
        let mut out = String::new();
        for cells in &lines {
            for (index, (cell, width)) in cells.iter().zip(&self.widths).enumerate() {
                out.push_str(cell);
                if index + 1 < cells.len() {
                    out.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
                }
            }
            out.push('\n');
        }
        out
    }
}

/// A whole table with its header, narrow columns only. An empty table is an empty text.
#[must_use]
pub fn render(columns: &[Column], rows: &[Row]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let narrow = |index: usize| columns.get(index).is_some_and(|column| !column.wide);
    let header =
        columns.iter().filter(|column| !column.wide).map(|c| c.name.to_uppercase()).collect();
    let mut lines: Vec<Vec<String>> = vec![header];
    lines.extend(rows.iter().map(|row| {
        let cells = row.cells.iter().enumerate();
        cells.filter(|(index, _)| narrow(*index)).map(|(_, cell)| cell.clone()).collect()
    }));
    Printer::new().lines(&lines)
}

/// Makes a text from outside safe for one cell on a terminal: it ends with `...` at the first line
/// break, and control characters show as `^[` and the like instead of acting.
#[must_use]
pub fn escape(text: &str) -> String {
    let (first, cut) = match text.find(['\n', '\r', '\u{c}']) {
        Some(end) => (&text[..end], "..."),
        None => (text, ""),
    };
    let mut out = String::with_capacity(first.len() + cut.len());
    for character in first.chars() {
        match character {
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
    out.push_str(cut);
    out
}
