//! Rows of the table, each a ratio with its target.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use crate::stats::Summary;

/// One measurement against its reference.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    pub section: &'static str,
    pub what: String,
    pub ours: Summary,
    pub unit: &'static str,
    /// What `ours` is divided by.
    pub reference: String,
    pub theirs: Option<Summary>,
    /// Ratio of the medians; `None` when the reference could not be measured.
    pub ratio: Option<f64>,
    /// The ratio that must not be exceeded.
    pub target: f64,
}

impl Row {
    #[must_use]
    pub fn new(
        section: &'static str,
        what: impl Into<String>,
        (ours, unit): (Summary, &'static str),
        (reference, theirs): (impl Into<String>, Option<Summary>),
        target: f64,
    ) -> Self {
        let ratio = theirs.map(|theirs| ours.median / theirs.median);
        let (what, reference) = (what.into(), reference.into());
        Self { section, what, ours, unit, reference, theirs, ratio, target }
    }

    /// A row whose reference is a fixed bound.
    #[must_use]
    pub fn bound(
        section: &'static str,
        what: impl Into<String>,
        (ours, unit): (Summary, &'static str),
        bound: f64,
    ) -> Self {
        let theirs = Some(Summary::exactly(bound));
        Self::new(section, what, (ours, unit), ("the bound", theirs), 1.0)
    }

    /// A row that must show nothing at all.
    #[must_use]
    pub fn nothing(
        section: &'static str,
        what: impl Into<String>,
        (ours, unit): (Summary, &'static str),
    ) -> Self {
        let (what, reference) = (what.into(), "nothing at all".to_owned());
        let (theirs, ratio) = (None, Some(ours.median));
        Self { section, what, ours, unit, reference, theirs, ratio, target: 0.0 }
    }

    /// `met`, `MISSED`, or that the reference is not installed.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        match self.ratio {
            Some(ratio) if ratio <= self.target => "met",
            Some(_) => "MISSED",
            None => "not installed",
        }
    }

    fn cells(&self) -> [String; 6] {
        let measured = self.theirs.map(|theirs| format!(": {}", value(theirs, self.unit)));
        [
            self.what.clone(),
            value(self.ours, self.unit),
            format!("{}{}", self.reference, measured.unwrap_or_default()),
            self.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
            format!("<= {}", short(self.target)),
            self.verdict().to_owned(),
        ]
    }
}

const HEAD: [&str; 6] =
    ["what", "klet, median (p10 to p90)", "measured against", "ratio", "target", "verdict"];

fn value(summary: Summary, unit: &str) -> String {
    let Summary { count, median, p10, p90 } = summary;
    if count == 1 || p10 == p90 {
        return format!("{} {unit}", short(median));
    }
    format!("{} {unit} ({} to {})", short(median), short(p10), short(p90))
}

/// Three significant digits, without needless zeros.
fn short(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 100.0 || v == 0.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    text
}

/// Facts about the run that every reader needs.
#[derive(Debug, Clone, Serialize)]
pub struct Conditions {
    pub machine: String,
    pub peers: String,
    /// Load average at the beginning and at the end.
    pub load: [String; 2],
}

/// All that was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub conditions: Conditions,
    pub rows: Vec<Row>,
    /// Numbers that have no target but explain those that have one.
    pub notes: Vec<String>,
}

impl Report {
    /// The table for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let cells: Vec<_> = self.rows.iter().map(Row::cells).collect();
        let widths: Vec<usize> = (0..HEAD.len())
            .map(|column| {
                let lengths = cells.iter().map(|row| row[column].chars().count());
                lengths.chain([HEAD[column].len()]).max().unwrap_or(0)
            })
            .collect();
        let line = |row: &[String]| {
            let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        };
        let mut text = self.heading();
        text += &line(&HEAD.map(str::to_owned));
        let mut section = "";
        for (row, cells) in self.rows.iter().zip(&cells) {
            if row.section != section {
                section = row.section;
                let _ = writeln!(text, "-- {section}");
            }
            text += &line(cells);
        }
        for note in &self.notes {
            let _ = writeln!(text, "   {note}");
        }
        text
    }

    fn heading(&self) -> String {
        let Conditions { machine, peers, load: [before, after] } = &self.conditions;
        format!(
            "machine: {machine}\npeers: {peers}\nload average: {before} before, {after} after\n\n"
        )
    }

    /// The same as Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let Conditions { machine, peers, load: [before, after] } = &self.conditions;
        let mut text = format!(
            "Machine: {machine}. Peers: {peers}. Load average {before} before and {after} after.\n"
        );
        let mut section = "";
        for row in &self.rows {
            if row.section != section {
                section = row.section;
                let _ = write!(text, "\n### {section}\n\n| {} |\n", HEAD.join(" | "));
                text += "|---|---|---|---|---|---|\n";
            }
            let _ = writeln!(text, "| {} |", row.cells().join(" | "));
        }
        if !self.notes.is_empty() {
            text += "\n";
        }
        for note in &self.notes {
            let _ = writeln!(text, "- {note}");
        }
        text
    }

    /// Puts the table between the two marks of a document.
    ///
    /// # Errors
    /// The file cannot be read or written, or has no marks.
    pub fn write_into(&self, document: &Path) -> anyhow::Result<()> {
        const BEGIN: &str = "<!-- table -->\n";
        const END: &str = "<!-- end of table -->";
        let text = std::fs::read_to_string(document)
            .with_context(|| format!("cannot read {}", document.display()))?;
        let (before, rest) = text.split_once(BEGIN).context("no place for the table")?;
        let (_, after) = rest.split_once(END).context("no end of the table")?;
        let new = format!("{before}{BEGIN}{}{END}{after}", self.markdown());
        std::fs::write(document, new)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ours: f64, theirs: Option<f64>, target: f64) -> Row {
        let theirs = theirs.map(Summary::exactly);
        Row::new("s", "x", (Summary::exactly(ours), "ms"), ("crun run", theirs), target)
    }

    #[test]
    fn a_row_is_judged_by_its_ratio() {
        assert_eq!(row(1.0, Some(2.0), 0.5).verdict(), "met");
        assert_eq!(row(1.1, Some(2.0), 0.5).verdict(), "MISSED");
        assert_eq!(row(1.0, None, 0.5).verdict(), "not installed");
        assert_eq!(Row::bound("s", "x", (Summary::exactly(4.0), "ms"), 5.0).verdict(), "met");
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in
            [(0.0, "0"), (1.0, "1"), (0.0667, "0.067"), (12.34, "12.3"), (1234.5, "1234")]
        {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn a_table_replaces_the_one_before() {
        let conditions =
            Conditions { machine: "m".into(), peers: "p".into(), load: ["0".into(), "1".into()] };
        let report = Report { conditions, rows: vec![row(1.0, Some(2.0), 0.5)], notes: vec![] };
        let path = std::env::temp_dir().join(format!("klet-bench-report-{}", std::process::id()));
        std::fs::write(&path, "a\n<!-- table -->\nold\n<!-- end of table -->\nz\n").unwrap();
        report.write_into(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(text.starts_with("a\n<!-- table -->\nMachine"), "{text}");
        assert!(text.ends_with("| met |\n<!-- end of table -->\nz\n"), "{text}");
    }
}
