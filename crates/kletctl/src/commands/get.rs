//! `get`: objects as tables, YAML, JSON and more; and watching them.

use clap::Args;
use serde_json::Value;

use super::selector_query;
use crate::client::watch::Change;
use crate::context::{Context, Target, items, now, resource_version, stamp, targets};
use crate::error::{Error, Result, all_or_first, plain};
use crate::kinds::Kind;
use crate::output::jsonpath::Template;
use crate::output::table::{Shape, Table};
use crate::output::{self, Format};

/// Options of `get`.
#[derive(Debug, Args)]
#[command(override_usage = "kletctl get TYPE[,TYPE...] [NAME...] [OPTIONS]")]
#[command(after_help = "Examples:
  kletctl get pods -A -o wide
  kletctl get pod web -o yaml
  kletctl get pods -l app=web -w
  kletctl get pods -o jsonpath='{.items[*].status.podIP}'")]
pub(crate) struct Get {
    /// TYPE[,TYPE...] [NAME...], or TYPE/NAME...
    args: Vec<String>,
    #[command(flatten)]
    files: crate::manifest::FileArgs,
    /// wide, yaml, json, name, jsonpath=TEMPLATE or custom-columns=SPEC.
    #[arg(short, long)]
    output: Option<Format>,
    /// In every namespace.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only objects with these labels.
    #[arg(short = 'l', long)]
    selector: Option<String>,
    /// Only objects with these fields.
    #[arg(long)]
    field_selector: Option<String>,
    /// After listing, watch for changes.
    #[arg(short, long)]
    watch: bool,
    /// Watch for changes without listing first.
    #[arg(long)]
    watch_only: bool,
    /// A last column with all labels.
    #[arg(long)]
    show_labels: bool,
    /// Columns for these labels.
    #[arg(short = 'L', long, value_delimiter = ',')]
    label_columns: Vec<String>,
    /// No header line.
    #[arg(long)]
    no_headers: bool,
    /// Order by this field, for example .metadata.creationTimestamp.
    #[arg(long, value_name = "JSONPATH", value_parser = Template::parse_relaxed)]
    sort_by: Option<Template>,
    /// A missing object is no error.
    #[arg(long)]
    ignore_not_found: bool,
    /// Show metadata.managedFields.
    #[arg(long)]
    show_managed_fields: bool,
    /// Prefix names with their kind.
    #[arg(long)]
    show_kind: bool,
}

/// What was found of one kind.
struct Found {
    kind: &'static Kind,
    objects: Vec<Value>,
    /// From where a watch goes on.
    version: String,
}

impl Get {
    pub(crate) async fn run(self, context: &Context) -> Result {
        let wanted = self.wanted()?;
        let single = wanted.len() == 1 && wanted[0].name.is_some();
        if self.watch || self.watch_only {
            return self.watch(context, &wanted).await;
        }
        let (found, errors) = self.find(context, &wanted).await?;
        self.print(context, found, single && errors.is_empty())?;
        all_or_first(errors)
    }

    fn wanted(&self) -> Result<Vec<Target>> {
        if self.files.filename.is_empty() {
            return targets(&self.args);
        }
        let documents = self.files.load()?;
        let target = |document: crate::manifest::Document| Target {
            kind: document.kind,
            name: Some(crate::context::name_of(&document.object).to_owned()),
        };
        Ok(documents.into_iter().map(target).collect())
    }

    async fn find(&self, context: &Context, wanted: &[Target]) -> Result<(Vec<Found>, Vec<Error>)> {
        let mut found: Vec<Found> = Vec::new();
        let mut errors = Vec::new();
        for target in wanted {
            let outcome = self.find_one(context, target).await;
            match outcome {
                Ok(more) => match found.iter_mut().find(|one| one.kind == more.kind) {
                    Some(known) => known.objects.extend(more.objects),
                    None => found.push(more),
                },
                Err(error @ (Error::NotRunning { .. } | Error::NotAllowed { .. })) => {
                    return Err(error);
                }
                Err(error) if error.is_not_found() && self.ignore_not_found => {}
                Err(error) => errors.push(error),
            }
        }
        for one in &mut found {
            self.arrange(&mut one.objects);
        }
        Ok((found, errors))
    }

    async fn find_one(&self, context: &Context, target: &Target) -> Result<Found> {
        let kind = target.kind;
        if let Some(name) = &target.name {
            if self.all_namespaces && kind.namespaced {
                return plain("a resource cannot be retrieved by name across all namespaces");
            }
            let mut object = context.get(kind, name).await?;
            stamp(&mut object, kind);
            let version = resource_version(&object);
            return Ok(Found { kind, objects: vec![object], version });
        }
        let mut list = context.list(kind, self.all_namespaces, &self.query()).await?;
        let version = resource_version(&list);
        Ok(Found { kind, objects: items(&mut list, kind), version })
    }

