//! One status of a pod, as far as the oracle's notes tell of it.
//!
//! The notes write it as one line; the same value is made of a pod from the API, so that both
//! can be compared field by field.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::normal;

/// The notes cut messages to so many characters.
const CUT: usize = 300;

/// What a watch event showed.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Shot {
    /// Seconds since the create call.
    pub(crate) at: f64,
    /// `ADDED`, `MODIFIED` or `DELETED`.
    pub(crate) kind: String,
    /// Field and value: `phase`, `reason`, `message`, `deleting`, `condition TYPE`, and per
    /// container `NAME state`, `NAME msg`, `NAME ready`, `NAME restarts`, `NAME started`,
    /// `NAME last`, `NAME last msg`.
    pub(crate) fields: BTreeMap<String, String>,
}

impl Shot {
    /// The shot of a pod as the API shows it.
    pub(crate) fn of(at: f64, kind: &str, pod: &Value) -> Self {
        let mut shot = Self { at, kind: kind.to_owned(), ..Self::default() };
        let status = &pod["status"];
        for name in ["phase", "reason", "message"] {
            shot.set(name, status[name].as_str());
        }
        if pod["metadata"]["deletionTimestamp"].is_string() {
            let grace = &pod["metadata"]["deletionGracePeriodSeconds"];
            shot.set("deleting", Some(&grace.to_string()));
        }
        for condition in items(&status["conditions"]) {
            let text = |name: &str| condition[name].as_str().unwrap_or_default();
            let reason = text("reason");
            let colon = if reason.is_empty() { "" } else { ":" };
            let value = format!("{}{colon}{reason}", text("status"));
            shot.set(&format!("condition {}", text("type")), Some(&value));
        }
        for (list, prefix) in [("initContainerStatuses", "init "), ("containerStatuses", "")] {
            for container in items(&status[list]) {
                shot.container(prefix, container);
            }
        }
        shot
    }

    fn container(&mut self, prefix: &str, container: &Value) {
        let name = format!("{prefix}{}", container["name"].as_str().unwrap_or_default());
        let state = state(&container["state"]);
        self.set(&format!("{name} state"), state.as_ref().map(|(state, _)| state.as_str()));
        self.set(&format!("{name} msg"), state.as_ref().and_then(|(_, text)| text.as_deref()));
        self.set(&format!("{name} ready"), Some(boolean(&container["ready"])));
        self.set(&format!("{name} restarts"), Some(&container["restartCount"].to_string()));
        if container["started"].is_boolean() {
            self.set(&format!("{name} started"), Some(boolean(&container["started"])));
        }
        let last = self::state(&container["lastState"]);
        self.set(&format!("{name} last"), last.as_ref().map(|(state, _)| state.as_str()));
        self.set(&format!("{name} last msg"), last.as_ref().and_then(|(_, text)| text.as_deref()));
    }

    /// The shot of one line of the notes: `0.56 MODIFIED phase=Pending | conds[..] | main=..`.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (at, rest) = line.trim_start().split_once(' ')?;
        let (kind, rest) = rest.trim_start().split_once(' ')?;
        if !matches!(kind, "ADDED" | "MODIFIED" | "DELETED") {
            return None;
        }
        let mut shot = Self { at: at.parse().ok()?, kind: kind.to_owned(), ..Self::default() };
        for part in outside_quotes(rest.trim(), " | ") {
            shot.part(part)?;
        }
        Some(shot)
    }

    fn part(&mut self, part: &str) -> Option<()> {
        if let Some(grace) = part.strip_prefix("deleting(grace=") {
            self.set("deleting", Some(grace.trim_end_matches(')')));
        } else if let Some(list) = part.strip_prefix("conds[") {
            for condition in list.trim_end_matches(']').split(',').filter(|text| !text.is_empty()) {
                let (name, value) = condition.split_once('=')?;
                self.set(&format!("condition {name}"), Some(value));
            }
        } else {
            let (name, value) = part.split_once('=')?;
            match name {
                "phase" | "reason" => self.set(name, Some(value)),
                "message" => self.set(name, Some(&unquoted(value))),
                _ => self.parse_container(name, value)?,
            }
        }
        Some(())
    }

    fn parse_container(&mut self, name: &str, text: &str) -> Option<()> {
        let ready = outside_quotes(text, " ready=");
        let [before, after] = ready.as_slice() else { return None };
        let (state, message) = with_message(before);
        self.set(&format!("{name} state"), Some(state));
        self.set(&format!("{name} msg"), message.as_deref());
        let (flags, last) = match after.split_once(" last=") {
            Some((flags, last)) => (flags, Some(last)),
            None => (*after, None),
        };
        let mut flags = flags.split(' ');
        self.set(&format!("{name} ready"), flags.next());
        for flag in flags {
            let (flag, value) = flag.split_once('=')?;
            self.set(&format!("{name} {flag}"), Some(value));
        }
        if let Some(last) = last {
            let (state, message) = with_message(last);
            self.set(&format!("{name} last"), Some(state));
            self.set(&format!("{name} last msg"), message.as_deref());
        }
        Some(())
    }

    fn set(&mut self, field: &str, value: Option<&str>) {
        let Some(value) = value.filter(|value| !value.is_empty() && *value != "None") else {
            return;
        };
        let mut text = normal::text(value.trim_end());
        if value.chars().count() >= CUT {
            // Ids of other lengths cut at other places.
            text = text.chars().take(CUT - 100).collect();
        }
        self.fields.insert(field.to_owned(), text);
    }

    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    /// Names of the containers told of, init containers with their prefix.
    pub(crate) fn containers(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().filter_map(|field| field.strip_suffix(" state"))
    }

    /// Fields in which two shots differ.
    pub(crate) fn differing<'a>(&'a self, other: &'a Self) -> Vec<&'a str> {
        let mut names: Vec<&str> =
            self.fields.keys().chain(other.fields.keys()).map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names.retain(|name| self.field(name) != other.field(name));
        if (self.kind == "DELETED") != (other.kind == "DELETED") {
            names.push("kind");
        }
        names
    }

    /// One line for a person.
    pub(crate) fn line(&self) -> String {
        let mut line = self.kind.clone();
        for name in ["phase", "reason", "deleting"] {
            if !self.field(name).is_empty() {
                line.push_str(&format!(" {name}={}", self.field(name)));
            }
        }
        for name in self.containers() {
            let restarts = self.field(&format!("{name} restarts"));
            let state = self.field(&format!("{name} state"));
            line.push_str(&format!(" {name}={state}/{restarts}"));
        }
        line
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn boolean(value: &Value) -> &'static str {
    if value.as_bool() == Some(true) { "True" } else { "False" }
}

