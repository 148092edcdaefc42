//! Defaulting: the values the API server fills in before validation and admission.
//!
//! Sources: Kubernetes `pkg/apis/core/v1` defaulting, and the admission plugins that give every
//! pod a service account, a priority and the two standard tolerations. All functions may run
//! again on their own result without changing it.

use std::collections::BTreeMap;

use crate::k8s_openapi::ByteString;
use crate::k8s_openapi::api::core::v1::{
    ConfigMap, Container, DownwardAPIVolumeFile, EmptyDirVolumeSource, EnvVarSource,
    EphemeralContainer, HTTPGetAction, Lifecycle, Namespace, NamespaceSpec, NamespaceStatus,
    ObjectFieldSelector, Pod, PodSpec, Probe, ResourceFieldSelector, ResourceRequirements, Secret,
    Service, ServiceSpec, Toleration, Volume,
};
use crate::k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use crate::k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Default file mode of projected files, 0644.
const FILE_MODE: i32 = 0o644;
/// Seconds a pod tolerates a node that is not ready or unreachable.
const NODE_TROUBLE_SECONDS: i64 = 300;

/// Fills in everything a pod's author may leave out, admission's defaults included.
pub fn default_pod(pod: &mut Pod) {
    default_namespace_name(&mut pod.metadata.namespace);
    let spec = pod.spec.get_or_insert_default();
    default_pod_scalars(spec);
    default_admission(spec);
    let host_network = spec.host_network.unwrap_or(false);
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        default_container(container, host_network);
    }
    for container in spec.ephemeral_containers.iter_mut().flatten() {
        default_ephemeral_container(container);
    }
    for volume in spec.volumes.iter_mut().flatten() {
        default_volume(volume);
    }
    for constraint in spec.topology_spread_constraints.iter_mut().flatten() {
        constraint.node_affinity_policy.get_or_insert_with(|| "Honor".into());
        constraint.node_taints_policy.get_or_insert_with(|| "Ignore".into());
    }
    if let Some(resources) = &mut spec.resources {
        limits_to_requests(resources);
    }
}

/// A namespaced object without a namespace lives in `default`.
pub fn default_namespace_name(namespace: &mut Option<String>) {
    if namespace.as_deref().unwrap_or_default().is_empty() {
        *namespace = Some("default".into());
    }
}

fn default_text(field: &mut Option<String>, value: &str) {
    if field.as_deref().unwrap_or_default().is_empty() {
        *field = Some(value.into());
    }
}

fn default_pod_scalars(spec: &mut PodSpec) {
    default_text(&mut spec.restart_policy, "Always");
    default_text(&mut spec.dns_policy, "ClusterFirst");
    default_text(&mut spec.scheduler_name, "default-scheduler");
    spec.termination_grace_period_seconds.get_or_insert(30);
    spec.enable_service_links.get_or_insert(true);
    spec.security_context.get_or_insert_default();
    // `serviceAccount` is the deprecated alias; the two always agree.
    if spec.service_account_name.as_deref().unwrap_or_default().is_empty() {
        spec.service_account_name.clone_from(&spec.service_account);
    }
}

fn default_admission(spec: &mut PodSpec) {
    default_text(&mut spec.service_account_name, "default");
    spec.service_account.clone_from(&spec.service_account_name);
    default_text(&mut spec.preemption_policy, "PreemptLowerPriority");
    if spec.priority.is_none() {
        spec.priority = Some(class_priority(spec.priority_class_name.as_deref()));
    }
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerations = spec.tolerations.get_or_insert_default();
        if !tolerations.iter().any(|t| tolerates_no_execute(t, key)) {
            tolerations.push(Toleration {
                key: Some(key.into()),
                operator: Some("Exists".into()),
                effect: Some("NoExecute".into()),
                toleration_seconds: Some(NODE_TROUBLE_SECONDS),
                value: None,
            });
        }
    }
}

