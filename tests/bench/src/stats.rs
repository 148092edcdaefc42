//! Samples and what is told of them: median and spread.

use serde::Serialize;

/// Measured values of one thing, in the order they were taken.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<f64>);

/// Median and spread of some samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    pub count: usize,
    pub median: f64,
    pub p10: f64,
    pub p90: f64,
}

impl Samples {
    pub fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Takes over the samples of another.
    pub fn extend(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// The first and the last `count` of the samples.
    #[must_use]
    pub fn ends(&self, count: usize) -> (Self, Self) {
        let count = count.min(self.0.len());
        (Self(self.0[..count].to_vec()), Self(self.0[self.0.len() - count..].to_vec()))
    }

    /// `None` without samples.
    #[must_use]
    pub fn summary(&self) -> Option<Summary> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        if sorted.is_empty() {
            return None;
        }
        Some(Summary {
            count: sorted.len(),
            median: quantile(&sorted, 0.5),
            p10: quantile(&sorted, 0.1),
            p90: quantile(&sorted, 0.9),
        })
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

impl Summary {
    /// A bound or a value without spread.
    #[must_use]
    pub fn exactly(value: f64) -> Self {
        Self { count: 1, median: value, p10: value, p90: value }
    }
}

/// Linear between the two nearest of `sorted`, which is not empty.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_spread() {
        let samples: Samples = (0..=10).rev().map(f64::from).collect();
        let summary = samples.summary().unwrap();
        assert_eq!((summary.p10, summary.median, summary.p90), (1.0, 5.0, 9.0));
        let two: Samples = [1.0, 2.0].into_iter().collect();
        assert_eq!(two.summary().unwrap().median, 1.5);
        assert_eq!(Samples::default().summary(), None);
    }

    #[test]
    fn ends_keep_the_order_taken() {
        let samples: Samples = (0..10).map(f64::from).collect();
        let (first, last) = samples.ends(3);
        assert_eq!((first.summary().unwrap().median, last.summary().unwrap().median), (1.0, 8.0));
    }
}
