//! What `kubectl logs` printed, container by container.

use std::collections::BTreeMap;

use crate::normal;

/// Text by `CONTAINER` or `CONTAINER --previous`.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Logs(pub(crate) BTreeMap<String, String>);

/// The record keeps this many bytes of a log, the last line cut off somewhere.
const CUT: usize = 5990;
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

    /// Do these logs say what `golden` says?
    pub(crate) fn say(&self, golden: &Self) -> bool {
        differences(golden, self).is_empty()
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
        let cut = recorded.len() >= CUT;
        let (mut recorded, own) = (lines(recorded), lines(own));
        if cut {
            recorded.pop();
        }
        let own: Vec<String> = own.iter().flat_map(|line| apart(line, &recorded)).collect();
        let missing = recorded.iter().filter(|line| !own.contains(line));
        found.extend(missing.map(|line| format!("log of {name}: missing: {line}")));
        let added = own.iter().filter(|line| !cut && !recorded.contains(line));
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
        let line = normal(line);
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

/// A last line without its end runs into the first line of the other stream, if that comes later.
fn apart(line: &str, recorded: &[String]) -> Vec<String> {
    let known = |part: &str| recorded.iter().any(|known| known == part);
    let halves = recorded
        .iter()
        .find_map(|first| line.strip_prefix(first.as_str()).map(|rest| (first, rest)));
    match halves {
        Some((first, rest)) if !known(line) && known(rest) => vec![first.clone(), rest.to_owned()],
        _ => vec![line.to_owned()],
    }
}

/// A line without what differs from run to run, and with one space where there are several:
/// columns are as wide as their widest value. Of `ls -l` the mode, the owners and the name are
/// left, and the size of a regular file.
fn normal(line: &str) -> String {
    let line = normal::text(line);
    let words: Vec<&str> = line.split_ascii_whitespace().map(payload_directory).collect();
    match words.as_slice() {
        [mode, _links, user, group, size, _month, _day, _time, name @ ..] if is_mode(mode) => {
            let size = if mode.starts_with('-') { size } else { "" };
            format!("{mode} {user} {group} {size} {}", name.join(" "))
        }
        ["total", _] => "total".to_owned(),
        words => words.iter().map(|word| undated(word)).collect::<Vec<_>>().join(" "),
    }
}

/// `2026/11/22` is a date.
fn undated(word: &str) -> &str {
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let is_date = word.len() == 10 && word.split('/').map(str::len).eq([4, 2, 2]);
    if is_date && word.split('/').all(digits) { "DATE" } else { word }
}

fn is_mode(word: &str) -> bool {
    word.len() == 10 && word.bytes().all(|b| b"-dlcbpsrwxStT".contains(&b))
}

/// The directory that an atomic update of a volume writes is named by its time.
fn payload_directory(word: &str) -> &str {
    let is_payload = |name: &str| name.starts_with("..2") && name.contains('_');
    if word.split('/').any(is_payload) { "..PAYLOAD" } else { word }
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
    fn listings_are_compared_by_mode_owner_and_name() {
        let golden = "=== c\ntotal 4\n-rw-r--r--    1 root     root    131 Nov 22 08:33 a\n\
            lrwxrwxrwx 1 root root 32 Nov 22 08:33 ..data -> ..2026_11_22_08_33_56.2707358133\n";
        let seen = "=== c\ntotal 9\n-rw-r--r-- 2 root root 131 Nov 24 18:33 a\n\
            lrwxrwxrwx 1 root root 31 Nov 24 18:33 ..data -> ..2026_11_24_13_45_25.934829274\n";
        assert_eq!(differences(&Logs::parse(golden), &Logs::parse(seen)), [""; 0]);
        let other = seen.replace("-rw-r--r--", "-rw-------");
        assert_eq!(differences(&Logs::parse(golden), &Logs::parse(&other)).len(), 2);
    }

    #[test]
    fn a_line_without_an_end_may_run_into_the_other_stream() {
        let golden = Logs::parse("=== c\nerr 2026/11/22\nout\nlast\n");
        let seen = Logs::parse("=== c\nout\nlasterr 2026/11/24\n");
        assert_eq!(differences(&golden, &seen), [""; 0]);
    }

    #[test]
    fn a_refusal_is_compared_as_kubectl_prints_it() {
        let golden = "=== c\n[stderr] Error from server (BadRequest): no\n\n";
        let own = [("c".to_owned(), Logs::refusal("BadRequest", "no"))];
        assert_eq!(differences(&Logs::parse(golden), &Logs(own.into())), [""; 0]);
    }
}
