//! Mirror pods: what the API shows of pods that come from files.
//!
//! The annotation holds the UID of the pod on the node; the object has one of its own. Deleting the
//! object makes a new one and does nothing to the pod, as with the kubelet.

use klet_api::Pod;
use serde_json::{Value, json};

use crate::meta;

/// `kubernetes.io/config.mirror`: only the node may set it.
pub const MIRROR: &str = "kubernetes.io/config.mirror";

/// The UID under which the node knows a pod.
#[must_use]
pub fn node_uid(pod: &Pod) -> &str {
    let notes = pod.metadata.annotations.as_ref();
    let mirrored = notes.and_then(|notes| notes.get(MIRROR));
    mirrored.or(pod.metadata.uid.as_ref()).map_or("", String::as_str)
}

/// The same of a stored object.
pub(crate) fn stored_uid(object: &Value) -> &str {
    let own = || meta::field(object, "uid").unwrap_or_default();
    object["metadata"]["annotations"][MIRROR].as_str().unwrap_or_else(own)
}

/// The object stands for a pod from a file that is not ending.
pub(crate) fn stays(object: &Value) -> bool {
    let metadata = &object["metadata"];
    metadata["annotations"][MIRROR].is_string() && !metadata["deletionTimestamp"].is_string()
}

/// Another object for the same pod.
pub(crate) fn reborn(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = meta::metadata(&mut object) {
        metadata.insert("uid".to_owned(), json!(meta::uid()));
        metadata.insert("creationTimestamp".to_owned(), json!(meta::now()));
    }
    object
}
