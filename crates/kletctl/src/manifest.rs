//! Manifests from files, directories and standard input.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use klet_api::decode::{self, DecodeError, StrictError};
use klet_api::manifest;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result, Status, plain};
use crate::kinds::{self, Kind};

/// Largest manifest file, as for the kubelet's static pods.
const FILE_BYTES_MAX: u64 = 10 << 20;

/// One object of a manifest, and where it stands.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) object: Value,
    pub(crate) kind: &'static Kind,
    /// The file, or `STDIN`.
    pub(crate) source: String,
    parsed: manifest::Document,
}

/// Options that name manifests.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct FileArgs {
    /// File, directory, or - for standard input; may be repeated.
    #[arg(short, long = "filename", value_name = "FILE", value_delimiter = ',')]
    pub(crate) filename: Vec<String>,
    /// Walk directories recursively.
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,
}

impl FileArgs {
    /// Every object of every named manifest, in order.
    pub(crate) fn load(&self) -> Result<Vec<Document>> {
        if self.filename.is_empty() {
            return plain("must specify -f FILE, or -f - for standard input");
        }
        let mut documents = Vec::new();
        for name in &self.filename {
            if name == "-" {
                documents.extend(parse("STDIN", &read_bounded(std::io::stdin().lock())?)?);
                continue;
            }
            if name.starts_with("http://") || name.starts_with("https://") {
                return plain(format!("{name}: manifests are read from files; fetch it first"));
            }
            for path in files(Path::new(name), self.recursive)? {
                documents.extend(parse(&path.display().to_string(), &read_file(&path)?)?);
            }
        }
        if documents.is_empty() {
            return plain("no objects passed");
        }
        Ok(documents)
    }
}

impl Document {
    /// Adds to a refusal of the server where in the file each wrong field stands, and what was
    /// being done.
    pub(crate) fn explain(&self, error: Error, doing: &str) -> Error {
        if error.is_unknown_resource() {
            return Error::Plain(no_match(&self.parsed, &self.source));
        }
        let error = error.during(&format!("error when {doing} \"{}\"", self.source));
        let Error::Status(mut status) = error else { return error };
        let mut notes = Vec::new();
        for field in status.fields() {
            notes.extend(self.note(self.parsed.locate(field), field));
        }
        match self.check() {
            Ok(strict) => {
                for field in unknown_fields(&status) {
                    let note = self.note(self.parsed.locate_key(&field), &field);
                    let meant = suggestion(&strict, &field);
                    notes.extend(note.map(|note| note + &meant));
                }
            }
            Err(wrong) if status.reason() == "BadRequest" => {
                let text = format!("{}: {}", wrong.path, wrong.explain());
                notes.extend(self.note(self.parsed.locate(&wrong.path), &text));
            }
            Err(_) => {}
        }
        notes.dedup();
        status.notes = notes;
        Error::Status(status)
    }

    /// What our own decoder has to say about the object.
    fn check(&self) -> std::result::Result<Vec<StrictError>, DecodeError> {
        match self.kind.kind {
            "Pod" => strict::<klet_api::Pod>(&self.object),
            "ConfigMap" => strict::<klet_api::ConfigMap>(&self.object),
            "Secret" => strict::<klet_api::Secret>(&self.object),
            "Namespace" => strict::<klet_api::Namespace>(&self.object),
            _ => Ok(Vec::new()),
        }
    }

    fn note(&self, place: Option<(usize, usize)>, field: &str) -> Option<String> {
        let (line, column) = place?;
        Some(format!("  --> {}:{line}:{column}: {field}", self.source))
    }
}

fn strict<T: DeserializeOwned>(
    object: &Value,
) -> std::result::Result<Vec<StrictError>, DecodeError> {
    decode::from_value::<T>(object).map(|decoded| decoded.strict)
}

/// The known field that was probably meant by an unknown one.
fn suggestion(strict: &[StrictError], field: &str) -> String {
    let found = strict.iter().find(|error| error.path() == field);
    let meant = found.and_then(StrictError::suggestion);
    meant.map_or_else(String::new, |meant| format!(" (did you mean \"{meant}\"?)"))
}

/// The fields in `strict decoding error: unknown field "spec.foo", duplicate field "spec.bar"`.
fn unknown_fields(status: &Status) -> Vec<String> {
    let parts = status.message().split("field \"").skip(1);
    parts.filter_map(|part| part.split_once('"').map(|(field, _)| field.to_owned())).collect()
}

/// The manifest files a path stands for: itself, or a directory's.
fn files(path: &Path, recursive: bool) -> Result<Vec<PathBuf>> {
    let fail = |cause| Error::File { path: path.to_owned(), cause };
    if !path.exists() {
        return plain(format!("the path \"{}\" does not exist", path.display()));
    }
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    let mut entries: Vec<PathBuf> = std::fs::read_dir(path)
        .map_err(fail)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()
        .map_err(fail)?;
    entries.sort();
    for entry in entries {
        let extension = entry.extension().and_then(|extension| extension.to_str());
        if entry.is_dir() {
            if recursive && !entry.is_symlink() {
                found.extend(files(&entry, recursive)?);
            }
        } else if matches!(extension, Some("json" | "yaml" | "yml")) {
            found.push(entry);
        }
    }
    Ok(found)
}

