//! What the server says of itself: version, groups, resources. From the one table.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::resource::{RESOURCES, Resource};

/// The Kubernetes version that klet follows: major and minor.
pub const KUBERNETES: (&str, &str) = ("1", "37");

/// The document at a path; `None` if it is no discovery path.
pub(crate) fn document(path: &str) -> Option<Value> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["version"] => Some(version()),
        ["api"] => Some(json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [],
        })),
        ["apis"] => Some(json!({
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": groups().into_iter().map(group).collect::<Vec<_>>(),
        })),
        ["api", version] => resources("", version),
        ["apis", name] => groups().contains(name).then(|| {
            let mut document = group(name);
            document["kind"] = json!("APIGroup");
            document["apiVersion"] = json!("v1");
            document
        }),
        ["apis", group, version] => resources(group, version),
        _ => None,
    }
}

/// The version of Kubernetes that klet follows, with klet's own behind it.
#[must_use]
pub fn git_version() -> String {
    let (major, minor) = KUBERNETES;
    format!("v{major}.{minor}.0+klet{}", env!("CARGO_PKG_VERSION"))
}

fn version() -> Value {
    let (major, minor) = KUBERNETES;
    json!({
        "major": major,
        "minor": minor,
        "gitVersion": git_version(),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("linux/{}", if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }),
    })
}

fn groups() -> BTreeSet<&'static str> {
    RESOURCES.iter().map(|resource| resource.group).filter(|group| !group.is_empty()).collect()
}

fn group(name: &str) -> Value {
    let versions: BTreeSet<_> = RESOURCES
        .iter()
        .filter(|resource| resource.group == name)
        .map(|resource| resource.version)
        .collect();
    let versions: Vec<_> = versions
        .into_iter()
        .map(|version| json!({ "groupVersion": format!("{name}/{version}"), "version": version }))
        .collect();
    json!({ "name": name, "preferredVersion": versions.first(), "versions": versions })
}

fn resources(group: &str, version: &str) -> Option<Value> {
    let inside = |resource: &&Resource| resource.group == group && resource.version == version;
    let resources: Vec<_> = RESOURCES.iter().filter(inside).flat_map(entries).collect();
    let name = RESOURCES.iter().find(inside)?.api_version();
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": name,
        "resources": resources,
    }))
}

fn entries(resource: &Resource) -> Vec<Value> {
    let mut main = json!({
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        main["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        main["categories"] = json!(resource.categories);
    }
    let subresources = resource.subresources.iter().map(|subresource| {
        json!({
            "name": format!("{}/{}", resource.plural, subresource.name),
            "singularName": "",
            "namespaced": resource.namespaced,
            "kind": subresource.kind,
            "verbs": subresource.verbs,
        })
    });
    std::iter::once(main).chain(subresources).collect()
}

#[cfg(test)]
mod tests {
    use super::document;

    #[test]
    fn resources_and_subresources_are_listed() {
        let list = document("/api/v1").unwrap();
        let names: Vec<_> = list["resources"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["name"].as_str().unwrap())
            .collect();
        for name in ["pods", "pods/status", "pods/log", "pods/exec", "namespaces", "secrets"] {
            assert!(names.contains(&name), "{name}");
        }
        assert_eq!(list["groupVersion"], "v1");
    }

    #[test]
    fn paths_of_objects_are_no_discovery() {
        for path in ["/api/v1/pods", "/apis/apps/v1/x/y", "/api/v9", "/"] {
            assert!(document(path).is_none(), "{path}");
        }
    }
}
