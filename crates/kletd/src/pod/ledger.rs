//! What the node has promised to which pods, and what becomes of a pod that does not fit.
//!
//! The API asks before a pod is stored ([`Ledger::schedule`]); the dispatcher asks again before a
//! pod gets a worker ([`Ledger::admit`]), as scheduler and kubelet do in a cluster.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use klet_api::{Pod, PodStatus};
use klet_pod::StartFailure;
use klet_pod::fit::{self, Claim, Offer};

/// How long a place is kept for a pod whose object is about to be stored.
const RESERVED: Duration = Duration::from_secs(10);

/// Claims by pod uid; shared.
#[derive(Debug, Clone)]
pub struct Ledger {
    offer: Arc<Offer>,
    held: Arc<Mutex<BTreeMap<String, Held>>>,
}

#[derive(Debug)]
struct Held {
    claim: Claim,
    /// Until when, if the object has not been seen yet.
    until: Option<Instant>,
}

impl Ledger {
    #[must_use]
    pub fn new(offer: Offer) -> Self {
        Self { offer: Arc::new(offer), held: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Held>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        held.retain(|_, held| held.until.is_none_or(|until| until > now));
        held
    }

    /// Reserves a place for a pod that names no node.
    ///
    /// # Errors
    /// Why it has to wait, in the scheduler's words.
    pub fn schedule(&self, pod: &Pod) -> Result<(), String> {
        let mut held = self.lock();
        fit::schedule(pod, &self.offer, held.values().map(|held| &held.claim))?;
        let until = Some(Instant::now() + RESERVED);
        held.insert(uid(pod), Held { claim: Claim::of(pod), until });
        Ok(())
    }

    /// Books the claim of a pod that is bound to this node.
    ///
    /// # Errors
    /// Why it is refused, in the kubelet's words. What ran before and static pods are not refused.
    pub fn admit(&self, pod: &Pod) -> Result<(), StartFailure> {
        let mut held = self.lock();
        let claim = Claim::of(pod);
        if !was_admitted(pod) {
            match held.get(&uid(pod)) {
                Some(_) => fit::allowed_sysctls(pod, &self.offer)?,
                None => fit::admit(pod, &self.offer, held.values().map(|held| &held.claim))?,
            }
        }
        held.insert(uid(pod), Held { claim, until: None });
        Ok(())
    }

    /// The pod takes nothing any more.
    pub fn release(&self, pod: &Pod) -> bool {
        self.lock().remove(&uid(pod)).is_some()
    }
}

fn uid(pod: &Pod) -> String {
    klet_apiserver::node_uid(pod).to_owned()
}

/// The node has worked on it before, or has it from a file.
fn was_admitted(pod: &Pod) -> bool {
    let notes = pod.metadata.annotations.as_ref();
    let source = notes.and_then(|notes| notes.get("kubernetes.io/config.source"));
    let started = pod.status.as_ref().is_some_and(|status| status.start_time.is_some());
    started || source.is_some_and(|source| source == "file")
}

/// Nothing of the pod runs any more, or ever will.
#[must_use]
pub fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// The node has refused the pod: there never was a container.
#[must_use]
pub fn is_refused(pod: &Pod) -> bool {
    let none = |status: &PodStatus| status.container_statuses.as_ref().is_none_or(Vec::is_empty);
    is_over(pod) && pod.status.as_ref().is_some_and(none)
}

/// The pod has a node.
#[must_use]
pub fn is_bound(pod: &Pod) -> bool {
    let name = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    name.is_some_and(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(uid: &str, cpu: &str) -> Pod {
        let container = json!({ "name": "c", "resources": { "requests": { "cpu": cpu } } });
        serde_json::from_value(json!({
            "metadata": { "uid": uid }, "spec": { "containers": [container] },
        }))
        .expect("a pod")
    }

    fn ledger() -> Ledger {
        let allocatable = [("cpu", "2"), ("pods", "10")];
        let allocatable = allocatable.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        Ledger::new(Offer { allocatable, ..Offer::default() })
    }

    #[test]
    fn a_reserved_place_is_taken_by_its_pod_and_freed_by_its_end() {
        let ledger = ledger();
        assert_eq!(ledger.schedule(&pod("a", "1500m")), Ok(()));
        assert!(ledger.schedule(&pod("b", "1")).is_err(), "a has the place already");
        assert_eq!(ledger.admit(&pod("a", "1500m")), Ok(()));
        assert!(ledger.admit(&pod("b", "1")).is_err());
        assert!(ledger.release(&pod("a", "1500m")));
        assert_eq!(ledger.schedule(&pod("b", "1")), Ok(()));
    }

    #[test]
    fn what_ran_before_is_not_refused() {
        let ledger = ledger();
        let mut big = pod("a", "64");
        assert!(ledger.admit(&big).is_err());
        big.status = serde_json::from_value(json!({ "startTime": "2026-01-01T00:00:00Z" })).ok();
        assert_eq!(ledger.admit(&big), Ok(()));
        assert!(ledger.schedule(&pod("b", "1m")).is_err(), "it is counted");
    }
}
