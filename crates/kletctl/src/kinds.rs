//! The kinds kletctl knows by heart, so that no command begins with discovery.

use crate::error::{Error, Result, plain};

/// A kind and the names it goes by.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) kind: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) singular: &'static str,
    pub(crate) short: &'static [&'static str],
    pub(crate) namespaced: bool,
    /// `v1`, or `GROUP/VERSION`.
    pub(crate) api_version: &'static str,
}

const fn core(
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    short: &'static [&'static str],
) -> Kind {
    Kind { kind, plural, singular, short, namespaced: true, api_version: "v1" }
}

const fn apps(
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    short: &'static [&'static str],
) -> Kind {
    Kind { api_version: "apps/v1", ..core(kind, plural, singular, short) }
}

/// Every known kind, ordered by plural.
pub(crate) const KINDS: &[Kind] = &[
    core("ConfigMap", "configmaps", "configmap", &["cm"]),
    core("Endpoints", "endpoints", "endpoints", &["ep"]),
    core("Event", "events", "event", &["ev"]),
    Kind { namespaced: false, ..core("Namespace", "namespaces", "namespace", &["ns"]) },
    Kind { namespaced: false, ..core("Node", "nodes", "node", &["no"]) },
    core("Pod", "pods", "pod", &["po"]),
    core("Secret", "secrets", "secret", &[]),
    core("ServiceAccount", "serviceaccounts", "serviceaccount", &["sa"]),
    core("Service", "services", "service", &["svc"]),
    apps("DaemonSet", "daemonsets", "daemonset", &["ds"]),
    apps("Deployment", "deployments", "deployment", &["deploy"]),
    apps("ReplicaSet", "replicasets", "replicaset", &["rs"]),
    Kind { api_version: "batch/v1", ..core("Job", "jobs", "job", &[]) },
];

/// The kind called `Pod`.
pub(crate) fn pod() -> &'static Kind {
    of("Pod").expect("Pod stands in the table")
}

/// The kind with this `kind` field.
pub(crate) fn of(kind: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|known| known.kind == kind)
}

/// The kind a user means: plural, singular, short name or kind, in any case.
pub(crate) fn find(name: &str) -> Result<&'static Kind> {
    let wanted = name.to_lowercase();
    // `deployments.apps` and `deployments.v1.apps` name the group as well.
    let plain_name = wanted.split('.').next().unwrap_or(&wanted);
    let known = KINDS.iter().find(|kind| {
        [kind.plural, kind.singular].contains(&plain_name) || kind.short.contains(&plain_name)
    });
    match known {
        Some(kind) => Ok(kind),
        None => plain(format!("the server doesn't have a resource type \"{name}\"")),
    }
}

impl Kind {
    /// The path of the collection, or of one object, in a namespace or across all.
    pub(crate) fn path(&self, namespace: Option<&str>, name: Option<&str>) -> String {
        let mut path = match self.api_version {
            "v1" => "/api/v1".to_owned(),
            version => format!("/apis/{version}"),
        };
        if let Some(namespace) = namespace.filter(|_| self.namespaced) {
            path.push_str("/namespaces/");
            path.push_str(&crate::client::escape(namespace));
        }
        path.push('/');
        path.push_str(self.plural);
        if let Some(name) = name {
            path.push('/');
            path.push_str(&crate::client::escape(name));
        }
        path
    }

    /// Says so when the server does not know this kind; leaves other errors as they are.
    pub(crate) fn explain(&self, error: Error) -> Error {
        match error.is_unknown_resource() {
            true => {
                Error::Plain(format!("the server doesn't have a resource type \"{}\"", self.plural))
            }
            false => error,
        }
    }

    /// How messages name the kind: `pod`, `deployment.apps`.
    pub(crate) fn label(&self) -> String {
        match self.api_version.split_once('/') {
            Some((group, _)) => format!("{}.{group}", self.singular),
            None => self.singular.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_goes_by_all_its_names() {
        for name in ["po", "pod", "pods", "Pod", "PODS"] {
            assert_eq!(find(name).unwrap().kind, "Pod");
        }
        assert_eq!(find("deployments.apps").unwrap().label(), "deployment.apps");
        assert_eq!(
            find("pds").unwrap_err().to_string(),
            "error: the server doesn't have a resource type \"pds\""
        );
    }

    #[test]
    fn paths_follow_scope_and_group() {
        assert_eq!(pod().path(Some("a"), Some("x")), "/api/v1/namespaces/a/pods/x");
        assert_eq!(pod().path(None, None), "/api/v1/pods");
        assert_eq!(find("no").unwrap().path(Some("a"), Some("n")), "/api/v1/nodes/n");
        assert_eq!(
            find("rs").unwrap().path(Some("a"), None),
            "/apis/apps/v1/namespaces/a/replicasets"
        );
        assert_eq!(pod().path(Some("a"), Some("x/../y")), "/api/v1/namespaces/a/pods/x%2F..%2Fy");
    }
}
