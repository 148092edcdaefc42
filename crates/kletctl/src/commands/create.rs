//! `create`: objects from manifests, and small ones from flags.

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{DryRun, settle_namespace};
use crate::client::with_query;
use crate::context::Context;
use crate::error::{Error, Result, all_or_first, plain};
use crate::kinds::{self, Kind};
use crate::manifest::FileArgs;
use crate::output::{self, Format};

/// Options of `create`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Create {
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    how: How,
    /// Keep the manifest in the object, for a later apply.
    #[arg(long)]
    save_config: bool,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Args)]
pub(super) struct How {
    /// Only say what would be done.
    #[arg(long, value_enum, default_value_t, num_args = 0..=1, default_missing_value = "client")]
    pub(super) dry_run: DryRun,
    /// Output format: json, yaml, name, jsonpath=, custom-columns=.
    #[arg(short, long)]
    pub(super) output: Option<Format>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A configmap from files and literals.
    #[command(alias = "cm")]
    Configmap(Data),
    /// A secret from files and literals.
    #[command(subcommand)]
    Secret(SecretKind),
    /// A namespace.
    #[command(alias = "ns")]
    Namespace {
        name: String,
        #[command(flatten)]
        how: How,
    },
}

#[derive(Debug, Subcommand)]
enum SecretKind {
    /// An opaque secret.
    Generic(Data),
}

#[derive(Debug, Args)]
struct Data {
    name: String,
    /// KEY=VALUE
    #[arg(long, value_name = "KEY=VALUE")]
    from_literal: Vec<String>,
    /// FILE, KEY=FILE or a directory.
    #[arg(long, value_name = "[KEY=]FILE")]
    from_file: Vec<String>,
    /// A file of KEY=VALUE lines.
    #[arg(long, value_name = "FILE")]
    from_env_file: Vec<String>,
    /// The type of a secret.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    #[command(flatten)]
    how: How,
}

impl Create {
    pub(crate) async fn run(self, context: &Context) -> Result {
        match self.what {
            None => self.manifests(context).await,
            Some(What::Namespace { name, how }) => {
                let object =
                    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
                how.create(context, known("Namespace")?, object).await
            }
            Some(What::Configmap(data)) => {
                let object = config_map(&data)?;
                let created = data.how.create(context, known("ConfigMap")?, object).await;
                created.map_err(|error| failed(error, "configmap:"))
            }
            Some(What::Secret(SecretKind::Generic(data))) => {
                let object = secret(&data)?;
                let created = data.how.create(context, known("Secret")?, object).await;
                created.map_err(|error| failed(error, "secret"))
            }
        }
    }

    async fn manifests(self, context: &Context) -> Result {
        let mut errors = Vec::new();
        for document in self.files.load()? {
            let mut object = document.object.clone();
            if self.save_config {
                super::apply::remember(&mut object);
            }
            match self.how.create(context, document.kind, object).await {
                Ok(()) => {}
                Err(error @ (Error::NotRunning { .. } | Error::NotAllowed { .. })) => {
                    return Err(error);
                }
                Err(error) => errors.push(document.explain(error, "creating")),
            }
        }
        all_or_first(errors)
    }
}

impl How {
    /// Creates one object and reports it.
    pub(super) async fn create(&self, context: &Context, kind: &Kind, mut object: Value) -> Result {
        let namespace = settle_namespace(context, kind, &mut object)?;
        if self.dry_run != DryRun::Client {
            let path = with_query(&kind.path(Some(&namespace), None), &self.dry_run.query());
            object = context.client.post(&path, &super::anew(object)).await?;
        }
        let done = format!("created{}", self.dry_run.suffix());
        output::report(&object, self.output.as_ref(), &done)
    }
}

/// A refusal in the words of kubectl's generators.
fn failed(error: Error, what: &str) -> Error {
    match error {
        Error::Status(status) => {
            Error::Plain(format!("failed to create {what} {}", status.message()))
        }
        other => other,
    }
}

fn known(kind: &str) -> Result<&'static Kind> {
    kinds::of(kind).map_or_else(|| plain(format!("unknown kind {kind}")), Ok)
}

