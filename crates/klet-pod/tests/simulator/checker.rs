//! The rules of pod life, checked by someone who knows nothing of how plans are made: it sees only
//! what was carried out, what befell the pod, and what was said about it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use klet_api::{Pod, PodStatus};
use klet_pod::{
    Action, ContainerKind, ContainerRecord, Kill, Observed, Plan, RecordState, Sandbox, Start,
    Time, Verdict, Verdicts,
};

use crate::facts::{self, Facts};

/// What happened to one container so far.
#[derive(Default)]
struct Past {
    highest_attempt: Option<u32>,
    told_count: i32,
    /// When it last ended and how; not yet counted while the round that ended it goes on.
    exit: Option<(Time, i32)>,
    exit_before_round: Option<(Time, i32)>,
    /// How the newest attempt ended, if it has.
    down: Option<i32>,
    down_before_round: Option<i32>,
    down_told: bool,
    exit_lost: bool,
    /// Its records were removed: a new sandbox owes the old one nothing.
    exit_forgotten: bool,
    image_changed: bool,
    /// Nobody knew how it was: such a container is replaced under any policy.
    was_unknown: bool,
    /// The wait in force and when it was last lengthened.
    wait: Option<(Duration, Time)>,
    /// Succeeded (init), or was up (sidecar), in the present sandbox.
    passed: bool,
}

pub(crate) struct Checker {
    facts: Facts,
    pasts: BTreeMap<String, Past>,
    ids: BTreeMap<String, String>,
    failing: BTreeSet<String>,
    deleted: bool,
    doomed: bool,
    final_phase: Option<String>,
    stopped: bool,
}

const SHORTEST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);

impl Checker {
    pub(crate) fn new(pod: &Pod) -> Self {
        let facts = Facts::of(pod);
        let pasts = facts.names().map(|name| (name.to_owned(), Past::default())).collect();
        Self {
            facts,
            pasts,
            ids: BTreeMap::new(),
            failing: BTreeSet::new(),
            deleted: false,
            doomed: false,
            final_phase: None,
            stopped: true,
        }
    }

    fn past(&mut self, name: &str) -> &mut Past {
        self.pasts.get_mut(name).expect("the scenario knows all containers")
    }

    // What befell the pod.

    pub(crate) fn deleted(&mut self) {
        self.deleted = true;
    }

    pub(crate) fn doomed(&mut self) {
        self.doomed = true;
    }

    pub(crate) fn memory_lost(&mut self) {
        self.pasts.values_mut().for_each(|past| past.wait = None);
        self.failing.clear();
    }

    pub(crate) fn image_changed(&mut self, name: &str) {
        let past = self.past(name);
        past.image_changed = true;
        past.wait = None;
    }

    pub(crate) fn probed(&mut self, id: &str, verdicts: Verdicts) {
        let name = self.ids.get(id).cloned().unwrap_or_default();
        let (startup, liveness) = self.facts.probes(&name);
        let failed = (startup && verdicts.startup == Verdict::Failure)
            || (liveness && verdicts.liveness == Verdict::Failure);
        if failed {
            self.failing.insert(id.to_owned());
        }
        if self.facts.is_sidecar(&name) && (!startup || verdicts.startup == Verdict::Success) {
            self.past(&name).passed = true;
        }
    }

    pub(crate) fn exited(&mut self, name: &str, id: &str, time: Time, code: i32) {
        self.failing.remove(id);
        let regular = self.facts.is_regular_init(name);
        let past = self.past(name);
        past.exit = Some((time, code));
        past.exit_forgotten = false;
        past.down = Some(code);
        past.passed |= regular && code == 0;
    }

    /// The record went with the machine.
    pub(crate) fn lost(&mut self, name: &str, id: &str) {
        self.failing.remove(id);
        let past = self.past(name);
        past.exit = None;
        past.exit_lost = true;
        if !past.down_told {
            // The machine went before anyone could take note.
            past.down = None;
        }
    }

    // What was carried out.

    pub(crate) fn round_begins(&mut self) {
        self.pasts.values_mut().for_each(|past| {
            past.exit_before_round = past.exit.filter(|_| !past.exit_forgotten);
            past.down_before_round = past.down;
        });
    }

    pub(crate) fn planned(&self, plan: &Plan, now: Time) -> Result<(), String> {
        let untils = plan.actions.iter().filter_map(|action| match action {
            Action::BackOff { until, .. } => Some(*until),
            _ => None,
        });
        match untils.chain(plan.wake_at).find(|time| *time <= now) {
            Some(past) => Err(format!("waits for what is past: {past}")),
            None => Ok(()),
        }
    }

