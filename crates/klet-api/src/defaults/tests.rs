//! Tests of defaulting.

use serde_json::{Value, json};

use super::*;
use crate::decode::from_value;

fn defaulted(value: &Value) -> Value {
    let mut pod = from_value::<Pod>(value).unwrap().object;
    default_pod(&mut pod);
    let once = serde_json::to_value(&pod).unwrap();
    default_pod(&mut pod);
    assert_eq!(serde_json::to_value(&pod).unwrap(), once, "defaulting again must change nothing");
    once
}

fn pod_with(container: Value) -> Value {
    json!({"metadata": {"name": "a"}, "spec": {"containers": [container]}})
}

#[test]
fn a_minimal_pod_gets_every_default() {
    let expected = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a", "namespace": "default"},
        "spec": {
            "containers": [{
                "name": "c",
                "image": "busybox",
                "imagePullPolicy": "Always",
                "resources": {},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
            }],
            "dnsPolicy": "ClusterFirst",
            "enableServiceLinks": true,
            "preemptionPolicy": "PreemptLowerPriority",
            "priority": 0,
            "restartPolicy": "Always",
            "schedulerName": "default-scheduler",
            "securityContext": {},
            "serviceAccount": "default",
            "serviceAccountName": "default",
            "terminationGracePeriodSeconds": 30,
            "tolerations": [
                {"effect": "NoExecute", "key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 300},
                {"effect": "NoExecute", "key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": 300},
            ],
        },
    });
    assert_eq!(defaulted(&pod_with(json!({"name": "c", "image": "busybox"}))), expected);
}

#[test]
fn the_pull_policy_follows_the_tag() {
    let cases = [
        ("busybox", "Always"),
        ("busybox:latest", "Always"),
        ("busybox:1.29", "IfNotPresent"),
        ("localhost:5000/busybox", "Always"),
        ("localhost:5000/busybox:1", "IfNotPresent"),
        ("busybox@sha256:abc", "IfNotPresent"),
        ("busybox:latest@sha256:abc", "IfNotPresent"),
    ];
    for (image, policy) in cases {
        let pod = defaulted(&pod_with(json!({"name": "c", "image": image})));
        assert_eq!(pod["spec"]["containers"][0]["imagePullPolicy"], policy, "{image}");
    }
}

#[test]
fn probes_ports_references_and_requests_are_completed() {
    let pod = defaulted(&pod_with(json!({
        "name": "c",
        "livenessProbe": {"httpGet": {"port": 80}, "timeoutSeconds": 0},
        "readinessProbe": {"grpc": {"port": 1}, "failureThreshold": 5},
        "lifecycle": {"preStop": {"httpGet": {"port": 1}}},
        "ports": [{"containerPort": 80}],
        "env": [
            {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "B", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        ],
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}},
    })));
    let container = &pod["spec"]["containers"][0];
    let probe = json!({
        "failureThreshold": 3, "periodSeconds": 10, "successThreshold": 1, "timeoutSeconds": 1,
        "httpGet": {"path": "/", "port": 80, "scheme": "HTTP"},
    });
    assert_eq!(container["livenessProbe"], probe);
    assert_eq!(container["readinessProbe"]["failureThreshold"], 5);
    assert_eq!(container["readinessProbe"]["grpc"], json!({"port": 1, "service": ""}));
    assert_eq!(container["lifecycle"]["preStop"]["httpGet"]["scheme"], "HTTP");
    assert_eq!(container["ports"], json!([{"containerPort": 80, "protocol": "TCP"}]));
    assert_eq!(container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"], "v1");
    assert_eq!(container["env"][1]["valueFrom"]["resourceFieldRef"]["divisor"], "0");
    assert_eq!(container["resources"]["requests"], json!({"cpu": "500m", "memory": "1Gi"}));
}

#[test]
fn volumes_are_completed() {
    let pod = defaulted(&json!({"spec": {"volumes": [
        {"name": "none"},
        {"name": "host", "hostPath": {"path": "/x"}},
        {"name": "map", "configMap": {"name": "m"}},
        {"name": "secret", "secret": {"secretName": "s", "defaultMode": 256}},
        {"name": "all", "projected": {"sources": [
            {"serviceAccountToken": {"path": "t"}},
            {"downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        ]}},
    ]}}));
    let volumes = &pod["spec"]["volumes"];
    assert_eq!(volumes[0], json!({"name": "none", "emptyDir": {}}));
    assert_eq!(volumes[1]["hostPath"]["type"], "");
    assert_eq!(volumes[2]["configMap"]["defaultMode"], 420);
    assert_eq!(volumes[3]["secret"]["defaultMode"], 256);
    assert_eq!(volumes[4]["projected"]["defaultMode"], 420);
    let sources = &volumes[4]["projected"]["sources"];
    assert_eq!(sources[0]["serviceAccountToken"]["expirationSeconds"], 3600);
    assert_eq!(sources[1]["downwardAPI"]["items"][0]["fieldRef"]["apiVersion"], "v1");
}

#[test]
fn admission_respects_what_is_given() {
    let pod = defaulted(&json!({"spec": {
        "hostNetwork": true,
        "priorityClassName": "system-node-critical",
        "serviceAccount": "builder",
        "tolerations": [{"operator": "Exists"}],
        "containers": [{"name": "c", "ports": [{"containerPort": 80}]}],
    }}));
    let spec = &pod["spec"];
    assert_eq!(spec["priority"], 2_000_001_000);
    assert_eq!(spec["serviceAccountName"], "builder");
    assert_eq!(spec["tolerations"], json!([{"operator": "Exists"}]));
    assert_eq!(spec["containers"][0]["ports"][0]["hostPort"], 80);
}

#[test]
fn other_kinds_are_completed() {
    let mut secret =
        from_value::<Secret>(&json!({"stringData": {"a": "new"}, "data": {"a": "b2xk"}}))
            .unwrap()
            .object;
    default_secret(&mut secret);
    assert_eq!(secret.type_.as_deref(), Some("Opaque"));
    assert_eq!(
        (secret.string_data, secret.data.unwrap()["a"].0.as_slice()),
        (None, b"new".as_slice())
    );

    let mut namespace =
        from_value::<Namespace>(&json!({"metadata": {"name": "n"}})).unwrap().object;
    default_namespace(&mut namespace);
    assert_eq!(namespace.metadata.labels.unwrap()["kubernetes.io/metadata.name"], "n");
    assert_eq!(namespace.status.unwrap().phase.as_deref(), Some("Active"));

    let mut service =
        from_value::<Service>(&json!({"spec": {"ports": [{"port": 80}]}})).unwrap().object;
    default_service(&mut service);
    let ports = service.spec.unwrap().ports.unwrap();
    assert_eq!(
        (ports[0].protocol.as_deref(), &ports[0].target_port),
        (Some("TCP"), &Some(IntOrString::Int(80)))
    );

    let mut map = ConfigMap::default();
    default_config_map(&mut map);
    assert_eq!(map.metadata.namespace.as_deref(), Some("default"));
}