fn read_file(path: &Path) -> Result<String> {
    let fail = |cause| Error::File { path: path.to_owned(), cause };
    read_bounded(std::fs::File::open(path).map_err(fail)?)
}

fn read_bounded(input: impl Read) -> Result<String> {
    let mut text = String::new();
    input.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return plain("the manifest is larger than 10 MiB");
    }
    Ok(text)
}

/// Splits a text into its objects; a `List` gives its items.
pub(crate) fn parse(source: &str, text: &str) -> Result<Vec<Document>> {
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let parsed = manifest::parse(text, source).map_err(|cause| {
        // The excerpt begins with the message; our own line has it with the place.
        let excerpt = cause.render(text, color);
        let lines = excerpt.split_once('\n').map_or("", |(_, lines)| lines);
        Error::Verbatim(format!("error: {cause}\n{lines}").trim_end().to_owned())
    })?;
    parsed.into_iter().map(|parsed| document(source, parsed)).collect()
}

fn document(source: &str, parsed: manifest::Document) -> Result<Document> {
    let missing = |field: &str| {
        let text = format!("error validating data: {field} not set");
        plain(format!("error validating \"{source}\": {text}"))
    };
    match (parsed.api_version(), parsed.kind()) {
        ("", _) => return missing("apiVersion"),
        (_, "") => return missing("kind"),
        _ => {}
    }
    let known = kinds::of(parsed.kind()).filter(|known| known.api_version == parsed.api_version());
    let Some(kind) = known else { return plain(no_match(&parsed, source)) };
    let mut object = parsed.value.clone();
    drop_nulls(&mut object);
    Ok(Document { object, kind, source: source.to_owned(), parsed })
}

fn no_match(parsed: &manifest::Document, source: &str) -> String {
    let namespace = parsed.value.pointer("/metadata/namespace").and_then(Value::as_str);
    format!(
        "resource mapping not found for name: \"{}\" namespace: \"{}\" from \
         \"{source}\": no matches for kind \"{}\" in version \"{}\"",
        parsed.name(),
        namespace.unwrap_or_default(),
        parsed.kind(),
        parsed.api_version(),
    )
}

/// A null field says nothing; `creationTimestamp: null` is what generators write.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, field| !field.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "# comment\napiVersion: v1\nkind: Pod\nmetadata:\n  name: a\nspec:\n  \
        containers:\n  - name: c\n    imge: x\n---\napiVersion: v1\nkind: ConfigMap\n\
        metadata: {name: b, creationTimestamp: null}\ndata:\n  mode: 0644\n";

    #[test]
    fn documents_are_split_and_nulls_dropped() {
        let documents = parse("two.yaml", TWO).unwrap();
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[1].object["data"]["mode"], 420);
        assert!(documents[1].object["metadata"].get("creationTimestamp").is_none());
    }

    #[test]
    fn mistakes_say_where_they_are() {
        let error = |text| parse("x.yaml", text).unwrap_err().to_string();
        assert!(error("a: b\n  c: d\n").starts_with("error: x.yaml:2:"));
        assert_eq!(
            error("kind: Pod\n"),
            "error: error validating \"x.yaml\": error validating data: apiVersion not set"
        );
        assert_eq!(
            error("apiVersion: v9\nkind: Foo\nmetadata: {name: x}\n"),
            "error: resource mapping not found for name: \"x\" namespace: \"\" from \"x.yaml\": \
             no matches for kind \"Foo\" in version \"v9\""
        );
    }

    #[test]
    fn a_refusal_points_into_the_file() {
        let document = parse("two.yaml", TWO).unwrap().remove(0);
        let status = Status::from_response(
            422,
            br#"{"kind":"Status","reason":"Invalid","details":{"kind":"Pod","name":"a",
            "causes":[{"field":"spec.containers[0].image","message":"Required value"}]}}"#,
        );
        assert_eq!(
            document.explain(status.into(), "creating").to_string(),
            "The Pod \"a\" is invalid: spec.containers[0].image: Required value\n  \
             --> two.yaml:8:5: spec.containers[0].image"
        );
        let status = Status::from_response(
            400,
            br#"{"kind":"Status","reason":"BadRequest",
            "message":"strict decoding error: unknown field \"spec.containers[0].imge\""}"#,
        );
        assert_eq!(
            document.explain(status.into(), "creating").to_string(),
            "Error from server (BadRequest): error when creating \"two.yaml\": strict decoding \
             error: unknown field \"spec.containers[0].imge\"\n  \
             --> two.yaml:9:5: spec.containers[0].imge (did you mean \"image\"?)"
        );
    }
}
