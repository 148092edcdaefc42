//! `wait`: until a condition holds, a field has a value, or the objects are gone.

use std::time::Duration;

use clap::Args;
use serde_json::Value;
use tokio::time::Instant;

use super::selector_query;
use crate::context::{Context, items, name_of, namespace_of, targets};
use crate::error::{Error, Result, all_or_first, plain};
use crate::kinds::Kind;
use crate::manifest::FileArgs;
use crate::output::jsonpath::{self, Template};
use crate::output::{self, Format};
use crate::waiting::Awaited;

/// What a negative timeout stands for.
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// Options of `wait`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kletctl wait --for=condition=Ready pod/web --timeout=60s
  kletctl wait --for=jsonpath='{.status.phase}'=Succeeded pod/job
  kletctl wait --for=delete pod -l app=web")]
pub(crate) struct Wait {
    /// TYPE NAME..., TYPE/NAME..., or TYPE with --all or -l.
    args: Vec<String>,
    #[command(flatten)]
    files: FileArgs,
    /// create, delete, condition=NAME[=VALUE] or jsonpath=EXPRESSION[=VALUE].
    #[arg(long = "for", value_name = "WHAT", value_parser = For::parse)]
    condition: For,
    /// How long to wait; 0 looks once, a negative time waits for a week.
    #[arg(long, default_value = "30s", value_parser = duration, allow_hyphen_values = true)]
    timeout: Duration,
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
    /// Output format: json, yaml, name, jsonpath=, custom-columns=.
    #[arg(short, long)]
    output: Option<Format>,
}

/// `--for`.
#[derive(Debug, Clone, PartialEq)]
enum For {
    Create,
    Delete,
    Condition { name: String, value: String },
    Field { path: Template, value: Option<String> },
}

/// An object to wait for, as it was found.
struct Watched {
    kind: &'static Kind,
    namespace: String,
    name: String,
    /// As it was at first; nothing if it is not there yet.
    object: Option<Value>,
}

/// Reads a Go duration; a negative one stands for a week.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let read = klet_api::duration::parse_go(text).map_err(|cause| cause.to_string())?;
    Ok(Duration::try_from(read).unwrap_or(WEEK))
}

impl Wait {
    pub(crate) async fn run(self, context: &Context) -> Result {
        let deadline = Instant::now() + self.timeout;
        let mut errors = Vec::new();
        let watched = self.watched(context, &mut errors).await?;
        if watched.is_empty() && errors.is_empty() && self.condition != For::Delete {
            return plain("no matching resources found");
        }
        for one in watched {
            match self.one(context, one, deadline).await {
                Ok(()) => {}
                Err(error @ Error::NotRunning { .. }) => return Err(error),
                Err(error) => errors.push(error),
            }
        }
        all_or_first(errors)
    }

