//! `apply`: a three-way merge of what was applied last, what the manifest says and what is.

use std::collections::BTreeMap;

use clap::Args;
use klet_api::patch::{self, LAST_APPLIED};
use klet_api::selector::LabelSelector;
use serde_json::{Value, json};

use super::{DryRun, settle_namespace};
use crate::client::{STRATEGIC_PATCH, with_query};
use crate::context::{Context, name_of, resource_version};
use crate::error::{Error, Result, all_or_first, plain};
use crate::manifest::{Document, FileArgs};
use crate::output::{self, Format};

/// Options of `apply`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kletctl apply -f pod.yaml
  kletctl apply -f manifests/ -R
  cat pod.yaml | kletctl apply -f -")]
pub(crate) struct Apply {
    #[command(flatten)]
    files: FileArgs,
    /// Only say what would be done.
    #[arg(long, value_enum, default_value_t, num_args = 0..=1, default_missing_value = "client")]
    dry_run: DryRun,
    /// Output format: json, yaml, name, jsonpath=, custom-columns=.
    #[arg(short, long)]
    output: Option<Format>,
    /// Only objects with these labels.
    #[arg(short = 'l', long)]
    selector: Option<String>,
}

impl Apply {
    pub(crate) async fn run(self, context: &Context) -> Result {
        let documents = self.files.load()?;
        let selector = LabelSelector::parse(self.selector.as_deref().unwrap_or_default())
            .map_err(|cause| Error::Plain(cause.to_string()))?;
        let mut errors = Vec::new();
        for document in &documents {
            if !selector.matches(labels_of(&document.object).as_ref()) {
                continue;
            }
            match self.one(context, document).await {
                Ok(()) => {}
                Err(error @ (Error::NotRunning { .. } | Error::NotAllowed { .. })) => {
                    return Err(error);
                }
                Err(error) => errors.push(error),
            }
        }
        all_or_first(errors)
    }

    async fn one(&self, context: &Context, document: &Document) -> Result {
        let mut wanted = document.object.clone();
        if name_of(&wanted).is_empty() {
            return plain("resource name may not be empty");
        }
        let namespace = settle_namespace(context, document.kind, &mut wanted)?;
        remember(&mut wanted);
        let path = document.kind.path(Some(&namespace), Some(name_of(&wanted)));
        let (object, done) = match context.client.get(&path).await {
            Ok(current) => self.change(context, document, &path, wanted, current).await?,
            Err(error) if error.is_not_found() => {
                let object = self.create(context, document, &namespace, wanted).await?;
                (object, "created")
            }
            Err(error) => return Err(error),
        };
        let done = format!("{done}{}", self.dry_run.suffix());
        output::report(&object, self.output.as_ref(), &done)
    }

    async fn create(
        &self,
        context: &Context,
        document: &Document,
        namespace: &str,
        wanted: Value,
    ) -> Result<Value> {
        if self.dry_run == DryRun::Client {
            return Ok(wanted);
        }
        let path = with_query(&document.kind.path(Some(namespace), None), &self.dry_run.query());
        let created = context.client.post(&path, &super::anew(wanted)).await;
        created.map_err(|error| document.explain(error, "creating"))
    }

    async fn change(
        &self,
        context: &Context,
        document: &Document,
        path: &str,
        wanted: Value,
        current: Value,
    ) -> Result<(Value, &'static str)> {
        let last: Value = match last_applied(&current) {
            Some(text) => serde_json::from_str(text).unwrap_or_default(),
            None => {
                warn_unapplied(document, name_of(&wanted));
                Value::Null
            }
        };
        let patch = patch::three_way(&last, &wanted, &current, document.kind.kind)
            .map_err(|cause| Error::Plain(format!("{}: {cause}", document.source)))?;
        if patch == json!({}) {
            return Ok((current, "unchanged"));
        }
        if self.dry_run == DryRun::Client {
            let merged = patch::strategic_merge(&current, &patch, document.kind.kind)
                .map_err(|cause| Error::Plain(format!("{}: {cause}", document.source)))?;
            return Ok((merged, "configured"));
        }
        let path = with_query(path, &self.dry_run.query());
        let patched = context.client.patch(&path, STRATEGIC_PATCH, &patch).await;
        let object = patched.map_err(|error| document.explain(error, "applying patch to"))?;
        let same = resource_version(&object) == resource_version(&current);
        let kept = same && self.dry_run == DryRun::None;
        Ok((object, if kept { "unchanged" } else { "configured" }))
    }
}

fn labels_of(object: &Value) -> Option<BTreeMap<String, String>> {
    let labels = object.pointer("/metadata/labels")?.as_object()?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Some(labels.iter().map(|(key, value)| (key.clone(), text(value))).collect())
}

fn last_applied(object: &Value) -> Option<&str> {
    object["metadata"]["annotations"][LAST_APPLIED].as_str()
}

fn warn_unapplied(document: &Document, name: &str) {
    output::note(&format!(
        "Warning: resource {}/{name} is missing the {LAST_APPLIED} annotation which is required \
         by kletctl apply. kletctl apply should only be used on resources created declaratively by \
         either kletctl create --save-config or kletctl apply. The missing annotation will be \
         patched automatically.",
        document.kind.plural
    ));
}

/// Writes the manifest into the object's own annotation, in the form kubectl gives it.
pub(super) fn remember(object: &mut Value) {
    let annotations = &mut object["metadata"]["annotations"];
    if !annotations.is_object() {
        *annotations = json!({});
    }
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.remove(LAST_APPLIED);
    }
    let text = format!("{object}\n");
    object["metadata"]["annotations"][LAST_APPLIED] = text.into();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remembered_manifest_does_not_contain_itself() {
        let mut object = json!({"kind": "Pod", "metadata": {"name": "x"}});
        remember(&mut object);
        let first = object.clone();
        remember(&mut object);
        assert_eq!(object, first);
        assert_eq!(
            last_applied(&object),
            Some("{\"kind\":\"Pod\",\"metadata\":{\"annotations\":{},\"name\":\"x\"}}\n")
        );
    }
}
