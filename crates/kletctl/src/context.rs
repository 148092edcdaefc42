//! What every command is given: the server, the namespace, and how to speak of objects.

use serde_json::Value;

use crate::client::{Client, with_query};
use crate::error::{Error, Result, plain};
use crate::kinds::{self, Kind};

/// The server and the namespace of this invocation.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) client: Client,
    /// As given with `-n`.
    pub(crate) namespace: Option<String>,
}

/// An object, or with no name a whole collection, that the command line speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) kind: &'static Kind,
    pub(crate) name: Option<String>,
}

impl Context {
    /// The namespace to work in.
    pub(crate) fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or("default")
    }

    /// The path of an object of this kind in our namespace.
    pub(crate) fn path(&self, kind: &Kind, name: &str) -> String {
        kind.path(Some(self.namespace()), Some(name))
    }

    /// Reads an object.
    pub(crate) async fn get(&self, kind: &Kind, name: &str) -> Result<Value> {
        self.client.get(&self.path(kind, name)).await.map_err(|error| kind.explain(error))
    }

    /// Reads a collection, in our namespace or across all.
    pub(crate) async fn list(
        &self,
        kind: &Kind,
        all_namespaces: bool,
        query: &[(&str, &str)],
    ) -> Result<Value> {
        let namespace = (!all_namespaces).then(|| self.namespace());
        let path = with_query(&kind.path(namespace, None), query);
        self.client.get(&path).await.map_err(|error| kind.explain(error))
    }
}

/// Reads `TYPE[,TYPE] [NAME ...]` or `TYPE/NAME ...`, as kubectl's verbs take them.
pub(crate) fn targets(args: &[String]) -> Result<Vec<Target>> {
    let Some(first) = args.first() else {
        return plain("You must specify the type of resource");
    };
    if args.iter().any(|arg| arg.contains('/')) {
        return args.iter().map(|arg| slashed(arg)).collect();
    }
    let types = first.split(',').map(|name| if name == "all" { "pods" } else { name });
    let kinds: Vec<&'static Kind> = types.map(kinds::find).collect::<Result<_>>()?;
    if args.len() == 1 {
        return Ok(kinds.into_iter().map(|kind| Target { kind, name: None }).collect());
    }
    let named = |kind| args[1..].iter().map(move |name| Target { kind, name: Some(name.clone()) });
    Ok(kinds.into_iter().flat_map(named).collect())
}

fn slashed(arg: &str) -> Result<Target> {
    match arg.split_once('/') {
        Some((kind, name)) if !kind.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(Target { kind: kinds::find(kind)?, name: Some(name.to_owned()) })
        }
        Some(_) => plain(format!(
            "arguments in resource/name form must have a single resource and name, found \"{arg}\""
        )),
        None => plain(
            "there is no need to specify a resource type as a separate argument when passing \
             arguments in resource/name form",
        ),
    }
}

/// Reads `POD`, `pod/POD`.
pub(crate) fn pod_name(arg: &str) -> Result<String> {
    let Some((kind, name)) = arg.split_once('/') else { return Ok(arg.to_owned()) };
    if kinds::find(kind)?.kind == "Pod" {
        return Ok(name.to_owned());
    }
    Err(Error::Plain(format!("{kind}/{name} is not a pod")))
}

/// `metadata.name` of an object.
pub(crate) fn name_of(object: &Value) -> &str {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

/// `metadata.namespace` of an object.
pub(crate) fn namespace_of(object: &Value) -> &str {
    object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default()
}

/// The items of a list, each with the kind and version that lists leave out.
pub(crate) fn items(list: &mut Value, kind: &Kind) -> Vec<Value> {
    let Value::Array(mut items) = list["items"].take() else { return Vec::new() };
    for item in &mut items {
        stamp(item, kind);
    }
    items
}

/// Puts kind and version on an object that came without.
pub(crate) fn stamp(object: &mut Value, kind: &Kind) {
    if let Some(object) = object.as_object_mut() {
        object.entry("kind").or_insert_with(|| kind.kind.into());
        object.entry("apiVersion").or_insert_with(|| kind.api_version.into());
    }
}

/// The resource version of a list or an object.
pub(crate) fn resource_version(object: &Value) -> String {
    let version = object.pointer("/metadata/resourceVersion").and_then(Value::as_str);
    version.unwrap_or_default().to_owned()
}

/// The time now.
pub(crate) fn now() -> jiff::Timestamp {
    jiff::Timestamp::try_from(std::time::SystemTime::now()).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> String {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        match targets(&args) {
            Ok(targets) => targets
                .iter()
                .map(|t| format!("{}/{}", t.kind.singular, t.name.as_deref().unwrap_or("*")))
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn arguments_name_objects_and_collections() {
        let cases: &[(&[&str], &str)] = &[
            (&["pods"], "pod/*"),
            (&["all"], "pod/*"),
            (&["po,ev"], "pod/* event/*"),
            (&["pod", "a", "b"], "pod/a pod/b"),
            (&["pod/a", "cm/b"], "pod/a configmap/b"),
            (
                &["pod/"],
                "error: arguments in resource/name form must have a single resource and \
                name, found \"pod/\"",
            ),
            (
                &["pod", "pod/a"],
                "error: there is no need to specify a resource type as a separate \
                argument when passing arguments in resource/name form",
            ),
            (&[], "error: You must specify the type of resource"),
        ];
        for (args, want) in cases {
            assert_eq!(read(args), *want, "{args:?}");
        }
    }
}
