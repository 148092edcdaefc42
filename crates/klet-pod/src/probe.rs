//! The kubelet's probe worker made pure: when to probe one container, and what an outcome means.
//!
//! One [`Worker`] per container and probe kind, for app containers and sidecars. The caller owns
//! the clock and the handlers: it asks [`Worker::next`] what to do, sleeps or probes accordingly,
//! reports with [`Worker::record`], and reads [`Worker::verdict`] after either.

use std::time::Duration;

use klet_api::k8s_openapi::api::core::v1::{Container, Probe};

use crate::backoff::after;
use crate::model::{Time, Verdict};

pub mod view;

pub use view::{ContainerView, Life, view};

/// Tries per tick while the handler itself errs (`maxProbeRetries`).
pub const MAX_TRIES: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Startup,
    Readiness,
    Liveness,
}

impl Kind {
    /// The word that opens the message of an `Unhealthy` event.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
        }
    }

    /// What a new container is taken for before its first outcome.
    #[must_use]
    pub fn initial(self) -> Verdict {
        match self {
            Self::Startup => Verdict::Unknown,
            Self::Readiness => Verdict::Failure,
            Self::Liveness => Verdict::Success,
        }
    }
}

/// The numbers of one configured probe, defaults filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeSpec {
    pub kind: Kind,
    pub initial_delay: Duration,
    pub period: Duration,
    pub timeout: Duration,
    pub success_threshold: u32,
    pub failure_threshold: u32,
}

impl ProbeSpec {
    #[must_use]
    pub fn new(kind: Kind, probe: &Probe) -> Self {
        let number = |value: Option<i32>, default: u32| match value {
            Some(value) if value > 0 => value.unsigned_abs(),
            _ => default,
        };
        let seconds = |value, default| Duration::from_secs(number(value, default).into());
        Self {
            kind,
            initial_delay: seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds, 10),
            timeout: seconds(probe.timeout_seconds, 1),
            success_threshold: number(probe.success_threshold, 1),
            failure_threshold: number(probe.failure_threshold, 3),
        }
    }

    /// The probes of a container, in the order the kubelet starts their workers.
    #[must_use]
    pub fn of(container: &Container) -> Vec<Self> {
        [
            (Kind::Startup, &container.startup_probe),
            (Kind::Readiness, &container.readiness_probe),
            (Kind::Liveness, &container.liveness_probe),
        ]
        .into_iter()
        .filter_map(|(kind, probe)| Some(Self::new(kind, probe.as_ref()?)))
        .collect()
    }
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing before this moment, unless the container changes.
    Wait(Time),
    /// Nothing until the container changes.
    WaitForChange,
    /// Run the handler now, then report. `attempt` counts the tries of this tick from 0.
    Probe { attempt: u32 },
    /// This worker has nothing left to do, ever.
    End,
}

/// How one run of a handler ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Success,
    /// The container answered badly or not in time.
    Failure,
    /// The handler could not do its work: says nothing about the container.
    Error,
    /// Success with a remark (an HTTP redirect to another host).
    Warning,
}

/// A verdict reached before the daemon restarted, about the container attempt `id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub id: String,
    pub verdict: Verdict,
}

/// The state of one probe of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    spec: ProbeSpec,
    id: Option<String>,
    kept: Option<Kept>,
    verdict: Verdict,
    /// The tick not yet used.
    due: Time,
    /// Ticks pass unused while there is nothing to probe.
    idle: bool,
    /// A lasting verdict was reached: nothing to do until there is another container.
    hold: bool,
    attempt: u32,
    last: Option<Verdict>,
    run: u32,
}

impl Worker {
    /// `first_delay` is zero, except when the daemon has been up for less than one period: then
    /// a random part of it. `kept` is the verdict of before that restart.
    #[must_use]
    pub fn new(spec: ProbeSpec, now: Time, first_delay: Duration, kept: Option<Kept>) -> Self {
        Self {
            spec,
            id: None,
            kept,
            verdict: Verdict::Unknown,
            due: after(now, first_delay),
            idle: false,
            hold: false,
            attempt: 0,
            last: None,
            run: 0,
        }
    }

