//! A pod.

use klet_api::quantity::Quantity;
use serde_json::Value;

use super::Clock;
use super::container::{self, Group};
use super::fields::{annotations, labels, list, names, number, or_none, text};
use super::sheet::Sheet;
use super::volume;

pub(super) fn write(sheet: &mut Sheet, pod: &Value, clock: &Clock) {
    identity(sheet, pod, clock);
    state(sheet, pod, clock);
    addresses(sheet, pod);
    for group in [Group::Init, Group::App, Group::Ephemeral] {
        container::write(sheet, pod, group, clock);
    }
    conditions(sheet, pod);
    volume::write(sheet, list(pod, "/spec/volumes"));
    sheet.field(0, "QoS Class", qos(pod));
    labels(sheet, "Node-Selectors", pod, "/spec/nodeSelector");
    let mut tolerations: Vec<&Value> = list(pod, "/spec/tolerations").iter().collect();
    tolerations.sort_by_key(|toleration| text(toleration, "/key"));
    let tolerations: Vec<String> = tolerations.into_iter().map(toleration).collect();
    sheet.column("Tolerations", &tolerations);
    let spread = list(pod, "/spec/topologySpreadConstraints");
    if !spread.is_empty() {
        let lines: Vec<String> = spread.iter().map(constraint).collect();
        sheet.column("Topology Spread Constraints", &lines);
    }
}

fn identity(sheet: &mut Sheet, pod: &Value, clock: &Clock) {
    names(sheet, pod);
    if let Some(priority) = pod.pointer("/spec/priority").and_then(Value::as_i64) {
        sheet.field(0, "Priority", priority);
    }
    sheet.some(0, "Priority Class Name", text(pod, "/spec/priorityClassName"));
    sheet.some(0, "Runtime Class Name", text(pod, "/spec/runtimeClassName"));
    sheet.some(0, "Service Account", text(pod, "/spec/serviceAccountName"));
    match text(pod, "/spec/nodeName") {
        "" => sheet.field(0, "Node", "<none>"),
        node => sheet.field(0, "Node", format!("{node}/{}", text(pod, "/status/hostIP"))),
    }
    if !text(pod, "/status/startTime").is_empty() {
        sheet.field(0, "Start Time", clock.date(pod, "/status/startTime"));
    }
    labels(sheet, "Labels", pod, "/metadata/labels");
    annotations(sheet, pod);
}

fn state(sheet: &mut Sheet, pod: &Value, clock: &Clock) {
    let phase = text(pod, "/status/phase");
    let leaving = !text(pod, "/metadata/deletionTimestamp").is_empty();
    if leaving && !["Failed", "Succeeded"].contains(&phase) {
        let lasts = clock.ago(pod, "/metadata/deletionTimestamp");
        sheet.field(0, "Status", format!("Terminating (lasts {lasts})"));
        let grace = number(pod, "/metadata/deletionGracePeriodSeconds");
        sheet.field(0, "Termination Grace Period", format!("{grace}s"));
    } else {
        sheet.field(0, "Status", phase);
    }
    sheet.some(0, "Reason", text(pod, "/status/reason"));
    sheet.some(0, "Message", text(pod, "/status/message"));
    container::seccomp(sheet, 0, pod.pointer("/spec/securityContext"));
}

fn addresses(sheet: &mut Sheet, pod: &Value) {
    sheet.field(0, "IP", text(pod, "/status/podIP"));
    let ips = list(pod, "/status/podIPs");
    if ips.is_empty() {
        sheet.field(0, "IPs", "<none>");
    } else {
        sheet.line(0, "IPs:");
        ips.iter().for_each(|ip| sheet.field(1, "IP", text(ip, "/ip")));
    }
    let owners = list(pod, "/metadata/ownerReferences");
    if let Some(owner) = owners.iter().find(|owner| owner["controller"] == true) {
        let (kind, name) = (text(owner, "/kind"), text(owner, "/name"));
        sheet.field(0, "Controlled By", format!("{kind}/{name}"));
    }
    sheet.some(0, "NominatedNodeName", text(pod, "/status/nominatedNodeName"));
    if let Some(resources) = pod.pointer("/spec/resources") {
        sheet.line(0, "Resources:");
        container::resources(sheet, 1, resources);
    }
}

