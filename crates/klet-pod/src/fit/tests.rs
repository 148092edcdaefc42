//! What fits and what does not, in the words of scheduler and kubelet.

use klet_api::Pod;
use serde_json::{Value, json};

use super::*;

fn pod(spec: &Value) -> Pod {
    serde_json::from_value(json!({ "metadata": { "name": "p" }, "spec": spec })).unwrap()
}

fn requests(cpu: &str, memory: &str) -> Pod {
    let requests = json!({ "requests": { "cpu": cpu, "memory": memory } });
    pod(&json!({ "containers": [{ "name": "c", "resources": requests }] }))
}

fn offer() -> Offer {
    let map = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    };
    Offer {
        name: "n".to_owned(),
        labels: map(&[("disk", "ssd"), ("cores", "8")]),
        allocatable: map(&[("cpu", "2"), ("memory", "1Gi"), ("pods", "3")]),
        unsafe_sysctls: vec!["net.core.*".to_owned()],
    }
}

fn refusal(pod: &Pod, held: &[Claim]) -> (String, String) {
    let StartFailure { reason, message } = admit(pod, &offer(), held.iter()).unwrap_err();
    (reason, message)
}

#[test]
fn resources_are_counted() {
    let held = [Claim::of(&requests("250m", "0"))];
    assert_eq!(admit(&requests("1750m", "1Gi"), &offer(), held.iter()), Ok(()));
    let (reason, message) = refusal(&requests("64", "2Gi"), &held);
    let wanted =
        "Node didn't have enough resource: cpu, requested: 64000, used: 250, capacity: 2000";
    assert_eq!((reason.as_str(), message.as_str()), ("OutOfcpu", wanted));
    let waits = schedule(&requests("64", "2Gi"), &offer(), held.iter()).unwrap_err();
    let wanted = "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory. \
        preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";
    assert_eq!(waits, wanted);
}

#[test]
fn the_number_of_pods_is_a_resource() {
    let held = vec![Claim::of(&requests("0", "0")); 3];
    assert_eq!(refusal(&requests("0", "0"), &held).0, "OutOfpods");
    let waits = schedule(&requests("0", "0"), &offer(), held.iter()).unwrap_err();
    assert!(waits.contains("1 Too many pods."), "{waits}");
}

#[test]
fn init_containers_count_by_their_peak() {
    let container = |name: &str, cpu: &str, policy: Option<&str>| json!({ "name": name, "restartPolicy": policy, "resources": { "requests": { "cpu": cpu } } });
    let pod = pod(&json!({
        "initContainers": [
            container("side", "100m", Some("Always")), container("big", "1900m", None),
            container("late", "50m", Some("Always")),
        ],
        "containers": [container("a", "500m", None), container("b", "500m", None)],
    }));
    assert_eq!(Claim::of(&pod).resources["cpu"], 2000);
}

#[test]
fn labels_and_affinity() {
    let selected =
        |value: &str| pod(&json!({ "containers": [], "nodeSelector": { "disk": value } }));
    assert_eq!(admit(&selected("ssd"), &offer(), [].iter()), Ok(()));
    let (reason, message) = refusal(&selected("hdd"), &[]);
    let wanted = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
    assert_eq!((reason.as_str(), message.as_str()), ("NodeAffinity", wanted));
    let waits = schedule(&selected("hdd"), &offer(), [].iter()).unwrap_err();
    assert!(waits.ends_with("1 Preemption is not helpful for scheduling."), "{waits}");
    for (key, operator, values, fits) in [
        ("disk", "In", json!(["ssd", "x"]), true),
        ("disk", "NotIn", json!(["ssd"]), false),
        ("none", "NotIn", json!(["ssd"]), true),
        ("disk", "Exists", Value::Null, true),
        ("disk", "DoesNotExist", Value::Null, false),
        ("cores", "Gt", json!(["7"]), true),
        ("cores", "Lt", json!(["8"]), false),
    ] {
        let term =
            json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] });
        let required = json!({ "nodeSelectorTerms": [term] });
        let affinity = json!({ "requiredDuringSchedulingIgnoredDuringExecution": required });
        let pod = pod(&json!({ "containers": [], "affinity": { "nodeAffinity": affinity } }));
        assert_eq!(schedule(&pod, &offer(), [].iter()).is_ok(), fits, "{key} {operator}");
    }
}

#[test]
fn host_ports_are_taken_once() {
    let port = |port: u16, ip: &str| {
        let ports = json!([{ "containerPort": 80, "hostPort": port, "hostIP": ip }]);
        pod(&json!({ "containers": [{ "name": "c", "ports": ports }] }))
    };
    let held = [Claim::of(&port(8080, "10.0.0.1"))];
    assert_eq!(admit(&port(8081, ""), &offer(), held.iter()), Ok(()));
    assert_eq!(admit(&port(8080, "10.0.0.2"), &offer(), held.iter()), Ok(()));
    assert_eq!(refusal(&port(8080, ""), &held).0, "NodePorts");
    assert_eq!(refusal(&port(8080, "10.0.0.1"), &held).0, "NodePorts");
}

#[test]
fn a_pod_of_another_node_and_forbidden_sysctls() {
    assert_eq!(refusal(&pod(&json!({ "containers": [], "nodeName": "m" })), &[]).0, "NodeName");
    let sysctl = |name: &str| {
        let sysctls = json!([{ "name": name, "value": "1" }]);
        pod(&json!({ "containers": [], "securityContext": { "sysctls": sysctls } }))
    };
    assert_eq!(admit(&sysctl("net/ipv4/tcp_syncookies"), &offer(), [].iter()), Ok(()));
    assert_eq!(admit(&sysctl("net.core.somaxconn"), &offer(), [].iter()), Ok(()));
    let wanted = ("SysctlForbidden", "forbidden sysctl: \"kernel.sem\" not allowlisted");
    let (reason, message) = refusal(&sysctl("kernel.sem"), &[]);
    assert_eq!((reason.as_str(), message.as_str()), wanted);
}
