//! The last word on a new pod: its node, its QoS class.

use klet_api::{Pod, PodStatus};
use klet_apiserver::{Admission, ApiError};

/// Binds pods to the one node there is.
#[derive(Debug, Clone)]
pub struct OneNode {
    pub name: String,
}

impl Admission for OneNode {
    fn pod(&self, pod: &mut Pod) -> Result<(), ApiError> {
        let class = klet_pod::status::qos_class(pod);
        if let Some(spec) = &mut pod.spec {
            spec.node_name.get_or_insert_with(|| self.name.clone());
        }
        let status = pod.status.get_or_insert_with(PodStatus::default);
        status.phase = Some("Pending".to_owned());
        status.qos_class = Some(class.to_string());
        Ok(())
    }
}