    /// What the command line names, read from the server.
    async fn watched(&self, context: &Context, errors: &mut Vec<Error>) -> Result<Vec<Watched>> {
        let mut named: Vec<(&'static Kind, String, String)> = Vec::new();
        let mut watched = Vec::new();
        if self.files.filename.is_empty() {
            for target in targets(&self.args)? {
                match target.name {
                    Some(name) => named.push((target.kind, context.namespace().to_owned(), name)),
                    None => watched.extend(self.selected(context, target.kind).await?),
                }
            }
        } else {
            for mut document in self.files.load()? {
                let namespace =
                    super::settle_namespace(context, document.kind, &mut document.object)?;
                named.push((document.kind, namespace, name_of(&document.object).to_owned()));
            }
        }
        for (kind, namespace, name) in named {
            let object = match context.client.get(&kind.path(Some(&namespace), Some(&name))).await {
                Ok(object) => Some(object),
                Err(error) if error.is_not_found() => match self.condition {
                    For::Create => None,
                    For::Delete => continue,
                    _ => {
                        errors.push(error);
                        continue;
                    }
                },
                Err(error) => return Err(error),
            };
            watched.push(Watched { kind, namespace, name, object });
        }
        Ok(watched)
    }

    async fn selected(&self, context: &Context, kind: &'static Kind) -> Result<Vec<Watched>> {
        if !self.all && self.selector.is_none() && self.field_selector.is_none() {
            return plain("resource(s) were provided, but no name was specified");
        }
        let query = selector_query(self.selector.as_deref(), self.field_selector.as_deref());
        let mut list = context.list(kind, self.all_namespaces, &query).await?;
        let watched = |object: Value| Watched {
            kind,
            namespace: namespace_of(&object).to_owned(),
            name: name_of(&object).to_owned(),
            object: Some(object),
        };
        Ok(items(&mut list, kind).into_iter().map(watched).collect())
    }

    async fn one(&self, context: &Context, watched: Watched, deadline: Instant) -> Result {
        let Watched { kind, namespace, name, object: first } = watched;
        let mut last = first.clone().unwrap_or_default();
        let mut trouble = None;
        let mut met = |object: Option<&Value>| {
            if let Some(object) = object {
                last = object.clone();
            }
            self.condition.met(first.as_ref(), object).unwrap_or_else(|cause| {
                trouble = Some(cause);
                true
            })
        };
        let done = if self.timeout.is_zero() {
            met(first.as_ref())
        } else {
            let awaited =
                Awaited { client: &context.client, kind, namespace: &namespace, name: &name };
            awaited.until(Some(deadline), met).await?
        };
        if let Some(cause) = trouble {
            return plain(cause);
        }
        if done {
            crate::context::stamp(&mut last, kind);
            return output::report(&last, self.output.as_ref(), "condition met");
        }
        let place = format!("{}/{name}", kind.plural);
        plain(match self.timeout.is_zero() {
            true => format!("condition not met for {place}"),
            false => format!("timed out waiting for the condition on {place}"),
        })
    }
}

impl For {
    fn parse(text: &str) -> Result<Self, String> {
        match text.to_lowercase().as_str() {
            "create" => return Ok(For::Create),
            "delete" => return Ok(For::Delete),
            _ => {}
        }
        if let Some(condition) = text.strip_prefix("condition=") {
            let (name, value) = condition.split_once('=').unwrap_or((condition, "true"));
            return Ok(For::Condition { name: name.to_owned(), value: value.to_owned() });
        }
        match text.strip_prefix("jsonpath=") {
            Some(field) => Self::field(field),
            None => Err(format!("unrecognized condition: \"{text}\"")),
        }
    }

    fn field(text: &str) -> Result<Self, String> {
        let (path, value) = split_field(text);
        let value = value.map(|value| value.trim_matches(['\'', '"']).to_owned());
        if path.is_empty() {
            return Err("jsonpath expression cannot be empty".to_owned());
        }
        if value.as_deref() == Some("") {
            return Err("jsonpath wait has to have a value after equal sign, like \
                --for=jsonpath='{.status.readyReplicas}'=3"
                .to_owned());
        }
        Ok(For::Field { path: Template::parse_relaxed(path)?, value })
    }

    /// Whether the object is as wanted; `first` is what it was when the wait began.
    fn met(&self, first: Option<&Value>, object: Option<&Value>) -> Result<bool, String> {
        match (self, object) {
            (For::Create, object) => Ok(object.is_some()),
            (For::Delete, None) => Ok(true),
            (For::Delete, Some(object)) => Ok(is_another(first, object)),
            (_, None) => Ok(false),
            (For::Condition { name, value }, Some(object)) => {
                Ok(has_condition(object, name, value))
            }
            (For::Field { path, value }, Some(object)) => has_value(object, path, value.as_deref()),
        }
    }
}

/// Splits `EXPRESSION=VALUE` at the first `=` outside of braces that is no comparison.
fn split_field(text: &str) -> (&str, Option<&str>) {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'=' if depth == 0 => return (&text[..at], Some(&text[at + 1..])),
            _ => {}
        }
    }
    (text, None)
}

