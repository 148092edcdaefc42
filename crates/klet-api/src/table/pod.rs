//! The row of a pod: READY, STATUS, RESTARTS, as kubectl's printer computes them.

use jiff::Timestamp;
use serde_json::Value;

use super::{Column, Row, age, list, narrow, number, text, text_or_none, time, wide};

pub(super) const COLUMNS: &[Column] = &[
    narrow("Name"),
    narrow("Ready"),
    narrow("Status"),
    narrow("Restarts"),
    narrow("Age"),
    wide("IP"),
    wide("Node"),
    wide("Nominated Node"),
    wide("Readiness Gates"),
];

/// What the walk over a pod's container statuses yields.
struct Summary {
    reason: String,
    ready: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
    /// An init container is still at work, or failed.
    initializing: bool,
}

/// The row of a pod, wide columns included.
#[must_use]
pub fn pod_row(pod: &Value, now: Timestamp) -> Row {
    let summary = summarize(pod);
    let total = list(pod, "/spec/containers").len()
        + list(pod, "/spec/initContainers").iter().filter(|c| is_sidecar(c)).count();
    let restarts = match summary.last_restart {
        Some(at) if summary.restarts > 0 => {
            format!("{} ({} ago)", summary.restarts, crate::duration::age(Some(at), now))
        }
        _ => summary.restarts.to_string(),
    };
    let ip = text(pod, "/status/podIPs/0/ip").or_else(|| text(pod, "/status/podIP"));
    let cells = vec![
        text(pod, "/metadata/name").unwrap_or_default().to_owned(),
        format!("{}/{total}", summary.ready),
        summary.reason,
        restarts,
        age(pod, now),
        ip.unwrap_or("<none>").to_owned(),
        text_or_none(pod, "/spec/nodeName"),
        text_or_none(pod, "/status/nominatedNodeName"),
        readiness_gates(pod),
    ];
    Row { cells }
}

/// The STATUS of a pod alone.
#[must_use]
pub fn pod_status(pod: &Value) -> String {
    summarize(pod).reason
}

fn summarize(pod: &Value) -> Summary {
    let reason = text(pod, "/status/reason").or_else(|| text(pod, "/status/phase"));
    let mut summary = Summary {
        reason: reason.unwrap_or_default().to_owned(),
        ready: 0,
        restarts: 0,
        last_restart: None,
        initializing: false,
    };
    let gated = condition(pod, "PodScheduled").and_then(|c| text(c, "/reason"));
    if gated == Some("SchedulingGated") {
        summary.reason = "SchedulingGated".to_owned();
    }
    walk_init(pod, &mut summary);
    if !summary.initializing || is_true(pod, "Initialized") {
        walk_containers(pod, &mut summary);
    }
    if text(pod, "/metadata/deletionTimestamp").is_some() {
        let phase = text(pod, "/status/phase").unwrap_or_default();
        if text(pod, "/status/reason") == Some("NodeLost") {
            summary.reason = "Unknown".to_owned();
        } else if !matches!(phase, "Succeeded" | "Failed") {
            summary.reason = "Terminating".to_owned();
        }
    }
    summary
}

/// Stops at the first init container that is not done, which then gives the reason.
fn walk_init(pod: &Value, summary: &mut Summary) {
    let specs = list(pod, "/spec/initContainers");
    let sidecar = |status: &Value| {
        specs.iter().any(|spec| spec.get("name") == status.get("name") && is_sidecar(spec))
    };
    let mut sidecar_restarts = 0;
    let mut sidecar_last = None;
    for (index, status) in list(pod, "/status/initContainerStatuses").iter().enumerate() {
        summary.restarts += number(status, "/restartCount");
        let finished = time(status, "/lastState/terminated/finishedAt");
        summary.last_restart = summary.last_restart.max(finished);
        if sidecar(status) {
            sidecar_restarts += number(status, "/restartCount");
            sidecar_last = sidecar_last.max(finished);
        }
        let done = status.pointer("/state/terminated").is_some_and(|t| exit_code(t) == 0);
        if done {
            continue;
        }
        if sidecar(status) && status["started"] == true {
            summary.ready += usize::from(status["ready"] == true);
            continue;
        }
        summary.reason = init_reason(status, index, specs.len());
        summary.initializing = true;
        break;
    }
    let initialized = is_true(pod, "Initialized");
    if !summary.initializing || initialized {
        // From here on only sidecars count among the init containers.
        summary.restarts = sidecar_restarts;
        summary.last_restart = sidecar_last;
    }
}

fn init_reason(status: &Value, index: usize, total: usize) -> String {
    if let Some(terminated) = status.pointer("/state/terminated") {
        return match text(terminated, "/reason") {
            Some(reason) => format!("Init:{reason}"),
            None => format!("Init:{}", signal_or_exit_code(terminated)),
        };
    }
    match text(status, "/state/waiting/reason") {
        Some(reason) if reason != "PodInitializing" => format!("Init:{reason}"),
        _ => format!("Init:{index}/{total}"),
    }
}

/// Backwards, so that the first container's reason wins.
fn walk_containers(pod: &Value, summary: &mut Summary) {
    let mut running = false;
    for status in list(pod, "/status/containerStatuses").iter().rev() {
        summary.restarts += number(status, "/restartCount");
        let finished = time(status, "/lastState/terminated/finishedAt");
        summary.last_restart = summary.last_restart.max(finished);
        let terminated = status.pointer("/state/terminated").filter(|t| !t.is_null());
        if let Some(reason) = text(status, "/state/waiting/reason") {
            reason.clone_into(&mut summary.reason);
        } else if let Some(terminated) = terminated {
            summary.reason = text(terminated, "/reason")
                .map_or_else(|| signal_or_exit_code(terminated), str::to_owned);
        } else if status["ready"] == true && status.pointer("/state/running").is_some() {
            running = true;
            summary.ready += 1;
        }
    }
    if summary.reason == "Completed" && running {
        let state = if is_true(pod, "Ready") { "Running" } else { "NotReady" };
        state.clone_into(&mut summary.reason);
    }
}

fn signal_or_exit_code(terminated: &Value) -> String {
    match number(terminated, "/signal") {
        0 => format!("ExitCode:{}", exit_code(terminated)),
        signal => format!("Signal:{signal}"),
    }
}

fn exit_code(terminated: &Value) -> i64 {
    number(terminated, "/exitCode")
}

fn is_sidecar(container: &Value) -> bool {
    container["restartPolicy"] == "Always"
}

fn condition<'a>(pod: &'a Value, kind: &str) -> Option<&'a Value> {
    list(pod, "/status/conditions").iter().find(|condition| condition["type"] == kind)
}

fn is_true(pod: &Value, kind: &str) -> bool {
    condition(pod, kind).is_some_and(|condition| condition["status"] == "True")
}

fn readiness_gates(pod: &Value) -> String {
    let gates = list(pod, "/spec/readinessGates");
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let open = |gate: &&Value| text(gate, "/conditionType").is_some_and(|kind| is_true(pod, kind));
    format!("{}/{}", gates.iter().filter(open).count(), gates.len())
}