    fn query(&self) -> Vec<(&'static str, &str)> {
        selector_query(self.selector.as_deref(), self.field_selector.as_deref())
    }

    fn arrange(&self, objects: &mut [Value]) {
        if !self.show_managed_fields {
            objects.iter_mut().for_each(output::hide_managed_fields);
        }
        if let Some(key) = &self.sort_by {
            objects.sort_by(|a, b| by_value(key.values(a).first(), key.values(b).first()));
        }
    }

    fn print(&self, context: &Context, mut found: Vec<Found>, single: bool) -> Result {
        let count: usize = found.iter().map(|one| one.objects.len()).sum();
        match &self.output {
            None | Some(Format::Wide) => {
                if count == 0 {
                    self.say_none(context, &found);
                }
                self.tables(&found)
            }
            Some(Format::Columns(columns)) => {
                let objects = found.into_iter().flat_map(|one| one.objects).collect();
                output::print(&columns.render(&output::list_of(objects), !self.no_headers))
            }
            Some(format) if single && count == 1 => format.print(&found[0].objects.remove(0)),
            Some(_) if count == 0 && self.ignore_not_found => Ok(()),
            Some(format) => {
                let objects = found.into_iter().flat_map(|one| one.objects).collect();
                format.print(&output::list_of(objects))
            }
        }
    }

    fn say_none(&self, context: &Context, found: &[Found]) {
        let namespaced = found.iter().any(|one| one.kind.namespaced);
        if found.is_empty() {
            return;
        }
        if self.all_namespaces || !namespaced {
            output::note("No resources found");
        } else {
            output::note(&format!("No resources found in {} namespace.", context.namespace()));
        }
    }

    fn shape(&self, kinds: usize) -> Shape {
        Shape {
            wide: self.output == Some(Format::Wide),
            namespace: self.all_namespaces,
            labels: self.show_labels,
            label_columns: self.label_columns.clone(),
            no_headers: self.no_headers,
            kind_prefix: self.show_kind || kinds > 1,
        }
    }

    fn tables(&self, found: &[Found]) -> Result {
        let shape = self.shape(found.len());
        let filled = found.iter().filter(|one| !one.objects.is_empty());
        let tables: Vec<String> =
            filled.map(|one| Table::new(one.kind, &shape).lines(&one.objects, now())).collect();
        output::print(&tables.join("\n"))
    }

    async fn watch(&self, context: &Context, wanted: &[Target]) -> Result {
        let [target] = wanted else {
            return plain("you may only specify a single resource type when watching");
        };
        let found = self.find_one(context, target).await?;
        let mut table = Table::new(found.kind, &self.shape(1));
        if !self.watch_only {
            if found.objects.is_empty() && target.name.is_none() {
                self.say_none(context, std::slice::from_ref(&found));
            }
            self.print_watched(&mut table, found.objects)?;
        }
        let named = target.name.as_ref().map(|name| format!("metadata.name={name}"));
        let mut query = self.query();
        query.extend(named.as_deref().map(|selector| ("fieldSelector", selector)));
        let namespace = (!self.all_namespaces).then(|| context.namespace());
        let path = found.kind.path(namespace, None);
        let mut version = found.version;
        loop {
            let mut watch = context.client.watch(&path, &query, &version).await?;
            while let Some((change, mut object)) = watch.next().await? {
                version = resource_version(&object);
                if change != Change::Bookmark {
                    stamp(&mut object, found.kind);
                    self.print_watched(&mut table, vec![object])?;
                }
            }
        }
    }

    fn print_watched(&self, table: &mut Table, mut objects: Vec<Value>) -> Result {
        if objects.is_empty() {
            return Ok(());
        }
        self.arrange(&mut objects);
        match &self.output {
            None | Some(Format::Wide) => output::print(&table.lines(&objects, now())),
            Some(Format::Yaml) => objects.iter().try_for_each(|one| {
                output::print(&format!("---\n{}", klet_api::to_yaml::to_yaml(one)))
            }),
            Some(Format::Columns(columns)) => {
                objects.iter().try_for_each(|one| output::print(&columns.render(one, false)))
            }
            Some(format) => objects.iter().try_for_each(|one| format.print(one)),
        }
    }
}

/// Numbers by size, times and texts by their characters; what is missing comes first.
fn by_value(a: Option<&&Value>, b: Option<&&Value>) -> std::cmp::Ordering {
    use crate::output::jsonpath::text;
    match (a, b) {
        (Some(a), Some(b)) => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            _ => text(a).cmp(&text(b)),
        },
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}
