//! `label` and `annotate`: small texts on objects, set and removed.

use clap::Args;
use serde_json::{Map, Value, json};

use super::{DryRun, selector_query};
use crate::client::{MERGE_PATCH, with_query};
use crate::context::{Context, items, name_of, namespace_of, stamp, targets};
use crate::error::{Result, all_or_first, plain};
use crate::kinds::Kind;
use crate::manifest::FileArgs;
use crate::output::{self, Format};

/// Options of `label`.
#[derive(Debug, Args)]
pub(crate) struct Label {
    #[command(flatten)]
    common: Common,
}

/// Options of `annotate`.
#[derive(Debug, Args)]
pub(crate) struct Annotate {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    /// TYPE NAME... or TYPE/NAME..., then KEY=VALUE to set and KEY- to remove.
    #[arg(required = true)]
    args: Vec<String>,
    #[command(flatten)]
    files: FileArgs,
    /// Change values that are there already.
    #[arg(long)]
    overwrite: bool,
    /// Print what the objects have.
    #[arg(long)]
    list: bool,
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
    /// Only if the object has this resource version.
    #[arg(long, value_name = "VERSION")]
    resource_version: Option<String>,
    /// Only say what would be done.
    #[arg(long, value_enum, default_value_t, num_args = 0..=1, default_missing_value = "client")]
    dry_run: DryRun,
    /// Output format: json, yaml, name, jsonpath=, custom-columns=.
    #[arg(short, long)]
    output: Option<Format>,
}

/// Which map of an object's metadata is meant, and how kubectl speaks of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Texts {
    Labels,
    Annotations,
}

/// What to change: values to set, keys to remove.
#[derive(Debug, Default, PartialEq, Eq)]
struct Edits {
    set: Vec<(String, String)>,
    remove: Vec<String>,
}

impl Label {
    pub(crate) async fn run(self, context: &Context) -> Result {
        self.common.run(context, Texts::Labels).await
    }
}

impl Annotate {
    pub(crate) async fn run(self, context: &Context) -> Result {
        self.common.run(context, Texts::Annotations).await
    }
}

impl Common {
    async fn run(self, context: &Context, texts: Texts) -> Result {
        let (named, edits) = split(&self.args, texts)?;
        if edits == Edits::default() && !self.list {
            return plain(format!("at least one {} update is required", texts.singular()));
        }
        let objects = self.objects(context, named).await?;
        if objects.is_empty() {
            output::note("No resources found");
        }
        let mut errors = Vec::new();
        for (kind, object) in objects {
            if let Err(error) = self.one(context, texts, &edits, kind, object).await {
                errors.push(error);
            }
        }
        all_or_first(errors)
    }

    async fn objects(
        &self,
        context: &Context,
        named: &[String],
    ) -> Result<Vec<(&'static Kind, Value)>> {
        let mut objects = Vec::new();
        if !self.files.filename.is_empty() {
            for mut document in self.files.load()? {
                let kind = document.kind;
                let namespace = super::settle_namespace(context, kind, &mut document.object)?;
                let path = kind.path(Some(&namespace), Some(name_of(&document.object)));
                objects.push((kind, context.client.get(&path).await?));
            }
            return Ok(objects);
        }
        for target in targets(named)? {
            let kind = target.kind;
            if let Some(name) = &target.name {
                objects.push((kind, context.get(kind, name).await?));
                continue;
            }
            if !self.all && self.selector.is_none() && self.field_selector.is_none() {
                return plain("resource(s) were provided, but no name was specified");
            }
            let query = selector_query(self.selector.as_deref(), self.field_selector.as_deref());
            let mut list = context.list(kind, self.all_namespaces, &query).await?;
            objects.extend(items(&mut list, kind).into_iter().map(|object| (kind, object)));
        }
        Ok(objects)
    }

    async fn one(
        &self,
        context: &Context,
        texts: Texts,
        edits: &Edits,
        kind: &'static Kind,
        mut object: Value,
    ) -> Result {
        stamp(&mut object, kind);
        if self.list {
            return output::print(&listing(&object, texts));
        }
        let before = object["metadata"][texts.field()].clone();
        if !self.overwrite {
            edits.refuse_overwriting(&before, texts)?;
        }
        let done = edits.done(&before, texts);
        let mut patch = json!({"metadata": {texts.field(): edits.patch()}});
        if let Some(version) = &self.resource_version {
            patch["metadata"]["resourceVersion"] = version.as_str().into();
        }
        if self.dry_run == DryRun::Client {
            object = klet_api::patch::merge_patch(&object, &patch);
        } else {
            let path = kind.path(Some(namespace_of(&object)), Some(name_of(&object)));
            let path = with_query(&path, &self.dry_run.query());
            object = context.client.patch(&path, MERGE_PATCH, &patch).await?;
        }
        output::report(&object, self.output.as_ref(), &format!("{done}{}", self.dry_run.suffix()))
    }
}

