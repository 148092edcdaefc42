//! The node: what it is, what it has, what runs on it.

use klet_api::quantity::Quantity;
use serde_json::Value;

use super::Clock;
use super::fields::{annotations, flag, labels, list, names, or_none, pairs, text, texts};
use super::sheet::Sheet;

pub(super) fn write(sheet: &mut Sheet, node: &Value, pods: &[Value], clock: &Clock) {
    names(sheet, node);
    sheet.field(0, "Roles", or_none(&roles(node)));
    labels(sheet, "Labels", node, "/metadata/labels");
    annotations(sheet, node);
    sheet.field(0, "CreationTimestamp", clock.date(node, "/metadata/creationTimestamp"));
    sheet.column("Taints", &taints(node));
    sheet.field(0, "Unschedulable", flag(node, "/spec/unschedulable"));
    conditions(sheet, node, clock);
    sheet.line(0, "Addresses:");
    for address in list(node, "/status/addresses") {
        sheet.field(1, text(address, "/type"), text(address, "/address"));
    }
    for (title, pointer) in
        [("Capacity", "/status/capacity"), ("Allocatable", "/status/allocatable")]
    {
        sheet.line(0, &format!("{title}:"));
        pairs(node, pointer).for_each(|(name, amount)| sheet.field(1, name, amount));
    }
    info(sheet, node);
    sheet.some(0, "PodCIDR", text(node, "/spec/podCIDR"));
    sheet.some(0, "PodCIDRs", &texts(node, "/spec/podCIDRs").join(","));
    sheet.some(0, "ProviderID", text(node, "/spec/providerID"));
    let pods: Vec<&Value> = pods
        .iter()
        .filter(|pod| !["Succeeded", "Failed"].contains(&text(pod, "/status/phase")))
        .collect();
    consumers(sheet, node, &pods, clock);
    allocated(sheet, node, &pods);
}

fn roles(node: &Value) -> String {
    const PREFIX: &str = "node-role.kubernetes.io/";
    let role = |(key, value): (&str, &str)| match key {
        "kubernetes.io/role" => Some(value.to_owned()),
        key => key.strip_prefix(PREFIX).filter(|role| !role.is_empty()).map(ToOwned::to_owned),
    };
    pairs(node, "/metadata/labels").filter_map(role).collect::<Vec<_>>().join(",")
}

/// The harshest first.
fn taints(node: &Value) -> Vec<String> {
    let mut taints: Vec<&Value> = list(node, "/spec/taints").iter().collect();
    taints.sort_by_key(|taint| (text(taint, "/effect"), text(taint, "/key")));
    taints
        .into_iter()
        .map(|taint| {
            let (key, effect) = (text(taint, "/key"), text(taint, "/effect"));
            match text(taint, "/value") {
                "" => format!("{key}:{effect}"),
                value => format!("{key}={value}:{effect}"),
            }
        })
        .collect()
}

fn conditions(sheet: &mut Sheet, node: &Value, clock: &Clock) {
    let conditions = list(node, "/status/conditions");
    if conditions.is_empty() {
        return;
    }
    sheet.line(0, "Conditions:");
    sheet.line(1, "Type\tStatus\tLastHeartbeatTime\tLastTransitionTime\tReason\tMessage");
    sheet.line(1, "----\t------\t-----------------\t------------------\t------\t-------");
    for condition in conditions {
        let cells = [
            text(condition, "/type").to_owned(),
            text(condition, "/status").to_owned(),
            clock.date(condition, "/lastHeartbeatTime"),
            clock.date(condition, "/lastTransitionTime"),
            text(condition, "/reason").to_owned(),
            text(condition, "/message").to_owned(),
        ];
        sheet.line(1, &cells.join(" \t"));
    }
}

