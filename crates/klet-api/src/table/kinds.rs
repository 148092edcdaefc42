//! The rows of the kinds other than Pod.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    Column, Row, age, entries, labels, list, narrow, number, text, text_or_none, time, wide,
};

pub(super) const OTHER: &[Column] = &[narrow("Name"), narrow("Age")];
pub(super) const CONFIG_MAP: &[Column] = &[narrow("Name"), narrow("Data"), narrow("Age")];
pub(super) const SECRET: &[Column] =
    &[narrow("Name"), narrow("Type"), narrow("Data"), narrow("Age")];
pub(super) const NAMESPACE: &[Column] = &[narrow("Name"), narrow("Status"), narrow("Age")];
pub(super) const NODE: &[Column] = &[
    narrow("Name"),
    narrow("Status"),
    narrow("Roles"),
    narrow("Age"),
    narrow("Version"),
    wide("Internal-IP"),
    wide("External-IP"),
    wide("OS-Image"),
    wide("Kernel-Version"),
    wide("Container-Runtime"),
];
pub(super) const EVENT: &[Column] = &[
    narrow("Last Seen"),
    narrow("Type"),
    narrow("Reason"),
    narrow("Object"),
    wide("Subobject"),
    wide("Source"),
    narrow("Message"),
    wide("First Seen"),
    wide("Count"),
    wide("Name"),
];
pub(super) const SERVICE: &[Column] = &[
    narrow("Name"),
    narrow("Type"),
    narrow("Cluster-IP"),
    narrow("External-IP"),
    narrow("Port(s)"),
    narrow("Age"),
    wide("Selector"),
];
pub(super) const DEPLOYMENT: &[Column] = &[
    narrow("Name"),
    narrow("Ready"),
    narrow("Up-to-date"),
    narrow("Available"),
    narrow("Age"),
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];
pub(super) const REPLICA_SET: &[Column] = &[
    narrow("Name"),
    narrow("Desired"),
    narrow("Current"),
    narrow("Ready"),
    narrow("Age"),
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];

pub(super) fn other(object: &Value, now: Timestamp) -> Row {
    Row { cells: vec![name(object), age(object, now)] }
}

pub(super) fn config_map(object: &Value, now: Timestamp) -> Row {
    let data = entries(object, "/data") + entries(object, "/binaryData");
    Row { cells: vec![name(object), data.to_string(), age(object, now)] }
}

pub(super) fn secret(object: &Value, now: Timestamp) -> Row {
    let kind = text(object, "/type").unwrap_or("Opaque").to_owned();
    Row { cells: vec![name(object), kind, entries(object, "/data").to_string(), age(object, now)] }
}

pub(super) fn namespace(object: &Value, now: Timestamp) -> Row {
    let phase = text(object, "/status/phase").unwrap_or("Active").to_owned();
    Row { cells: vec![name(object), phase, age(object, now)] }
}

pub(super) fn node(object: &Value, now: Timestamp) -> Row {
    let info = |field: &str| {
        text(object, &format!("/status/nodeInfo/{field}")).unwrap_or("<unknown>").to_owned()
    };
    let address = |kind: &str| {
        let mut addresses = list(object, "/status/addresses").iter();
        let found = addresses.find(|address| address["type"] == kind);
        found.map_or_else(|| "<none>".to_owned(), |address| text_or_none(address, "/address"))
    };
    let cells = vec![
        name(object),
        node_status(object),
        node_roles(object),
        age(object, now),
        text(object, "/status/nodeInfo/kubeletVersion").unwrap_or_default().to_owned(),
        address("InternalIP"),
        address("ExternalIP"),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ];
    Row { cells }
}

fn node_status(node: &Value) -> String {
    let ready = list(node, "/status/conditions").iter().find(|c| c["type"] == "Ready");
    let status = match ready.map(|condition| condition["status"] == "True") {
        Some(true) => "Ready",
        Some(false) => "NotReady",
        None => "Unknown",
    };
    let cordoned = node.pointer("/spec/unschedulable") == Some(&Value::Bool(true));
    format!("{status}{}", if cordoned { ",SchedulingDisabled" } else { "" })
}

fn node_roles(node: &Value) -> String {
    let roles: Vec<&str> = node
        .pointer("/metadata/labels")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if key == "kubernetes.io/role" => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") }
}

