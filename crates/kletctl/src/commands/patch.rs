//! `patch`: fields of objects changed by a patch from the command line or a file.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::{DryRun, settle_namespace};
use crate::client::{JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, with_query};
use crate::context::{Context, name_of, resource_version, targets};
use crate::error::{Error, Result, all_or_first, plain};
use crate::kinds::Kind;
use crate::manifest::FileArgs;
use crate::output::{self, Format};

/// Options of `patch`.
#[derive(Debug, Args)]
pub(crate) struct Patch {
    /// TYPE NAME... or TYPE/NAME...
    args: Vec<String>,
    #[command(flatten)]
    files: FileArgs,
    /// The patch, as JSON or YAML.
    #[arg(short, long, value_name = "PATCH", conflicts_with = "patch_file")]
    patch: Option<String>,
    /// A file with the patch.
    #[arg(long, value_name = "FILE")]
    patch_file: Option<PathBuf>,
    /// What kind of patch it is.
    #[arg(long = "type", value_enum, default_value = "strategic")]
    kind: PatchKind,
    /// The part of the object to change, for example status.
    #[arg(long, value_name = "NAME")]
    subresource: Option<String>,
    /// Only say what would be done.
    #[arg(long, value_enum, default_value_t, num_args = 0..=1, default_missing_value = "client")]
    dry_run: DryRun,
    /// Output format: json, yaml, name, jsonpath=, custom-columns=.
    #[arg(short, long)]
    output: Option<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PatchKind {
    /// Lists are merged by their keys.
    Strategic,
    /// RFC 7386.
    Merge,
    /// RFC 6902.
    Json,
}

impl PatchKind {
    fn media_type(self) -> &'static str {
        match self {
            PatchKind::Strategic => STRATEGIC_PATCH,
            PatchKind::Merge => MERGE_PATCH,
            PatchKind::Json => JSON_PATCH,
        }
    }
}

impl Patch {
    pub(crate) async fn run(self, context: &Context) -> Result {
        let patch = self.read()?;
        let mut errors = Vec::new();
        for (kind, path) in self.paths(context)? {
            if let Err(error) = self.one(context, kind, &path, &patch).await {
                errors.push(error);
            }
        }
        all_or_first(errors)
    }

    /// The patch as JSON; its shape is checked where the mistake was made.
    fn read(&self) -> Result<Value> {
        let (source, text) = match (&self.patch, &self.patch_file) {
            (Some(text), _) => ("PATCH".to_owned(), text.clone()),
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|cause| Error::File { path: path.clone(), cause })?;
                (path.display().to_string(), text)
            }
            (None, None) => {
                return plain(
                    "must specify --patch or --patch-file containing the contents of the patch",
                );
            }
        };
        let patch = klet_api::manifest::value(&text, &source)
            .map_err(|cause| Error::Plain(format!("unable to parse {cause}")))?;
        match (self.kind, &patch) {
            (PatchKind::Json, Value::Array(_))
            | (PatchKind::Strategic | PatchKind::Merge, Value::Object(_)) => Ok(patch),
            (PatchKind::Json, _) => plain(
                "a JSON patch is a list of operations, such as \
                [{\"op\": \"replace\", \"path\": \"/metadata/labels/a\", \"value\": \"b\"}]",
            ),
            _ => plain(
                "the patch is an object, such as {\"metadata\": {\"labels\": {\"a\": \"b\"}}}",
            ),
        }
    }

    fn paths(&self, context: &Context) -> Result<Vec<(&'static Kind, String)>> {
        let mut paths = Vec::new();
        if self.files.filename.is_empty() {
            for target in targets(&self.args)? {
                let Some(name) = &target.name else {
                    return plain("resource(s) were provided, but no name was specified");
                };
                paths.push((target.kind, context.path(target.kind, name)));
            }
            return Ok(paths);
        }
        for mut document in self.files.load()? {
            let namespace = settle_namespace(context, document.kind, &mut document.object)?;
            let name = name_of(&document.object);
            paths.push((document.kind, document.kind.path(Some(&namespace), Some(name))));
        }
        Ok(paths)
    }

    async fn one(&self, context: &Context, kind: &Kind, path: &str, patch: &Value) -> Result {
        let before = context.client.get(path).await?;
        let mut target = path.to_owned();
        if let Some(subresource) = &self.subresource {
            target.push('/');
            target.push_str(&crate::client::escape(subresource));
        }
        // What the patch does is known to the server alone, so a dry run is always its.
        let query = match self.dry_run {
            DryRun::None => DryRun::None.query(),
            DryRun::Client | DryRun::Server => DryRun::Server.query(),
        };
        let target = with_query(&target, &query);
        let mut object = context.client.patch(&target, self.kind.media_type(), patch).await?;
        crate::context::stamp(&mut object, kind);
        let same = match self.dry_run {
            DryRun::None => resource_version(&object) == resource_version(&before),
            DryRun::Client | DryRun::Server => object == before,
        };
        let change = if same { " (no change)" } else { "" };
        let done = format!("patched{change}{}", self.dry_run.suffix());
        output::report(&object, self.output.as_ref(), &done)
    }
}
