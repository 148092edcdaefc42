//! The end of the pod: everything is killed at once, waited for up to a limit, and forgotten.
//!
//! A process in an uninterruptible wait of the kernel does not end when it is killed. The shim goes
//! on serving meanwhile and, when the limit has passed, says which processes these are.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use klet_cri::limits::REMOVAL_DEADLINE_MS;
use klet_cri::{Reply, ShimErrorKind};
use klet_runtime::cgroup::Cgroup;
use klet_sys::pidfd;

use super::{Pod, error};
use crate::record;

/// A removal on its way.
#[derive(Debug)]
pub(super) struct Removal {
    /// Who waits for it: connections and their requests. Empty once they were told of a failure.
    waiting: Vec<(u32, u64)>,
    deadline: Instant,
}

impl Removal {
    /// When whoever waits must be answered.
    pub(super) fn due(&self) -> Option<Instant> {
        (!self.waiting.is_empty()).then_some(self.deadline)
    }
}

impl Pod {
    /// Kills everything; the answer comes when all is gone or the limit has passed.
    pub(super) fn begin_removal(&mut self, waiting: (u32, u64), now: Instant) {
        let deadline = now + Duration::from_millis(REMOVAL_DEADLINE_MS);
        let removal = self.removal.get_or_insert(Removal { waiting: Vec::new(), deadline });
        if removal.waiting.is_empty() {
            removal.deadline = deadline;
        }
        removal.waiting.push(waiting);
        let known = self.sessions.values().map(|session| &session.pidfd);
        let known =
            known.chain(self.containers.values().filter_map(|c| Some(&c.live.as_ref()?.pidfd)));
        for process in known.chain(self.pause.as_ref().map(|pause| &pause.pidfd)) {
            // One that has ended already needs no signal.
            let _ = pidfd::send_signal(process.as_fd(), libc::SIGKILL);
        }
        if let Some(cgroup) = self.pod_cgroup() {
            // What it cannot kill is found and named below.
            let _ = cgroup.kill();
        }
    }

    /// The cgroup of everything but the shim.
    fn pod_cgroup(&self) -> Option<Cgroup> {
        self.sandbox.as_ref().map(|sandbox| self.cgroups.container(&sandbox.cgroup_parent))
    }

    /// Finishes a removal whose processes have all ended, or tells who does not.
    pub(super) fn settle_removal(&mut self, now: Instant) {
        let Some(removal) = &self.removal else { return };
        let overdue = now >= removal.deadline && !removal.waiting.is_empty();
        if self.has_live_children() && !overdue {
            return;
        }
        let left = self.left();
        if left.is_empty() {
            self.forget_all();
            self.answer_removal(None);
        } else if overdue {
            let limit = REMOVAL_DEADLINE_MS / 1000;
            let text = format!("killed, but not ended within {limit}s: {}", describe(&left));
            self.answer_removal(Some(&text));
        }
    }

    fn has_live_children(&self) -> bool {
        !self.sessions.is_empty()
            || self.containers.values().any(|container| container.live.is_some())
            || self.pause.as_ref().is_some_and(|pause| pause.alive)
    }

    /// Processes of the pod that have not ended. One that is ending is in no cgroup's list any
    /// more, so children are asked for by number, too.
    fn left(&self) -> BTreeSet<i32> {
        let containers = self.containers.values().filter(|container| container.live.is_some());
        let mut pids: BTreeSet<i32> = containers.filter_map(|c| c.snapshot.pid).collect();
        pids.extend(self.sessions.values().map(|session| session.pid));
        pids.extend(self.pause.iter().filter(|pause| pause.alive).map(|pause| pause.pid));
        pids.extend(
            self.pod_cgroup().and_then(|cgroup| cgroup.processes().ok()).unwrap_or_default(),
        );
        pids
    }

    fn forget_all(&mut self) {
        if let Some(pause) = self.pause.take() {
            let _ = pause.cgroup.remove();
        }
        for container in std::mem::take(&mut self.containers).into_values() {
            record::remove_container(&self.run, &container.snapshot.id);
        }
        self.leave();
    }

    fn answer_removal(&mut self, failure: Option<&str>) {
        let waiting = self.removal.as_mut().map(|removal| std::mem::take(&mut removal.waiting));
        for (client, id) in waiting.into_iter().flatten() {
            let answer = match failure {
                None => Ok(Reply::Done),
                Some(text) => Err(error(ShimErrorKind::Internal, text)),
            };
            self.reply(client, id, answer, Vec::new());
        }
    }
}

/// The processes with what the kernel tells of them.
fn describe(pids: &BTreeSet<i32>) -> String {
    let one = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let name = stat.split_once('(').and_then(|(_, rest)| Some(rest.rsplit_once(')')?.0));
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        format!("process {pid} ({}, state {})", name.unwrap_or("?"), state.unwrap_or('?'))
    };
    const NAMED: usize = 5;
    let mut text = pids.iter().take(NAMED).map(one).collect::<Vec<_>>().join(", ");
    if pids.len() > NAMED {
        text.push_str(&format!(" and {} more", pids.len() - NAMED));
    }
    text
}
