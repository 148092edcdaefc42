//! A model node: carries out actions, with luck or without.

use std::time::Duration;

use klet_pod::{
    Action, ContainerKind, ContainerRecord, Kill, Plan, RecordState, Sandbox, Start, Time,
};

use crate::world::World;

/// The first failure ends the round; the next comes after this long.
const RETRY: Duration = Duration::from_secs(10);

impl World {
    /// Carries out the plan. The daemon may die between two actions.
    pub(crate) fn execute(&mut self, plan: Plan) -> Result<(), String> {
        self.checker.round_begins();
        for action in plan.actions {
            let short = Duration::from_millis(1 + self.rng.below(50));
            self.pass(short);
            if !self.calm() && self.rng.chance(1) {
                self.lose_memory();
                return Ok(());
            }
            if !self.act(action)? {
                self.pass(RETRY);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Carries out one action; false when it failed.
    fn act(&mut self, action: Action) -> Result<bool, String> {
        let unlucky = !self.calm() && self.rng.chance(5);
        match action {
            Action::KillPod(kill) => {
                for one in &kill.containers {
                    self.checker.killed(one, &self.pod, &self.seen)?;
                    self.stop(one);
                }
                if unlucky {
                    return Ok(false);
                }
                self.checker.sandbox_stopped();
                let (Sandbox::Ready { id, attempt, .. } | Sandbox::NotReady { id, attempt }) =
                    &self.seen.sandbox
                else {
                    return Ok(true);
                };
                self.seen.sandbox = Sandbox::NotReady { id: id.clone(), attempt: *attempt };
            }
            Action::CreateSandbox { attempt } => {
                self.seen.leftovers = true;
                if unlucky {
                    return Ok(false);
                }
                self.checker.sandbox_created(&self.seen)?;
                let ips = vec!["10.88.0.7".parse().unwrap()];
                self.seen.sandbox = Sandbox::Ready { id: format!("s{attempt}"), attempt, ips };
            }
            Action::StopContainer(kill) => {
                self.checker.killed(&kill, &self.pod, &self.seen)?;
                if unlucky {
                    return Ok(false);
                }
                self.stop(&kill);
            }
            Action::RemoveContainers { ids } => {
                self.checker.forgotten(&ids, &self.seen)?;
                self.seen.containers.retain(|record| !ids.contains(&record.id));
            }
            Action::StartContainer(start) => return self.start(&start),
            Action::BackOff { name, message, .. } => {
                self.checker.backed_off(&name, &message)?;
                self.memory.backed_off(&name, &message, self.now);
            }
            Action::CleanUp => {
                if unlucky {
                    return Ok(false);
                }
                self.seen.leftovers = false;
            }
            Action::RemoveObject => self.removed = true,
        }
        Ok(true)
    }

    fn stop(&mut self, kill: &Kill) {
        let took = self.rng.seconds(0, u64::try_from(kill.grace_seconds).unwrap_or(0));
        self.pass(took);
        let code = self.rng.pick(&[0, 143, 137]);
        let state = self.seen.containers.iter().find(|r| r.id == kill.id).map(|r| &r.state);
        match state {
            Some(RecordState::Running { .. }) => self.exit(&kill.id, self.now, code),
            Some(RecordState::Unknown) => self.exit(&kill.id, self.now, 137),
            Some(RecordState::Created | RecordState::Exited { .. }) | None => {}
        }
    }

    /// One attempt to start a container; its failure is remembered and does not end the round,
    /// except when it is the turn of a regular init container.
    fn start(&mut self, start: &Start) -> Result<bool, String> {
        self.checker.starting(start, &self.pod, &self.seen, self.now)?;
        self.memory.starting(&self.pod, start, self.now);
        let trouble = if self.calm() { 100 } else { self.rng.below(100) };
        let name = &start.name;
        let image = self.image(start);
        if let Some(_until) = self.memory.pull_wait(&image, self.now) {
            self.memory.start_failed(name, "ImagePullBackOff", "back-off", self.now);
            return Ok(true);
        }
        match trouble {
            0..4 => {
                self.memory.pull_failed(&image, self.now);
                self.memory.start_failed(name, "ErrImagePull", "no such image", self.now);
            }
            4..7 => self.memory.start_failed(name, "CreateContainerConfigError", "x", self.now),
            7..10 => {
                self.record(start, RecordState::Created);
                self.memory.start_failed(name, "RunContainerError", "x", self.now);
            }
            10..13 => {
                let (started_at, finished_at) = (None, self.now);
                let (reason, message) = ("StartError".to_owned(), "no program".to_owned());
                let state =
                    RecordState::Exited { started_at, finished_at, code: 128, reason, message };
                let id = self.record(start, state);
                self.checker.exited(name, &id, self.now, 128);
                self.memory.start_failed(name, "RunContainerError", "no program", self.now);
            }
            13..15 => {
                // The daemon dies between creation and start.
                self.record(start, RecordState::Created);
                self.lose_memory();
                return Ok(false);
            }
            _ => self.run_container(start),
        }
        Ok(true)
    }

    fn run_container(&mut self, start: &Start) {
        let id = self.record(start, RecordState::Running { started_at: self.now });
        self.checker.started(start, &id);
        if let Some((time, code)) = self.foresee_exit(start) {
            self.exits.insert(id.clone(), (time, code));
        }
        self.foresee_probes(&id);
        if !self.calm() && self.rng.chance(3) {
            // The postStart hook fails: the container is killed for it.
            let message = "hook".to_owned();
            let kill = Kill {
                kind: start.kind,
                name: start.name.clone(),
                id: id.clone(),
                message: message.clone(),
                grace_seconds: 1,
                pre_stop: false,
            };
            self.stop(&kill);
            self.memory.start_failed(&start.name, "PostStartHookError", &message, self.now);
        } else {
            self.memory.started(&start.name);
        }
    }

    /// When and how the container will end by itself.
    fn foresee_exit(&mut self, start: &Start) -> Option<(Time, i32)> {
        let spec = self.pod.spec.as_ref().unwrap();
        let always = spec.restart_policy.as_deref() == Some("Always");
        let init = spec.init_containers.iter().flatten();
        let mut sidecars = init.filter(|c| c.restart_policy.is_some());
        let sidecar = sidecars.any(|c| c.name == start.name);
        let regular_init = start.kind == ContainerKind::Init && !sidecar;
        if self.calm() {
            let lasts = sidecar || (always && !regular_init);
            return (!lasts).then(|| (self.now + self.rng.seconds(1, 30), 0));
        }
        let span = self.rng.pick(&[0, 5, 60, 400, 2000]);
        let code = if self.rng.chance(50) { 0 } else { self.rng.pick(&[1, 2, 137, 139]) };
        Some((self.now + self.rng.seconds(0, span), code))
    }

    fn record(&mut self, start: &Start, state: RecordState) -> String {
        self.next_id += 1;
        let id = format!("c{}", self.next_id);
        let image = self.image(start);
        self.seen.containers.push(ContainerRecord {
            id: id.clone(),
            name: start.name.clone(),
            attempt: start.attempt,
            definition: klet_pod::plan::definition_hash(&start.name, &image),
            image_ref: image.clone(),
            image_id: "sha256:0".to_owned(),
            image,
            state,
        });
        self.checker.recorded(start);
        id
    }

    fn image(&self, start: &Start) -> String {
        let spec = self.pod.spec.as_ref().unwrap();
        let mut all = spec.init_containers.iter().flatten().chain(&spec.containers);
        all.find(|c| c.name == start.name).and_then(|c| c.image.clone()).unwrap()
    }
}
