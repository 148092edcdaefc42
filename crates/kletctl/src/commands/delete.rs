//! `delete`: by manifest, name, selector or all, waiting until the objects are gone.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{DryRun, selector_query, settle_namespace};
use crate::client::with_query;
use crate::context::{Context, items, name_of, namespace_of, targets};
use crate::error::{Error, Result, all_or_first, plain};
use crate::kinds::Kind;
use crate::manifest::FileArgs;
use crate::output;
use crate::waiting::Awaited;

/// As long as kubectl waits when told no time.
const WAIT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Options of `delete`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kletctl delete pod web
  kletctl delete -f pod.yaml
  kletctl delete pods --all")]
pub(crate) struct Delete {
    /// TYPE NAME..., TYPE/NAME..., or TYPE with --all or -l.
    args: Vec<String>,
    #[command(flatten)]
    files: FileArgs,
    /// All objects of the type in the namespace.
    #[arg(long)]
    all: bool,
    /// In every namespace.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only objects with these labels.
    #[arg(short = 'l', long)]
    selector: Option<String>,
    /// Only objects with these fields.
    #[arg(long)]
    field_selector: Option<String>,
    /// Seconds given to end; negative for the object's own. 0 needs --force.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    grace_period: i64,
    /// Do not wait for a graceful end.
    #[arg(long)]
    force: bool,
    /// The same as --grace-period=1.
    #[arg(long)]
    now: bool,
    /// What becomes of the objects that belong to the deleted ones.
    #[arg(long, value_enum, default_value = "background", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "background")]
    cascade: Cascade,
    /// A missing object is no error.
    #[arg(long)]
    ignore_not_found: bool,
    /// Wait until the objects are gone.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    #[arg(num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    wait: bool,
    /// How long to wait, for example 30s; 0s for as long as it takes.
    #[arg(long, default_value = "0s", value_parser = super::wait::duration)]
    timeout: Option<Duration>,
    /// Only say what would be done.
    #[arg(long, value_enum, default_value_t, num_args = 0..=1, default_missing_value = "client")]
    dry_run: DryRun,
    /// `name` for shorter output.
    #[arg(short, long, value_parser = ["name"])]
    output: Option<String>,
}

/// `propagationPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Cascade {
    Background,
    Orphan,
    Foreground,
}

/// One object to delete.
struct Doomed {
    kind: &'static Kind,
    namespace: String,
    name: String,
    /// The manifest that names it.
    source: Option<String>,
}

impl Delete {
    pub(crate) async fn run(self, context: &Context) -> Result {
        let grace = self.grace()?;
        if self.force {
            output::note(
                "Warning: Immediate deletion does not wait for confirmation that the running \
                 resource has been terminated. The resource may continue to run on the cluster \
                 indefinitely.",
            );
        }
        let doomed = self.doomed(context).await?;
        let mut errors = Vec::new();
        let mut leaving = Vec::new();
        for target in &doomed {
            match self.one(context, target, grace).await {
                Ok(uid) => leaving.push((target, uid)),
                Err(error) if error.is_not_found() && (self.ignore_not_found || self.all) => {}
                Err(error) => errors.push(match &target.source {
                    Some(source) => error.during(&format!("error when deleting \"{source}\"")),
                    None => error,
                }),
            }
        }
        if self.wait && self.dry_run == DryRun::None {
            self.wait_gone(context, &leaving).await?;
        }
        all_or_first(errors)
    }

    /// The grace period to ask for, by kubectl's rules.
    fn grace(&self) -> Result<Option<i64>> {
        if self.now && self.grace_period >= 0 {
            return plain("--now and --grace-period cannot be specified together");
        }
        if self.force && self.grace_period > 0 {
            return plain("--force and --grace-period greater than 0 cannot be specified together");
        }
        Ok(match (self.now, self.force, self.grace_period) {
            (true, ..) => Some(1),
            (_, true, _) => Some(0),
            (_, false, 0) => Some(1),
            (_, _, ..0) => None,
            (_, _, seconds) => Some(seconds),
        })
    }