fn config_map(data: &Data) -> Result<Value> {
    let mut texts = Map::new();
    let mut binary = Map::new();
    for (key, content) in collect(data)? {
        match String::from_utf8(content) {
            Ok(text) => drop(texts.insert(key, text.into())),
            Err(raw) => {
                binary.insert(key, BASE64_STANDARD.encode(raw.as_bytes()).into());
            }
        }
    }
    let mut object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": data.name}});
    if !texts.is_empty() {
        object["data"] = Value::Object(texts);
    }
    if !binary.is_empty() {
        object["binaryData"] = Value::Object(binary);
    }
    Ok(object)
}

fn secret(data: &Data) -> Result<Value> {
    let encoded: Map<String, Value> = collect(data)?
        .into_iter()
        .map(|(key, content)| (key, BASE64_STANDARD.encode(content).into()))
        .collect();
    Ok(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": data.name},
        "type": data.kind.as_deref().unwrap_or("Opaque"), "data": encoded}))
}

/// Every key with its content; a key given twice is an error.
fn collect(data: &Data) -> Result<Vec<(String, Vec<u8>)>> {
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    for literal in &data.from_literal {
        let Some((key, value)) = literal.split_once('=') else {
            return plain(format!("invalid literal source {literal}, expected key=value"));
        };
        all.push((key.to_owned(), value.as_bytes().to_vec()));
    }
    for source in &data.from_file {
        all.extend(from_file(source)?);
    }
    for file in &data.from_env_file {
        let text = String::from_utf8(read(Path::new(file))?)
            .map_err(|_| Error::Plain(format!("{file} is not UTF-8")))?;
        all.extend(env_lines(&text));
    }
    for (index, (key, _)) in all.iter().enumerate() {
        if all[..index].iter().any(|(other, _)| other == key) {
            return plain(format!(
                "cannot add key \"{key}\", another key by that name already exists"
            ));
        }
    }
    Ok(all)
}

fn from_file(source: &str) -> Result<Vec<(String, Vec<u8>)>> {
    if let Some((key, file)) = source.split_once('=') {
        return Ok(vec![(key.to_owned(), read(Path::new(file))?)]);
    }
    let path = Path::new(source);
    let named = |path: &Path| -> Result<(String, Vec<u8>)> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok((name, read(path)?))
    };
    if !path.is_dir() {
        return Ok(vec![named(path)?]);
    }
    let fail = |cause| Error::File { path: path.to_owned(), cause };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(fail)? {
        let entry = entry.map_err(fail)?.path();
        if entry.is_file() {
            files.push(entry);
        }
    }
    files.sort();
    files.iter().map(|file| named(file)).collect()
}

fn env_lines(text: &str) -> impl Iterator<Item = (String, Vec<u8>)> + '_ {
    let lines = text.lines().map(str::trim_start);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| match line.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.as_bytes().to_vec()),
        None => {
            let value = std::env::var(line).unwrap_or_default();
            (line.to_owned(), value.into_bytes())
        }
    })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|cause| Error::File { path: path.to_owned(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(literals: &[&str]) -> Data {
        Data {
            name: "n".to_owned(),
            from_literal: literals.iter().map(|&text| text.to_owned()).collect(),
            from_file: Vec::new(),
            from_env_file: Vec::new(),
            kind: None,
            how: How { dry_run: DryRun::None, output: None },
        }
    }

    #[test]
    fn literals_and_files_become_data() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("b"), b"text").unwrap();
        std::fs::write(dir.path().join("c"), [0xff]).unwrap();
        let mut data = data(&["a=1=2"]);
        data.from_file = vec![dir.path().display().to_string()];
        let object = config_map(&data).unwrap();
        assert_eq!(object["data"], json!({"a": "1=2", "b": "text"}));
        assert_eq!(object["binaryData"], json!({"c": "/w=="}));
        assert_eq!(secret(&data).unwrap()["data"]["a"], "MT0y");
    }

    #[test]
    fn a_key_twice_or_without_value_is_refused() {
        let twice = collect(&data(&["a=1", "a=2"])).unwrap_err().to_string();
        assert!(twice.contains("another key by that name already exists"), "{twice}");
        assert!(collect(&data(&["a"])).is_err());
    }

    #[test]
    fn env_files_skip_comments() {
        let lines: Vec<_> = env_lines("# x\n\nA=1\n  B=2=3\n").collect();
        assert_eq!(lines, [("A".to_owned(), b"1".to_vec()), ("B".to_owned(), b"2=3".to_vec())]);
    }
}