impl Texts {
    fn field(self) -> &'static str {
        match self {
            Texts::Labels => "labels",
            Texts::Annotations => "annotations",
        }
    }

    fn singular(self) -> &'static str {
        match self {
            Texts::Labels => "label",
            Texts::Annotations => "annotation",
        }
    }
}

impl Edits {
    fn patch(&self) -> Value {
        let set = self.set.iter().map(|(key, value)| (key.clone(), value.as_str().into()));
        let remove = self.remove.iter().map(|key| (key.clone(), Value::Null));
        Value::Object(set.chain(remove).collect::<Map<_, _>>())
    }

    fn refuse_overwriting(&self, before: &Value, texts: Texts) -> Result {
        let taken = |(key, value): &(String, String)| {
            let has = before[key].as_str().filter(|has| has != value)?;
            Some(format!("'{key}' already has a value ({has})"))
        };
        let taken: Vec<String> = self.set.iter().filter_map(taken).collect();
        match (taken.is_empty(), texts) {
            (true, _) => Ok(()),
            (_, Texts::Labels) => plain(format!("{}, and --overwrite is false", taken.join(", "))),
            (_, Texts::Annotations) => plain(format!(
                "--overwrite is false but found the following declared annotation(s): {}",
                taken.join("; ")
            )),
        }
    }

    /// `labeled`, `unlabeled`, `not labeled`; annotations are always `annotated`.
    fn done(&self, before: &Value, texts: Texts) -> &'static str {
        if texts == Texts::Annotations {
            return "annotated";
        }
        for key in self.remove.iter().filter(|key| before[key.as_str()].is_null()) {
            output::note(&format!("label \"{key}\" not found."));
        }
        let sets = self.set.iter().any(|(key, value)| before[key] != value.as_str());
        let removes = self.remove.iter().any(|key| !before[key.as_str()].is_null());
        match (sets, removes) {
            (true, _) => "labeled",
            (false, true) => "unlabeled",
            (false, false) => "not labeled",
        }
    }
}

/// Divides the arguments into what names objects and what changes them.
fn split(args: &[String], texts: Texts) -> Result<(&[String], Edits)> {
    let is_edit = |arg: &String| {
        (arg.contains('=') && !arg.starts_with('=')) || (arg.ends_with('-') && arg.len() > 1)
    };
    let first = args.iter().position(is_edit).unwrap_or(args.len());
    let (named, changes) = args.split_at(first);
    let mut edits = Edits::default();
    for change in changes {
        match (change.split_once('='), change.strip_suffix('-')) {
            (Some((key, value)), _) => edits.set.push((key.to_owned(), value.to_owned())),
            (None, Some(key)) => edits.remove.push(key.to_owned()),
            (None, None) => {
                return plain(format!(
                    "all resources must be specified before {} changes: {change}",
                    texts.singular()
                ));
            }
        }
    }
    if let Some((key, _)) = edits.set.iter().find(|(key, _)| edits.remove.contains(key)) {
        return plain(format!(
            "can not both modify and remove the following {}(s) in the same command: {key}",
            texts.singular()
        ));
    }
    Ok((named, edits))
}

/// Each text on a line, under the object's name.
fn listing(object: &Value, texts: Texts) -> String {
    let mut out = format!("Listing {} for {}:\n", texts.field(), output::reference(object));
    for (key, value) in object["metadata"][texts.field()].as_object().into_iter().flatten() {
        out.push_str(&format!(" {key}={}\n", value.as_str().unwrap_or_default()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edits(args: &[&str]) -> Result<(usize, Edits)> {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        split(&args, Texts::Labels).map(|(named, edits)| (named.len(), edits))
    }

    #[test]
    fn names_come_first_then_changes() {
        let (named, edits) = edits(&["pod", "x", "a=1=2", "b-", "c="]).unwrap();
        assert_eq!(named, 2);
        assert_eq!(edits.patch(), json!({"a": "1=2", "b": null, "c": ""}));
    }

    #[test]
    fn contradictions_are_refused() {
        assert!(edits(&["pod/x", "a=1", "a-"]).is_err());
        assert!(edits(&["pod/x", "a=1", "pod/y"]).is_err());
        let (_, edits) = edits(&["pod/x", "a=1"]).unwrap();
        let refused = edits.refuse_overwriting(&json!({"a": "0"}), Texts::Labels).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "error: 'a' already has a value (0), and --overwrite is false"
        );
        assert!(edits.refuse_overwriting(&json!({"a": "1"}), Texts::Labels).is_ok());
    }

    #[test]
    fn reports_say_what_changed() {
        let (_, edits) = edits(&["pod/x", "a=1", "b-"]).unwrap();
        assert_eq!(edits.done(&json!({}), Texts::Labels), "labeled");
        assert_eq!(edits.done(&json!({"a": "1", "b": "2"}), Texts::Labels), "unlabeled");
        assert_eq!(edits.done(&json!({"a": "1"}), Texts::Labels), "not labeled");
        assert_eq!(edits.done(&json!({"a": "1"}), Texts::Annotations), "annotated");
    }
}