/// The built-in priority classes; others have no object to read a number from.
fn class_priority(class: Option<&str>) -> i32 {
    match class {
        Some("system-node-critical") => 2_000_001_000,
        Some("system-cluster-critical") => 2_000_000_000,
        _ => 0,
    }
}

fn tolerates_no_execute(toleration: &Toleration, key: &str) -> bool {
    let own_key = toleration.key.as_deref().unwrap_or_default();
    let effect = toleration.effect.as_deref().unwrap_or_default();
    (own_key == key || own_key.is_empty()) && (effect == "NoExecute" || effect.is_empty())
}

fn default_container(container: &mut Container, host_network: bool) {
    default_image_policy(container.image.as_deref(), &mut container.image_pull_policy);
    default_text(&mut container.termination_message_path, "/dev/termination-log");
    default_text(&mut container.termination_message_policy, "File");
    for port in container.ports.iter_mut().flatten() {
        default_text(&mut port.protocol, "TCP");
        if host_network && port.host_port.unwrap_or(0) == 0 {
            port.host_port = Some(port.container_port);
        }
    }
    for env in container.env.iter_mut().flatten() {
        if let Some(source) = &mut env.value_from {
            default_env_source(source);
        }
    }
    let probes = [
        &mut container.liveness_probe,
        &mut container.readiness_probe,
        &mut container.startup_probe,
    ];
    probes.into_iter().flatten().for_each(default_probe);
    if let Some(lifecycle) = &mut container.lifecycle {
        default_lifecycle(lifecycle);
    }
    limits_to_requests(container.resources.get_or_insert_default());
}

fn default_ephemeral_container(container: &mut EphemeralContainer) {
    default_image_policy(container.image.as_deref(), &mut container.image_pull_policy);
    default_text(&mut container.termination_message_path, "/dev/termination-log");
    default_text(&mut container.termination_message_policy, "File");
    container.resources.get_or_insert_default();
    for env in container.env.iter_mut().flatten() {
        if let Some(source) = &mut env.value_from {
            default_env_source(source);
        }
    }
}

fn default_image_policy(image: Option<&str>, policy: &mut Option<String>) {
    let moving = tag_is_latest(image.unwrap_or_default());
    default_text(policy, if moving { "Always" } else { "IfNotPresent" });
}

/// Whether an image reference has the tag `latest`, spelled out or by omission.
fn tag_is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    last.rsplit_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn default_probe(probe: &mut Probe) {
    let number = |field: &mut Option<i32>, value: i32| {
        if field.unwrap_or(0) == 0 {
            *field = Some(value);
        }
    };
    number(&mut probe.timeout_seconds, 1);
    number(&mut probe.period_seconds, 10);
    number(&mut probe.success_threshold, 1);
    number(&mut probe.failure_threshold, 3);
    if let Some(http) = &mut probe.http_get {
        default_http_get(http);
    }
    if let Some(grpc) = &mut probe.grpc {
        grpc.service.get_or_insert_default();
    }
}

fn default_lifecycle(lifecycle: &mut Lifecycle) {
    for handler in [&mut lifecycle.post_start, &mut lifecycle.pre_stop].into_iter().flatten() {
        if let Some(http) = &mut handler.http_get {
            default_http_get(http);
        }
    }
}

fn default_http_get(http: &mut HTTPGetAction) {
    default_text(&mut http.path, "/");
    default_text(&mut http.scheme, "HTTP");
}

fn default_env_source(source: &mut EnvVarSource) {
    if let Some(field) = &mut source.field_ref {
        default_field_ref(field);
    }
    if let Some(resource) = &mut source.resource_field_ref {
        default_divisor(resource);
    }
}

/// An absent divisor reads as zero, which means one.
fn default_divisor(resource: &mut ResourceFieldSelector) {
    resource.divisor.get_or_insert_with(|| Quantity("0".into()));
}

fn default_field_ref(field: &mut ObjectFieldSelector) {
    default_text(&mut field.api_version, "v1");
}

