//! How what happens changes what the kubelet keeps in memory.

use std::time::Duration;

use klet_api::Pod;

use crate::backoff::{BackOff, KUBELET, after};
use crate::model::{Memory, Start, StartFailure, Time};
use crate::pods;
use crate::text;

/// How soon the kubelet syncs a pod again whose sync failed.
const RETRY: Duration = Duration::from_secs(10);
/// How soon it syncs again when the failure left a dead container, whose own back-off counts.
const RELIST: Duration = Duration::from_secs(1);

impl Memory {
    /// A start of container `name` is about to be attempted: call before carrying out `start`.
    /// Restarts of something that ended before lengthen its crash back-off.
    pub fn starting(&mut self, pod: &Pod, start: &Start, now: Time) {
        let Some(finished_at) = start.last_exit else { return };
        let Some(container) = pods::container(pod, start.kind, &start.name) else { return };
        let key = crash_key(&start.name, pods::definition(container));
        let entry = BackOff::next(self.crash.get(&key), finished_at, now, KUBELET);
        let prefix = format!("{}/", start.name);
        self.crash.retain(|other, _| !other.starts_with(&prefix));
        self.crash.insert(key, entry);
    }

    /// The start failed: `reason` and `message` become its waiting state, and it is tried again
    /// after a while.
    pub fn start_failed(&mut self, name: &str, reason: &str, message: &str, now: Time) {
        let pause = match reason {
            text::CRASH_LOOP => None,
            text::RUN_CONTAINER_ERROR | text::POST_START_HOOK_ERROR | text::ERR_IMAGE_PULL => {
                Some(RELIST)
            }
            _ => Some(RETRY),
        };
        match pause {
            Some(pause) => self.retry.insert(name.to_owned(), after(now, pause)),
            None => self.retry.remove(name),
        };
        let failure = StartFailure { reason: reason.to_owned(), message: message.to_owned() };
        self.start_failures.insert(name.to_owned(), failure);
    }

    /// The container waits out its crash back-off ([`crate::Action::BackOff`]).
    pub fn backed_off(&mut self, name: &str, message: &str, now: Time) {
        self.start_failed(name, text::CRASH_LOOP, message, now);
    }

    /// The container started, postStart hook included.
    pub fn started(&mut self, name: &str) {
        self.start_failures.remove(name);
        self.retry.remove(name);
    }

    /// A pull of `image` failed: the next attempt waits.
    pub fn pull_failed(&mut self, image: &str, now: Time) {
        let entry = BackOff::next(self.pull.get(image), now, now, KUBELET);
        self.pull.insert(image.to_owned(), entry);
    }

    /// Until when `image` must not be pulled, if it must not be pulled at `now`.
    #[must_use]
    pub fn pull_wait(&self, image: &str, now: Time) -> Option<Time> {
        let entry = self.pull.get(image)?;
        entry.until(entry.updated, KUBELET).filter(|until| *until > now)
    }

    /// Until when container `name` of this definition, whose last attempt ended at `finished_at`,
    /// must not be restarted, and how long that wait is, if it must wait at `now`.
    #[must_use]
    pub fn crash_wait(
        &self,
        name: &str,
        definition: u64,
        finished_at: Time,
        now: Time,
    ) -> Option<(Time, Duration)> {
        let entry = self.crash.get(&crash_key(name, definition))?;
        let until = entry.until(finished_at, KUBELET).filter(|until| *until > now)?;
        Some((until, entry.delay))
    }
}

/// The key carries the definition, so that a changed image starts with a clean slate.
fn crash_key(name: &str, definition: u64) -> String {
    format!("{name}/{definition:016x}")
}

#[cfg(test)]
mod tests;