pub(super) fn event(object: &Value, now: Timestamp) -> Row {
    let first = time(object, "/firstTimestamp").or_else(|| time(object, "/eventTime"));
    let last = time(object, "/series/lastObservedTime")
        .or_else(|| time(object, "/lastTimestamp"))
        .or(first);
    let count = match number(object, "/series/count") {
        0 => number(object, "/count").max(1),
        count => count,
    };
    let cell = |pointer: &str| text(object, pointer).unwrap_or_default().to_owned();
    let cells = vec![
        crate::duration::age(last, now),
        cell("/type"),
        cell("/reason"),
        event_object(object),
        cell("/involvedObject/fieldPath"),
        event_source(object),
        cell("/message").trim().to_owned(),
        crate::duration::age(first, now),
        count.to_string(),
        name(object),
    ];
    Row { cells }
}

fn event_object(event: &Value) -> String {
    let kind = text(event, "/involvedObject/kind").unwrap_or_default().to_lowercase();
    match text(event, "/involvedObject/name") {
        Some(name) => format!("{kind}/{name}"),
        None => kind,
    }
}

fn event_source(event: &Value) -> String {
    let component = text(event, "/source/component")
        .or_else(|| text(event, "/reportingComponent"))
        .unwrap_or_default();
    let host = text(event, "/source/host").or_else(|| text(event, "/reportingInstance"));
    match host {
        Some(host) => format!("{component}, {host}"),
        None => component.to_owned(),
    }
}

pub(super) fn service(object: &Value, now: Timestamp) -> Row {
    let kind = text(object, "/spec/type").unwrap_or("ClusterIP");
    let cells = vec![
        name(object),
        kind.to_owned(),
        text_or_none(object, "/spec/clusterIP"),
        service_external(object, kind),
        service_ports(object),
        age(object, now),
        labels(object.pointer("/spec/selector")),
    ];
    Row { cells }
}

fn service_external(service: &Value, kind: &str) -> String {
    if kind == "ExternalName" {
        return text_or_none(service, "/spec/externalName");
    }
    let mut addresses: Vec<&str> = list(service, "/status/loadBalancer/ingress")
        .iter()
        .filter_map(|ingress| text(ingress, "/ip").or_else(|| text(ingress, "/hostname")))
        .collect();
    addresses.extend(list(service, "/spec/externalIPs").iter().filter_map(Value::as_str));
    match (addresses.is_empty(), kind) {
        (false, _) => addresses.join(","),
        (true, "LoadBalancer") => "<pending>".to_owned(),
        (true, _) => "<none>".to_owned(),
    }
}

fn service_ports(service: &Value) -> String {
    let ports: Vec<String> = list(service, "/spec/ports")
        .iter()
        .map(|port| {
            let protocol = text(port, "/protocol").unwrap_or("TCP");
            match (number(port, "/port"), number(port, "/nodePort")) {
                (port, 0) => format!("{port}/{protocol}"),
                (port, node_port) => format!("{port}:{node_port}/{protocol}"),
            }
        })
        .collect();
    if ports.is_empty() { "<none>".to_owned() } else { ports.join(",") }
}

pub(super) fn deployment(object: &Value, now: Timestamp) -> Row {
    let ready = number(object, "/status/readyReplicas");
    let mut cells = vec![
        name(object),
        format!("{ready}/{}", number(object, "/spec/replicas")),
        number(object, "/status/updatedReplicas").to_string(),
        number(object, "/status/availableReplicas").to_string(),
        age(object, now),
    ];
    cells.extend(template_cells(object));
    Row { cells }
}

pub(super) fn replica_set(object: &Value, now: Timestamp) -> Row {
    let mut cells = vec![
        name(object),
        number(object, "/spec/replicas").to_string(),
        number(object, "/status/replicas").to_string(),
        number(object, "/status/readyReplicas").to_string(),
        age(object, now),
    ];
    cells.extend(template_cells(object));
    Row { cells }
}

/// CONTAINERS, IMAGES, SELECTOR of a workload.
fn template_cells(object: &Value) -> [String; 3] {
    let containers = list(object, "/spec/template/spec/containers");
    let column = |field: &str| {
        let values: Vec<&str> = containers.iter().filter_map(|c| c[field].as_str()).collect();
        values.join(",")
    };
    [column("name"), column("image"), labels(object.pointer("/spec/selector/matchLabels"))]
}

fn name(object: &Value) -> String {
    text(object, "/metadata/name").unwrap_or_default().to_owned()
}