/// Every limit without a request becomes the request.
fn limits_to_requests(resources: &mut ResourceRequirements) {
    let Some(limits) = &resources.limits else { return };
    let requests = resources.requests.get_or_insert_with(BTreeMap::new);
    for (name, limit) in limits {
        requests.entry(name.clone()).or_insert_with(|| limit.clone());
    }
    if requests.is_empty() {
        resources.requests = None;
    }
}

fn default_volume(volume: &mut Volume) {
    if !crate::unsupported::has_source(volume) {
        volume.empty_dir = Some(EmptyDirVolumeSource::default());
    }
    if let Some(host_path) = &mut volume.host_path {
        host_path.type_.get_or_insert_default();
    }
    if let Some(source) = &mut volume.config_map {
        source.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(source) = &mut volume.secret {
        source.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(source) = &mut volume.downward_api {
        source.default_mode.get_or_insert(FILE_MODE);
        default_downward_items(&mut source.items);
    }
    if let Some(image) = &mut volume.image {
        default_image_policy(image.reference.as_deref(), &mut image.pull_policy);
    }
    let Some(projected) = &mut volume.projected else { return };
    projected.default_mode.get_or_insert(FILE_MODE);
    for source in projected.sources.iter_mut().flatten() {
        if let Some(downward) = &mut source.downward_api {
            default_downward_items(&mut downward.items);
        }
        if let Some(token) = &mut source.service_account_token {
            token.expiration_seconds.get_or_insert(3600);
        }
    }
}

fn default_downward_items(items: &mut Option<Vec<DownwardAPIVolumeFile>>) {
    for item in items.iter_mut().flatten() {
        if let Some(field) = &mut item.field_ref {
            default_field_ref(field);
        }
        if let Some(resource) = &mut item.resource_field_ref {
            default_divisor(resource);
        }
    }
}

/// Fills in a ConfigMap.
pub fn default_config_map(config_map: &mut ConfigMap) {
    default_namespace_name(&mut config_map.metadata.namespace);
}

/// Fills in a Secret: type `Opaque`, and `stringData` moved into `data`.
pub fn default_secret(secret: &mut Secret) {
    default_namespace_name(&mut secret.metadata.namespace);
    default_text(&mut secret.type_, "Opaque");
    if let Some(texts) = secret.string_data.take()
        && !texts.is_empty()
    {
        let data = secret.data.get_or_insert_default();
        for (key, text) in texts {
            data.insert(key, ByteString(text.into_bytes()));
        }
    }
}

/// Fills in a Namespace: its name label, finalizer and phase.
pub fn default_namespace(namespace: &mut Namespace) {
    if let Some(name) = namespace.metadata.name.clone().filter(|n| !n.is_empty()) {
        let labels = namespace.metadata.labels.get_or_insert_default();
        labels.insert("kubernetes.io/metadata.name".into(), name);
    }
    let spec = namespace.spec.get_or_insert_with(NamespaceSpec::default);
    spec.finalizers.get_or_insert_with(|| vec!["kubernetes".into()]);
    let status = namespace.status.get_or_insert_with(NamespaceStatus::default);
    default_text(&mut status.phase, "Active");
}

/// Fills in a Service.
pub fn default_service(service: &mut Service) {
    default_namespace_name(&mut service.metadata.namespace);
    let spec = service.spec.get_or_insert_with(ServiceSpec::default);
    default_text(&mut spec.type_, "ClusterIP");
    default_text(&mut spec.session_affinity, "None");
    default_text(&mut spec.internal_traffic_policy, "Cluster");
    if matches!(spec.type_.as_deref(), Some("NodePort" | "LoadBalancer")) {
        default_text(&mut spec.external_traffic_policy, "Cluster");
    }
    for port in spec.ports.iter_mut().flatten() {
        default_text(&mut port.protocol, "TCP");
        let own = IntOrString::Int(port.port);
        let unset = match &port.target_port {
            None | Some(IntOrString::Int(0)) => true,
            Some(IntOrString::String(name)) => name.is_empty(),
            Some(IntOrString::Int(_)) => false,
        };
        if unset {
            port.target_port = Some(own);
        }
    }
}

#[cfg(test)]
mod tests;
