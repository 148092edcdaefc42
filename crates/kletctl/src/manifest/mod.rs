//! Manifests from files, directories and standard input.

mod places;

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, Result, Status, plain};
use crate::kinds::{self, Kind};
use places::Places;

/// Largest manifest file, as for the kubelet's static pods.
const FILE_BYTES_MAX: u64 = 10 << 20;

/// One object of a manifest, and where it stands.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) object: Value,
    pub(crate) kind: &'static Kind,
    /// The file, or `STDIN`.
    pub(crate) source: String,
    places: Places,
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
            return plain("must specify -f");
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
        let error = error.during(&format!("error when {doing} \"{}\"", self.source));
        let Error::Status(mut status) = error else { return error };
        let unknown = unknown_fields(&status);
        let fields = status.fields().map(str::to_owned).chain(unknown);
        let notes: Vec<String> = fields.filter_map(|field| self.note(&field)).collect();
        for note in notes {
            if !status.notes.contains(&note) {
                status.notes.push(note);
            }
        }
        Error::Status(status)
    }

    fn note(&self, field: &str) -> Option<String> {
        let (line, column) = self.places.find(field)?;
        Some(format!("  --> {}:{line}:{column}: {field}", self.source))
    }
}

/// The fields in `strict decoding error: unknown field "spec.foo", duplicate field "spec.bar"`.
fn unknown_fields(status: &Status) -> Vec<String> {
    let mut parts = status.message().split("field \"").skip(1);
    std::iter::from_fn(|| parts.next()?.split_once('"').map(|(field, _)| field.to_owned())).collect()
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
    let values = values(source, text)?;
    let mut places = places::of(text).into_iter();
    let mut documents = Vec::new();
    for value in values {
        let places = places.next().unwrap_or_default();
        if value.is_null() {
            continue;
        }
        if value["kind"] == "List" {
            let items = value["items"].as_array().cloned().unwrap_or_default();
            for (index, item) in items.into_iter().enumerate() {
                documents.push(document(source, item, places.below(&format!("items[{index}]")))?);
            }
        } else {
            documents.push(document(source, value, places)?);
        }
    }
    Ok(documents)
}

fn values(source: &str, text: &str) -> Result<Vec<Value>> {
    if text.trim_start().starts_with('{') {
        let json: std::result::Result<Vec<Value>, _> =
            serde_json::Deserializer::from_str(text).into_iter().collect();
        if let Ok(values) = json {
            return Ok(values);
        }
    }
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|cause| {
        let place = cause.location().map_or_else(String::new, |location| {
            format!(":{}:{}", location.line(), location.column())
        });
        let text = cause.to_string();
        let reason = text.lines().next().unwrap_or_default();
        let reason = reason.strip_prefix("error: ").unwrap_or(reason);
        Error::Plain(format!("error parsing {source}{place}: {reason}"))
    })
}

fn document(source: &str, mut object: Value, places: Places) -> Result<Document> {
    let missing = |field: &str| {
        Error::Plain(format!("error validating \"{source}\": error validating data: {field} not set"))
    };
    drop_nulls(&mut object);
    let version = object["apiVersion"].as_str().ok_or_else(|| missing("apiVersion"))?;
    let kind = object["kind"].as_str().ok_or_else(|| missing("kind"))?;
    let Some(known) = kinds::of(kind).filter(|known| known.api_version == version) else {
        return plain(no_match(&object, source, kind, version));
    };
    Ok(Document { object, kind: known, source: source.to_owned(), places })
}

fn no_match(object: &Value, source: &str, kind: &str, version: &str) -> String {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or("");
    let (name, namespace) = (text("/metadata/name"), text("/metadata/namespace"));
    format!(
        "resource mapping not found for name: \"{name}\" namespace: \"{namespace}\" from \
         \"{source}\": no matches for kind \"{kind}\" in version \"{version}\""
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
        containers:\n  - name: c\n    image: [1]\n---\napiVersion: v1\nkind: ConfigMap\n\
        metadata: {name: b, creationTimestamp: null}\ndata:\n  mode: 0644\n";

    #[test]
    fn documents_are_split_and_know_their_places() {
        let documents = parse("two.yaml", TWO).unwrap();
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[0].places.find("spec.containers[0].image"), Some((9, 5)));
        assert_eq!(documents[0].places.find("spec.containers[0].ports[0].name"), Some((8, 5)));
        assert_eq!(documents[1].places.find("data[mode]"), Some((15, 3)));
        assert_eq!(documents[1].object["data"]["mode"], 420);
        assert!(documents[1].object["metadata"].get("creationTimestamp").is_none());
    }

    #[test]
    fn a_list_gives_its_items() {
        let text = r#"{"apiVersion":"v1","kind":"List","items":[
            {"apiVersion":"v1","kind":"Namespace","metadata":{"name":"n"}}]}"#;
        let documents = parse("l.json", text).unwrap();
        assert_eq!(documents[0].kind.kind, "Namespace");
        assert_eq!(documents[0].places.find("metadata.name"), Some((2, 65)));
    }

    #[test]
    fn mistakes_say_where_they_are() {
        let error = |text| parse("x.yaml", text).unwrap_err().to_string();
        assert!(error("a: b\n  c: d\n").starts_with("error: error parsing x.yaml:2:"), "{}", error("a: b\n  c: d\n"));
        assert_eq!(
            error("kind: Pod\n"),
            "error: error validating \"x.yaml\": error validating data: apiVersion not set"
        );
        assert_eq!(
            error("apiVersion: v9\nkind: Foo\nmetadata: {name: n}\n"),
            "error: resource mapping not found for name: \"n\" namespace: \"\" from \"x.yaml\": \
             no matches for kind \"Foo\" in version \"v9\""
        );
    }

    #[test]
    fn a_refusal_points_into_the_file() {
        let document = parse("two.yaml", TWO).unwrap().remove(0);
        let status = Status::from_response(422, br#"{"kind":"Status","reason":"Invalid","details":
            {"kind":"Pod","name":"a","causes":[{"field":"spec.containers[0].image",
            "message":"Required value"}]}}"#);
        assert_eq!(
            document.explain(status.into(), "creating").to_string(),
            "The Pod \"a\" is invalid: spec.containers[0].image: Required value\n  \
             --> two.yaml:9:5: spec.containers[0].image"
        );
    }
}
