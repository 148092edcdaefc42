//! The one table of resources. Paths, discovery, lists, patches and tables follow from it.

use klet_api::k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Node, Pod, Secret};
use klet_api::status_error;
use klet_store::Key;

use crate::strategy::{self, Strategy};

/// A part of an object with a path of its own.
#[derive(Debug)]
pub(crate) struct Subresource {
    pub(crate) name: &'static str,
    /// The kind it is sent and answered with.
    pub(crate) kind: &'static str,
    pub(crate) verbs: &'static [&'static str],
}

/// Everything the server knows of a resource.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) singular: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) short_names: &'static [&'static str],
    pub(crate) categories: &'static [&'static str],
    pub(crate) namespaced: bool,
    pub(crate) verbs: &'static [&'static str],
    pub(crate) subresources: &'static [Subresource],
    /// How its objects are decoded, completed and checked.
    pub(crate) strategy: Strategy,
}

const ALL: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// A namespace is emptied, so namespaces are deleted one by one.
const NAMESPACE_VERBS: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];

const fn status(kind: &'static str) -> Subresource {
    Subresource { name: "status", kind, verbs: &["get", "patch", "update"] }
}

/// All resources, in the order of discovery.
pub(crate) static RESOURCES: &[Resource] = &[
    Resource {
        group: "",
        version: "v1",
        plural: "configmaps",
        singular: "configmap",
        kind: "ConfigMap",
        short_names: &["cm"],
        categories: &[],
        namespaced: true,
        verbs: ALL,
        subresources: &[],
        strategy: strategy::of::<ConfigMap>(),
    },
    Resource {
        group: "",
        version: "v1",
        plural: "events",
        singular: "event",
        kind: "Event",
        short_names: &["ev"],
        categories: &[],
        namespaced: true,
        verbs: ALL,
        subresources: &[],
        strategy: strategy::of::<Event>(),
    },
    Resource {
        group: "",
        version: "v1",
        plural: "namespaces",
        singular: "namespace",
        kind: "Namespace",
        short_names: &["ns"],
        categories: &[],
        namespaced: false,
        verbs: NAMESPACE_VERBS,
        subresources: &[status("Namespace")],
        strategy: strategy::of::<Namespace>(),
    },
    Resource {
        group: "",
        version: "v1",
        plural: "nodes",
        singular: "node",
        kind: "Node",
        short_names: &["no"],
        categories: &[],
        namespaced: false,
        verbs: ALL,
        subresources: &[status("Node")],
        strategy: strategy::of::<Node>(),
    },
    Resource {
        group: "",
        version: "v1",
        plural: "pods",
        singular: "pod",
        kind: "Pod",
        short_names: &["po"],
        categories: &["all"],
        namespaced: true,
        verbs: ALL,
        subresources: &[
            Subresource { name: "exec", kind: "PodExecOptions", verbs: &["create", "get"] },
            Subresource { name: "log", kind: "Pod", verbs: &["get"] },
            status("Pod"),
        ],
        strategy: strategy::of::<Pod>(),
    },
    Resource {
        group: "",
        version: "v1",
        plural: "secrets",
        singular: "secret",
        kind: "Secret",
        short_names: &[],
        categories: &[],
        namespaced: true,
        verbs: ALL,
        subresources: &[],
        strategy: strategy::of::<Secret>(),
    },
];

/// Whether any resource has that kind.
pub(crate) fn is_registered(api_version: &str, kind: &str) -> bool {
    RESOURCES.iter().any(|known| known.kind == kind && known.api_version() == api_version)
}

/// The resource of a path.
pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|resource| {
        resource.group == group && resource.version == version && resource.plural == plural
    })
}

impl Resource {
    /// `v1`, `apps/v1`.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    pub(crate) fn key(&self, namespace: Option<&str>, name: &str) -> Key {
        Key::new(self.group, self.plural, namespace, name)
    }

    /// Its name in messages.
    pub(crate) fn named(&self) -> status_error::Resource<'static> {
        status_error::Resource { group: self.group, name: self.plural }
    }

    pub(crate) fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }

    pub(crate) fn is_pod(&self) -> bool {
        self.group.is_empty() && self.plural == "pods"
    }

    pub(crate) fn is_namespace(&self) -> bool {
        self.group.is_empty() && self.plural == "namespaces"
    }
}

#[cfg(test)]
mod tests {
    use super::RESOURCES;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique() {
        let mut seen = HashSet::new();
        for resource in RESOURCES {
            let names = [resource.plural, resource.singular];
            for name in names.iter().chain(resource.short_names) {
                assert!(seen.insert((resource.group, *name)), "{name} twice");
            }
        }
    }
}
