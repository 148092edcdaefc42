//! Deletion of pods, collections and namespaces, over the wire.

use serde_json::json;

use crate::watches::Lines;
use crate::world::{DEADLINE, PODS, World, config_map, failure, pod};

#[tokio::test]
async fn a_graceful_deletion_marks_and_only_shortens() {
    let world = World::start().await;
    world.pod("p").await;
    let path = format!("{PODS}/p");
    let marked = world.delete(&path).await;
    assert_eq!(marked.code, 200);
    let metadata = &marked.value["metadata"];
    assert_eq!(metadata["deletionGracePeriodSeconds"], 30);
    assert!(metadata["deletionTimestamp"].is_string());

    let longer = world.delete(&format!("{path}?gracePeriodSeconds=60")).await;
    assert_eq!(longer.value, marked.value);
    let body = json!({ "kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 5 });
    let shorter = world.send("DELETE", &path, ("application/json", body.to_string())).await;
    assert_eq!(shorter.value["metadata"]["deletionGracePeriodSeconds"], 5);
    assert_eq!(world.delete(&format!("{path}?gracePeriodSeconds=0")).await.code, 200);
    assert_eq!(world.get(&path).await.code, 404);
}

#[tokio::test]
async fn preconditions_name_the_object_meant() {
    let world = World::start().await;
    let pod = world.pod("p").await;
    let path = format!("{PODS}/p");
    let body = |field: &str, value: &serde_json::Value| {
        json!({ "preconditions": { field: value } }).to_string()
    };
    for (field, value) in [("uid", json!("other")), ("resourceVersion", json!("1"))] {
        let answer = world.send("DELETE", &path, ("application/json", body(field, &value))).await;
        let (code, reason, message) = failure(&answer);
        assert_eq!((code, reason), (409, "Conflict"));
        assert!(message.contains("Precondition failed"), "{message}");
    }
    let meant = body("uid", &pod["metadata"]["uid"]);
    assert_eq!(world.send("DELETE", &path, ("application/json", meant)).await.code, 200);
}

#[tokio::test]
async fn finalizers_keep_an_object_until_they_are_gone() {
    let world = World::start().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let mut held = config_map("c");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    world.post(path, &held).await;
    let path = format!("{path}/c");
    let waiting = world.delete(&path).await;
    assert!(waiting.value["metadata"]["deletionTimestamp"].is_string(), "{}", waiting.value);
    assert_eq!(world.get(&path).await.code, 200);
    let release = json!({ "metadata": { "finalizers": null } }).to_string();
    let released = world.send("PATCH", &path, ("application/merge-patch+json", release)).await;
    assert_eq!(released.code, 200, "{}", released.value);
    assert_eq!(world.get(&path).await.code, 404);
}

#[tokio::test]
async fn a_collection_is_deleted_by_selection() {
    let world = World::start().await;
    for name in ["a", "b", "c"] {
        world.pod(name).await;
    }
    let query = "labelSelector=app%20in%20(a,b)&gracePeriodSeconds=0";
    let deleted = world.delete(&format!("{PODS}?{query}")).await;
    assert_eq!(deleted.value["items"].as_array().unwrap().len(), 2);
    let left = world.get(PODS).await.value;
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_namespace_is_emptied_before_it_goes() {
    let world = World::start().await;
    let spaces = "/api/v1/namespaces";
    let space = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "n" } });
    assert_eq!(world.post(spaces, &space).await.code, 201);
    let pods = format!("{spaces}/n/pods");
    let created = world.post(&pods, &pod("p")).await.value;
    world.post(&format!("{spaces}/n/configmaps"), &config_map("c")).await;
    let mut maps = Lines::watch(&world, &format!("{spaces}/n/configmaps?watch=1")).await;
    let mut gone =
        Lines::watch(&world, &format!("{spaces}?watch=1&fieldSelector=metadata.name%3Dn")).await;
    assert_eq!(maps.next().await["type"], "ADDED");
    assert_eq!(gone.next().await["type"], "ADDED");

    let ending = world.delete(&format!("{spaces}/n")).await;
    assert_eq!(ending.value["status"]["phase"], "Terminating");
    assert_eq!(maps.next().await["type"], "DELETED");
    assert_eq!(gone.next().await["type"], "MODIFIED");
    let refused = world.post(&pods, &pod("q")).await;
    let (code, reason, message) = failure(&refused);
    assert_eq!((code, reason), (403, "Forbidden"));
    assert!(message.ends_with("because it is being terminated"), "{message}");
    assert_eq!(refused.value["details"]["causes"][0]["reason"], "NamespaceTerminating");
    // The pod has its grace; its node ends it.
    let marked = world.get(&format!("{pods}/p")).await.value;
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    let uid = created["metadata"]["uid"].as_str().unwrap();
    world.server.registry().remove_pod("n", "p", uid).await.unwrap();
    let last = tokio::time::timeout(DEADLINE, gone.next()).await.unwrap();
    assert_eq!(last["type"], "DELETED");
    assert_eq!(world.get(&format!("{spaces}/n")).await.code, 404);
    assert_eq!(world.post(spaces, &space).await.code, 201);
}

#[tokio::test]
async fn namespaces_that_klet_needs_stay() {
    let world = World::start().await;
    for name in ["default", "kube-system"] {
        let refused = world.delete(&format!("/api/v1/namespaces/{name}")).await;
        let text = format!("namespaces \"{name}\" is forbidden: this namespace may not be deleted");
        assert_eq!(failure(&refused), (403, "Forbidden", text.as_str()));
    }
}