fn info(sheet: &mut Sheet, node: &Value) {
    sheet.line(0, "System Info:");
    for (name, key) in [
        ("Machine ID", "machineID"),
        ("System UUID", "systemUUID"),
        ("Boot ID", "bootID"),
        ("Kernel Version", "kernelVersion"),
        ("OS Image", "osImage"),
        ("Operating System", "operatingSystem"),
        ("Architecture", "architecture"),
        ("Container Runtime Version", "containerRuntimeVersion"),
        ("Kubelet Version", "kubeletVersion"),
        ("Kube-Proxy Version", "kubeProxyVersion"),
    ] {
        sheet.field(1, name, text(node, &format!("/status/nodeInfo/{key}")));
    }
}

/// What a pod may need of a resource at once: the sum of its containers and sidecars, or the
/// hungriest moment of its initialisation.
fn need(pod: &Value, list_name: &str, resource: &str) -> Quantity {
    let of = |container: &Value| {
        let amount = text(container, &format!("/resources/{list_name}/{resource}")).to_owned();
        Quantity::parse(&amount).unwrap_or(Quantity::from_units(0))
    };
    let mut total = Quantity::from_units(0);
    list(pod, "/spec/containers").iter().for_each(|container| total.add(&of(container)));
    let mut sidecars = Quantity::from_units(0);
    let mut peak = Quantity::from_units(0);
    for init in list(pod, "/spec/initContainers") {
        let mut moment = sidecars;
        moment.add(&of(init));
        if moment.milli_value() > peak.milli_value() {
            peak = moment;
        }
        if text(init, "/restartPolicy") == "Always" {
            sidecars = moment;
        }
    }
    total.add(&sidecars);
    let mut most = if peak.milli_value() > total.milli_value() { peak } else { total };
    most.add(
        &Quantity::parse(text(pod, &format!("/spec/overhead/{resource}")))
            .unwrap_or(Quantity::from_units(0)),
    );
    most
}

/// `250m (12%)`.
fn share(node: &Value, resource: &str, amount: &Quantity) -> String {
    let all = Quantity::parse(text(node, &format!("/status/allocatable/{resource}")));
    let of = |amount: &Quantity| match resource {
        "cpu" => amount.milli_value(),
        _ => amount.value(),
    };
    let all = all.map_or(0, |all| of(&all));
    let percent = if all == 0 { 0 } else { of(amount) * 100 / all };
    format!("{} ({percent}%)", amount.canonical())
}

const COLUMNS: [(&str, &str); 4] =
    [("requests", "cpu"), ("limits", "cpu"), ("requests", "memory"), ("limits", "memory")];

fn consumers(sheet: &mut Sheet, node: &Value, pods: &[&Value], clock: &Clock) {
    sheet.field(0, "Non-terminated Pods", format!("({} in total)", pods.len()));
    sheet.line(
        1,
        "Namespace\tName\t\tCPU Requests\tCPU Limits\tMemory Requests\tMemory Limits\tAge",
    );
    sheet.line(
        1,
        "---------\t----\t\t------------\t----------\t---------------\t-------------\t---",
    );
    for pod in pods {
        let shares = COLUMNS.map(|(kind, name)| share(node, name, &need(pod, kind, name)));
        let line = format!(
            "{}\t{}\t\t{}\t{}",
            text(pod, "/metadata/namespace"),
            text(pod, "/metadata/name"),
            shares.join("\t"),
            clock.ago(pod, "/metadata/creationTimestamp")
        );
        sheet.line(1, &line);
    }
}

fn allocated(sheet: &mut Sheet, node: &Value, pods: &[&Value]) {
    sheet.line(0, "Allocated resources:");
    sheet.line(1, "(Total limits may be over 100 percent, i.e., overcommitted.)");
    sheet.line(1, "Resource\tRequests\tLimits");
    sheet.line(1, "--------\t--------\t------");
    for resource in ["cpu", "memory", "ephemeral-storage"] {
        let shares = ["requests", "limits"].map(|kind| {
            let mut total = Quantity::from_units(0);
            pods.iter().for_each(|pod| total.add(&need(pod, kind, resource)));
            share(node, resource, &total)
        });
        sheet.line(1, &format!("{resource}\t{}", shares.join("\t")));
    }
}
