//! What `kubectl logs` printed, container by container.

use std::collections::BTreeMap;

use crate::normal;

/// Text by `CONTAINER` or `CONTAINER --previous`.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Logs(pub(crate) BTreeMap<String, String>);

/// The mark before what kubectl wrote to stderr.
const STDERR: &str = "[stderr] ";

impl Logs {
    /// Reads `logs.txt`: `=== NAME [--previous]` and the text after it.
    pub(crate) fn parse(text: &str) -> Self {
        let mut logs = BTreeMap::new();
        let mut name = None;
        for line in text.lines() {
            if let Some(title) = line.strip_prefix("=== ") {
                name = Some(title.trim().to_owned());
                logs.insert(title.trim().to_owned(), String::new());
            } else if let Some(log) = name.as_ref().and_then(|name| logs.get_mut(name)) {
                log.push_str(line);
                log.push('\n');
            }
        }
        Self(logs)
    }

    /// What kubectl prints when the API server answers a request for a log with an error.
    pub(crate) fn refusal(reason: &str, message: &str) -> String {
        format!("{STDERR}Error from server ({reason}): {message}\n")
    }
}

pub(super) fn differences(golden: &Logs, seen: &Logs) -> Vec<String> {
    let mut found = Vec::new();
    for (name, recorded) in &golden.0 {
        let own = seen.0.get(name).map_or("", String::as_str);
        if lost(recorded) {
            continue;
        }
        let (recorded, own) = (lines(recorded), lines(own));
        let missing = recorded.iter().filter(|line| !own.contains(line));
        found.extend(missing.map(|line| format!("log of {name}: missing: {line}")));
        let added = own.iter().filter(|line| !recorded.contains(line));
        found.extend(added.map(|line| format!("log of {name}: added: {line}")));
    }
    found
}

/// The real node had removed the record by the time that somebody asked.
fn lost(recorded: &str) -> bool {
    recorded.starts_with("unable to retrieve container logs for")
        || recorded.trim_end().ends_with("is terminated")
}

/// The lines, each once: a container that logs at a pace has logged for another time. The two
/// streams come in no order.
fn lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        let line = spaced(&normal::text(line));
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

/// One space where there are several: columns are as wide as their widest value.
fn spaced(line: &str) -> String {
    line.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_compared_without_order_and_repetition() {
        let golden = Logs::parse("=== main \na  10.0.0.1\nb\n\n=== main --previous\nx\n");
        let seen = Logs::parse("=== main\nb\na 10.0.0.2\nb\n=== main --previous\ny\n");
        let wanted = ["log of main --previous: missing: x", "log of main --previous: added: y"];
        assert_eq!(differences(&golden, &seen), wanted);
    }

    #[test]
    fn a_refusal_is_compared_as_kubectl_prints_it() {
        let golden = "=== c\n[stderr] Error from server (BadRequest): no\n\n";
        let own = [("c".to_owned(), Logs::refusal("BadRequest", "no"))];
        assert_eq!(differences(&Logs::parse(golden), &Logs(own.into())), [""; 0]);
    }
}