fn conditions(sheet: &mut Sheet, pod: &Value) {
    let conditions = list(pod, "/status/conditions");
    let gates = list(pod, "/spec/readinessGates");
    if !gates.is_empty() {
        sheet.line(0, "Readiness Gates:\n  Type\tStatus");
        for gate in gates {
            let kind = text(gate, "/conditionType");
            let condition = conditions.iter().find(|condition| condition["type"] == kind);
            let status = condition.map_or("", |condition| text(condition, "/status"));
            sheet.line(1, &format!("{kind} \t{} ", or_none(status)));
        }
    }
    if !conditions.is_empty() {
        sheet.line(0, "Conditions:\n  Type\tStatus");
        for condition in conditions {
            let (kind, status) = (text(condition, "/type"), text(condition, "/status"));
            sheet.line(1, &format!("{kind} \t{status} "));
        }
    }
}

/// As the status has it, or as the resources make it.
fn qos(pod: &Value) -> &str {
    match text(pod, "/status/qosClass") {
        "" => class(pod),
        class => class,
    }
}

/// Every container limited in both resources, and what is asked for is the limit: Guaranteed.
fn class(pod: &Value) -> &'static str {
    let zero = Quantity::from_units(0);
    let (mut requests, mut limits) = ([zero; 2], [zero; 2]);
    let mut all_limited = true;
    let lists = ["/spec/containers", "/spec/initContainers"];
    for container in lists.into_iter().flat_map(|pointer| list(pod, pointer)) {
        for (index, name) in ["cpu", "memory"].into_iter().enumerate() {
            let of = |kind: &str| {
                let amount = text(container, &format!("/resources/{kind}/{name}"));
                Quantity::parse(amount).unwrap_or(zero)
            };
            all_limited &= !of("limits").is_zero();
            requests[index].add(&of("requests"));
            limits[index].add(&of("limits"));
        }
    }
    let amounts = |list: [Quantity; 2]| list.map(|amount| amount.milli_value());
    if requests.iter().chain(&limits).all(Quantity::is_zero) {
        "BestEffort"
    } else if all_limited && amounts(requests) == amounts(limits) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

fn toleration(toleration: &Value) -> String {
    let (key, value) = (text(toleration, "/key"), text(toleration, "/value"));
    let effect = text(toleration, "/effect");
    let mut out = key.to_owned();
    if !value.is_empty() {
        out.push_str(&format!("={value}"));
    }
    if !effect.is_empty() {
        out.push_str(&format!(":{effect}"));
    }
    if text(toleration, "/operator") == "Exists" && value.is_empty() {
        out.push_str(if key.is_empty() && effect.is_empty() { "op=Exists" } else { " op=Exists" });
    }
    if let Some(seconds) = toleration["tolerationSeconds"].as_i64() {
        out.push_str(&format!(" for {seconds}s"));
    }
    out
}

fn constraint(constraint: &Value) -> String {
    let mut out = format!(
        "{}:{} when max skew {} is exceeded",
        text(constraint, "/topologyKey"),
        text(constraint, "/whenUnsatisfiable"),
        number(constraint, "/maxSkew")
    );
    if let Some(selector) = constraint.get("labelSelector").filter(|selector| selector.is_object())
    {
        out.push_str(&format!(" for selector {}", selection(selector)));
    }
    out
}

fn selection(selector: &Value) -> String {
    let mut terms: Vec<String> = super::fields::pairs(selector, "/matchLabels")
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    for expression in list(selector, "/matchExpressions") {
        let key = text(expression, "/key");
        let values = super::fields::texts(expression, "/values").join(",");
        terms.push(match text(expression, "/operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    if terms.is_empty() { "<none>".to_owned() } else { terms.join(",") }
}