    #[must_use]
    pub fn spec(&self) -> &ProbeSpec {
        &self.spec
    }

    /// The container attempt that [`Self::verdict`] is about.
    #[must_use]
    pub fn container_id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The verdict now in force.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// What to do at `now`, given what the container looks like. Ask again after every change
    /// and when a wait ends.
    pub fn next(&mut self, view: &ContainerView, now: Time) -> Step {
        if view.finished {
            return Step::End;
        }
        let Some(id) = &view.id else { return self.rest() };
        if self.id.as_ref() != Some(id) {
            self.adopt(id);
        }
        if self.hold {
            return self.rest();
        }
        let started_at = match view.life {
            Life::Running { since } => since,
            Life::Ended | Life::Other => {
                self.verdict = Verdict::Failure;
                let over = view.life == Life::Ended && !view.restarts;
                return if over { Step::End } else { self.rest() };
            }
        };
        if view.deleted && self.spec.kind != Kind::Readiness {
            self.verdict = Verdict::Success;
            return Step::End;
        }
        if (self.spec.kind == Kind::Startup) == view.started {
            return self.rest();
        }
        self.wake(now);
        self.skip_ticks_before(after(started_at, self.spec.initial_delay));
        if now < self.due { Step::Wait(self.due) } else { Step::Probe { attempt: self.attempt } }
    }

    /// Takes the outcome of the probe asked for by [`Self::next`], which ended at `now`.
    /// Returns the new verdict when it changed.
    pub fn record(&mut self, outcome: Outcome, now: Time) -> Option<Verdict> {
        let (verdict, threshold) = match outcome {
            Outcome::Error => {
                self.attempt += 1;
                if self.attempt >= MAX_TRIES {
                    self.end_tick(now);
                }
                return None;
            }
            Outcome::Success | Outcome::Warning => (Verdict::Success, self.spec.success_threshold),
            Outcome::Failure => (Verdict::Failure, self.spec.failure_threshold),
        };
        self.end_tick(now);
        self.run = if self.last == Some(verdict) { self.run.saturating_add(1) } else { 1 };
        self.last = Some(verdict);
        if self.run < threshold {
            return None;
        }
        let lasting = match self.spec.kind {
            Kind::Startup => true,
            Kind::Liveness => verdict == Verdict::Failure,
            Kind::Readiness => false,
        };
        if lasting {
            self.hold = true;
            self.run = 0;
        }
        let changed = self.verdict != verdict;
        self.verdict = verdict;
        changed.then_some(verdict)
    }

    /// Another container attempt: earlier verdicts do not count. The run of equal outcomes does,
    /// as in the kubelet.
    fn adopt(&mut self, id: &str) {
        let kept = self.kept.take().filter(|kept| kept.id == id);
        self.verdict = kept.map_or(self.spec.kind.initial(), |kept| kept.verdict);
        self.id = Some(id.to_owned());
        self.hold = false;
        self.attempt = 0;
    }

    fn rest(&mut self) -> Step {
        self.idle = true;
        Step::WaitForChange
    }

    /// The container became one to probe: at the next tick, or, for readiness, at once.
    fn wake(&mut self, now: Time) {
        if !std::mem::take(&mut self.idle) {
            return;
        }
        self.attempt = 0;
        if self.spec.kind == Kind::Readiness && self.verdict != Verdict::Success {
            self.due = now;
        } else {
            self.skip_ticks_before(now);
        }
    }

    /// Moves to the first tick that is not before `time`.
    fn skip_ticks_before(&mut self, time: Time) {
        if self.due >= time {
            return;
        }
        let behind = time.duration_since(self.due).unsigned_abs().as_nanos();
        let ticks = behind.div_ceil(self.spec.period.as_nanos().max(1));
        let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
        self.due = after(self.due, self.spec.period.saturating_mul(ticks));
    }

    /// The tick is used up. A probe slower than its period loses ticks, all but the last.
    fn end_tick(&mut self, now: Time) {
        self.attempt = 0;
        self.due = after(self.due, self.spec.period);
        while after(self.due, self.spec.period) <= now {
            self.due = after(self.due, self.spec.period);
        }
    }
}

#[cfg(test)]
mod tests;
