//! The `Node` object: this machine as Kubernetes describes it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use klet_api::k8s_openapi::api::core::v1::{
    Node as NodeObject, NodeAddress, NodeCondition, NodeSpec, NodeStatus, NodeSystemInfo,
};
use klet_api::k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use klet_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use klet_apiserver::RegistryError;

use crate::node::NodeRef;

/// Pause before a write that was refused is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// Writes the node object; pods run without it while the disk is full.
pub async fn keep_trying(node: NodeRef) {
    while let Err(error) = publish(&node).await {
        tracing::warn!(%error, "the node object is not written, trying again");
        tokio::time::sleep(RETRY).await;
    }
}

/// Writes the node object; what users added to it (labels, annotations) is replaced.
async fn publish(node: &NodeRef) -> Result<(), RegistryError> {
    let name = &node.config.node_name;
    node.registry.put(None, name, &object(node)).await.map(drop)
}

/// Labels of the node, as the kubelet sets them.
#[must_use]
pub fn labels(name: &str) -> BTreeMap<String, String> {
    let labels = [
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", arch()),
    ];
    labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

fn object(node: &NodeRef) -> NodeObject {
    let name = node.config.node_name.clone();
    NodeObject {
        metadata: ObjectMeta {
            labels: Some(labels(&name)),
            name: Some(name),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            pod_cidr: Some(node.config.pod_cidr.clone()),
            pod_cidrs: Some(vec![node.config.pod_cidr.clone()]),
            ..NodeSpec::default()
        }),
        status: Some(status(node)),
    }
}

fn status(node: &NodeRef) -> NodeStatus {
    let resources =
        node.allocatable.iter().map(|(key, value)| (key.clone(), Quantity(value.clone())));
    let resources: std::collections::BTreeMap<_, _> = resources.collect();
    let mut addresses: Vec<NodeAddress> = node
        .facts
        .host_ips
        .iter()
        .map(|ip| NodeAddress { address: ip.to_string(), type_: "InternalIP".to_owned() })
        .collect();
    let host = NodeAddress { address: node.config.node_name.clone(), type_: "Hostname".to_owned() };
    addresses.push(host);
    NodeStatus {
        capacity: Some(resources.clone()),
        allocatable: Some(resources),
        addresses: Some(addresses),
        conditions: Some(conditions()),
        node_info: Some(NodeSystemInfo {
            architecture: arch().to_owned(),
            boot_id: read("/proc/sys/kernel/random/boot_id"),
            container_runtime_version: format!("klet://{}", env!("CARGO_PKG_VERSION")),
            kernel_version: read("/proc/sys/kernel/osrelease"),
            kubelet_version: klet_apiserver::git_version(),
            machine_id: read("/etc/machine-id"),
            operating_system: "linux".to_owned(),
            os_image: os_image(),
            ..NodeSystemInfo::default()
        }),
        ..NodeStatus::default()
    }
}

fn conditions() -> Vec<NodeCondition> {
    let now = Some(Time(Timestamp::now()));
    let condition = |type_: &str, status: &str, reason: &str, message: &str| NodeCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_heartbeat_time: now.clone(),
        last_transition_time: now.clone(),
    };
    vec![
        condition(
            "MemoryPressure",
            "False",
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available",
        ),
        condition(
            "DiskPressure",
            "False",
            "KubeletHasNoDiskPressure",
            "kubelet has no disk pressure",
        ),
        condition(
            "PIDPressure",
            "False",
            "KubeletHasSufficientPID",
            "kubelet has sufficient PID available",
        ),
        condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ]
}

fn arch() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn os_image() -> String {
    let text = read("/etc/os-release");
    let line = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    line.unwrap_or("Linux").trim_matches('"').to_owned()
}
