//! Exponential back-off as the kubelet counts it.

use std::time::Duration;

use crate::model::Time;

/// How a back-off grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Curve {
    pub initial: Duration,
    pub max: Duration,
}

/// The kubelet's curve: 10 s doubling to 5 min (`MaxContainerBackOff`).
pub const KUBELET: Curve =
    Curve { initial: Duration::from_secs(10), max: Duration::from_secs(300) };

/// One entry: how long the current wait is and when it was last extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackOff {
    pub delay: Duration,
    pub updated: Time,
}

impl BackOff {
    /// The entry after one more attempt at `now`, made because of a failure at `failed`.
    /// Starts over when there is none yet or the last one is forgotten.
    #[must_use]
    pub fn next(entry: Option<&Self>, failed: Time, now: Time, curve: Curve) -> Self {
        let delay = match entry {
            Some(entry) if !entry.forgotten(failed, curve) => {
                entry.delay.saturating_mul(2).min(curve.max)
            }
            _ => curve.initial,
        };
        Self { delay, updated: now }
    }

    /// When the wait for something that failed at `failed` ends; `None` when there is none,
    /// because the failure came so late that the earlier ones are forgotten.
    #[must_use]
    pub fn until(&self, failed: Time, curve: Curve) -> Option<Time> {
        (!self.forgotten(failed, curve)).then(|| after(failed, self.delay))
    }

    /// The failure came more than twice the longest wait after the last attempt:
    /// whatever was wrong before is forgotten.
    #[must_use]
    pub fn forgotten(&self, failed: Time, curve: Curve) -> bool {
        failed > after(self.updated, curve.max.saturating_mul(2))
    }
}

/// `time + delay`, or the end of time.
pub(crate) fn after(time: Time, delay: Duration) -> Time {
    time.checked_add(delay).unwrap_or(Time::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Time {
        Time::from_second(second).unwrap()
    }

    #[test]
    fn doubles_from_ten_seconds_to_five_minutes() {
        let mut entry = None;
        let mut seconds = Vec::new();
        for second in 0..7 {
            entry = Some(BackOff::next(entry.as_ref(), at(second), at(second), KUBELET));
            seconds.push(entry.unwrap().delay.as_secs());
        }
        assert_eq!(seconds, [10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn counts_from_the_failure_not_from_the_attempt() {
        let entry = BackOff { delay: Duration::from_secs(40), updated: at(1000) };
        assert_eq!(entry.until(at(1005), KUBELET), Some(at(1045)));
    }

    #[test]
    fn is_forgotten_after_running_longer_than_twice_the_maximum() {
        let entry = BackOff { delay: Duration::from_secs(300), updated: at(1000) };
        assert_eq!(entry.until(at(1600), KUBELET), Some(at(1900)));
        assert_eq!(entry.until(at(1601), KUBELET), None);
        let next = BackOff::next(Some(&entry), at(1601), at(1602), KUBELET);
        assert_eq!(next, BackOff { delay: KUBELET.initial, updated: at(1602) });
    }
}
