//! One world: a pod, a node, virtual time that jumps from event to event, and the loop that
//! observes, tells the status, plans and acts, as the daemon does.

use std::collections::BTreeMap;
use std::time::Duration;

use klet_api::{Pod, PodStatus};
use klet_pod::{
    Memory, NodeFacts, Observed, Plan, RecordState, Sandbox, StartFailure, Time, Verdicts,
};

use crate::bugs::Bug;
use crate::checker::Checker;
use crate::rng::Rng;
use crate::scenario::{self, Blow};

/// Rounds after which a world that does not rest is taken for one that never will.
const PATIENCE: usize = 6000;

pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) now: Time,
    pub(crate) pod: Pod,
    pub(crate) seen: Observed,
    pub(crate) memory: Memory,
    pub(crate) checker: Checker,
    pub(crate) bug: Option<Bug>,
    pub(crate) next_id: u64,
    /// When running containers will exit by themselves, and how.
    pub(crate) exits: BTreeMap<String, (Time, i32)>,
    /// What probes will find.
    pub(crate) findings: Vec<(Time, String, Verdicts)>,
    pub(crate) removed: bool,
    /// Ask twice whether the status stays the same (it takes as long as all the rest).
    thorough: bool,
    /// Print what is done (a single seed is replayed).
    verbose: bool,
    blows: Vec<(Time, Blow)>,
    node: NodeFacts,
}

impl World {
    pub(crate) fn new(seed: u64, bug: Option<Bug>) -> Self {
        let mut rng = Rng::new(seed);
        let pod = scenario::pod(&mut rng);
        let blows = scenario::blows(&mut rng);
        Self {
            checker: Checker::new(&pod),
            rng,
            now: scenario::start(),
            pod,
            seen: Observed::default(),
            memory: Memory::default(),
            bug,
            next_id: 0,
            exits: BTreeMap::new(),
            findings: Vec::new(),
            removed: false,
            verbose: std::env::var_os("KLET_SIM_SEED").is_some(),
            thorough: bug.is_none() && seed.is_multiple_of(4),
            blows,
            node: NodeFacts { name: "n".into(), host_ips: vec!["10.0.0.1".parse().unwrap()] },
        }
    }

