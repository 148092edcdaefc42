//! `replace`: the manifest instead of what is.

use clap::Args;
use serde_json::json;
use tokio::time::Instant;

use super::settle_namespace;
use crate::client::with_query;
use crate::context::{Context, name_of};
use crate::error::{Result, all_or_first};
use crate::manifest::{Document, FileArgs};
use crate::output::{self, Format};
use crate::waiting::Awaited;

/// Options of `replace`.
#[derive(Debug, Args)]
pub(crate) struct Replace {
    #[command(flatten)]
    files: FileArgs,
    /// Delete the object first, and create it anew.
    #[arg(long)]
    force: bool,
    /// Seconds a pod is given to end, with --force; negative for the object's own.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    grace_period: i64,
    /// Output format: json, yaml, name, jsonpath=, custom-columns=.
    #[arg(short, long)]
    output: Option<Format>,
}

impl Replace {
    pub(crate) async fn run(self, context: &Context) -> Result {
        let mut errors = Vec::new();
        for document in self.files.load()? {
            if let Err(error) = self.one(context, &document).await {
                errors.push(document.explain(error, "replacing"));
            }
        }
        all_or_first(errors)
    }

    async fn one(&self, context: &Context, document: &Document) -> Result {
        let mut object = document.object.clone();
        let namespace = settle_namespace(context, document.kind, &mut object)?;
        let query = super::DryRun::None.query();
        let path = document.kind.path(Some(&namespace), Some(name_of(&object)));
        let object = if self.force {
            self.remove(context, document, &namespace, &path).await?;
            let path = document.kind.path(Some(&namespace), None);
            context.client.post(&with_query(&path, &query), &super::anew(object)).await?
        } else {
            context.client.put(&with_query(&path, &query), &object).await?
        };
        output::report(&object, self.output.as_ref(), "replaced")
    }

    async fn remove(
        &self,
        context: &Context,
        document: &Document,
        namespace: &str,
        path: &str,
    ) -> Result {
        let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
        if self.grace_period >= 0 {
            options["gracePeriodSeconds"] = self.grace_period.into();
        }
        match context.client.delete(path, &options).await {
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        let name = name_of(&document.object);
        let label = document.kind.label();
        output::print(&format!("{label} \"{name}\" deleted from {namespace} namespace\n"))?;
        let awaited = Awaited { client: &context.client, kind: document.kind, namespace, name };
        awaited.until(None::<Instant>, |object| object.is_none()).await.map(drop)
    }
}
