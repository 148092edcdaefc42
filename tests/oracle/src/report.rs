//! Tells what came out.
#![expect(clippy::print_stdout, reason = "the report is the program's output")]

use crate::deviations::Table;

/// What a case came to: its differences, or why it could not be run.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) case: String,
    pub(crate) result: anyhow::Result<Vec<String>>,
    /// What klet showed, for a person who looks for the reason of a difference.
    pub(crate) trace: Vec<String>,
}

/// Prints the differences and the totals; the number of cases that passed.
pub(crate) fn print(table: &Table, outcomes: &[Outcome], verbose: bool) -> usize {
    let mut passed = 0;
    for Outcome { case, result, trace } in outcomes {
        let differences = match result {
            Ok(differences) => differences,
            Err(error) => {
                println!("{case}\n  not run: {error:#}");
                continue;
            }
        };
        let (explained, open): (Vec<_>, Vec<_>) =
            differences.iter().partition(|difference| table.find(case, difference).is_some());
        passed += usize::from(open.is_empty());
        let shown = if verbose { differences.iter().collect() } else { open };
        if !shown.is_empty() {
            println!("{case}");
            trace.iter().filter(|_| verbose).for_each(|line| println!("    {line}"));
            for difference in shown {
                let mark = if verbose && explained.contains(&difference) { "known: " } else { "" };
                println!("  {mark}{}", difference.replace('\n', "\\n"));
            }
        }
    }
    let met: Vec<_> = table.rows.iter().filter(|row| row.uses() > 0).collect();
    println!("\nDeviations that docs/compatibility.md explains:");
    for row in &met {
        println!("  {:4} times: {}", row.uses(), row.why);
    }
    println!("\n{} cases, {passed} passed, {} deviations", outcomes.len(), met.len());
    passed
}
