//! Events: what happened to an object, for people. Repeats are counted, not stored.

use klet_api::k8s_openapi::api::core::v1::{Event, ObjectReference};
use serde_json::{Value, json};

use crate::meta;
use crate::registry::{Registry, RegistryError, key};

/// Something worth telling.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventRecord {
    /// What it happened to (kind, namespace, name, uid, fieldPath, ...).
    pub object: ObjectReference,
    /// `Normal` or `Warning`.
    pub kind: String,
    /// CamelCase word.
    pub reason: String,
    /// One line.
    pub message: String,
    /// `source.component`, e.g. `kubelet`.
    pub component: String,
    /// `source.host`.
    pub host: String,
}

impl Registry {
    /// Stores a new event and returns its name, for [`Registry::repeat_event`].
    ///
    /// # Errors
    /// What the store answers.
    pub async fn create_event(&self, record: &EventRecord) -> Result<String, RegistryError> {
        let namespace = namespace(&record.object);
        let subject = record.object.name.as_deref().unwrap_or("unknown");
        let name = format!("{subject}.{}", meta::hex16());
        let now = meta::now();
        let event = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": name, "namespace": namespace, "uid": meta::uid(), "creationTimestamp": now,
            },
            "involvedObject": serde_json::to_value(&record.object)?,
            "reason": record.reason,
            "message": record.message,
            "type": record.kind,
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "eventTime": null,
            "source": { "component": record.component, "host": record.host },
            "reportingComponent": record.component,
            "reportingInstance": record.host,
        });
        self.store().create(&key::<Event>(Some(namespace), &name), event).await?;
        Ok(name)
    }

    /// Sets how often an event occurred, the last time now.
    ///
    /// # Errors
    /// [`klet_store::WriteError::NotFound`] when it expired meanwhile, and what else the
    /// store answers.
    pub async fn repeat_event(
        &self,
        namespace: &str,
        name: &str,
        count: i32,
        message: &str,
    ) -> Result<(), RegistryError> {
        let message = message.to_owned();
        let change = move |mut event: Value| {
            event["count"] = json!(count);
            event["lastTimestamp"] = json!(meta::now());
            event["message"] = json!(message);
            Ok::<_, RegistryError>(Some(event))
        };
        self.store().modify(&key::<Event>(Some(namespace), name), change).await?;
        Ok(())
    }
}

/// The namespace that holds an object's events: its own, or `default`.
#[must_use]
pub fn namespace(object: &ObjectReference) -> &str {
    object.namespace.as_deref().filter(|namespace| !namespace.is_empty()).unwrap_or("default")
}
