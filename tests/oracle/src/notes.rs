//! Reads a case's `notes.md`: operations, statuses, events, each with its time.

use anyhow::{Context, bail};

use crate::normal;
use crate::shot::Shot;

/// What was done and what was seen.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Notes {
    /// In order; the create is not among them.
    pub(crate) operations: Vec<Timed>,
    pub(crate) shots: Vec<Shot>,
    pub(crate) events: Vec<EventAt>,
    /// How long was looked, in seconds: the last thing noted, or the pod's age at the end.
    pub(crate) ended: f64,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Timed {
    /// Seconds since the create call.
    pub(crate) at: f64,
    pub(crate) operation: Operation,
}

/// What a person did to the pod.
#[derive(Debug, PartialEq)]
pub(crate) enum Operation {
    /// Grace in seconds, when one was given.
    Delete { grace: Option<i64> },
    /// A strategic merge patch, or of the given type.
    Patch { kind: String, patch: String },
    /// `KEY=VALUE` or `KEY-` of labels or annotations.
    Mark { field: &'static str, changes: Vec<String> },
    /// A command in a container.
    Exec { container: Option<String>, command: Vec<String> },
}

/// One arrival of an event on the watch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EventAt {
    pub(crate) at: f64,
    /// How often it had happened by then.
    pub(crate) count: u64,
    pub(crate) key: EventKey,
    pub(crate) message: String,
}

/// What makes events the same but for their text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EventKey {
    pub(crate) severity: String,
    pub(crate) reason: String,
    /// `spec.containers{main}`; empty for the pod.
    pub(crate) field: String,
}

impl Notes {
    /// # Errors
    /// A section is missing, an operation is of an unknown kind.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut notes = Self::default();
        let mut section = "";
        for line in text.lines() {
            if let Some(title) = line.strip_prefix("## ") {
                section = title;
                continue;
            }
            match section.split(' ').next().unwrap_or_default() {
                "Operations" => notes.operation(line)?,
                "Status" => notes.shots.extend(Shot::parse(line)),
                "Events" => notes.event(line),
                "kubectl" => notes.ended = notes.ended.max(age(line)),
                _ => {}
            }
        }
        if notes.shots.is_empty() {
            bail!("notes.md tells of no status (section \"Status transitions\")");
        }
        let last = notes.shots.iter().map(|shot| shot.at).chain(notes.events.iter().map(|e| e.at));
        notes.ended = last.fold(notes.ended, f64::max);
        notes.infer_deletion();
        Ok(notes)
    }

    fn operation(&mut self, line: &str) -> anyhow::Result<()> {
        let Some(rest) = line.strip_prefix("- ") else { return Ok(()) };
        let (at, rest) = rest.split_once(' ').with_context(|| format!("operation: {line:?}"))?;
        let at: f64 = at.parse().with_context(|| format!("operation without a time: {line:?}"))?;
        let what = rest.split(": took ").next().unwrap_or(rest);
        if what.starts_with("create") || what.starts_with("apply") {
            return Ok(());
        }
        let operation = Operation::parse(what)
            .with_context(|| format!("the runner cannot do this operation: {what:?}"))?;
        self.operations.push(Timed { at, operation });
        Ok(())
    }

    fn event(&mut self, line: &str) {
        if let Some(event) = EventAt::parse(line) {
            self.events.push(event);
        } else if let Some(last) = self.events.last_mut()
            && !line.starts_with("```")
        {
            // A message of several lines; it ends where the next event begins.
            last.message.push('\n');
            last.message.push_str(&normal::text(line));
        }
        for event in &mut self.events {
            event.message.truncate(event.message.trim_end().len());
        }
    }

    /// Some notes show a deletion that no operation tells of.
    fn infer_deletion(&mut self) {
        let told = |op: &Timed| matches!(op.operation, Operation::Delete { .. });
        if self.operations.iter().any(told) {
            return;
        }
        let seen = self.shots.iter().find(|shot| !shot.field("deleting").is_empty());
        if let Some(shot) = seen {
            let grace = shot.field("deleting").parse().ok();
            let operation = Operation::Delete { grace };
            self.operations.push(Timed { at: (shot.at - 0.1).max(0.0), operation });
        }
    }

    /// How often an event had happened at a time, and the text it had.
    pub(crate) fn count(&self, key: &EventKey, message: &str, at: f64) -> u64 {
        let same = |event: &&EventAt| event.key == *key && event.message == message;
        let arrived = self.events.iter().filter(same).filter(|event| event.at <= at);
        arrived.map(|event| event.count).max().unwrap_or(0)
    }
}

impl Operation {
    fn parse(text: &str) -> Option<Self> {
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        match verb {
            "delete" => Some(Self::Delete { grace: flag(rest, "--grace-period")?.parse().ok() }),
            "patch" => {
                let start = rest.find(['{', '['])?;
                let kind = flag(&rest[..start], "--type").unwrap_or_default();
                Some(Self::Patch { kind, patch: rest[start..].to_owned() })
            }
            "label" | "annotate" => {
                let field = if verb == "label" { "labels" } else { "annotations" };
                let words = rest.split(' ').filter(|word| !word.starts_with("--"));
                let changes: Vec<String> = words.map(ToOwned::to_owned).collect();
                (!changes.is_empty()).then_some(Self::Mark { field, changes })
            }
            "exec" => {
                let (flags, command) = rest.split_once("-- ").unwrap_or(("", rest));
                let container = flag(flags, "-c").filter(|name| !name.is_empty());
                let command = command.split_whitespace().map(ToOwned::to_owned).collect();
                Some(Self::Exec { container, command })
            }
            _ => None,
        }
    }
}

