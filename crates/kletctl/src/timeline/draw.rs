//! Lines of characters, with or without colour.

use super::Look;
use super::axis::Axis;
use super::life::{Life, Mark, Row, State};

/// Longest name that is shown whole.
pub(super) const NAME_MAX: usize = 24;
/// Narrowest drawing, columns.
pub(super) const WIDTH_MIN: usize = 20;

/// One character of the drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    State(State),
    Mark(Mark),
    /// The present, on a line that goes on.
    GoesOn(State),
}

/// Every kind of cell: unicode, ASCII, colour (ANSI), what it means.
const GLYPHS: [(Cell, char, char, &str, &str); 9] = [
    (Cell::State(State::Making), '╌', '~', "2", "being made"),
    (Cell::State(State::Good), '━', '=', "32", "ready"),
    (Cell::State(State::Unready), '─', '-', "33", "running, not ready"),
    (Cell::State(State::Hook), '┅', '+', "36", "hook"),
    (Cell::State(State::Stopping), '┄', ',', "35", "stopping"),
    (Cell::State(State::Waiting), '·', '.', "2", "waiting"),
    (Cell::Mark(Mark::Completed), '✓', 'v', "32", "completed"),
    (Cell::Mark(Mark::Failed), '✗', 'x', "31", "failed"),
    (Cell::Mark(Mark::ProbeFailed), '!', '!', "31", "probe failed"),
];

impl Cell {
    /// The character and its colour.
    fn glyph(self, ascii: bool) -> (char, &'static str) {
        let kind = match self {
            Cell::GoesOn(state) => Cell::State(state),
            other => other,
        };
        let Some(known) = GLYPHS.iter().find(|known| known.0 == kind) else { return (' ', "") };
        let character = match (self, ascii) {
            (Cell::GoesOn(_), true) => '>',
            (Cell::GoesOn(_), false) => '▶',
            (_, true) => known.2,
            (_, false) => known.1,
        };
        (character, known.3)
    }
}

/// Where the drawing goes.
#[derive(Debug)]
pub(super) struct Canvas<'a> {
    pub(super) axis: &'a Axis,
    pub(super) look: &'a Look,
    /// Columns of names.
    pub(super) margin: usize,
}

impl Canvas<'_> {
    pub(super) fn draw(&self, life: &Life) -> String {
        let mut out = self.scale();
        let mut used: Vec<Cell> = Vec::new();
        for row in &life.rows {
            let cells = self.cells(row);
            used.extend(&cells);
            let name: String = match row.name.chars().count() {
                ..=NAME_MAX => row.name.clone(),
                _ => row.name.chars().take(NAME_MAX - 1).chain(['~']).collect(),
            };
            out.push_str(&format!("{name:margin$}", margin = self.margin));
            out.push_str(self.paint(&cells).trim_end());
            out.push('\n');
        }
        out.push_str(&self.legend(&used));
        out
    }

    /// The times, and a line with a tick below each.
    fn scale(&self) -> String {
        let (line, tick) = if self.look.ascii { ('-', '+') } else { ('─', '┬') };
        let mut labels = vec![' '; self.margin + self.axis.width];
        let mut ticks: Vec<char> = Vec::new();
        ticks.resize(self.margin, ' ');
        ticks.resize(self.margin + self.axis.width, line);
        let all = self.axis.labels();
        let last = all.len().saturating_sub(1);
        for (index, (column, text)) in all.iter().enumerate() {
            let place = self.margin + column;
            for (offset, character) in text.chars().enumerate() {
                if let Some(cell) = labels.get_mut(place + offset) {
                    *cell = character;
                }
            }
            // The last label ends at its moment, the others begin there.
            let at = if index == last { place + text.chars().count() - 1 } else { place };
            if let Some(cell) = ticks.get_mut(at) {
                *cell = tick;
            }
        }
        let lines = [labels, ticks].map(|line| line.into_iter().collect::<String>());
        lines.map(|line| format!("{}\n", line.trim_end())).concat()
    }

    fn cells(&self, row: &Row) -> Vec<Cell> {
        let mut cells = vec![Cell::State(State::Nothing); self.axis.width];
        for (index, (time, state)) in row.states.iter().enumerate() {
            let from = self.axis.column(*time);
            let next = row.states.get(index + 1).map(|(time, _)| self.axis.column(*time));
            // However short it was, it is seen.
            let to = next.map_or(self.axis.width, |next| next.max(from + 1));
            let end = to.min(self.axis.width);
            cells[from.min(end)..end].fill(Cell::State(*state));
        }
        if let (Some(cell), Some((_, state))) = (cells.last_mut(), row.states.last())
            && *state != State::Nothing
        {
            *cell = Cell::GoesOn(*state);
        }
        for wanted in [Mark::Completed, Mark::ProbeFailed, Mark::Failed] {
            for (time, _) in row.marks.iter().filter(|(_, mark)| *mark == wanted) {
                cells[self.axis.column(*time)] = Cell::Mark(wanted);
            }
        }
        cells
    }

    fn paint(&self, cells: &[Cell]) -> String {
        let mut out = String::new();
        let mut current = "";
        for cell in cells {
            let (character, color) = cell.glyph(self.look.ascii);
            if self.look.color && color != current {
                out.push_str(if color.is_empty() { "\x1b[0m" } else { "" });
                if !color.is_empty() {
                    out.push_str(&format!("\x1b[0;{color}m"));
                }
                current = color;
            }
            out.push(character);
        }
        if !current.is_empty() {
            out.push_str("\x1b[0m");
        }
        out
    }

    /// The signs that occur, explained.
    fn legend(&self, used: &[Cell]) -> String {
        let mut lines = vec![String::new()];
        let mut width = 0;
        for (cell, _, _, _, meaning) in GLYPHS {
            let same = |used: &&Cell| match (**used, cell) {
                (Cell::GoesOn(state), Cell::State(known)) => state == known,
                (used, known) => used == known,
            };
            if used.iter().any(|used| same(&used)) {
                let columns = meaning.len() + 5;
                if width + columns > self.axis.width {
                    lines.push(String::new());
                    width = 0;
                }
                width += columns;
                let term = format!("{} {meaning}   ", self.paint(&[cell]));
                lines.last_mut().unwrap_or(&mut String::new()).push_str(&term);
            }
        }
        let margin = self.margin;
        lines.iter().map(|line| format!("\n{:margin$}{}", "", line.trim_end())).collect::<String>()
            + "\n"
    }
}
