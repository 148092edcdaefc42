//! Create, read, list, replace.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::json;

use crate::world::{PODS, World, config_map, failure, pod};

#[tokio::test]
async fn an_object_is_created_read_and_replaced() {
    let world = World::start().await;
    let created = world.pod("p").await;
    assert_eq!(created["metadata"]["namespace"], "default");
    assert_eq!(created["spec"]["nodeName"], "node");
    let path = format!("{PODS}/p");
    let read = world.get(&path).await;
    assert_eq!((read.code, &read.value), (200, &created));

    let mut changed = created.clone();
    changed["metadata"]["labels"]["x"] = json!("y");
    let replaced = world.put(&path, &changed).await;
    assert_eq!(replaced.code, 200, "{}", replaced.value);
    assert_eq!(replaced.value["metadata"]["labels"]["x"], "y");
    assert_eq!(replaced.value["metadata"]["uid"], created["metadata"]["uid"]);

    // The same again: the version it was made from is no longer the current one.
    let lost = world.put(&path, &changed).await;
    let text = "Operation cannot be fulfilled on pods \"p\": the object has been modified; \
                please apply your changes to the latest version and try again";
    assert_eq!(failure(&lost), (409, "Conflict", text));
    // Nothing changed, so nothing is written.
    let same = world.put(&path, &replaced.value).await;
    assert_eq!(same.value, replaced.value);
}

#[tokio::test]
async fn refusals_speak_kubernetes() {
    let world = World::start().await;
    world.pod("p").await;
    let again = world.post(PODS, &pod("p")).await;
    assert_eq!(failure(&again), (409, "AlreadyExists", "pods \"p\" already exists"));
    let missing = world.get(&format!("{PODS}/x")).await;
    assert_eq!(failure(&missing), (404, "NotFound", "pods \"x\" not found"));
    assert_eq!(missing.value["details"], json!({ "name": "x", "kind": "pods" }));
    let nowhere = world.post("/api/v1/namespaces/none/pods", &pod("p")).await;
    assert_eq!(failure(&nowhere), (404, "NotFound", "namespaces \"none\" not found"));
    let unknown = world.get("/api/v1/things").await;
    assert_eq!(
        failure(&unknown),
        (404, "NotFound", "the server could not find the requested resource")
    );
    assert_eq!(world.send("PUT", PODS, ("application/json", "{}")).await.code, 405);
    assert_eq!(world.delete("/api/v1/namespaces").await.code, 405);
    assert_eq!(world.post("/api/v1/pods", &pod("q")).await.code, 405);
    let mut wrong = pod("q");
    wrong["spec"]["restartpolicy"] = json!("Never");
    let strict = world.post(PODS, &wrong).await;
    assert_eq!(
        failure(&strict),
        (
            400,
            "BadRequest",
            "Pod in version \"v1\" cannot be handled as a Pod: \
             strict decoding error: unknown field \"spec.restartpolicy\""
        )
    );
    let warned = world.post(&format!("{PODS}?fieldValidation=Warn"), &wrong).await;
    assert_eq!(warned.code, 201);
    assert_eq!(warned.headers["warning"], "299 - \"unknown field \\\"spec.restartpolicy\\\"\"");
}

#[tokio::test]
async fn names_can_be_generated_and_yaml_is_read() {
    let world = World::start().await;
    let mut nameless = pod("");
    nameless["metadata"] = json!({ "generateName": "web-" });
    let first = world.post(PODS, &nameless).await;
    let second = world.post(PODS, &nameless).await;
    assert_eq!((first.code, second.code), (201, 201), "{}", second.value);
    let name = first.value["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("web-") && name.len() == 9, "{name}");
    assert_ne!(first.value["metadata"]["name"], second.value["metadata"]["name"]);

    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: b}\n";
    let path = "/api/v1/namespaces/default/configmaps";
    let created = world.send("POST", path, ("application/yaml", yaml)).await;
    assert_eq!((created.code, &created.value["data"]["a"]), (201, &json!("b")));
    let other = world.send("POST", path, ("application/vnd.kubernetes.protobuf", "k8s\0")).await;
    assert_eq!((other.code, failure(&other).1), (415, "UnsupportedMediaType"));
}

#[tokio::test]
async fn a_dry_run_leaves_nothing() {
    let world = World::start().await;
    let tried = world.post(&format!("{PODS}?dryRun=All"), &pod("p")).await;
    assert_eq!((tried.code, &tried.value["spec"]["nodeName"]), (201, &json!("node")));
    assert_eq!(world.get(&format!("{PODS}/p")).await.code, 404);
    world.pod("p").await;
    assert_eq!(world.post(&format!("{PODS}?dryRun=All"), &pod("p")).await.code, 409);
    assert_eq!(world.delete(&format!("{PODS}/p?dryRun=All&gracePeriodSeconds=0")).await.code, 200);
    let kept = world.get(&format!("{PODS}/p")).await;
    assert!(kept.value["metadata"]["deletionTimestamp"].is_null());
}