/// An object of the same name that came after the first one was gone.
fn is_another(first: Option<&Value>, object: &Value) -> bool {
    let uid = |object: &Value| object.pointer("/metadata/uid").cloned();
    match (first.and_then(uid), uid(object)) {
        (Some(first), Some(now)) => first != now,
        _ => false,
    }
}

fn has_condition(object: &Value, name: &str, value: &str) -> bool {
    let same = |field: &Value, text: &str| {
        field.as_str().is_some_and(|field| field.to_lowercase() == text.to_lowercase())
    };
    let generation = object.pointer("/metadata/generation").and_then(Value::as_i64);
    let observed = object.pointer("/status/observedGeneration").and_then(Value::as_i64);
    if let (Some(generation), Some(observed)) = (generation, observed)
        && observed < generation
    {
        return false;
    }
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let mut conditions = conditions.into_iter().flatten();
    let found = conditions.find(|condition| same(&condition["type"], name));
    found.is_some_and(|condition| same(&condition["status"], value))
}

fn has_value(object: &Value, path: &Template, value: Option<&str>) -> Result<bool, String> {
    let found = path.values(object);
    let Some(value) = value else { return Ok(!found.is_empty()) };
    match found.as_slice() {
        [] => Ok(false),
        [Value::Object(_) | Value::Array(_)] => {
            Err("jsonpath leads to a nested object or list which is not supported".to_owned())
        }
        [one] => Ok(jsonpath::text(one).trim() == value.trim()),
        _ => Err("given jsonpath expression matches more than one value".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Value {
        json!({"metadata": {"uid": "1"}, "status": {"phase": "Running", "n": [1, 2], "conditions":
            [{"type": "Ready", "status": "True"}, {"type": "Initialized", "status": "False"}]}})
    }

    #[test]
    fn conditions_and_fields_are_recognised_as_kubectl_does() {
        let cases = [
            ("condition=Ready", Ok(true)),
            ("condition=ready=TRUE", Ok(true)),
            ("condition=Initialized", Ok(false)),
            ("condition=Initialized=false", Ok(true)),
            ("condition=Absent", Ok(false)),
            ("jsonpath={.status.phase}=Running", Ok(true)),
            ("jsonpath=.status.phase='Running'", Ok(true)),
            ("jsonpath={.status.phase}=Failed", Ok(false)),
            ("jsonpath={.status.phase}", Ok(true)),
            ("jsonpath={.status.podIP}", Ok(false)),
            ("jsonpath={.status.podIP}=1", Ok(false)),
            ("jsonpath={.status.conditions[?(@.type==\"Ready\")].status}=True", Ok(true)),
            ("jsonpath=.status.conditions[?(@.type==\"Ready\")].status=True", Ok(true)),
            (
                "jsonpath={.status.n[*]}=1",
                Err("given jsonpath expression matches more than one value"),
            ),
            (
                "jsonpath={.status.n}=1",
                Err("jsonpath leads to a nested object or list which is not supported"),
            ),
            ("delete", Ok(false)),
            ("create", Ok(true)),
        ];
        for (text, want) in cases {
            let met = For::parse(text).unwrap().met(Some(&pod()), Some(&pod()));
            assert_eq!(met, want.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn an_object_is_gone_when_another_has_its_name() {
        let mut next = pod();
        next["metadata"]["uid"] = "2".into();
        assert_eq!(For::Delete.met(Some(&pod()), Some(&next)), Ok(true));
        assert_eq!(For::Delete.met(Some(&pod()), None), Ok(true));
    }

    #[test]
    fn a_status_of_an_older_generation_does_not_count() {
        let mut object = pod();
        object["metadata"]["generation"] = 2.into();
        object["status"]["observedGeneration"] = 1.into();
        assert!(!has_condition(&object, "Ready", "true"));
    }

    #[test]
    fn what_cannot_be_waited_for_is_refused() {
        for text in ["", "Ready", "jsonpath=", "jsonpath={.a}=", "jsonpath={.a"] {
            assert!(For::parse(text).is_err(), "{text}");
        }
        assert_eq!(duration("-1s"), Ok(WEEK));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
    }
}
