//! Files of the downward API: what a volume may say about its pod.

use std::collections::BTreeMap;

use klet_api::Pod;
use klet_api::field::go_quote;

/// The value of a `fieldRef` in a volume; `None` if volumes do not have this path.
pub(crate) fn field(pod: &Pod, path: &str) -> Option<String> {
    let meta = &pod.metadata;
    let (labels, annotations) = (meta.labels.as_ref(), meta.annotations.as_ref());
    Some(match path {
        "metadata.name" => meta.name.clone().unwrap_or_default(),
        "metadata.namespace" => meta.namespace.clone().unwrap_or_default(),
        "metadata.uid" => meta.uid.clone().unwrap_or_default(),
        "metadata.labels" => lines(labels),
        "metadata.annotations" => lines(annotations),
        _ => subscript(path, "metadata.labels", labels)
            .or_else(|| subscript(path, "metadata.annotations", annotations))?,
    })
}

/// `key="value"`, sorted, one per line, without a newline at the end.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let pairs = map.into_iter().flatten().map(|(key, value)| format!("{key}={}", go_quote(value)));
    pairs.collect::<Vec<_>>().join("\n")
}

/// `prefix['key']`; a key that is absent is the empty string.
fn subscript(path: &str, prefix: &str, map: Option<&BTreeMap<String, String>>) -> Option<String> {
    let key = path.strip_prefix(prefix)?.strip_prefix("['")?.strip_suffix("']")?;
    Some(map.and_then(|map| map.get(key)).cloned().unwrap_or_default())
}
