//! The daemon's own door.

use klet_api::k8s_openapi::api::core::v1::{Event, Namespace, ObjectReference};
use klet_api::{Pod, PodStatus};
use klet_apiserver::{EventRecord, RegistryError};
use klet_store::EventKind;
use serde_json::json;

use crate::world::{PODS, World};

#[tokio::test]
async fn a_status_is_written_once_and_only_to_the_pod_meant() {
    let world = World::start().await;
    let created = world.pod("p").await;
    let uid = created["metadata"]["uid"].as_str().unwrap();
    let registry = world.server.registry();
    let status = PodStatus { phase: Some("Running".to_owned()), ..PodStatus::default() };
    let first = registry.update_status("default", "p", uid, &status, &["Ready"]).await.unwrap();
    assert_eq!(first.status.as_ref(), Some(&status));
    let version = registry.store().version();
    registry.update_status("default", "p", uid, &status, &["Ready"]).await.unwrap();
    assert_eq!(registry.store().version(), version, "the same status is not written");
    let other =
        registry.update_status("default", "p", "other", &status, &["Ready"]).await.unwrap_err();
    assert!(matches!(other, RegistryError::OtherUid { .. }), "{other:?}");
}

#[tokio::test]
async fn conditions_of_others_survive_the_status_of_the_node() {
    let world = World::start().await;
    let created = world.pod("p").await;
    let uid = created["metadata"]["uid"].as_str().unwrap();
    let registry = world.server.registry();
    let conditions = |types: &[&str]| -> PodStatus {
        let list: Vec<_> =
            types.iter().map(|kind| json!({ "type": kind, "status": "True" })).collect();
        serde_json::from_value(json!({ "conditions": list })).unwrap()
    };
    let gate = conditions(&["example.com/gate", "Ready"]);
    registry
        .update_status("default", "p", uid, &gate, &["example.com/gate", "Ready"])
        .await
        .unwrap();
    // The node has not seen the gate yet.
    let told = conditions(&["Ready", "Initialized"]);
    let stored = registry.update_status("default", "p", uid, &told, &["Ready", "Initialized"]);
    let stored = stored.await.unwrap().status.unwrap().conditions.unwrap();
    let types: Vec<_> = stored.iter().map(|condition| condition.type_.as_str()).collect();
    assert_eq!(types, ["PodScheduled", "example.com/gate", "Ready", "Initialized"]);
}

#[tokio::test]
async fn a_pod_is_removed_but_not_its_successor() {
    let world = World::start().await;
    let created = world.pod("p").await;
    let uid = created["metadata"]["uid"].as_str().unwrap();
    let registry = world.server.registry();
    registry.remove_pod("default", "p", "other").await.unwrap();
    assert!(registry.pod("default", "p").is_some());
    registry.remove_pod("default", "p", uid).await.unwrap();
    assert!(registry.pod("default", "p").is_none());
    registry.remove_pod("default", "p", uid).await.unwrap();
}

#[tokio::test]
async fn a_finalizer_outlives_the_containers() {
    let world = World::start().await;
    let mut held = crate::world::pod("p");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let created = world.post(PODS, &held).await.value;
    world.delete(&format!("{PODS}/p")).await;
    let uid = created["metadata"]["uid"].as_str().unwrap();
    world.server.registry().remove_pod("default", "p", uid).await.unwrap();
    let waiting = world.get(&format!("{PODS}/p")).await.value;
    assert_eq!(waiting["metadata"]["deletionGracePeriodSeconds"], 0);
    let release = json!({ "metadata": { "finalizers": [] } }).to_string();
    let path = format!("{PODS}/p");
    world.send("PATCH", &path, ("application/merge-patch+json", release)).await;
    assert_eq!(world.get(&path).await.code, 404);
}

#[tokio::test]
async fn typed_lists_and_watches_fit_together() {
    let world = World::start().await;
    let registry = world.server.registry();
    let (namespaces, _) = registry.list::<Namespace>(None);
    assert_eq!(namespaces.len(), 2);
    let (pods, version) = registry.list::<Pod>(None);
    assert!(pods.is_empty());
    let mut watch = registry.watch::<Pod>(None, version).unwrap();
    world.pod("p").await;
    let event = watch.next().await.unwrap();
    assert_eq!((event.kind, event.object.metadata.name.as_deref()), (EventKind::Added, Some("p")));
}

#[tokio::test]
async fn repeated_events_are_counted() {
    let world = World::start().await;
    let registry = world.server.registry();
    let record = EventRecord {
        object: ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: Some("default".to_owned()),
            name: Some("p".to_owned()),
            ..ObjectReference::default()
        },
        kind: "Normal".to_owned(),
        reason: "Started".to_owned(),
        message: "Container started".to_owned(),
        component: "kubelet".to_owned(),
        host: "node".to_owned(),
    };
    let name = registry.create_event(&record).await.unwrap();
    registry.repeat_event("default", &name, 2, "again").await.unwrap();
    let event: Event = registry.get(Some("default"), &name).unwrap();
    assert_eq!((event.count, event.message.as_deref()), (Some(2), Some("again")));
    let selected = "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dp";
    assert_eq!(world.get(selected).await.value["items"].as_array().unwrap().len(), 1);
}
