//! Kubernetes events: aggregated like the kubelet's client does, written behind the pod's back.
//!
//! Telling must never slow a pod down: events go through a bounded queue to one writer task.

mod correlate;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use klet_api::Pod;
use klet_api::k8s_openapi::api::core::v1::{Event, ObjectReference};
use klet_apiserver::{EventRecord, Registry};
use klet_pod::ContainerKind;
use tokio::sync::mpsc;

use correlate::{Correlator, Key, Verdict};

/// Events waiting to be written; more are dropped (and counted in the log).
const QUEUE: usize = 4096;
/// How long events are kept (API server `--event-ttl`).
const TTL: SignedDuration = SignedDuration::from_hours(1);
/// Events kept at most; the oldest go first.
const MOST: usize = 4096;
/// New events after which their number is looked at.
const LOOK: usize = 256;
/// Events written at once, at most.
const BATCH: usize = 64;
/// How long events that come together are waited for.
const GATHERING: Duration = Duration::from_millis(20);

/// Kubernetes' two kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Normal,
    Warning,
}

/// Takes events about pods.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: mpsc::Sender<EventRecord>,
    host: Arc<str>,
}

impl Recorder {
    /// Starts the writer task.
    #[must_use]
    pub fn start(registry: Registry, node_name: &str) -> Self {
        let (queue, incoming) = mpsc::channel(QUEUE);
        tokio::spawn(write(registry, incoming));
        Self { queue, host: node_name.into() }
    }

    /// An event about the pod itself.
    pub fn pod(&self, pod: &Pod, severity: Severity, reason: &str, message: impl Into<String>) {
        self.send(about(pod, None), "kubelet", severity, reason, message.into());
    }

    /// An event about the node.
    pub fn node(&self, severity: Severity, reason: &str, message: impl Into<String>) {
        let object = ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(self.host.to_string()),
            // The kubelet's: it speaks of its node before it knows the object.
            uid: Some(self.host.to_string()),
            ..ObjectReference::default()
        };
        self.send(object, "kubelet", severity, reason, message.into());
    }

    /// An event about one container of the pod.
    pub fn container(
        &self,
        pod: &Pod,
        (kind, name): (ContainerKind, &str),
        severity: Severity,
        reason: &str,
        message: impl Into<String>,
    ) {
        let path = kind.field_path(name);
        self.send(about(pod, Some(path)), "kubelet", severity, reason, message.into());
    }

    /// The scheduler's word that the pod has a node.
    pub fn scheduled(&self, pod: &Pod) {
        let meta = &pod.metadata;
        let message = format!(
            "Successfully assigned {}/{} to {}",
            meta.namespace.as_deref().unwrap_or_default(),
            meta.name.as_deref().unwrap_or_default(),
            self.host
        );
        let object = about(pod, None);
        self.send(object, "default-scheduler", Severity::Normal, "Scheduled", message);
    }

    /// The scheduler's word that there is no place for the pod.
    pub fn unschedulable(&self, pod: &Pod, why: String) {
        let object = about(pod, None);
        self.send(object, "default-scheduler", Severity::Warning, "FailedScheduling", why);
    }

    fn send(
        &self,
        object: ObjectReference,
        component: &str,
        severity: Severity,
        reason: &str,
        message: String,
    ) {
        let record = EventRecord {
            object,
            kind: match severity {
                Severity::Normal => "Normal".to_owned(),
                Severity::Warning => "Warning".to_owned(),
            },
            reason: reason.to_owned(),
            message,
            component: component.to_owned(),
            host: self.host.to_string(),
        };
        if self.queue.try_send(record).is_err() {
            tracing::warn!(reason, "event dropped: too many are waiting to be written");
        }
    }
}

fn about(pod: &Pod, field_path: Option<String>) -> ObjectReference {
    let meta = &pod.metadata;
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path,
    }
}

async fn write(registry: Registry, mut incoming: mpsc::Receiver<EventRecord>) {
    let mut correlator = Correlator::default();
    let mut new = 0;
    let mut batch = Vec::new();
    while incoming.recv_many(&mut batch, BATCH).await > 0 {
        // A pod's start tells half a dozen events within milliseconds: they share one write to the disk.
        tokio::time::sleep(GATHERING).await;
        while batch.len() < BATCH
            && let Ok(record) = incoming.try_recv()
        {
            batch.push(record);
        }
        new += write_batch(&registry, &mut correlator, batch.drain(..)).await;
        if new >= LOOK {
            new = 0;
            expire(&registry).await;
        }
    }
}

