//! What the checker knows of a pod's spec, read once and in its own way, and plain questions
//! about what the node shows.

use klet_api::Pod;
use klet_pod::{ContainerRecord, Observed, RecordState, Sandbox, Time};

struct Container {
    name: String,
    init: bool,
    sidecar: bool,
    startup: bool,
    liveness: bool,
}

pub(crate) struct Facts {
    pub(crate) policy: String,
    containers: Vec<Container>,
    deadline: Option<i64>,
}

pub(crate) fn may_run(record: &ContainerRecord) -> bool {
    matches!(record.state, RecordState::Running { .. } | RecordState::Unknown)
}

pub(crate) fn newest<'a>(seen: &'a Observed, name: &str) -> Option<&'a ContainerRecord> {
    seen.containers.iter().filter(|r| r.name == name).max_by_key(|r| r.attempt)
}

pub(crate) fn oom_killed(record: &ContainerRecord) -> bool {
    matches!(&record.state, RecordState::Exited { reason, .. } if reason == "OOMKilled")
}

fn exit_code(record: &ContainerRecord) -> Option<i32> {
    match record.state {
        RecordState::Exited { code, .. } => Some(code),
        _ => None,
    }
}

impl Facts {
    pub(crate) fn of(pod: &Pod) -> Self {
        let spec = pod.spec.as_ref().unwrap();
        let init = spec.init_containers.iter().flatten().map(|c| (true, c));
        let all = init.chain(spec.containers.iter().map(|c| (false, c)));
        let containers = all.map(|(init, c)| Container {
            name: c.name.clone(),
            init,
            sidecar: init && c.restart_policy.is_some(),
            startup: c.startup_probe.is_some(),
            liveness: c.liveness_probe.is_some(),
        });
        Self {
            policy: spec.restart_policy.clone().unwrap(),
            containers: containers.collect(),
            deadline: spec.active_deadline_seconds,
        }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.containers.iter().map(|c| c.name.as_str())
    }

    fn get(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|c| c.name == name)
    }

    pub(crate) fn is_sidecar(&self, name: &str) -> bool {
        self.get(name).is_some_and(|c| c.sidecar)
    }

    pub(crate) fn is_regular_init(&self, name: &str) -> bool {
        self.get(name).is_some_and(|c| c.init && !c.sidecar)
    }

    /// Whether there is a startup probe, a liveness probe.
    pub(crate) fn probes(&self, name: &str) -> (bool, bool) {
        self.get(name).map_or((false, false), |c| (c.startup, c.liveness))
    }

    /// The init containers that come before a container.
    pub(crate) fn before(&self, name: &str) -> impl Iterator<Item = &str> {
        self.containers
            .iter()
            .take_while(move |c| c.name != name)
            .filter(|c| c.init)
            .map(|c| &*c.name)
    }

    fn apps(&self) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(|c| !c.init)
    }

    pub(crate) fn late(&self, pod: &Pod, now: Time) -> bool {
        let start = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
        match (self.deadline, start) {
            // Actions take time; the plan was made a moment before.
            (Some(deadline), Some(start)) => now.as_second() > start.0.as_second() + deadline + 120,
            _ => false,
        }
    }

    /// The pod has a deadline, so its end is not the planner's whim.
    pub(crate) fn may_be_late(&self, pod: &Pod) -> bool {
        let spec = pod.spec.as_ref();
        spec.is_some_and(|spec| spec.active_deadline_seconds.is_some())
    }

    pub(crate) fn out_of_date(&self, pod: &Pod, record: &ContainerRecord) -> bool {
        let spec = pod.spec.as_ref().unwrap();
        let mut apps = spec.containers.iter();
        apps.any(|c| c.name == record.name && c.image.as_ref() != Some(&record.image))
    }

    /// Under Never an init container has failed: all is lost.
    pub(crate) fn initialization_failed(&self, seen: &Observed) -> bool {
        self.policy == "Never"
            && self.containers.iter().filter(|c| c.init && !c.sidecar).any(|c| {
                newest(seen, &c.name).is_some_and(|r| {
                    matches!(r.state, RecordState::Unknown)
                        || exit_code(r).is_some_and(|code| code != 0)
                        || oom_killed(r)
                })
            })
    }

    /// No app container will be started again, as its policy and exit say; `down` knows how
    /// those ended whose records are gone.
    pub(crate) fn apps_done(&self, seen: &Observed, down: impl Fn(&str) -> Option<i32>) -> bool {
        self.apps().all(|c| {
            let record = newest(seen, &c.name);
            match record.map_or_else(|| down(&c.name), exit_code) {
                Some(0) => self.policy != "Always",
                Some(_) => self.policy == "Never",
                // Being stopped for a failed probe, together with the sidecar.
                None => self.policy == "Never" && record.is_some_and(may_run),
            }
        })
    }

    pub(crate) fn check_phase(
        &self,
        seen: &Observed,
        phase: &str,
        ending: bool,
    ) -> Result<(), String> {
        let runs = |c: &Container| {
            let record = newest(seen, &c.name);
            record.is_some_and(|r| matches!(r.state, RecordState::Running { .. }))
        };
        let all_zero = || {
            let records: Vec<_> = self.apps().filter_map(|c| newest(seen, &c.name)).collect();
            records.iter().all(|r| exit_code(r) == Some(0))
        };
        if phase == "Succeeded" && !all_zero() {
            return Err("Succeeded, but not all containers did".to_owned());
        }
        if ending {
            return Ok(());
        }
        if phase == "Failed" && self.policy == "Always" {
            return Err("Failed under Always".to_owned());
        }
        let regular_done = self.containers.iter().filter(|c| c.init && !c.sidecar).all(|c| {
            newest(seen, &c.name).is_some_and(|r| exit_code(r) == Some(0) && !oom_killed(r))
        });
        if phase == "Pending" && regular_done && self.apps().all(runs) {
            return Err("Pending, but all app containers run".to_owned());
        }
        Ok(())
    }

    /// A live pod rests only while everything that should run does.
    pub(crate) fn check_rest(&self, pod: &Pod, seen: &Observed) -> Result<(), String> {
        let ready = matches!(seen.sandbox, Sandbox::Ready { .. });
        if self.policy == "Never" && !ready && !seen.containers.iter().any(may_run) {
            // The sandbox was lost before every container had its only start: as in the kubelet,
            // such a pod stays where it is.
            return Ok(());
        }
        if !ready {
            return Err("rests without a sandbox".to_owned());
        }
        for container in self.apps().chain(self.containers.iter().filter(|c| c.sidecar)) {
            let Some(record) = newest(seen, &container.name) else {
                return Err(format!("rests although {} never started", container.name));
            };
            let done = match exit_code(record) {
                Some(0) => self.policy != "Always" && !container.sidecar,
                Some(_) => self.policy == "Never" && !container.sidecar,
                None => matches!(record.state, RecordState::Running { .. }),
            };
            if !done || self.out_of_date(pod, record) && exit_code(record).is_none() {
                return Err(format!("rests with {} in {:?}", container.name, record.state));
            }
        }
        Ok(())
    }
}