#[tokio::test]
async fn lists_select_and_page() {
    let world = World::start().await;
    for name in ["a", "b", "c", "d", "e"] {
        world.pod(name).await;
    }
    let names = |value: &serde_json::Value| -> Vec<String> {
        let items = value["items"].as_array().unwrap().iter();
        items.map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    let all = world.get("/api/v1/pods").await;
    assert_eq!(all.value["kind"], "PodList");
    assert_eq!(names(&all.value), ["a", "b", "c", "d", "e"]);
    for (query, expected) in [
        ("labelSelector=app%20in%20(a,c)", vec!["a", "c"]),
        ("labelSelector=app!%3Da,app!%3Db", vec!["c", "d", "e"]),
        ("fieldSelector=metadata.name%3Db", vec!["b"]),
        ("fieldSelector=spec.nodeName%3Dnode,metadata.name!%3Db", vec!["a", "c", "d", "e"]),
        ("fieldSelector=status.phase%3DRunning", vec![]),
        ("resourceVersion=0", vec!["a", "b", "c", "d", "e"]),
    ] {
        assert_eq!(names(&world.get(&format!("{PODS}?{query}")).await.value), expected, "{query}");
    }
    let first = world.get(&format!("{PODS}?limit=2")).await.value;
    assert_eq!(
        (names(&first), &first["metadata"]["remainingItemCount"]),
        (vec!["a".into(), "b".into()], &json!(3))
    );
    // An object that goes between pages does not disturb the place.
    world.delete(&format!("{PODS}/b?gracePeriodSeconds=0")).await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = world.get(&format!("{PODS}?limit=9&continue={token}")).await.value;
    assert_eq!(names(&second), ["c", "d", "e"]);
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    for query in [
        "labelSelector=a%20b",
        "fieldSelector=spec.x%3D1",
        "limit=-1",
        "continue=x",
        "resourceVersion=x",
    ] {
        assert_eq!(world.get(&format!("{PODS}?{query}")).await.code, 400, "{query}");
    }
    assert_eq!(world.get(&format!("{PODS}?resourceVersion=999999")).await.code, 504);
}

#[tokio::test]
async fn tables_are_made_for_kubectl() {
    let world = World::start().await;
    world.pod("p").await;
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let request = Request::get(format!("{PODS}?limit=500")).header("accept", accept);
    let table = world.answer(request.body(Full::new(Bytes::new())).unwrap()).await.value;
    assert_eq!((&table["kind"], &table["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
    assert_eq!(table["rows"][0]["cells"][0], "p");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(table["rows"][0]["object"]["metadata"]["name"], "p");
}

#[tokio::test]
async fn status_and_spec_are_written_apart() {
    let world = World::start().await;
    let mut pod = world.pod("p").await;
    pod["status"]["phase"] = json!("Running");
    pod["metadata"]["labels"] = json!({ "changed": "yes" });
    let status = world.put(&format!("{PODS}/p/status"), &pod).await;
    assert_eq!(status.code, 200, "{}", status.value);
    assert_eq!(status.value["status"]["phase"], "Running");
    assert_eq!(status.value["metadata"]["labels"]["app"], "p");
    let mut pod = status.value;
    pod["status"]["phase"] = json!("Failed");
    let main = world.put(&format!("{PODS}/p"), &pod).await;
    assert_eq!(main.value["status"]["phase"], "Running");
}

#[tokio::test]
async fn the_server_describes_itself() {
    let world = World::start().await;
    for (path, field, expected) in [
        ("/api", "kind", "APIVersions"),
        ("/apis", "kind", "APIGroupList"),
        ("/api/v1", "groupVersion", "v1"),
        ("/version", "major", "1"),
    ] {
        let answer = world.get(path).await;
        assert_eq!((answer.code, &answer.value[field]), (200, &json!(expected)), "{path}");
    }
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(world.get(path).await.value, json!("ok"));
    }
    for namespace in ["default", "kube-system"] {
        let found = world.get(&format!("/api/v1/namespaces/{namespace}")).await;
        assert_eq!(found.value["status"]["phase"], "Active");
    }
}

#[tokio::test]
async fn other_kinds_pass_through_the_same_doors() {
    let world = World::start().await;
    let path = "/api/v1/namespaces/default/secrets";
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s" }, "stringData": { "k": "v" },
    });
    let created = world.post(path, &secret).await;
    assert_eq!(created.code, 201, "{}", created.value);
    assert_eq!(
        (&created.value["type"], &created.value["data"]["k"]),
        (&json!("Opaque"), &json!("dg=="))
    );
    let maps = "/api/v1/namespaces/default/configmaps";
    assert_eq!(world.post(maps, &config_map("c")).await.code, 201);
    let deleted = world.delete(&format!("{maps}/c")).await;
    assert_eq!((deleted.code, &deleted.value["status"]), (200, &json!("Success")));
    assert_eq!(deleted.value["details"]["kind"], "configmaps");
    assert_eq!(world.post(maps, &pod("p")).await.code, 400);
}
