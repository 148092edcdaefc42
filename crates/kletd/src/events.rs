//! Kubernetes events: aggregated like the kubelet's client does, written behind the pod's back.
//!
//! Telling must never slow a pod down: events go through a bounded queue to one writer task.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use klet_api::Pod;
use klet_api::k8s_openapi::api::core::v1::{Event, ObjectReference};
use klet_apiserver::{EventRecord, Registry};
use klet_pod::ContainerKind;
use tokio::sync::mpsc;

/// Events waiting to be written; more are dropped (and counted in the log).
const QUEUE: usize = 4096;
/// Aggregation keys remembered.
const REMEMBERED: usize = 4096;
/// How long events are kept (API server `--event-ttl`).
const TTL: SignedDuration = SignedDuration::from_hours(1);

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
        self.send(pod, None, "kubelet", severity, reason, message.into());
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
        self.send(pod, Some(path), "kubelet", severity, reason, message.into());
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
        self.send(pod, None, "default-scheduler", Severity::Normal, "Scheduled", message);
    }

    fn send(
        &self,
        pod: &Pod,
        field_path: Option<String>,
        component: &str,
        severity: Severity,
        reason: &str,
        message: String,
    ) {
        let meta = &pod.metadata;
        let record = EventRecord {
            object: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: meta.name.clone(),
                namespace: meta.namespace.clone(),
                uid: meta.uid.clone(),
                resource_version: meta.resource_version.clone(),
                field_path,
            },
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

/// What makes two events the same one, repeated.
type Key = (Option<String>, Option<String>, String, String, String);

async fn write(registry: Registry, mut incoming: mpsc::Receiver<EventRecord>) {
    let mut known: HashMap<Key, String> = HashMap::new();
    while let Some(record) = incoming.recv().await {
        let key = (
            record.object.uid.clone(),
            record.object.field_path.clone(),
            record.kind.clone(),
            record.reason.clone(),
            record.message.clone(),
        );
        let namespace = record.object.namespace.clone().unwrap_or_else(|| "default".to_owned());
        if let Some(name) = known.get(&key)
            && registry.repeat_event(&namespace, name, &record.message).await.is_ok()
        {
            continue;
        }
        if known.len() >= REMEMBERED {
            known.clear();
            expire(&registry).await;
        }
        match registry.create_event(&record).await {
            Ok(name) => {
                known.insert(key, name);
            }
            Err(error) => tracing::warn!(%error, reason = record.reason, "event not written"),
        }
    }
}

/// Removes events that are older than an hour.
pub async fn expire(registry: &Registry) {
    let oldest = Timestamp::now() - TTL;
    let (events, _) = registry.list::<Event>(None);
    for event in events {
        let last = event.last_timestamp.as_ref().map(|time| time.0);
        let meta = event.metadata;
        if let (Some(last), Some(name)) = (last, meta.name)
            && last < oldest
            && let Err(error) = registry.remove::<Event>(meta.namespace.as_deref(), &name).await
        {
            tracing::warn!(%error, name, "old event not removed");
        }
    }
}
