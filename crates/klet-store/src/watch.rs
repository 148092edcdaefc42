//! A watch: a place in the history of a resource, moving forward.
//!
//! It holds no queue. It reads from the ring that all watches share, so a slow
//! consumer costs nothing and, when the ring has moved past it, learns so.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::watch;

use crate::error::Expired;
use crate::state::{Event, Shared};

/// Events taken from the ring at once, so that readers do not hold the lock for long.
const CHUNK: usize = 64;

/// Delivers every change of a resource after a version, in order, exactly once.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    wake: watch::Receiver<u64>,
    group: String,
    resource: String,
    namespace: Option<String>,
    /// Changes up to here were taken from the ring.
    position: u64,
    taken: VecDeque<Event>,
    expired: Option<Expired>,
}

impl Watch {
    pub(crate) fn new(
        shared: Arc<Shared>,
        (group, resource): (&str, &str),
        namespace: Option<&str>,
        from: u64,
    ) -> Result<Self, Expired> {
        let wake = shared.write().subscribe(group, resource, from)?;
        Ok(Self {
            shared,
            wake,
            group: group.to_owned(),
            resource: resource.to_owned(),
            namespace: namespace.map(str::to_owned),
            position: from,
            taken: VecDeque::new(),
            expired: None,
        })
    }

    /// The next change; waits for it. `None` when the store was closed or the
    /// consumer was too slow ([`Watch::expired`] tells them apart). Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            // Seen before reading: a change made after the read wakes the wait below.
            self.wake.borrow_and_update();
            if let Some(event) = self.try_next() {
                return Some(event);
            }
            if self.expired.is_some() || self.wake.changed().await.is_err() {
                return self.try_next();
            }
        }
    }

    /// The next change if there is one already.
    pub fn try_next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.taken.pop_front() {
                return Some(event);
            }
            if self.expired.is_some() || !self.take() {
                return None;
            }
        }
    }

    /// Set once the history has moved past this watch: changes were missed.
    #[must_use]
    pub fn expired(&self) -> Option<Expired> {
        self.expired
    }

    /// Every change of the resource up to this version was delivered (or did not match).
    #[must_use]
    pub fn position(&self) -> u64 {
        self.taken.front().map_or(self.position, |event| event.object.version - 1)
    }

    /// Takes the next chunk from the ring; false when there is none.
    fn take(&mut self) -> bool {
        let state = self.shared.read();
        match state.since(&self.group, &self.resource, self.position, CHUNK) {
            Err(expired) => {
                self.expired = Some(expired);
                false
            }
            Ok(events) => {
                let Some(last) = events.last() else {
                    self.position = state.version();
                    return false;
                };
                self.position = last.object.version;
                drop(state);
                let namespace = self.namespace.as_deref();
                let wanted = |event: &Event| {
                    namespace.is_none() || event.object.key.namespace.as_deref() == namespace
                };
                self.taken.extend(events.into_iter().filter(wanted));
                true
            }
        }
    }
}