/// The value of `--name=VALUE` or `--name VALUE`; empty when the flag is not there.
fn flag(text: &str, name: &str) -> Option<String> {
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        if let Some(value) = word.strip_prefix(name) {
            return match value.strip_prefix('=') {
                Some(value) => Some(value.to_owned()),
                None => words.next().map(ToOwned::to_owned),
            };
        }
    }
    Some(String::new())
}

impl EventAt {
    /// `1.05 x1 Normal Pulled [spec.containers{main}] message`.
    fn parse(line: &str) -> Option<Self> {
        let (at, rest) = line.trim_start().split_once(' ')?;
        let (count, rest) = rest.strip_prefix('x')?.split_once(' ')?;
        let (severity, rest) = rest.split_once(' ')?;
        let (reason, rest) = rest.split_once(" [")?;
        let (field, message) = rest.split_once(']')?;
        let key = EventKey {
            severity: severity.to_owned(),
            reason: reason.to_owned(),
            field: field.to_owned(),
        };
        Some(Self {
            at: at.parse().ok()?,
            count: count.parse().unwrap_or(1),
            key,
            message: normal::text(message.trim_start()),
        })
    }
}

/// The AGE column of `kubectl get`, in seconds; 0 when the line has none.
fn age(line: &str) -> f64 {
    line.split_whitespace().last().and_then(seconds).unwrap_or(0.0)
}

/// `1m20s` in seconds.
pub(crate) fn seconds(word: &str) -> Option<f64> {
    let (mut total, mut number) = (0.0, String::new());
    for c in word.chars() {
        let unit = match c {
            '0'..='9' => {
                number.push(c);
                continue;
            }
            's' => 1.0,
            'm' => 60.0,
            'h' => 3600.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * unit;
        number.clear();
    }
    number.is_empty().then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTES: &str = "# case\n\n## Operations\n- 0.00 create: pod/p created\n\
        - 11.02 delete --grace-period=0 --force: took 0.69s: pod \"p\" force deleted\nwarning: x\n\
        \n## kubectl get at the end\n```\nNAME READY STATUS RESTARTS AGE\np 0/1 Error 0 1m20s\n```\n\
        \n## Status transitions (x)\n```\n    0.42 ADDED    phase=Pending | conds[]\n```\n\
        \n## Events as they arrived\n```\n    0.44 xNone Normal Scheduled [] assigned\n   \
        6.66 x2 Warning Unhealthy [spec.containers{main}] failed: a\nb\n\n```\n";

    #[test]
    fn reads_all_sections() {
        let notes = Notes::parse(NOTES).expect("notes");
        let operation = Operation::Delete { grace: Some(0) };
        assert_eq!(notes.operations, [Timed { at: 11.02, operation }]);
        assert_eq!(notes.shots.len(), 1);
        assert_eq!(notes.ended, 80.0);
        let [scheduled, unhealthy] = notes.events.as_slice() else { panic!("two events") };
        assert_eq!((scheduled.count, scheduled.key.field.as_str()), (1, ""));
        assert_eq!((unhealthy.count, unhealthy.message.as_str()), (2, "failed: a\nb"));
    }

    #[test]
    fn knows_the_operations_and_refuses_others() {
        let parse = |text: &str| Operation::parse(text);
        assert_eq!(parse("delete"), Some(Operation::Delete { grace: None }));
        assert_eq!(parse("delete --wait=false"), Some(Operation::Delete { grace: None }));
        let patch = "{\"spec\":{\"a\": 1}}".to_owned();
        let wanted = Operation::Patch { kind: String::new(), patch: patch.clone() };
        assert_eq!(parse(&format!("patch {patch}")), Some(wanted));
        let changes = vec!["new=yes".to_owned()];
        assert_eq!(parse("label new=yes"), Some(Operation::Mark { field: "labels", changes }));
        let command = vec!["kill".to_owned(), "1".to_owned()];
        let wanted = Operation::Exec { container: Some("main".to_owned()), command };
        assert_eq!(parse("exec -c main -- kill 1"), Some(wanted));
        assert_eq!(parse("reboot"), None);
        assert!(Notes::parse("## Operations\n- 1.0 reboot: took 1s\n").is_err());
    }

    #[test]
    fn a_deletion_that_is_only_seen_is_done_too() {
        let text = "## Status x\n 0.1 ADDED phase=Pending | conds[]\n\
            10.55 MODIFIED phase=Running | deleting(grace=1) | conds[]\n";
        let notes = Notes::parse(text).expect("notes");
        let [delete] = notes.operations.as_slice() else { panic!("one operation") };
        assert_eq!(delete.operation, Operation::Delete { grace: Some(1) });
    }
}
