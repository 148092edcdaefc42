//! The table of `docs/compatibility.md`: which differences are known, and why.

use std::cell::Cell;

use anyhow::{Context, bail};

/// A row: in which cases a difference is expected.
#[derive(Debug)]
pub(crate) struct Row {
    /// Globs of case names, any of which may match.
    pub(crate) cases: Vec<String>,
    /// Globs of the difference, any of which may match.
    pub(crate) patterns: Vec<String>,
    pub(crate) why: String,
    used: Cell<usize>,
}

#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) rows: Vec<Row>,
}

impl Table {
    /// Reads every table row whose second cell holds a pattern: `| CASES | PATTERNS | WHY |`,
    /// cases and patterns each in backticks.
    ///
    /// # Errors
    /// A row without a reason, or no row at all.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut rows = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let Some(line) = line.trim().strip_prefix('|') else { continue };
            let cells = cells(line.trim_end_matches('|'));
            let [cases, patterns, why] = cells.as_slice() else { continue };
            let (cases, patterns) = (in_backticks(cases), in_backticks(patterns));
            if cases.is_empty() || patterns.is_empty() {
                continue;
            }
            if why.trim().is_empty() {
                bail!("line {}: the row says not why", number + 1);
            }
            rows.push(Row { cases, patterns, why: why.trim().to_owned(), used: Cell::new(0) });
        }
        rows.first().context("no row of the form | `CASE` | `DIFFERENCE` | why |")?;
        Ok(Self { rows })
    }

    /// The row that knows the difference.
    pub(crate) fn find(&self, case: &str, difference: &str) -> Option<&Row> {
        let row = self.rows.iter().find(|row| {
            row.cases.iter().any(|glob| matches(glob, case))
                && row.patterns.iter().any(|glob| matches(glob, difference))
        })?;
        row.used.set(row.used.get() + 1);
        Some(row)
    }
}

impl Row {
    /// How many differences it has explained.
    pub(crate) fn uses(&self) -> usize {
        self.used.get()
    }
}

/// Splits at `|` outside of backticks.
fn cells(line: &str) -> Vec<String> {
    let (mut cells, mut quoted) = (vec![String::new()], false);
    for c in line.chars() {
        quoted ^= c == '`';
        match c {
            '|' if !quoted => cells.push(String::new()),
            c => cells.iter_mut().last().into_iter().for_each(|cell| cell.push(c)),
        }
    }
    cells
}

fn in_backticks(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect()
}

/// `*` stands for any text, everything else for itself.
fn matches(glob: &str, text: &str) -> bool {
    let mut parts = glob.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        assert!(matches("a*c", "abc") && matches("*", "") && matches("a", "a"));
        assert!(matches("*b*", "abc") && matches("a*b*c", "aXbYc") && matches("a*a", "aa"));
        assert!(!matches("a", "ab") && !matches("a*a", "a") && !matches("*x*", "abc"));
    }

    #[test]
    fn rows_are_read_and_found() {
        let text = "# T\n| case | difference | why |\n|---|---|---|\n\
            | `*` | `event * Created *` | newer |\n| `a-*` `b` | `log | x` `time*` | better |\n";
        let table = Table::parse(text).expect("a table");
        assert_eq!(table.rows.len(), 2);
        assert_eq!(
            table.find("z", "event Normal Created of x").map(|row| row.why.as_str()),
            Some("newer")
        );
        assert_eq!(table.find("a-1", "log | x").map(Row::uses), Some(1));
        assert!(table.find("c", "time later").is_none());
        assert!(Table::parse("| `a` | `b` | |").is_err());
        assert!(Table::parse("nothing").is_err());
    }
}
