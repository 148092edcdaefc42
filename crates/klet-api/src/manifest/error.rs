//! Manifest errors and source excerpts.

use std::fmt;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use super::Mark;

/// Most lines of a source handed to the renderer around a mark.
const CONTEXT_LINES: usize = 2;

/// Why a manifest cannot be read. Display is `FILE:LINE:COLUMN: what was found and expected`.
#[derive(Clone, Debug)]
pub struct ManifestError {
    /// The file, as named to `parse`.
    pub file: Arc<str>,
    /// Where in the file, if it is a place.
    pub mark: Option<Mark>,
    /// What was found and expected.
    pub message: String,
    syntax: bool,
}

impl ManifestError {
    pub(super) fn new(file: &Arc<str>, mark: Option<Mark>, message: impl Into<String>) -> Self {
        Self { file: file.clone(), mark, message: message.into(), syntax: false }
    }

    pub(super) fn syntax(file: &Arc<str>, mark: Mark, message: String) -> Self {
        Self { file: file.clone(), mark: Some(mark), message, syntax: true }
    }

    /// Whether the text is not well formed (rather than well formed and wrong).
    pub(super) fn is_syntax(&self) -> bool {
        self.syntax
    }

    /// The error with the source lines around it; `text` is what was given to `parse`.
    #[must_use]
    pub fn render(&self, text: &str, color: bool) -> String {
        match self.mark {
            Some(mark) => excerpt(text, &self.file, mark, &self.message, color),
            None => format!("error: {self}"),
        }
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(mark) = self.mark {
            write!(f, ":{}:{}", mark.line, mark.column)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for ManifestError {}

/// A message with the source lines it speaks of, the range underlined.
#[must_use]
pub fn excerpt(text: &str, file: &str, mark: Mark, message: &str, color: bool) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (first_line, window, offset) = window(text, mark.line);
    let span = span_within(window, offset, mark);
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let snippet = Snippet::source(window)
        .path(file)
        .line_start(first_line)
        .annotation(AnnotationKind::Primary.span(span));
    renderer.render(&[Level::ERROR.primary_title(message).element(snippet)])
}

/// The few lines around a line: `(number of the first, text, byte offset)`.
fn window(text: &str, line: usize) -> (usize, &str, usize) {
    let first = line.saturating_sub(CONTEXT_LINES).max(1);
    let mut offset = 0;
    let mut start = 0;
    for (i, content) in text.split_inclusive('\n').enumerate() {
        if i + 1 == first {
            start = offset;
        }
        offset += content.len();
        if i + 1 == line + CONTEXT_LINES {
            break;
        }
    }
    (first, &text[start..offset], start)
}

/// The mark's byte range within the window, cut at the end of its line and never empty if there
/// is a character to point at.
fn span_within(window: &str, offset: usize, mark: Mark) -> std::ops::Range<usize> {
    let start =
        if mark.end > mark.start { mark.start.saturating_sub(offset) } else { point(window, mark) };
    let start = floor_boundary(window, start);
    let line_end = window[start..].find('\n').map_or(window.len(), |n| start + n);
    let end = mark.end.saturating_sub(offset).clamp(start, line_end);
    let end = if end == start {
        window[start..line_end].chars().next().map_or(end, |c| start + c.len_utf8())
    } else {
        end
    };
    start..floor_boundary(window, end).max(start)
}

/// The byte of a line and column when no byte offsets are known.
fn point(window: &str, mark: Mark) -> usize {
    let above = mark.line.saturating_sub(1).min(CONTEXT_LINES);
    let line_start: usize = window.split_inclusive('\n').take(above).map(str::len).sum();
    let line = window[line_start..].split('\n').next().unwrap_or_default();
    let within =
        line.char_indices().nth(mark.column.saturating_sub(1)).map_or(line.len(), |(i, _)| i);
    line_start + within
}

fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
