//! Time to columns. The axis is not linear: an init container of 5 ms must be seen beside ten minutes
//! of serving. A stretch without news takes space by the logarithm of its length, and every moment at
//! which something happened has a column of its own as long as there are enough.

use jiff::{SignedDuration, Timestamp};

use super::words::elapsed;

/// The unit below which stretches look equal.
const GRAIN_SECONDS: f64 = 0.01;

/// Columns of moments.
#[derive(Debug)]
pub(super) struct Axis {
    /// Each moment with its column, in order.
    columns: Vec<(Timestamp, usize)>,
    pub(super) width: usize,
}

impl Axis {
    /// Spreads the moments, which are in order, over so many columns.
    pub(super) fn new(times: &[Timestamp], width: usize) -> Self {
        let mut reached = vec![0.0_f64];
        for pair in times.windows(2) {
            let seconds = pair[1].duration_since(pair[0]).as_secs_f64();
            let last = reached[reached.len() - 1];
            reached.push(last + (seconds / GRAIN_SECONDS).ln_1p());
        }
        let total = reached[reached.len() - 1].max(f64::MIN_POSITIVE);
        let steps = times.len().saturating_sub(1);
        let last = width.saturating_sub(1);
        // Columns that every step has for sure, and those that are shared out.
        let sure = usize::from(steps <= last);
        let shared = last - sure * steps.min(last);
        let column = |index: usize, reached: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a column of a terminal"
            )]
            let part = (shared as f64 * reached / total) as usize;
            (index * sure + part).min(last)
        };
        let columns = times
            .iter()
            .zip(reached)
            .enumerate()
            .map(|(index, (time, reached))| (*time, column(index, reached)))
            .collect();
        Axis { columns, width }
    }

    /// The column of a moment; of one that is not among those given, that of the last before.
    pub(super) fn column(&self, time: Timestamp) -> usize {
        let after = self.columns.partition_point(|(known, _)| *known <= time);
        after.checked_sub(1).map_or(0, |index| self.columns[index].1)
    }

    /// Times since the beginning and their columns, as many as fit beside each other. The last is
    /// always there.
    pub(super) fn labels(&self) -> Vec<(usize, String)> {
        let Some((begin, _)) = self.columns.first() else { return Vec::new() };
        let text =
            |time: &Timestamp| elapsed(time.duration_since(*begin).max(SignedDuration::ZERO));
        let mut labels: Vec<(usize, String)> = Vec::new();
        let last = self.columns.last().map(|(time, column)| {
            let text = text(time);
            ((column + 1).saturating_sub(text.len()), text)
        });
        let end = last.as_ref().map_or(self.width, |(column, _)| *column);
        let mut free = 0;
        for (time, column) in &self.columns {
            let text = text(time);
            if *column >= free && column + text.len() < end {
                free = column + text.len() + 2;
                labels.push((*column, text));
            }
        }
        labels.extend(last);
        labels
    }
}
