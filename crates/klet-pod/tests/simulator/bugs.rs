//! Bugs planted on purpose, to prove that the checker can find them.

use klet_api::{Pod, PodStatus};
use klet_pod::{
    Action, ContainerKind, Kill, KillPod, Memory, Observed, Plan, RecordState, Sandbox, Start,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    SkipsInit,
    StartsAfterDelete,
    IgnoresBackOff,
    RestartsUnderNever,
    DoubleStart,
    LosesRestartCount,
    ForgetsSandbox,
    KillsOnAdoption,
    RerunsInit,
    RemovesTooEarly,
    NeverWakes,
    NeverSettles,
    NeverStops,
    TellsFewerRestarts,
    RevivesPhase,
    TellsFinalTooEarly,
}

pub(crate) const ALL: [Bug; 16] = [
    Bug::SkipsInit,
    Bug::StartsAfterDelete,
    Bug::IgnoresBackOff,
    Bug::RestartsUnderNever,
    Bug::DoubleStart,
    Bug::LosesRestartCount,
    Bug::ForgetsSandbox,
    Bug::KillsOnAdoption,
    Bug::RerunsInit,
    Bug::RemovesTooEarly,
    Bug::NeverWakes,
    Bug::NeverSettles,
    Bug::NeverStops,
    Bug::TellsFewerRestarts,
    Bug::RevivesPhase,
    Bug::TellsFinalTooEarly,
];

fn attempt_after(seen: &Observed, name: &str) -> u32 {
    let attempts = seen.containers.iter().filter(|r| r.name == name).map(|r| r.attempt + 1);
    attempts.max().unwrap_or(0)
}

fn start(kind: ContainerKind, name: &str, seen: &Observed) -> Action {
    let attempt = attempt_after(seen, name);
    Action::StartContainer(Start { kind, name: name.to_owned(), attempt, last_exit: None })
}

fn is_start(action: &Action) -> bool {
    matches!(action, Action::StartContainer(_))
}

impl Bug {
    pub(crate) fn distort_plan(
        self,
        plan: Plan,
        pod: &Pod,
        seen: &Observed,
        memory: &Memory,
    ) -> Plan {
        let mut plan = plan;
        let actions = &mut plan.actions;
        match self {
            Self::SkipsInit => {
                for action in actions.iter_mut() {
                    let app = &pod.spec.as_ref().unwrap().containers[0].name;
                    if matches!(action, Action::StartContainer(s) if s.kind == ContainerKind::Init)
                    {
                        *action = start(ContainerKind::App, app, seen);
                    }
                }
            }
            Self::StartsAfterDelete => {
                let deleted = pod.metadata.deletion_timestamp.is_some();
                if deleted && actions.iter().any(|a| matches!(a, Action::KillPod(_))) {
                    actions.push(start(ContainerKind::App, "a0", seen));
                }
            }
            Self::IgnoresBackOff => actions.iter_mut().for_each(|action| {
                if let Action::BackOff { kind, name, .. } = action {
                    *action = start(*kind, name, seen);
                }
            }),
            Self::RestartsUnderNever => self.restart_under_never(actions, pod, seen),
            Self::DoubleStart => {
                if let Some(Action::StartContainer(start)) = actions.iter().rfind(|a| is_start(a)) {
                    let again = Start { attempt: start.attempt + 1, ..start.clone() };
                    actions.push(Action::StartContainer(again));
                }
            }
            Self::LosesRestartCount => actions.iter_mut().for_each(|action| {
                if let Action::StartContainer(start) = action {
                    start.attempt = 0;
                }
            }),
            Self::ForgetsSandbox => {
                actions.retain(|action| !matches!(action, Action::CreateSandbox { .. }));
            }
            Self::KillsOnAdoption => self.kill_on_adoption(actions, seen, memory),
            Self::RerunsInit => {
                let done = |r: &&klet_pod::ContainerRecord| {
                    r.name.starts_with('i')
                        && matches!(r.state, RecordState::Exited { code: 0, .. })
                };
                if actions.iter().any(is_start)
                    && let Some(done) = seen.containers.iter().find(done)
                {
                    actions.push(start(ContainerKind::Init, &done.name, seen));
                }
            }
            Self::RemovesTooEarly => {
                if matches!(actions.as_slice(), [Action::CleanUp]) {
                    *actions = vec![Action::RemoveObject];
                }
            }
            Self::NeverWakes => plan.wake_at = None,
            Self::NeverSettles => {
                if actions.is_empty() {
                    actions.push(Action::KillPod(KillPod {
                        containers: Vec::new(),
                        sandbox_changed: false,
                    }));
                }
            }
            Self::NeverStops => actions.retain(|a| !matches!(a, Action::KillPod(_))),
            Self::TellsFewerRestarts | Self::RevivesPhase | Self::TellsFinalTooEarly => {}
        }
        plan
    }

    fn restart_under_never(self, actions: &mut Vec<Action>, pod: &Pod, seen: &Observed) {
        let never = pod.spec.as_ref().unwrap().restart_policy.as_deref() == Some("Never");
        let ended = |r: &&klet_pod::ContainerRecord| {
            r.name.starts_with('a') && matches!(r.state, RecordState::Exited { .. })
        };
        if never
            && matches!(seen.sandbox, Sandbox::Ready { .. })
            && let Some(ended) = seen.containers.iter().find(ended)
        {
            *actions = vec![start(ContainerKind::App, &ended.name, seen)];
        }
    }

    fn kill_on_adoption(self, actions: &mut Vec<Action>, seen: &Observed, memory: &Memory) {
        let runs = |r: &&klet_pod::ContainerRecord| matches!(r.state, RecordState::Running { .. });
        if *memory == Memory::default()
            && actions.is_empty()
            && let Some(record) = seen.containers.iter().find(runs)
        {
            actions.push(Action::StopContainer(Kill {
                kind: ContainerKind::App,
                name: record.name.clone(),
                id: record.id.clone(),
                message: String::new(),
                grace_seconds: 1,
                pre_stop: false,
            }));
        }
    }

    pub(crate) fn distort_status(self, status: PodStatus, seen: &Observed) -> PodStatus {
        let mut status = status;
        match self {
            Self::TellsFewerRestarts => {
                let lists = [&mut status.container_statuses, &mut status.init_container_statuses];
                for told in lists.into_iter().flatten().flatten() {
                    if told.restart_count > 1 {
                        told.restart_count = 0;
                    }
                }
            }
            Self::RevivesPhase if !seen.leftovers => status.phase = Some("Running".to_owned()),
            Self::TellsFinalTooEarly => {
                let ended = seen.containers.iter().any(|r| {
                    r.name.starts_with('a')
                        && matches!(r.state, RecordState::Exited { code: 1, .. })
                });
                if ended {
                    status.phase = Some("Failed".to_owned());
                }
            }
            _ => {}
        }
        status
    }
}
