//! Ending containers: the hook, the signal, the deadline.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::future::join_all;
use jiff::Timestamp;
use klet_cri::{ContainerState, Request};
use klet_pod::{Kill, KillPod};
use tokio::sync::watch;
use tokio::time::Instant;

use super::records::Labels;
use super::worker::{Desired, Worker};
use super::{find, hooks};
use crate::events::Severity;
use crate::shim::{CallError, Shim};
use crate::timeline::What;

/// Least time between stop signal and SIGKILL (kubelet `minimumGracePeriodInSeconds`).
const LEAST: Duration = Duration::from_secs(2);

/// How long the end of a container is waited for after its SIGKILL. One that takes longer waits in the
/// kernel, uninterruptibly.
const KILLED: Duration = Duration::from_secs(15);
/// How often a shim from which nothing is heard is asked whether it lives.
const ALIVE: Duration = Duration::from_secs(30);

/// How far the end of a container has come. It outlives a failed attempt: the hook runs once, and
/// the grace is not given anew.
#[derive(Debug, Clone, Copy)]
pub struct Ending {
    begun: Instant,
    hook_ran: bool,
}

impl Worker {
    /// Ends one container.
    ///
    /// # Errors
    /// The shim does not do it.
    pub async fn stop_one(&mut self, kill: Kill) -> anyhow::Result<()> {
        self.stop_all(vec![kill]).await
    }

    /// Ends every container, then the sandbox.
    ///
    /// # Errors
    /// The shim does not do it, or something in the pod does not end; told as `FailedKillPod`.
    pub async fn kill_pod(&mut self, kill: KillPod) -> anyhow::Result<()> {
        let killed = self.try_kill_pod(kill).await.context("error killing pod");
        if let Err(error) = &killed {
            let text = format!("{error:#}");
            self.node.events.pod(&self.pod, Severity::Warning, "FailedKillPod", text);
        }
        killed
    }

    async fn try_kill_pod(&mut self, kill: KillPod) -> anyhow::Result<()> {
        if kill.sandbox_changed {
            let text = "Pod sandbox changed, it will be killed and re-created.";
            self.node.events.pod(&self.pod, Severity::Normal, "SandboxChanged", text);
        }
        self.stop_all(kill.containers).await?;
        // How the containers ended must be known before their supervisor is gone.
        let seen = self.observe().await;
        self.update_status(&seen, Timestamp::now());
        // With the supervisor its record of how they ended goes, too.
        self.publisher.flush().await?;
        if let Some(shim) = self.shim.get() {
            match shim.remove_sandbox().await {
                Err(error @ CallError::Refused(_)) => return Err(error.into()),
                // One that is gone or hangs is dealt with by the next look.
                Ok(()) | Err(CallError::Gone(_)) => self.shim.set(None),
            }
            self.note(None, What::SandboxRemoved, String::new());
        }
        Ok(())
    }

    async fn stop_all(&mut self, kills: Vec<Kill>) -> anyhow::Result<()> {
        let Some(shim) = self.shim.get() else { return Ok(()) };
        let snapshot = shim.status().await?;
        let running: Vec<_> = snapshot
            .containers
            .iter()
            .filter(|container| !matches!(container.state, ContainerState::Exited(_)))
            .collect();
        self.endings.retain(|id, _| running.iter().any(|container| container.id == *id));
        let mut stops = Vec::new();
        for kill in &kills {
            let Some(container) = running.iter().find(|container| container.id == kill.id) else {
                continue;
            };
            let ending = begin(&mut self.endings, kill, Instant::now());
            stops.push((kill, Labels::from_map(&container.labels).stop_signal, ending));
        }
        let stops = stops
            .into_iter()
            .map(|(kill, signal, ending)| self.stop(shim.clone(), kill, signal, ending));
        join_all(stops).await.into_iter().collect()
    }

    async fn stop(
        &self,
        shim: Shim,
        kill: &Kill,
        signal: i32,
        Ending { begun, hook_ran }: Ending,
    ) -> anyhow::Result<()> {
        let target = (kill.kind, kill.name.as_str());
        self.node.events.container(&self.pod, target, Severity::Normal, "Killing", &*kill.message);
        self.note(Some(&kill.name), What::Killing, kill.message.clone());
        let mut desired = self.desired.clone();
        let mut grace = seconds(kill.grace_seconds);
        if kill.pre_stop && !hook_ran {
            grace = self.pre_stop(&shim, kill, &mut desired, grace).await;
        }
        loop {
            let left = grace.saturating_sub(whole_seconds(begun.elapsed())).max(LEAST);
            let grace_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            shim.call(Request::StopContainer { id: kill.id.clone(), signal, grace_ms }).await?;
            tokio::select! {
                ended = until_exited(&shim, &kill.id) => return Ok(ended?),
                shorter = shortened(&mut desired, grace) => grace = shorter,
                () = tokio::time::sleep(left + KILLED) => {
                    bail!("container {} was killed and has not ended within {}s", kill.name, KILLED.as_secs());
                }
            }
        }
    }

