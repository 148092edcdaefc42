//! The kinds of patches, and what they may not do.

use serde_json::json;

use crate::world::{PODS, World, failure};

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

#[tokio::test]
async fn each_kind_of_patch_changes_its_way() {
    let world = World::start().await;
    world.pod("p").await;
    let path = format!("{PODS}/p");
    let merge = json!({ "metadata": { "labels": { "app": null, "x": "y" } } });
    let merged = world.send("PATCH", &path, (MERGE, merge.to_string())).await;
    assert_eq!((merged.code, &merged.value["metadata"]["labels"]), (200, &json!({ "x": "y" })));

    let patch = json!([
        { "op": "test", "path": "/metadata/labels/x", "value": "y" },
        { "op": "add", "path": "/metadata/annotations", "value": { "a": "b" } },
    ]);
    let patched = world.send("PATCH", &path, (JSON_PATCH, patch.to_string())).await;
    assert_eq!(patched.value["metadata"]["annotations"], json!({ "a": "b" }), "{}", patched.value);

    let image = json!({ "spec": { "containers": [{ "name": "main", "image": "busybox:2" }] } });
    let strategic = world.send("PATCH", &path, (STRATEGIC, image.to_string())).await;
    assert_eq!(strategic.code, 200, "{}", strategic.value);
    let containers = strategic.value["spec"]["containers"].as_array().unwrap();
    assert_eq!((containers.len(), &containers[0]["image"]), (1, &json!("busybox:2")));
    assert_eq!(strategic.value["metadata"]["generation"], 2);

    let nothing = world.send("PATCH", &path, (MERGE, "{}")).await;
    assert_eq!(nothing.value, strategic.value);
    let status = json!({ "status": { "phase": "Running" } });
    let status =
        world.send("PATCH", &format!("{path}/status"), (STRATEGIC, status.to_string())).await;
    assert_eq!(status.value["status"]["phase"], "Running");
}

#[tokio::test]
async fn bad_patches_are_refused() {
    let world = World::start().await;
    let pod = world.pod("p").await;
    let path = format!("{PODS}/p");
    let doubling: Vec<_> = std::iter::once(json!({ "op": "add", "path": "/metadata/annotations", "value": { "a": "b" } }))
        .chain((0..64).map(|n| {
            json!({ "op": "copy", "from": "/metadata/annotations", "path": format!("/metadata/annotations/n{n}") })
        }))
        .collect();
    let cases = [
        (
            JSON_PATCH,
            json!([{ "op": "test", "path": "/metadata/name", "value": "q" }]).to_string(),
            422,
        ),
        (JSON_PATCH, json!([{ "op": "remove", "path": "/nowhere" }]).to_string(), 422),
        (JSON_PATCH, "{}".to_owned(), 400),
        (JSON_PATCH, json!([{ "op": "remove", "path": "" }]).to_string(), 422),
        (JSON_PATCH, json!(doubling).to_string(), 413),
        (MERGE, "[".to_owned(), 400),
        (MERGE, "7".to_owned(), 400),
        (MERGE, json!({ "metadata": { "name": "q" } }).to_string(), 400),
        (MERGE, json!({ "metadata": { "uid": "q" } }).to_string(), 409),
        (MERGE, json!({ "metadata": { "resourceVersion": "1" } }).to_string(), 409),
        (MERGE, json!({ "spec": { "nope": 1 } }).to_string(), 400),
        (STRATEGIC, json!({ "spec": { "containers": [{ "image": "x" }] } }).to_string(), 400),
        ("application/json", "{}".to_owned(), 415),
    ];
    for (kind, body, code) in cases {
        let answer = world.send("PATCH", &path, (kind, body.clone())).await;
        assert_eq!(answer.code, code, "{body}: {}", answer.value);
        failure(&answer);
    }
    let apply = world.send("PATCH", &path, ("application/apply-patch+yaml", "{}")).await;
    assert_eq!(apply.code, 415);
    assert!(failure(&apply).2.contains("server-side apply"));
    assert_eq!(world.send("PATCH", &format!("{PODS}/x"), (MERGE, "{}")).await.code, 404);
    assert_eq!(world.get(&path).await.value, pod);
}

#[tokio::test]
async fn concurrent_patches_all_count() {
    let world = World::start().await;
    world.pod("p").await;
    let path = format!("{PODS}/p");
    let patches = (0..12).map(|number| {
        let patch = json!({ "metadata": { "labels": { format!("l{number}"): "x" } } }).to_string();
        let (world, path) = (&world, &path);
        async move { world.send("PATCH", path, (MERGE, patch)).await.code }
    });
    let codes = futures_util::future::join_all(patches).await;
    assert!(codes.iter().all(|code| *code == 200), "{codes:?}");
    let labels = world.get(&path).await.value["metadata"]["labels"].as_object().unwrap().len();
    assert_eq!(labels, 13);
}
