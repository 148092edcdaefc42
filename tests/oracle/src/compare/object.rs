//! The object at the end: specification with its defaults, and status.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::normal;

/// What a cluster adds and a single node has not: by path, as [`walk`] writes it.
const OF_THE_CLUSTER: [&str; 4] = [
    "metadata",
    "spec.serviceAccount",
    "spec.tolerations",
    "status.containerStatuses[].volumeMounts",
];
/// Values that differ on every run; that there is one is compared.
const ANY: [&str; 9] = [
    "startedAt",
    "finishedAt",
    "containerID",
    "lastTransitionTime",
    "lastProbeTime",
    "startTime",
    "imageID",
    "image",
    "nodeName",
];

pub(super) fn differences(golden: &Value, seen: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for part in ["spec", "status"] {
        walk(part, &golden[part], &seen[part], &mut found);
    }
    found.retain(|text| !OF_THE_CLUSTER.iter().any(|path| about(text, path)));
    found.sort();
    found.dedup();
    let reason = golden["status"]["reason"].as_str();
    if let Some(reason) = reason {
        found = found.iter().map(|text| format!("{text} when {reason}")).collect();
    } else if golden["metadata"]["deletionTimestamp"].is_string() {
        found = found.iter().map(|text| format!("{text} when deleting")).collect();
    }
    found
}

fn about(text: &str, path: &str) -> bool {
    text.strip_prefix("object ").and_then(|rest| rest.strip_prefix(path)).is_some_and(|rest| {
        rest.starts_with([':', '.', '['])
            || rest.starts_with(" missing")
            || rest.starts_with(" added")
    })
}

fn walk(path: &str, golden: &Value, seen: &Value, found: &mut Vec<String>) {
    match (golden, seen) {
        (Value::Object(was), Value::Object(is)) => {
            let keys: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
            for key in keys {
                let path = format!("{path}.{key}");
                let any = ANY.contains(&key.as_str());
                match (was.get(key), is.get(key)) {
                    (Some(was), Some(is)) if any && was.is_null() == is.is_null() => {}
                    (was, is) => {
                        walk(&path, was.unwrap_or(&Value::Null), is.unwrap_or(&Value::Null), found)
                    }
                }
            }
        }
        (Value::Array(was), Value::Array(is)) => lists(path, was, is, found),
        (was, is) if same(was, is) => {}
        (Value::Null, is) => found.push(format!("object {path} added: {}", short(is))),
        (was, Value::Null) => found.push(format!("object {path} missing: {}", short(was))),
        (was, is) => {
            found.push(format!("object {path}: recorded {}, klet {}", short(was), short(is)))
        }
    }
}

/// Elements with a name or a type are compared with their namesakes.
fn lists(path: &str, golden: &[Value], seen: &[Value], found: &mut Vec<String>) {
    let name = |value: &Value| {
        let name =
            ["mountPath", "name", "type", "containerPort"].iter().find_map(|key| value.get(key));
        name.map(ToString::to_string)
    };
    let own: Vec<&Value> = golden.iter().filter(|value| !is_token(value)).collect();
    for (index, was) in own.iter().enumerate() {
        let is = match name(was) {
            Some(wanted) => seen.iter().find(|is| name(is).as_ref() == Some(&wanted)),
            None => seen.get(index),
        };
        walk(&format!("{path}[]"), was, is.unwrap_or(&Value::Null), found);
    }
    for (index, is) in seen.iter().enumerate() {
        let known = match name(is) {
            Some(wanted) => own.iter().any(|was| name(was).as_ref() == Some(&wanted)),
            None => index < own.len(),
        };
        if !known {
            walk(&format!("{path}[]"), &Value::Null, is, found);
        }
    }
}

/// The service account's token: admission of a cluster adds it as a volume and its mounts.
fn is_token(value: &Value) -> bool {
    value["name"].as_str().is_some_and(|name| name.starts_with("default-token-"))
}

fn same(was: &Value, is: &Value) -> bool {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(list) => list.iter().all(is_token),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    match (was, is) {
        (Value::String(was), Value::String(is)) => {
            normal::text(was.trim_end()) == normal::text(is.trim_end())
        }
        (was, is) => was == is || (empty(was) && empty(is)),
    }
}

/// A value in so many characters that a person recognises it.
fn short(value: &Value) -> String {
    const MOST: usize = 200;
    let text = normal::text(&value.to_string());
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_on_every_run_and_what_a_cluster_adds_are_no_differences() {
        let golden = json!({
            "spec": {
                "serviceAccountName": "default", "nodeName": "k8speer",
                "tolerations": [{ "key": "x" }],
                "volumes": [{ "name": "default-token-abc", "secret": {} }],
            },
            "status": { "startTime": "a", "podIP": "10.0.0.1", "message": "in (IP)" },
        });
        let seen = json!({
            "spec": { "nodeName": "test" },
            "status": { "startTime": "b", "podIP": "10.0.0.2", "message": "in (IP)" },
        });
        let wanted = ["object spec.serviceAccountName missing: \"default\""];
        assert_eq!(differences(&golden, &seen), wanted);
    }

    #[test]
    fn elements_are_compared_with_their_namesakes() {
        let list = |first: &str, code: i32| {
            json!({ "status": { "containerStatuses": [
                { "name": first, "code": 1 }, { "name": "b", "code": code },
            ] } })
        };
        assert_eq!(differences(&list("a", 2), &list("a", 2)), [""; 0]);
        let wanted = [
            "object status.containerStatuses[] added: {\"code\":1,\"name\":\"c\"}",
            "object status.containerStatuses[] missing: {\"code\":1,\"name\":\"a\"}",
            "object status.containerStatuses[].code: recorded 2, klet 3",
        ];
        assert_eq!(differences(&list("a", 2), &list("c", 3)), wanted);
    }
}
