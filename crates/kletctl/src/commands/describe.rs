//! `describe`: objects in detail, with the events about them.

use clap::Args;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::selector_query;
use crate::client::with_query;
use crate::context::{Context, Target, items, name_of, namespace_of, now, stamp, targets};
use crate::describe::{Around, Clock, describe};
use crate::error::{Error, Result, all_or_first};
use crate::kinds::{self, Kind};
use crate::output;

/// Options of `describe`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kletctl describe pod web\n  kletctl describe pods -l app=web\n  \
    kletctl describe node"
)]
pub(crate) struct Describe {
    /// TYPE [NAME or beginning of a name...], or TYPE/NAME...
    args: Vec<String>,
    #[command(flatten)]
    files: crate::manifest::FileArgs,
    /// In every namespace.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only objects with these labels.
    #[arg(short = 'l', long)]
    selector: Option<String>,
    /// Show the events about each object.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    #[arg(num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    #[arg(value_name = "true|false", hide_possible_values = true)]
    show_events: bool,
}

impl Describe {
    pub(crate) async fn run(self, context: &Context) -> Result {
        let clock = Clock { now: now(), zone: TimeZone::system() };
        let mut errors = Vec::new();
        let mut count = 0;
        for target in self.wanted()? {
            match self.find(context, &target).await {
                Ok(objects) => {
                    for object in objects {
                        let around = self.around(context, target.kind, &object).await?;
                        let gap = if count == 0 { "" } else { "\n\n" };
                        output::print(&format!("{gap}{}", describe(&object, &around, &clock)))?;
                        count += 1;
                    }
                }
                Err(error @ (Error::NotRunning { .. } | Error::NotAllowed { .. })) => {
                    return Err(error);
                }
                Err(error) => errors.push(error),
            }
        }
        if count == 0 && errors.is_empty() {
            output::note(&match self.all_namespaces {
                true => "No resources found".to_owned(),
                false => format!("No resources found in {} namespace.", context.namespace()),
            });
        }
        all_or_first(errors)
    }

    fn wanted(&self) -> Result<Vec<Target>> {
        if self.files.filename.is_empty() {
            return targets(&self.args);
        }
        let target = |document: crate::manifest::Document| Target {
            kind: document.kind,
            name: Some(name_of(&document.object).to_owned()),
        };
        Ok(self.files.load()?.into_iter().map(target).collect())
    }

    /// The object of that name, else all whose names begin so.
    async fn find(&self, context: &Context, target: &Target) -> Result<Vec<Value>> {
        let Some(name) = &target.name else {
            let query = selector_query(self.selector.as_deref(), None);
            let mut list = context.list(target.kind, self.all_namespaces, &query).await?;
            return Ok(items(&mut list, target.kind));
        };
        match context.get(target.kind, name).await {
            Ok(mut object) => {
                stamp(&mut object, target.kind);
                Ok(vec![object])
            }
            Err(error) if error.is_not_found() => {
                let mut list = context.list(target.kind, false, &[]).await?;
                let mut similar = items(&mut list, target.kind);
                similar.retain(|object| name_of(object).starts_with(name.as_str()));
                if similar.is_empty() { Err(error) } else { Ok(similar) }
            }
            Err(error) => Err(error),
        }
    }

    /// What is told beside the object: its events, and of a node its pods.
    async fn around(&self, context: &Context, kind: &Kind, object: &Value) -> Result<Around> {
        let mut around = Around::default();
        if self.show_events {
            around.events = Some(events_about(context, kind, object).await?);
        }
        if kind.kind == "Node" {
            let selector = format!("spec.nodeName={}", name_of(object));
            let query = [("fieldSelector", selector.as_str())];
            let mut list = context.list(kinds::pod(), true, &query).await?;
            around.pods = items(&mut list, kinds::pod());
        }
        Ok(around)
    }
}

/// The events about one object.
pub(crate) async fn events_about(
    context: &Context,
    kind: &Kind,
    object: &Value,
) -> Result<Vec<Value>> {
    let mut selector =
        format!("involvedObject.kind={},involvedObject.name={}", kind.kind, name_of(object));
    // A node's events are written under its name, not its uid.
    if kind.namespaced
        && let Some(uid) = object.pointer("/metadata/uid").and_then(Value::as_str)
    {
        selector.push_str(&format!(",involvedObject.uid={uid}"));
    }
    let events = kinds::of("Event").expect("Event stands in the table");
    let namespace = Some(namespace_of(object)).filter(|namespace| !namespace.is_empty());
    let path = with_query(&events.path(namespace, None), &[("fieldSelector", &selector)]);
    let mut list = context.client.get(&path).await?;
    Ok(items(&mut list, events))
}
