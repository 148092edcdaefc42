//! Tests of updates, status and the kinds beside pods. Pod creation has goldens of its own.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::decode::from_value;
use crate::defaults::default_pod;
use crate::k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Node, Pod, Secret};

fn object<T: DeserializeOwned>(value: &Value) -> T {
    from_value(value).unwrap_or_else(|e| panic!("{value}: {e}")).object
}

fn pod(spec: &Value) -> Pod {
    let mut pod = object(&json!({"metadata": {"name": "p", "uid": "u"}, "spec": spec}));
    default_pod(&mut pod);
    pod
}

fn texts(errors: &ErrorList) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn base() -> Value {
    json!({
        "containers": [{"name": "a", "image": "x:1"}],
        "initContainers": [{"name": "i", "image": "x:1"}],
        "activeDeadlineSeconds": 100,
        "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute"}],
    })
}

/// What an update that sets one pointer of the spec is told.
fn updated(pointer: &str, value: Value) -> Vec<String> {
    let old = base();
    let mut new = base();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let parent = new.pointer_mut(parent).unwrap();
    match (parent, value) {
        (Value::Object(map), Value::Null) => drop(map.remove(field)),
        (Value::Object(map), value) => drop(map.insert(field.into(), value)),
        (Value::Array(list), value) => list.insert(field.parse().unwrap(), value),
        _ => panic!("{pointer}"),
    }
    texts(&pod_update(&pod(&new), &pod(&old)))
}

#[test]
fn permitted_updates_pass() {
    let cases = [
        ("/containers/0/image", json!("y:2")),
        ("/initContainers/0/image", json!("y:2")),
        ("/activeDeadlineSeconds", json!(50)),
        ("/tolerations/0", json!({"key": "new", "operator": "Exists"})),
    ];
    for (pointer, value) in cases {
        assert_eq!(updated(pointer, value), Vec::<String>::new(), "{pointer}");
    }
}

#[test]
fn other_updates_are_refused_and_the_change_is_named() {
    let errors = updated("/containers/0/command", json!(["sh"]));
    assert_eq!(errors.len(), 1);
    assert!(errors[0].starts_with(
        "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`"
    ));
    assert!(errors[0].ends_with("\n  containers[0].command: (unset) -> [\"sh\"]"), "{}", errors[0]);
    let cases = [
        (
            "/containers/1",
            json!({"name": "b", "image": "x:1"}),
            "spec.containers: Forbidden: pod updates may not add or remove containers",
        ),
        ("/containers/0/image", json!(""), "spec.containers[0].image: Required value"),
        (
            "/containers/0/image",
            json!(" x:1"),
            "spec.containers[0].image: Invalid value: \" x:1\": must not have leading or trailing whitespace",
        ),
        (
            "/activeDeadlineSeconds",
            json!(101),
            "spec.activeDeadlineSeconds: Invalid value: 101: must be less than or equal to previous value",
        ),
        (
            "/activeDeadlineSeconds",
            Value::Null,
            "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value",
        ),
        (
            "/tolerations",
            json!([]),
            "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",
        ),
    ];
    for (pointer, value, error) in cases {
        let errors = updated(pointer, value);
        assert!(errors.iter().any(|e| e == error), "{pointer}: {errors:?}");
    }
}

#[test]
fn a_negative_grace_period_may_become_one() {
    let with = |seconds: i64| {
        pod(
            &json!({"containers": [{"name": "a", "image": "x"}], "terminationGracePeriodSeconds": seconds}),
        )
    };
    assert!(pod_update(&with(1), &with(-5)).is_empty());
    assert!(!pod_update(&with(2), &with(-5)).is_empty());
    assert!(!pod_update(&with(1), &with(30)).is_empty());
}

#[test]
fn identity_is_immutable_and_labels_are_not() {
    let old = pod(&base());
    let mut new = old.clone();
    new.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into());
    assert!(pod_update(&new, &old).is_empty());
    new.metadata.uid = Some("other".into());
    assert_eq!(
        texts(&pod_update(&new, &old)),
        ["metadata.uid: Invalid value: \"other\": field is immutable"]
    );
}

fn with_state(policy: &str, state: &Value) -> Pod {
    let mut pod =
        pod(&json!({"restartPolicy": policy, "containers": [{"name": "a", "image": "x"}]}));
    pod.status = Some(object(
        &json!({"qosClass": "BestEffort", "containerStatuses": [{"name": "a", "state": state}]}),
    ));
    pod
}

