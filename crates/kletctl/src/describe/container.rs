//! The containers of a pod.

use serde_json::Value;

use super::Clock;
use super::fields::{flag, list, number, or_none, pairs, text, texts};
use super::sheet::Sheet;
use super::{env, probe};

/// A list of containers in a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    Init,
    App,
    Ephemeral,
}

impl Group {
    /// The title, the list in the spec, the list in the status.
    fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Group::Init => {
                ("Init Containers", "/spec/initContainers", "/status/initContainerStatuses")
            }
            Group::App => ("Containers", "/spec/containers", "/status/containerStatuses"),
            Group::Ephemeral => (
                "Ephemeral Containers",
                "/spec/ephemeralContainers",
                "/status/ephemeralContainerStatuses",
            ),
        }
    }
}

/// All of a group; nothing if the pod has none.
pub(super) fn write(sheet: &mut Sheet, pod: &Value, group: Group, clock: &Clock) {
    let (title, specs, statuses) = group.names();
    let specs = list(pod, specs);
    if specs.is_empty() {
        return;
    }
    sheet.line(0, &format!("{title}:"));
    for container in specs {
        let mut statuses = list(pod, statuses).iter();
        let status = statuses.find(|status| status["name"] == container["name"]);
        one(sheet, pod, container, status, clock);
    }
}

fn one(sheet: &mut Sheet, pod: &Value, container: &Value, status: Option<&Value>, clock: &Clock) {
    sheet.line(1, &format!("{}:", text(container, "/name")));
    if let Some(status) = status {
        sheet.field(2, "Container ID", text(status, "/containerID"));
    }
    sheet.field(2, "Image", text(container, "/image"));
    if let Some(status) = status {
        sheet.field(2, "Image ID", text(status, "/imageID"));
    }
    ports(sheet, container, "Port", "/containerPort");
    ports(sheet, container, "Host Port", "/hostPort");
    seccomp(sheet, 2, container.get("securityContext"));
    words(sheet, "Command", &texts(container, "/command"));
    words(sheet, "Args", &texts(container, "/args"));
    if let Some(status) = status {
        state(sheet, "State", &status["state"], clock);
        if status.pointer("/lastState/terminated").is_some_and(Value::is_object) {
            state(sheet, "Last State", &status["lastState"], clock);
        }
        sheet.field(2, "Ready", if flag(status, "/ready") { "True" } else { "False" });
        sheet.field(2, "Restart Count", number(status, "/restartCount"));
    }
    resources(sheet, 2, &container["resources"]);
    for (name, key) in [
        ("Liveness", "livenessProbe"),
        ("Readiness", "readinessProbe"),
        ("Startup", "startupProbe"),
    ] {
        if let Some(probe) = container.get(key) {
            sheet.field(2, name, probe::describe(probe));
        }
    }
    env::write(sheet, pod, container);
    mounts(sheet, container);
}

fn ports(sheet: &mut Sheet, container: &Value, title: &str, number_at: &str) {
    let shown: Vec<String> = list(container, "/ports")
        .iter()
        .map(|port| {
            let protocol = match text(port, "/protocol") {
                "" => "TCP",
                protocol => protocol,
            };
            let number = number(port, number_at);
            match text(port, "/name") {
                "" => format!("{number}/{protocol}"),
                name => format!("{number}/{protocol} ({name})"),
            }
        })
        .collect();
    let plural = if shown.len() > 1 { "s" } else { "" };
    sheet.field(2, &format!("{title}{plural}"), or_none(&shown.join(", ")));
}

pub(super) fn seccomp(sheet: &mut Sheet, level: usize, context: Option<&Value>) {
    let Some(profile) = context.and_then(|context| context.get("seccompProfile")) else { return };
    sheet.field(level, "SeccompProfile", text(profile, "/type"));
    if text(profile, "/type") == "Localhost" {
        sheet.field(level, "LocalhostProfile", text(profile, "/localhostProfile"));
    }
}

/// One per line; a word of several lines takes as many.
fn words(sheet: &mut Sheet, title: &str, words: &[&str]) {
    if words.is_empty() {
        return;
    }
    sheet.line(2, &format!("{title}:"));
    words.iter().flat_map(|word| word.split('\n')).for_each(|line| sheet.line(3, line));
}

fn state(sheet: &mut Sheet, title: &str, state: &Value, clock: &Clock) {
    if state.get("running").is_some() {
        sheet.field(2, title, "Running");
        sheet.field(3, "Started", clock.date(state, "/running/startedAt"));
    } else if let Some(ended) = state.get("terminated").filter(|ended| ended.is_object()) {
        sheet.field(2, title, "Terminated");
        sheet.some(3, "Reason", text(ended, "/reason"));
        sheet.some(3, "Message", text(ended, "/message"));
        sheet.field(3, "Exit Code", number(ended, "/exitCode"));
        if number(ended, "/signal") > 0 {
            sheet.field(3, "Signal", number(ended, "/signal"));
        }
        sheet.field(3, "Started", clock.date(ended, "/startedAt"));
        sheet.field(3, "Finished", clock.date(ended, "/finishedAt"));
    } else {
        sheet.field(2, title, "Waiting");
        sheet.some(3, "Reason", text(state, "/waiting/reason"));
    }
}

/// Limits and requests, by name.
pub(super) fn resources(sheet: &mut Sheet, level: usize, resources: &Value) {
    for (title, pointer) in [("Limits", "/limits"), ("Requests", "/requests")] {
        let mut amounts = pairs(resources, pointer).peekable();
        if amounts.peek().is_some() {
            sheet.line(level, &format!("{title}:"));
        }
        amounts.for_each(|(name, amount)| sheet.field(level + 1, name, amount));
    }
}

fn mounts(sheet: &mut Sheet, container: &Value) {
    let mut mounts: Vec<&Value> = list(container, "/volumeMounts").iter().collect();
    mounts.sort_by_key(|mount| text(mount, "/mountPath"));
    sheet.line(2, if mounts.is_empty() { "Mounts:\t<none>" } else { "Mounts:" });
    for mount in mounts {
        let mut flags = if flag(mount, "/readOnly") { "ro" } else { "rw" }.to_owned();
        match text(mount, "/subPath") {
            "" => {}
            path => flags.push_str(&format!(",path={path:?}")),
        }
        let (path, name) = (text(mount, "/mountPath"), text(mount, "/name"));
        sheet.line(3, &format!("{path} from {name} ({flags})"));
    }
}
