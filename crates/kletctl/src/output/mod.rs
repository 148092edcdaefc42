//! What goes to standard output, in kubectl's forms.

pub(crate) mod columns;
pub(crate) mod jsonpath;
pub(crate) mod table;

use std::io::Write;

use serde_json::{Value, json};

use crate::context::name_of;
use crate::error::Result;
use crate::kinds;
use columns::CustomColumns;
use jsonpath::Template;

/// `-o`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Format {
    Wide,
    Yaml,
    Json,
    Name,
    JsonPath(Template),
    Columns(CustomColumns),
}

const FORMATS: &str = "custom-columns, json, jsonpath, name, wide, yaml";

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (form, argument) = text.split_once('=').unwrap_or((text, ""));
        match form {
            "wide" => Ok(Format::Wide),
            "yaml" => Ok(Format::Yaml),
            "json" => Ok(Format::Json),
            "name" => Ok(Format::Name),
            "jsonpath" if argument.is_empty() => {
                Err("template format specified but no template given".to_owned())
            }
            "jsonpath" => Template::parse(argument).map(Format::JsonPath),
            "custom-columns" => CustomColumns::parse(argument).map(Format::Columns),
            _ => Err(format!(
                "unable to match a printer suitable for the output format \"{text}\", \
                allowed formats are: {FORMATS}"
            )),
        }
    }
}

impl Format {
    /// Prints one object or list; [`Format::Wide`] has no meaning here and prints YAML.
    pub(crate) fn print(&self, object: &Value) -> Result {
        match self {
            Format::Wide | Format::Yaml => print(&klet_api::to_yaml::to_yaml(object)),
            Format::Json => print(&to_json(object)),
            Format::Name => print(&names(object)),
            Format::JsonPath(template) => print(&template.render(object)),
            Format::Columns(columns) => print(&columns.render(object, true)),
        }
    }
}

/// Writes to standard output at once.
pub(crate) fn print(text: &str) -> Result {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Writes a note to standard error. Nothing can be done if that is gone.
pub(crate) fn note(text: &str) {
    let _gone = writeln!(std::io::stderr(), "{text}");
}

/// JSON as kubectl indents it.
pub(crate) fn to_json(value: &Value) -> String {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    serde::Serialize::serialize(value, &mut serializer).expect("a value always serialises");
    out.push(b'\n');
    String::from_utf8(out).expect("JSON is UTF-8")
}

/// Several objects as one `List`.
pub(crate) fn list_of(items: Vec<Value>) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items})
}

/// How a message names an object: `pod/x`.
pub(crate) fn reference(object: &Value) -> String {
    let kind = object["kind"].as_str().unwrap_or_default();
    let label = kinds::of(kind).map_or_else(|| kind.to_lowercase(), kinds::Kind::label);
    format!("{label}/{}", name_of(object))
}

/// Removes what only servers read.
pub(crate) fn hide_managed_fields(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

/// Reports what was done to an object: in the form asked for, or as `pod/x created`.
pub(crate) fn report(object: &Value, format: Option<&Format>, done: &str) -> Result {
    match format {
        None => print(&format!("{} {done}\n", reference(object))),
        Some(format) => {
            let mut object = object.clone();
            hide_managed_fields(&mut object);
            format.print(&object)
        }
    }
}

/// Each object's reference on a line.
fn names(object: &Value) -> String {
    match object["items"].as_array() {
        Some(items) => items.iter().map(|item| reference(item) + "\n").collect(),
        None => reference(object) + "\n",
    }
}

/// Bytes as people read them.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut scale = 1_u64;
    while unit + 1 < UNITS.len() && count / scale >= 1024 {
        unit += 1;
        scale *= 1024;
    }
    let tenths = u128::from(count) * 10 / u128::from(scale);
    if unit == 0 {
        format!("{count}{}", UNITS[0])
    } else {
        format!("{}.{}{}", tenths / 10, tenths % 10, UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_read_as_kubectls() {
        assert_eq!("yaml".parse(), Ok(Format::Yaml));
        assert!(matches!("jsonpath={.a}".parse(), Ok(Format::JsonPath(_))));
        assert!(matches!("custom-columns=A:.a".parse(), Ok(Format::Columns(_))));
        let refused = "xml".parse::<Format>().unwrap_err();
        assert!(refused.starts_with("unable to match a printer"), "{refused}");
        assert!("jsonpath=".parse::<Format>().is_err());
    }

    #[test]
    fn objects_are_named_and_sizes_rounded() {
        let pod = json!({"kind": "Pod", "metadata": {"name": "x"}});
        assert_eq!(names(&list_of(vec![pod])), "pod/x\n");
        assert_eq!(
            [bytes(0), bytes(1023), bytes(1536), bytes(5 << 30)],
            ["0B", "1023B", "1.5KiB", "5.0GiB"]
        );
    }
}