#[test]
fn an_ended_container_stays_ended_unless_it_may_restart() {
    let running = json!({"running": {}});
    let forbidden = [
        "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state",
    ];
    for (policy, code, allowed) in
        [("Always", 0, true), ("OnFailure", 1, true), ("OnFailure", 0, false), ("Never", 1, false)]
    {
        let old = with_state(policy, &json!({"terminated": {"exitCode": code}}));
        let errors = texts(&pod_status_update(&with_state(policy, &running), &old));
        let expected: &[&str] = if allowed { &[] } else { &forbidden };
        assert_eq!(errors, expected, "{policy} {code}");
    }
}

#[test]
fn the_qos_class_is_immutable() {
    let old = with_state("Always", &json!({}));
    let mut new = old.clone();
    new.status.as_mut().unwrap().qos_class = Some("Burstable".into());
    assert_eq!(
        texts(&pod_status_update(&new, &old)),
        ["status.qosClass: Invalid value: \"Burstable\": field is immutable"]
    );
}

#[test]
fn ephemeral_containers_may_only_be_added() {
    let mut old = pod(&base());
    let debug = json!({"name": "debug", "image": "x", "targetContainerName": "a"});
    let add = |pod: &Pod, containers: &[Value]| {
        let mut pod = pod.clone();
        pod.spec.as_mut().unwrap().ephemeral_containers =
            Some(containers.iter().map(object).collect());
        default_pod(&mut pod);
        pod
    };
    assert!(pod_ephemeral_update(&add(&old, std::slice::from_ref(&debug)), &old).is_empty());
    let bad = json!({
        "name": "a", "image": "", "targetContainerName": "zzz", "ports": [{"containerPort": 1}],
        "livenessProbe": {}, "restartPolicy": "Always",
    });
    assert_eq!(
        texts(&pod_ephemeral_update(&add(&old, &[bad]), &old)),
        [
            "spec.ephemeralContainers[0].image: Required value",
            "spec.ephemeralContainers[0].name: Duplicate value: \"a\"",
            "spec.ephemeralContainers[0].targetContainerName: Not found: \"zzz\"",
            "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container",
            "spec.ephemeralContainers[0].livenessProbe: Forbidden: cannot be set for an Ephemeral Container",
            "spec.ephemeralContainers[0].restartPolicy: Forbidden: cannot be set for an Ephemeral Container",
        ]
    );
    old = add(&old, &[debug]);
    let gone = texts(&pod_ephemeral_update(&add(&old, &[]), &old));
    assert_eq!(
        gone,
        [
            "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"debug\" may not be removed\n"
        ]
    );
    let changed = json!({"name": "debug", "image": "y", "targetContainerName": "a"});
    assert!(
        texts(&pod_ephemeral_update(&add(&old, &[changed]), &old))[0]
            .contains("may not be changed\n  image: \"x\" -> \"y\"")
    );
}

#[test]
fn pod_level_resources_bound_the_containers() {
    let pod = pod(&json!({
        "resources": {"requests": {"cpu": "1", "storage": "1"}, "limits": {"memory": "1Gi"}},
        "containers": [{"name": "a", "image": "x", "resources": {"requests": {"cpu": "2"}, "limits": {"memory": "2Gi"}}}],
    }));
    let errors = texts(&pod_create(&pod));
    for error in [
        "spec.resources.requests[cpu]: Invalid value: \"1\": must be greater than or equal to aggregate container requests of 2",
        "spec.resources.requests[storage]: Unsupported value: \"storage\": supported values: \"cpu\", \"hugepages-\", \"memory\"",
        "spec.containers[0].resources.limits[memory]: Invalid value: \"2Gi\": must be less than or equal to pod limits of 1Gi",
    ] {
        assert!(errors.iter().any(|e| e == error), "{error}: {errors:#?}");
    }
}