    pub(crate) fn sandbox_stopped(&mut self) {
        self.stopped = true;
    }

    pub(crate) fn sandbox_created(&mut self, seen: &Observed) -> Result<(), String> {
        self.must_live("a sandbox was made")?;
        if let Some(record) = seen.containers.iter().find(|record| facts::may_run(record)) {
            return Err(format!("a sandbox was made while {} may run in another", record.name));
        }
        self.stopped = false;
        self.pasts.values_mut().for_each(|past| past.passed = false);
        Ok(())
    }

    fn must_live(&self, what: &str) -> Result<(), String> {
        match (self.deleted, self.doomed, &self.final_phase) {
            (true, ..) => Err(format!("{what} after the deletion")),
            (_, true, _) => Err(format!("{what} after the eviction")),
            (.., Some(phase)) => Err(format!("{what} although the phase is {phase}")),
            _ => Ok(()),
        }
    }

    pub(crate) fn starting(
        &mut self,
        start: &Start,
        pod: &Pod,
        seen: &Observed,
        now: Time,
    ) -> Result<(), String> {
        let name = &start.name;
        self.must_live(&format!("{name} was started"))?;
        if self.facts.late(pod, now) {
            return Err(format!("{name} was started after the deadline"));
        }
        if self.stopped || !matches!(seen.sandbox, Sandbox::Ready { .. }) {
            return Err(format!("{name} was started without a sandbox"));
        }
        if seen.containers.iter().any(|r| &r.name == name && facts::may_run(r)) {
            return Err(format!("two attempts of {name} at the same time"));
        }
        let highest = self.past(name).highest_attempt;
        if highest.is_some_and(|highest| start.attempt <= highest) {
            return Err(format!("attempt {} of {name} after {highest:?}", start.attempt));
        }
        self.order(start, seen)?;
        self.policy(start)?;
        self.wait(name, now)
    }

    /// Everything before it has passed in this sandbox, and it has not passed itself.
    fn order(&self, start: &Start, seen: &Observed) -> Result<(), String> {
        let name = &start.name;
        for earlier in self.facts.before(name) {
            let up = |r: &ContainerRecord| {
                r.name == earlier && matches!(r.state, RecordState::Running { .. })
            };
            let sidecar_up = self.facts.is_sidecar(earlier)
                && !self.facts.probes(earlier).0
                && seen.containers.iter().any(up);
            if !self.pasts[earlier].passed && !sidecar_up {
                return Err(format!("{name} was started before {earlier} had passed"));
            }
        }
        if self.facts.is_regular_init(name) && self.pasts[name.as_str()].passed {
            // OOM-killed with exit code 0 counts as failed.
            let oom = facts::newest(seen, name).is_some_and(facts::oom_killed);
            if !oom {
                return Err(format!("init container {name} ran again in the same sandbox"));
            }
        }
        Ok(())
    }