    /// Lives until everything rests. `Err` tells which rule was broken.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        let mut busy = 0;
        for _ in 0..PATIENCE {
            self.tell()?;
            let plan = self.plan();
            self.checker.planned(&plan, self.now)?;
            if plan.actions.is_empty() {
                busy = 0;
                if !self.advance(&plan) {
                    return self.checker.rested(&self.pod, &self.seen);
                }
                continue;
            }
            if self.verbose {
                eprintln!("{} {:?}", self.now, plan.actions);
            }
            busy += 1;
            if busy > 40 {
                return Err(format!("never settles: {:?}", plan.actions));
            }
            self.execute(plan)?;
            if self.removed {
                return self.checker.gone(&self.pod, &self.seen);
            }
        }
        Err("does not come to rest".to_owned())
    }

    pub(crate) fn calm(&self) -> bool {
        self.now >= scenario::start() + scenario::CALM_AFTER
    }

    fn plan(&self) -> Plan {
        let plan = klet_pod::plan::plan(&self.pod, &self.seen, &self.memory, self.now);
        match self.bug {
            Some(bug) => bug.distort_plan(plan, &self.pod, &self.seen, &self.memory),
            None => plan,
        }
    }

    /// Writes the status to the API.
    pub(crate) fn tell(&mut self) -> Result<(), String> {
        let status = self.status();
        self.checker.told(&self.pod, &self.seen, &status)?;
        self.pod.status = Some(status.clone());
        if self.thorough && self.status() != status {
            let json = |status: &PodStatus| serde_json::to_string(status).unwrap();
            let again = json(&self.status());
            return Err(format!("status is not stable:\n  {}\n  {again}", json(&status)));
        }
        Ok(())
    }

    fn status(&self) -> PodStatus {
        let status =
            klet_pod::status::status(&self.pod, &self.seen, &self.memory, &self.node, self.now);
        match self.bug {
            Some(bug) => bug.distort_status(status, &self.seen),
            None => status,
        }
    }

    /// Jumps to the next event and lets it happen; false when there is none.
    fn advance(&mut self, plan: &Plan) -> bool {
        let exit = self.exits.values().map(|(time, _)| *time).min();
        let finding = self.findings.iter().map(|(time, _, _)| *time).min();
        let blow = self.blows.first().map(|(time, _)| *time);
        let Some(next) = [plan.wake_at, exit, finding, blow].into_iter().flatten().min() else {
            return false;
        };
        self.now = self.now.max(next);
        self.let_containers_exit();
        self.let_probes_find();
        while self.blows.first().is_some_and(|(time, _)| *time <= self.now) {
            let (_, blow) = self.blows.remove(0);
            self.strike(blow);
        }
        true
    }

    fn let_containers_exit(&mut self) {
        let due: Vec<_> = self
            .exits
            .iter()
            .filter(|(_, (time, _))| *time <= self.now)
            .map(|(id, (time, code))| (id.clone(), *time, *code))
            .collect();
        for (id, time, code) in due {
            self.exit(&id, time, code);
        }
    }

    fn let_probes_find(&mut self) {
        let now = self.now;
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.findings).into_iter().partition(|(time, _, _)| *time <= now);
        self.findings = later;
        for (_, id, verdicts) in due {
            let runs = |r: &klet_pod::ContainerRecord| {
                r.id == id && matches!(r.state, RecordState::Running { .. })
            };
            if self.seen.containers.iter().any(runs) {
                self.checker.probed(&id, verdicts);
                self.seen.verdicts.insert(id, verdicts);
            }
        }
    }

    /// A container ends, by itself or because it was stopped.
    pub(crate) fn exit(&mut self, id: &str, time: Time, code: i32) {
        self.exits.remove(id);
        let oom = code == 137 && self.rng.chance(20);
        let reason = match code {
            0 => "Completed",
            _ if oom => "OOMKilled",
            _ => "Error",
        };
        let Some(record) = self.seen.containers.iter_mut().find(|r| r.id == id) else { return };
        let started_at = match record.state {
            RecordState::Running { started_at } => Some(started_at),
            _ => None,
        };
        record.state = RecordState::Exited {
            started_at,
            finished_at: time,
            code,
            reason: reason.to_owned(),
            message: String::new(),
        };
        let name = record.name.clone();
        self.checker.exited(&name, id, time, code);
    }

    fn strike(&mut self, blow: Blow) {
        if self.verbose {
            eprintln!("{} {blow:?}", self.now);
        }
        match blow {
            Blow::Delete { grace } => {
                self.pod.metadata.deletion_timestamp =
                    Some(klet_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(self.now));
                self.pod.metadata.deletion_grace_period_seconds = Some(grace);
                self.checker.deleted();
            }
            Blow::DaemonRestart => self.lose_memory(),
            Blow::Reboot => self.reboot(),
            Blow::SandboxDies => self.break_sandbox(),
            Blow::ImageChange => self.change_image(),
            Blow::Doom => {
                self.memory.doomed =
                    Some(StartFailure { reason: "Evicted".into(), message: "full".into() });
                self.checker.doomed();
            }
            Blow::ContainerUnknown => {
                let runs = |state: &RecordState| matches!(state, RecordState::Running { .. });
                let found = self.seen.containers.iter_mut().find(|r| runs(&r.state));
                if let Some(record) = found {
                    record.state = RecordState::Unknown;
                    self.exits.remove(&record.id);
                }
            }
        }
    }

    /// The daemon restarts: what it kept in memory is gone. An eviction is decided again.
    pub(crate) fn lose_memory(&mut self) {
        let doomed = self.memory.doomed.take();
        self.memory = Memory { doomed, ..Memory::default() };
        self.seen.verdicts.clear();
        self.checker.memory_lost();
        let running: Vec<_> = self.exits.keys().cloned().collect();
        for id in running {
            self.foresee_probes(&id);
        }
    }

    fn break_sandbox(&mut self) {
        if let Sandbox::Ready { id, attempt, .. } = &self.seen.sandbox {
            self.seen.sandbox = Sandbox::NotReady { id: id.clone(), attempt: *attempt };
        }
    }

    fn reboot(&mut self) {
        self.break_sandbox();
        let ended: Vec<_> = self.seen.containers.drain(..).map(|r| (r.name, r.id)).collect();
        for (name, id) in ended {
            self.checker.lost(&name, &id);
        }
        self.exits.clear();
        self.findings.clear();
        self.lose_memory();
    }

    fn change_image(&mut self) {
        let spec = self.pod.spec.as_mut().unwrap();
        if let Some(container) = spec.containers.first_mut() {
            let name = container.name.clone();
            container.image = Some(format!("img:{}", self.now.as_second()));
            self.checker.image_changed(&name);
        }
    }

    /// What the probes of a container will find from now on.
    pub(crate) fn foresee_probes(&mut self, id: &str) {
        use klet_pod::Verdict::{Failure, Success, Unknown};
        let good = Verdicts { startup: Success, liveness: Success, readiness: Success };
        let troubled = !self.calm();
        let mut time = self.now;
        if troubled && self.rng.chance(10) {
            time += self.rng.seconds(1, 60);
            let failed = Verdicts { startup: Failure, liveness: Success, readiness: Unknown };
            self.findings.push((time, id.to_owned(), failed));
            return;
        }
        time += self.rng.seconds(0, 20);
        self.findings.push((time, id.to_owned(), good));
        if troubled && self.rng.chance(20) {
            time += self.rng.seconds(1, 900);
            let unready = Verdicts { readiness: Failure, ..good };
            self.findings.push((time, id.to_owned(), unready));
            time += self.rng.seconds(1, 100);
            self.findings.push((time, id.to_owned(), good));
        }
        if troubled && self.rng.chance(20) {
            time += self.rng.seconds(1, 900);
            let hung = Verdicts { liveness: Failure, ..good };
            self.findings.push((time, id.to_owned(), hung));
        }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.let_containers_exit();
    }
}