    async fn doomed(&self, context: &Context) -> Result<Vec<Doomed>> {
        if !self.files.filename.is_empty() {
            return self.manifests(context);
        }
        let mut doomed = Vec::new();
        for target in targets(&self.args)? {
            match target.name {
                Some(name) => {
                    let namespace = context.namespace().to_owned();
                    doomed.push(Doomed { kind: target.kind, namespace, name, source: None });
                }
                None => doomed.extend(self.selected(context, target.kind).await?),
            }
        }
        if doomed.is_empty() {
            output::note("No resources found");
        }
        Ok(doomed)
    }

    fn manifests(&self, context: &Context) -> Result<Vec<Doomed>> {
        let mut doomed = Vec::new();
        for mut document in self.files.load()? {
            let namespace = settle_namespace(context, document.kind, &mut document.object)?;
            let name = name_of(&document.object).to_owned();
            let source = Some(document.source);
            doomed.push(Doomed { kind: document.kind, namespace, name, source });
        }
        Ok(doomed)
    }

    async fn selected(&self, context: &Context, kind: &'static Kind) -> Result<Vec<Doomed>> {
        if !self.all && self.selector.is_none() && self.field_selector.is_none() {
            return plain("resource(s) were provided, but no name was specified");
        }
        let query = selector_query(self.selector.as_deref(), self.field_selector.as_deref());
        let mut list = context.list(kind, self.all_namespaces, &query).await?;
        let doomed = |item: &Value| Doomed {
            kind,
            namespace: namespace_of(item).to_owned(),
            name: name_of(item).to_owned(),
            source: None,
        };
        Ok(items(&mut list, kind).iter().map(doomed).collect())
    }

    /// Deletes one object and says so; gives its uid.
    async fn one(&self, context: &Context, target: &Doomed, grace: Option<i64>) -> Result<Value> {
        let path = target.kind.path(Some(&target.namespace), Some(&target.name));
        let answer = if self.dry_run == DryRun::Client {
            context.client.get(&path).await?
        } else {
            let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions",
                "propagationPolicy": format!("{:?}", self.cascade)});
            if let Some(seconds) = grace {
                options["gracePeriodSeconds"] = seconds.into();
            }
            let dry: &[_] = if self.dry_run == DryRun::Server { &[("dryRun", "All")] } else { &[] };
            let answer = context.client.delete(&with_query(&path, dry), &options).await;
            answer.map_err(|error| target.kind.explain(error))?
        };
        self.say(target)?;
        let uid = answer.pointer("/metadata/uid").or_else(|| answer.pointer("/details/uid"));
        Ok(uid.cloned().unwrap_or_default())
    }

    fn say(&self, target: &Doomed) -> Result {
        let label = target.kind.label();
        let name = &target.name;
        if self.output.is_some() {
            return output::print(&format!("{label}/{name}\n"));
        }
        let force = if self.force { "force deleted" } else { "deleted" };
        let place = match target.kind.namespaced {
            true => format!(" from {} namespace", target.namespace),
            false => String::new(),
        };
        output::print(&format!("{label} \"{name}\" {force}{place}{}\n", self.dry_run.suffix()))
    }

    async fn wait_gone(&self, context: &Context, leaving: &[(&Doomed, Value)]) -> Result {
        let limit = self.timeout.filter(|limit| !limit.is_zero()).unwrap_or(WAIT_MAX);
        let deadline = Instant::now() + limit;
        for (target, uid) in leaving {
            let awaited = Awaited {
                client: &context.client,
                kind: target.kind,
                namespace: &target.namespace,
                name: &target.name,
            };
            let gone = |object: Option<&Value>| match object {
                None => true,
                Some(object) => {
                    let own = &object["metadata"]["uid"];
                    !uid.is_null() && !own.is_null() && own != uid
                }
            };
            if !awaited.until(Some(deadline), gone).await? {
                return Err(Error::Plain(format!(
                    "timed out waiting for the condition on {}/{}",
                    target.kind.plural, target.name
                )));
            }
        }
        Ok(())
    }
}
