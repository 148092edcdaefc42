//! Paths.

use super::target;

#[track_caller]
fn parsed(path: &str) -> (String, Option<String>, Option<String>, Option<&'static str>) {
    let target = target(path).unwrap();
    let subresource = target.subresource.map(|subresource| subresource.name);
    (target.resource.plural.to_owned(), target.namespace, target.name, subresource)
}

#[test]
fn paths_name_collections_objects_and_subresources() {
    let some = |text: &str| Some(text.to_owned());
    let cases = [
        ("/api/v1/pods", ("pods", None, None, None)),
        ("/api/v1/namespaces/a/pods", ("pods", some("a"), None, None)),
        ("/api/v1/namespaces/a/pods/b", ("pods", some("a"), some("b"), None)),
        ("/api/v1/namespaces/a/pods/b/log", ("pods", some("a"), some("b"), Some("log"))),
        ("/api/v1/namespaces", ("namespaces", None, None, None)),
        ("/api/v1/namespaces/a", ("namespaces", None, some("a"), None)),
        ("/api/v1/namespaces/a/status", ("namespaces", None, some("a"), Some("status"))),
        ("/api/v1/nodes/n%31", ("nodes", None, some("n1"), None)),
    ];
    for (path, (plural, namespace, name, subresource)) in cases {
        assert_eq!(parsed(path), (plural.to_owned(), namespace, name, subresource), "{path}");
    }
}

#[test]
fn other_paths_name_nothing() {
    for path in [
        "",
        "/",
        "/api",
        "/api/v2/pods",
        "/apis/apps/v1/pods",
        "/api/v1/pods/x",
        "/api/v1/things",
        "/api/v1/namespaces/a/nodes/n",
        "/api/v1/namespaces/a/pods/b/attach2",
        "/api/v1//pods",
        "/api/v1/namespaces/a/pods/",
        "/api/v1/namespaces/a/pods/b/log/c",
        "/etc/passwd",
        "/api/v1/namespaces/a/pods/b%2Fc",
        "/api/v1/namespaces/a/pods/b%00",
        "/api/v1/nodes/%zz",
    ] {
        assert!(target(path).is_err(), "{path}");
    }
}