#[test]
fn config_maps_are_checked() {
    let make = |value: Value| {
        let mut value = value;
        value["metadata"] = json!({"name": "m", "namespace": "default"});
        object::<ConfigMap>(&value)
    };
    assert!(config_map_create(&make(json!({"data": {"a.b-c": "x"}}))).is_empty());
    let errors = texts(&config_map_create(&make(
        json!({"data": {"..": "x", "k": "v"}, "binaryData": {"k": "AA=="}}),
    )));
    assert_eq!(
        errors,
        [
            "data[..]: Invalid value: \"..\": must not be '..'",
            "data[k]: Invalid value: \"k\": duplicate of key present in binaryData",
        ]
    );
    let big = "x".repeat(1024 * 1024 + 1);
    let errors = texts(&config_map_create(&make(json!({"data": {"k": big}}))));
    assert_eq!(errors, [": Too long: may not be more than 1048576 bytes"]);
    let old = make(json!({"data": {"k": "v"}, "immutable": true}));
    assert!(config_map_update(&old, &old).is_empty());
    let errors = texts(&config_map_update(&make(json!({"data": {"k": "w"}})), &old));
    assert_eq!(
        errors,
        [
            "immutable: Forbidden: field is immutable when `immutable` is set",
            "data: Forbidden: field is immutable when `immutable` is set",
        ]
    );
}

#[test]
fn secrets_are_checked_by_type() {
    let make = |kind: &str, data: Value| {
        object::<Secret>(
            &json!({"metadata": {"name": "s", "namespace": "default"}, "type": kind, "data": data}),
        )
    };
    let cases = [
        ("Opaque", json!({"k": ""}), vec![]),
        ("kubernetes.io/tls", json!({"tls.crt": ""}), vec!["data[tls.key]: Required value"]),
        (
            "kubernetes.io/basic-auth",
            json!({}),
            vec!["data[username]: Required value", "data[password]: Required value"],
        ),
        (
            "kubernetes.io/dockerconfigjson",
            json!({}),
            vec!["data[.dockerconfigjson]: Required value"],
        ),
        (
            "kubernetes.io/dockerconfigjson",
            json!({".dockerconfigjson": "c2VjcmV0"}),
            vec![
                "data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": the contents are not valid JSON",
            ],
        ),
    ];
    for (kind, data, expected) in cases {
        assert_eq!(texts(&secret_create(&make(kind, data))), expected, "{kind}");
    }
    let errors = texts(&secret_update(&make("other", json!({})), &make("Opaque", json!({}))));
    assert_eq!(errors, ["type: Invalid value: \"other\": field is immutable"]);
}

#[test]
fn cluster_kinds_and_events_are_checked() {
    let namespace = |name: &str| object::<Namespace>(&json!({"metadata": {"name": name}}));
    assert!(namespace_create(&namespace("team-a")).is_empty());
    assert_eq!(namespace_create(&namespace("a.b")).len(), 1);
    assert!(namespace_update(&namespace("a"), &namespace("a")).is_empty());
    let node = |value: Value| object::<Node>(&value);
    assert!(node_create(&node(json!({"metadata": {"name": "n.example"}}))).is_empty());
    let errors = texts(&node_create(&node(json!({
        "metadata": {"name": "n", "namespace": "x"}, "spec": {"taints": [{"key": "k", "effect": "Odd"}]},
    }))));
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert_eq!(errors[0], "metadata.namespace: Forbidden: not allowed on this type");
    assert!(
        node_update(
            &node(json!({"metadata": {"name": "n"}})),
            &node(json!({"metadata": {"name": "n"}}))
        )
        .is_empty()
    );
    let event = |about: &str| {
        object::<Event>(&json!({
            "metadata": {"name": "e", "namespace": "default"}, "involvedObject": {"namespace": about},
        }))
    };
    assert!(event_create(&event("default")).is_empty());
    assert!(event_create(&event("")).is_empty());
    let errors = texts(&event_create(&event("other")));
    assert_eq!(
        errors,
        ["involvedObject.namespace: Invalid value: \"other\": does not match event.namespace"]
    );
}

#[test]
fn metadata_without_a_name_or_with_two_controllers_is_refused() {
    let meta = object(&json!({
        "namespace": "default", "generateName": "web-",
        "ownerReferences": [
            {"apiVersion": "v1", "kind": "A", "name": "a", "uid": "1", "controller": true},
            {"apiVersion": "v1", "kind": "B", "name": "b", "uid": "2", "controller": true},
        ],
    }));
    let errors = texts(&object_meta(&meta));
    assert_eq!(errors[0], "metadata.name: Required value: name or generateName is required");
    assert!(errors[1].ends_with("Found \"true\" in references for A and B"), "{errors:?}");
    assert_eq!(errors.len(), 2);
}

#[test]
fn annotations_are_bounded() {
    let meta = object(
        &json!({"name": "a", "namespace": "default", "annotations": {"k": "x".repeat(256 * 1024)}}),
    );
    assert_eq!(
        texts(&object_meta(&meta)),
        ["metadata.annotations: Too long: may not be more than 262144 bytes"]
    );
}
