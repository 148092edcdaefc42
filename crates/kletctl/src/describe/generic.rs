//! Any object: every field with a readable name.

use serde_json::Value;

use super::fields::head;
use super::sheet::Sheet;

/// Fields that the head shows, or that only servers read.
const SHOWN: [&str; 5] = [
    ".metadata.name",
    ".metadata.namespace",
    ".metadata.labels",
    ".metadata.annotations",
    ".metadata.managedFields",
];

pub(super) fn write(sheet: &mut Sheet, object: &Value) {
    head(sheet, object);
    fields(sheet, 0, object, "");
}

fn fields(sheet: &mut Sheet, level: usize, object: &Value, path: &str) {
    for (name, value) in object.as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        if SHOWN.contains(&path.as_str()) {
            continue;
        }
        let label = label(name);
        match value {
            Value::Object(_) => {
                sheet.line(level, &format!("{label}:"));
                fields(sheet, level + 1, value, &path);
            }
            Value::Array(items) => {
                sheet.line(level, &format!("{label}:"));
                for item in items {
                    match item {
                        Value::Object(_) => fields(sheet, level + 1, item, &path),
                        other => sheet.line(level + 1, &scalar(other)),
                    }
                }
            }
            other => sheet.field(level, &label, scalar(other)),
        }
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `lastTimestamp` is `Last Timestamp`; names that are no words stay as they are.
fn label(name: &str) -> String {
    const ACRONYMS: [&str; 16] = [
        "api", "cpu", "db", "dns", "http", "https", "id", "io", "ip", "json", "os", "tls", "uid",
        "uri", "url", "vm",
    ];
    if !name.chars().all(|character| character.is_ascii_alphanumeric()) {
        return name.to_owned();
    }
    let mut words: Vec<String> = Vec::new();
    for character in name.chars() {
        match words.last_mut() {
            Some(word) if !character.is_ascii_uppercase() => word.push(character),
            Some(_) | None => words.push(character.to_string()),
        }
    }
    let shown = words.iter().map(|word| match word.to_lowercase() {
        lower if ACRONYMS.contains(&lower.as_str()) => lower.to_uppercase(),
        lower => lower[..1].to_uppercase() + &lower[1..],
    });
    shown.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_become_words() {
        for (name, words) in [
            ("lastTimestamp", "Last Timestamp"),
            ("apiVersion", "API Version"),
            ("uid", "UID"),
            ("a.b/c", "a.b/c"),
        ] {
            assert_eq!(super::label(name), words);
        }
    }
}