    fn policy(&self, start: &Start) -> Result<(), String> {
        let name = &start.name;
        let past = &self.pasts[name.as_str()];
        if self.facts.is_sidecar(name) || past.image_changed {
            return Ok(());
        }
        let now = past.down.is_some() && !past.was_unknown;
        let ended = past.down_before_round.is_some() || past.exit_lost || now;
        match self.facts.policy.as_str() {
            "Never" if ended => Err(format!("{name} was restarted under Never")),
            "OnFailure" if start.kind == ContainerKind::App => match past.down_before_round {
                Some(0) => Err(format!("{name} was restarted after success")),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// The back-off, counted anew: first restart at once, then 10 s doubling to 300 s from the
    /// last exit, forgotten after twice the longest.
    fn wait(&mut self, name: &str, now: Time) -> Result<(), String> {
        let past = self.past(name);
        let Some((finished, _)) = past.exit_before_round else { return Ok(()) };
        let forgotten = |(_, last): &(Duration, Time)| finished > *last + 2 * LONGEST;
        let wait = past.wait.filter(|wait| !forgotten(wait));
        if let Some((wait, _)) = wait
            && now < finished + wait
        {
            return Err(format!("{name} was restarted before its back-off of {wait:?} ended"));
        }
        let next = wait.map_or(SHORTEST, |(wait, _)| (wait * 2).min(LONGEST));
        past.wait = Some((next, now));
        Ok(())
    }

    pub(crate) fn backed_off(&self, name: &str, message: &str) -> Result<(), String> {
        let Some((wait, _)) = self.pasts[name].wait else {
            return Err(format!("{name} backs off without having been restarted"));
        };
        let text = klet_pod::text::go_duration(wait);
        let expected = format!("back-off {text} restarting failed container={name} pod=p_ns(uid)");
        match message == expected {
            true => Ok(()),
            false => Err(format!("told {message:?} instead of {expected:?}")),
        }
    }

    pub(crate) fn recorded(&mut self, start: &Start) {
        let past = self.past(&start.name);
        past.highest_attempt = past.highest_attempt.max(Some(start.attempt));
        past.image_changed = false;
        past.down = None;
    }

    pub(crate) fn started(&mut self, start: &Start, id: &str) {
        self.ids.insert(id.to_owned(), start.name.clone());
        let gated = self.facts.probes(&start.name).0;
        if self.facts.is_sidecar(&start.name) && !gated {
            self.past(&start.name).passed = true;
        }
    }

    /// Nothing that is well is stopped without a reason.
    pub(crate) fn killed(&mut self, kill: &Kill, pod: &Pod, seen: &Observed) -> Result<(), String> {
        let Some(record) = seen.containers.iter().find(|record| record.id == kill.id) else {
            return Err(format!("{} was stopped, but there is no {}", kill.name, kill.id));
        };
        if !facts::may_run(record) {
            return Ok(());
        }
        self.past(&kill.name).was_unknown = matches!(record.state, RecordState::Unknown);
        let ending = self.deleted || self.doomed || self.final_phase.is_some();
        let broken = !matches!(seen.sandbox, Sandbox::Ready { .. });
        let wrong = matches!(record.state, RecordState::Unknown)
            || self.failing.contains(&record.id)
            || self.facts.out_of_date(pod, record)
            || self.facts.initialization_failed(seen)
            || (self.facts.is_sidecar(&record.name)
                && self.facts.apps_done(seen, |name| self.pasts[name].down));
        if ending || broken || wrong || self.facts.may_be_late(pod) {
            return Ok(());
        }
        Err(format!("{} was stopped although nothing was wrong", record.name))
    }

    pub(crate) fn forgotten(&mut self, ids: &[String], seen: &Observed) -> Result<(), String> {
        if ids.is_empty() {
            return Err("forgets nothing".to_owned());
        }
        for record in seen.containers.iter().filter(|record| ids.contains(&record.id)) {
            if facts::may_run(record) {
                return Err(format!("forgets {} which may run", record.name));
            }
            if facts::newest(seen, &record.name).is_some_and(|newest| newest.id == record.id) {
                self.past(&record.name).exit_forgotten = true;
            }
        }
        Ok(())
    }

    // What was said.

    pub(crate) fn told(
        &mut self,
        pod: &Pod,
        seen: &Observed,
        status: &PodStatus,
    ) -> Result<(), String> {
        let phase = status.phase.clone().ok_or("no phase")?;
        let runs = seen.containers.iter().any(facts::may_run);
        if let Some(last) = &self.final_phase
            && *last != phase
        {
            return Err(format!("phase {phase} after {last}"));
        }
        if phase == "Succeeded" || phase == "Failed" {
            if runs && self.final_phase.is_none() {
                return Err(format!("phase {phase} while containers run"));
            }
            self.final_phase = Some(phase.clone());
        }
        let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
        for told in all {
            let past = self.past(&told.name);
            if told.restart_count < past.told_count {
                let (now, before) = (told.restart_count, past.told_count);
                return Err(format!("restartCount of {} fell from {before} to {now}", told.name));
            }
            past.told_count = told.restart_count;
            past.down_told = told.state.as_ref().is_some_and(|state| state.terminated.is_some());
        }
        let ending = self.deleted || self.doomed || self.facts.may_be_late(pod);
        self.facts.check_phase(seen, &phase, ending)
    }

    /// Nothing will happen any more: that must be a good place to be.
    pub(crate) fn rested(&self, pod: &Pod, seen: &Observed) -> Result<(), String> {
        if self.deleted {
            return Err("deleted, but still there".to_owned());
        }
        if self.final_phase.is_some() {
            return self.clean(seen);
        }
        if self.doomed {
            return Err("evicted, but no final phase".to_owned());
        }
        self.facts.check_rest(pod, seen)
    }

    /// The object was removed.
    pub(crate) fn gone(&self, pod: &Pod, seen: &Observed) -> Result<(), String> {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if !self.deleted || !matches!(phase, Some("Succeeded" | "Failed")) {
            return Err(format!("the object was removed in phase {phase:?}"));
        }
        self.clean(seen)
    }

    fn clean(&self, seen: &Observed) -> Result<(), String> {
        let ready = matches!(seen.sandbox, Sandbox::Ready { .. });
        match seen.leftovers || ready || seen.containers.iter().any(facts::may_run) {
            true => Err(format!("over, but something is left: {seen:?}")),
            false => Ok(()),
        }
    }
}
