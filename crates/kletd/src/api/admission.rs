//! The last word on a new pod: whether the node has a place for it, its QoS class.

use klet_api::status_error::{self, Resource};
use klet_api::{Pod, PodStatus};
use klet_apiserver::{Admission, ApiError, MIRROR};

use crate::pod::ledger::Ledger;

/// Admits pods to the one node there is.
#[derive(Debug, Clone)]
pub struct OneNode {
    pub ledger: Ledger,
}

impl Admission for OneNode {
    fn schedule(&self, pod: &Pod) -> Result<(), String> {
        self.ledger.schedule(pod)
    }

    fn pod(&self, pod: &mut Pod) -> Result<(), ApiError> {
        let notes = pod.metadata.annotations.as_ref();
        if notes.is_some_and(|notes| notes.contains_key(MIRROR)) {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            let why = format!("annotation {MIRROR}: mirror pods are made for files only");
            return Err(status_error::forbidden(Resource::core("pods"), name, &why).into());
        }
        let class = pod.spec.as_ref().and_then(|spec| spec.runtime_class_name.as_deref());
        if let Some(class) = class.filter(|class| !class.is_empty()) {
            // There are no RuntimeClass objects here, so none is known.
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            let why = format!("pod rejected: RuntimeClass \"{class}\" not found");
            return Err(status_error::forbidden(Resource::core("pods"), name, &why).into());
        }
        let class = klet_pod::status::qos_class(pod);
        let status = pod.status.get_or_insert_with(PodStatus::default);
        status.phase = Some("Pending".to_owned());
        status.qos_class = Some(class.to_owned());
        Ok(())
    }
}