/// State and message in the notes' words.
fn state(state: &Value) -> Option<(String, Option<String>)> {
    let (name, inner) = state.as_object()?.iter().next()?;
    let reason = inner["reason"].as_str().unwrap_or_default();
    let message = inner["message"].as_str().map(ToOwned::to_owned);
    let text = match name.as_str() {
        "terminated" => format!("terminated:{reason}({})", inner["exitCode"]),
        "waiting" => format!("waiting:{reason}"),
        _ => name.clone(),
    };
    Some((text, message))
}

/// `STATE msg="MESSAGE"`, the message unquoted.
fn with_message(text: &str) -> (&str, Option<String>) {
    match text.split_once(" msg=") {
        Some((state, message)) => (state, Some(unquoted(message))),
        None => (text, None),
    }
}

fn unquoted(text: &str) -> String {
    serde_json::from_str(text).unwrap_or_else(|_| text.to_owned())
}

/// Splits at a separator that stands outside of double quotes. The notes leave reasons
/// unquoted, so an apostrophe means nothing here.
fn outside_quotes<'a>(text: &'a str, separator: &str) -> Vec<&'a str> {
    let mut parts = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (at, c) in text.char_indices() {
        if !quoted && at >= start && text[at..].starts_with(separator) {
            parts.push(&text[start..at]);
            start = at + separator.len();
        }
        match c {
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Shot;

    #[test]
    fn a_line_and_a_pod_give_the_same_shot() {
        let line = "  18.33 MODIFIED phase=Running | deleting(grace=3) | \
            conds[Initialized=True,Ready=False:ContainersNotReady] | \
            init i=terminated:Completed(0) ready=True restarts=0 | \
            main=waiting:CrashLoopBackOff msg=\"a \\\"b | c\\\" ready=True\" ready=False restarts=2 \
            started=False last=terminated:Error(137) msg=\"x\"";
        let pod = json!({
            "metadata": { "deletionTimestamp": "t", "deletionGracePeriodSeconds": 3 },
            "status": {
                "phase": "Running",
                "conditions": [
                    { "type": "Initialized", "status": "True" },
                    { "type": "Ready", "status": "False", "reason": "ContainersNotReady" },
                ],
                "initContainerStatuses": [{
                    "name": "i", "ready": true, "restartCount": 0, "lastState": {},
                    "state": { "terminated": { "exitCode": 0, "reason": "Completed" } },
                }],
                "containerStatuses": [{
                    "name": "main", "ready": false, "restartCount": 2, "started": false,
                    "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "a \"b | c\" ready=True" } },
                    "lastState": { "terminated": { "exitCode": 137, "reason": "Error", "message": "x" } },
                }],
            },
        });
        let parsed = Shot::parse(line).expect("a shot");
        assert_eq!(parsed, Shot::of(18.33, "MODIFIED", &pod));
        assert_eq!(parsed.field("main state"), "waiting:CrashLoopBackOff");
        assert_eq!(parsed.field("init i ready"), "True");
    }

    #[test]
    fn other_lines_are_no_shots() {
        assert_eq!(Shot::parse("```"), None);
        assert_eq!(Shot::parse("  1.05 x1 Normal Pulled [spec.containers{main}] text"), None);
    }
}
