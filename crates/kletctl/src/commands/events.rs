//! `events`: what happened, oldest first, and watching what happens.

use clap::Args;
use jiff::Timestamp;
use klet_api::duration::age;
use klet_api::table::Printer;
use serde_json::Value;

use crate::client::watch::Change;
use crate::context::{Context, items, namespace_of, now, resource_version, stamp, targets};
use crate::error::{Result, plain};
use crate::kinds::{self, Kind};
use crate::output::{self, Format};

/// Options of `events`.
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Only events about this object: TYPE/NAME.
    #[arg(long = "for", value_name = "TYPE/NAME")]
    about: Option<String>,
    /// Only these types: Normal, Warning.
    #[arg(long, value_delimiter = ',', value_name = "TYPE")]
    types: Vec<String>,
    /// In every namespace.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// After listing, watch for more.
    #[arg(short, long)]
    watch: bool,
    /// No header line.
    #[arg(long)]
    no_headers: bool,
    /// Output format: json, yaml, name, jsonpath=, custom-columns=.
    #[arg(short, long)]
    output: Option<Format>,
}

impl Events {
    pub(crate) async fn run(self, context: &Context) -> Result {
        let kind = kinds::find("events")?;
        let selector = self.selector()?;
        let query: Vec<(&str, &str)> =
            selector.as_deref().map(|fields| ("fieldSelector", fields)).into_iter().collect();
        let mut list = context.list(kind, self.all_namespaces, &query).await?;
        let mut version = resource_version(&list);
        let mut events = items(&mut list, kind);
        events.retain(|event| self.wanted(event));
        events.sort_by_key(last_seen);
        let mut lines = Lines::new(self.all_namespaces, self.no_headers);
        if self.watch {
            self.print_each(&mut lines, events)?;
            let namespace = (!self.all_namespaces).then(|| context.namespace());
            let path = kind.path(namespace, None);
            loop {
                self.watch(context, kind, &path, &query, (&mut lines, &mut version)).await?;
            }
        }
        match &self.output {
            Some(format) => {
                events.iter_mut().for_each(output::hide_managed_fields);
                format.print(&output::list_of(events))
            }
            None if events.is_empty() => {
                output::note(&match self.all_namespaces {
                    true => "No events found.".to_owned(),
                    false => format!("No events found in {} namespace.", context.namespace()),
                });
                Ok(())
            }
            None => output::print(&lines.render(&events, now())),
        }
    }

    /// Prints what happens until the server ends the watch.
    async fn watch(
        &self,
        context: &Context,
        kind: &Kind,
        path: &str,
        query: &[(&str, &str)],
        (lines, version): (&mut Lines, &mut String),
    ) -> Result {
        let mut watch = context.client.watch(path, query, version).await?;
        while let Some((change, mut event)) = watch.next().await? {
            *version = resource_version(&event);
            if matches!(change, Change::Added | Change::Modified) && self.wanted(&event) {
                stamp(&mut event, kind);
                self.print_each(lines, vec![event])?;
            }
        }
        Ok(())
    }

    fn print_each(&self, lines: &mut Lines, events: Vec<Value>) -> Result {
        match &self.output {
            None if events.is_empty() => Ok(()),
            None => output::print(&lines.render(&events, now())),
            Some(format) => events.into_iter().try_for_each(|mut event| {
                output::hide_managed_fields(&mut event);
                format.print(&event)
            }),
        }
    }

    fn selector(&self) -> Result<Option<String>> {
        for name in &self.types {
            if !["normal", "warning"].contains(&name.to_lowercase().as_str()) {
                return plain("valid --types are Normal or Warning");
            }
        }
        let Some(about) = &self.about else { return Ok(None) };
        if !about.contains('/') {
            return plain("--for must be in resource/name form");
        }
        let targets = targets(std::slice::from_ref(about))?;
        let [target] = targets.as_slice() else {
            return plain("--for takes one object");
        };
        Ok(Some(format!(
            "involvedObject.kind={},involvedObject.name={}",
            target.kind.kind,
            target.name.as_deref().unwrap_or_default()
        )))
    }

    fn wanted(&self, event: &Value) -> bool {
        let own = event["type"].as_str().unwrap_or_default();
        self.types.is_empty() || self.types.iter().any(|name| name.eq_ignore_ascii_case(own))
    }
}

/// The columns of `kubectl events`.
struct Lines {
    printer: Printer,
    namespace: bool,
    header_due: bool,
}

impl Lines {
    fn new(namespace: bool, no_headers: bool) -> Self {
        Lines { printer: Printer::new(), namespace, header_due: !no_headers }
    }

    fn render(&mut self, events: &[Value], now: Timestamp) -> String {
        let mut lines = Vec::with_capacity(events.len() + 1);
        if std::mem::take(&mut self.header_due) {
            let header = ["NAMESPACE", "LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"];
            let skip = usize::from(!self.namespace);
            lines.push(header[skip..].iter().map(ToString::to_string).collect());
        }
        lines.extend(events.iter().map(|event| self.line(event, now)));
        self.printer.lines(&lines)
    }

    fn line(&self, event: &Value, now: Timestamp) -> Vec<String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().trim().to_owned();
        let object = &event["involvedObject"];
        let mut cells = Vec::with_capacity(6);
        if self.namespace {
            cells.push(namespace_of(event).to_owned());
        }
        cells.extend([
            interval(event, now),
            text(&event["type"]),
            text(&event["reason"]),
            format!("{}/{}", text(&object["kind"]), text(&object["name"])),
            text(&event["message"]),
        ]);
        cells
    }
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// When it happened last: the series, the last, the first time, whichever there is.
fn last_seen(event: &Value) -> Option<Timestamp> {
    time(&event["series"]["lastObservedTime"])
        .or_else(|| time(&event["lastTimestamp"]))
        .or_else(|| time(&event["eventTime"]))
        .or_else(|| time(&event["firstTimestamp"]))
}

/// `5s`, or for repeats `5s (x3 over 20s)`.
fn interval(event: &Value, now: Timestamp) -> String {
    let first = time(&event["eventTime"]).or_else(|| time(&event["firstTimestamp"]));
    let repeats = match event["series"]["count"].as_i64() {
        Some(count) => count,
        None => event["count"].as_i64().filter(|count| *count > 1).unwrap_or(0),
    };
    if repeats == 0 {
        return age(first, now);
    }
    format!("{} (x{repeats} over {})", age(last_seen(event), now), age(first, now))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_are_kubectls() {
        let event = |count: i64, last: &str| {
            json!({"metadata": {"namespace": "n"}, "type": "Warning", "reason": "Unhealthy",
                "message": "probe failed\n", "count": count, "eventTime": null,
                "firstTimestamp": "2026-01-02T03:04:00Z", "lastTimestamp": last,
                "involvedObject": {"kind": "Pod", "name": "web"}})
        };
        let now = "2026-01-02T03:04:20Z".parse().unwrap();
        let events = [event(1, "2026-01-02T03:04:00Z"), event(3, "2026-01-02T03:04:15Z")];
        assert_eq!(
            Lines::new(false, false).render(&events, now),
            "LAST SEEN          TYPE      REASON      OBJECT    MESSAGE\n\
             20s                Warning   Unhealthy   Pod/web   probe failed\n\
             5s (x3 over 20s)   Warning   Unhealthy   Pod/web   probe failed\n"
        );
        assert!(Lines::new(true, true).render(&events, now).starts_with("n     20s   "), "-A");
    }
}