/// Writes events; the number of those that were new.
async fn write_batch(
    registry: &Registry,
    correlator: &mut Correlator,
    batch: impl Iterator<Item = EventRecord>,
) -> usize {
    let (mut fresh, mut new): (Vec<(EventRecord, Key)>, usize) = (Vec::new(), 0);
    for record in batch {
        let (record, key) = match correlator.consider(record, Timestamp::now()) {
            Verdict::Dropped => continue,
            Verdict::New(record, key) => (record, key),
            Verdict::Again { record, key, name, count } => {
                let namespace = klet_apiserver::events::namespace(&record.object);
                match registry.repeat_event(namespace, &name, count, &record.message).await {
                    Ok(()) => continue,
                    // It expired: told again, it is new.
                    Err(_) => (record, key),
                }
            }
        };
        if fresh.iter().all(|(_, other)| *other != key) {
            fresh.push((record, key));
            continue;
        }
        // Twice in one batch: the second is a repetition as soon as the first is written.
        new += create(registry, correlator, std::mem::take(&mut fresh)).await;
        match correlator.again(&key) {
            Some((name, count)) => {
                let namespace = klet_apiserver::events::namespace(&record.object);
                let _ = registry.repeat_event(namespace, &name, count, &record.message).await;
            }
            None => fresh.push((record, key)),
        }
    }
    new + create(registry, correlator, fresh).await
}

/// Writes new events, all at once; the number of those written.
async fn create(
    registry: &Registry,
    correlator: &mut Correlator,
    fresh: Vec<(EventRecord, Key)>,
) -> usize {
    let writes = fresh.iter().map(|(record, _)| registry.create_event(record));
    let results = join_all(writes).await;
    let mut written = 0;
    for (result, (record, key)) in results.into_iter().zip(fresh) {
        match result {
            Ok(name) => {
                correlator.written(key, name);
                written += 1;
            }
            Err(error) => tracing::warn!(%error, reason = record.reason, "event not written"),
        }
    }
    written
}

/// Removes events that are older than an hour, and the oldest of too many.
pub async fn expire(registry: &Registry) {
    let (events, _) = registry.list::<Event>(None);
    let gone = outdated(events, Timestamp::now());
    let removals = gone.iter().map(|(namespace, name)| async move {
        let removed = registry.remove::<Event>(namespace.as_deref(), name).await;
        removed.inspect_err(|error| tracing::warn!(%error, name, "old event not removed"))
    });
    // At once, so that they share their writes to the disk.
    join_all(removals).await;
}

/// Namespace and name of the events that must go.
fn outdated(events: Vec<Event>, now: Timestamp) -> Vec<(Option<String>, String)> {
    let mut events: Vec<_> = events
        .into_iter()
        .filter_map(|event| {
            let time = event.last_timestamp.map(|time| time.0);
            let time = time.or(event.event_time.map(|time| time.0));
            let time = time.or(event.metadata.creation_timestamp.map(|time| time.0));
            Some((time?, event.metadata.namespace, event.metadata.name?))
        })
        .collect();
    events.sort_unstable();
    let surplus = events.len().saturating_sub(MOST);
    let old =
        |(index, (time, ..)): &(usize, (Timestamp, _, _))| *index < surplus || *time < now - TTL;
    let gone = events.into_iter().enumerate().filter(old);
    gone.map(|(_, (_, namespace, name))| (namespace, name)).collect()
}

#[cfg(test)]
mod tests {
    use klet_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn event(name: usize, time: Timestamp) -> Event {
        let mut event = Event { last_timestamp: Some(Time(time)), ..Event::default() };
        event.metadata.name = Some(name.to_string());
        event
    }

    #[test]
    fn old_events_go_and_so_do_the_oldest_of_too_many() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let old = now - TTL - SignedDuration::from_secs(1);
        let names = |events| -> Vec<_> {
            outdated(events, now).into_iter().map(|(_, name)| name).collect()
        };
        assert_eq!(names(vec![event(1, now), event(2, old), event(3, now - TTL)]), ["2"]);
        let many = (0..MOST + 2)
            .map(|number| event(number, now - SignedDuration::from_millis(number as i64)));
        let mut gone = names(many.collect());
        gone.sort_unstable();
        assert_eq!(gone, [MOST.to_string(), (MOST + 1).to_string()]);
    }
}