    /// Runs the preStop hook within the grace, and answers with the grace as it stands then.
    async fn pre_stop(
        &self,
        shim: &Shim,
        kill: &Kill,
        desired: &mut watch::Receiver<Desired>,
        mut grace: Duration,
    ) -> Duration {
        let hook = find(&self.pod, kill.kind, &kill.name)
            .and_then(|container| container.lifecycle.as_ref())
            .and_then(|lifecycle| lifecycle.pre_stop.as_ref());
        let Some(hook) = hook else { return grace };
        self.note(Some(&kill.name), What::PreStopBegan, String::new());
        let begun = Instant::now();
        let run = hooks::run(self, shim, (kill.kind, &kill.name, &kill.id), hook);
        tokio::pin!(run);
        loop {
            tokio::select! {
                result = &mut run => {
                    if let Err(error) = result {
                        self.note(Some(&kill.name), What::PreStopFailed, error.clone());
                        tracing::info!(pod = self.identity.name, "preStop: {error}");
                        self.node.events.container(
                            &self.pod,
                            (kill.kind, &kill.name),
                            Severity::Warning,
                            "FailedPreStopHook",
                            "PreStopHook failed",
                        );
                    } else {
                        self.note(Some(&kill.name), What::PreStopDone, String::new());
                    }
                    return grace;
                }
                // Not a sum of times: a grace may be longer than any clock.
                () = tokio::time::sleep(grace.saturating_sub(begun.elapsed())) => {
                    let detail = "its time was up".to_owned();
                    self.note(Some(&kill.name), What::PreStopFailed, detail);
                    return grace;
                }
                shorter = shortened(desired, grace) => grace = shorter,
                () = gone(shim, &kill.id) => return grace,
            }
        }
    }
}

/// Notes that the end of a container begins, and answers with how far it has come before.
fn begin(endings: &mut BTreeMap<String, Ending>, kill: &Kill, now: Instant) -> Ending {
    let known = endings.entry(kill.id.clone()).or_insert(Ending { begun: now, hook_ran: false });
    let before = *known;
    known.hook_ran |= kill.pre_stop;
    before
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// The kubelet subtracts whole seconds from the grace.
fn whole_seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}

/// Returns when the deletion's grace became shorter than `grace`: the new one.
async fn shortened(desired: &mut watch::Receiver<Desired>, grace: Duration) -> Duration {
    loop {
        let wanted = {
            let desired = desired.borrow_and_update();
            match desired.pod.metadata.deletion_grace_period_seconds {
                _ if desired.removed => Some(Duration::from_secs(1)),
                given => given.map(seconds),
            }
        };
        if let Some(wanted) = wanted
            && wanted < grace
        {
            return wanted;
        }
        if desired.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Returns when the container has ended.
///
/// # Errors
/// The shim is gone.
pub async fn until_exited(shim: &Shim, id: &str) -> Result<(), CallError> {
    let mut changes = shim.changes();
    loop {
        changes.mark_unchanged();
        let snapshot = shim.status().await?;
        let state = snapshot.containers.iter().find(|container| container.id == id);
        if state.is_none_or(|container| matches!(container.state, ContainerState::Exited(_))) {
            return Ok(());
        }
        // An error means that the connection ended: the next status call says so, as it does of a
        // shim that hangs.
        let _ = tokio::time::timeout(ALIVE, changes.changed()).await;
    }
}

async fn gone(shim: &Shim, id: &str) {
    let _ = until_exited(shim, id).await;
}

#[cfg(test)]
mod tests {
    use klet_pod::ContainerKind;

    use super::*;

    #[test]
    fn an_end_that_failed_goes_on_where_it_was() {
        let mut endings = BTreeMap::new();
        let kill = |pre_stop| Kill {
            kind: ContainerKind::App,
            name: "c".to_owned(),
            id: "1".to_owned(),
            grace_seconds: 30,
            message: String::new(),
            pre_stop,
        };
        let first = Instant::now();
        let later = first + Duration::from_secs(9);
        let seen = |ending: Ending| (ending.begun, ending.hook_ran);
        assert_eq!(seen(begin(&mut endings, &kill(false), first)), (first, false));
        assert_eq!(seen(begin(&mut endings, &kill(true), later)), (first, false), "no hook yet");
        assert_eq!(seen(begin(&mut endings, &kill(true), later)), (first, true));
    }
}
