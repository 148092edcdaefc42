//! Watches over the wire.

use bytes::{Bytes, BytesMut};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::world::{DEADLINE, PODS, World, config_map, failure};

/// The lines of a response, as they come.
pub(crate) struct Lines {
    body: Incoming,
    buffer: BytesMut,
}

impl Lines {
    pub(crate) async fn watch(world: &World, path: &str) -> Self {
        let request = Request::get(path).body(Full::new(Bytes::new())).expect("a request");
        let response = world.open(request).await;
        assert_eq!(response.status(), 200, "{path}");
        Self { body: response.into_body(), buffer: BytesMut::new() }
    }

    /// The next line; null at the end.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                return serde_json::from_slice(&line).expect("a line of JSON");
            }
            let frame =
                tokio::time::timeout(DEADLINE, self.body.frame()).await.expect("a line in time");
            match frame {
                Some(Ok(frame)) => self.buffer.extend_from_slice(frame.data_ref().expect("data")),
                _ => return Value::Null,
            }
        }
    }

    async fn kind_and_name(&mut self) -> (String, String) {
        let line = self.next().await;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&line["type"]), text(&line["object"]["metadata"]["name"]))
    }
}

#[tokio::test]
async fn a_watch_shows_what_is_and_what_comes() {
    let world = World::start().await;
    world.pod("a").await;
    let mut lines = Lines::watch(&world, &format!("{PODS}?watch=true")).await;
    assert_eq!(lines.kind_and_name().await, ("ADDED".into(), "a".into()));
    world.pod("b").await;
    assert_eq!(lines.kind_and_name().await, ("ADDED".into(), "b".into()));
    world.delete(&format!("{PODS}/b")).await;
    assert_eq!(lines.kind_and_name().await, ("MODIFIED".into(), "b".into()));
    world.delete(&format!("{PODS}/b?gracePeriodSeconds=0")).await;
    assert_eq!(lines.kind_and_name().await, ("MODIFIED".into(), "b".into()), "the grace is 0 now");
    assert_eq!(lines.kind_and_name().await, ("DELETED".into(), "b".into()));
}

#[tokio::test]
async fn a_list_and_a_watch_from_it_fit_together() {
    let world = World::start().await;
    world.pod("a").await;
    let list = world.get(PODS).await.value;
    world.pod("b").await;
    let version = list["metadata"]["resourceVersion"].as_str().unwrap();
    let path = format!("{PODS}?watch=1&resourceVersion={version}&timeoutSeconds=1");
    let mut lines = Lines::watch(&world, &path).await;
    assert_eq!(lines.kind_and_name().await, ("ADDED".into(), "b".into()));
    assert_eq!(lines.next().await, Value::Null, "the watch ends at its timeout");
}

#[tokio::test]
async fn a_selection_is_entered_and_left() {
    let world = World::start().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let mut lines = Lines::watch(&world, &format!("{maps}?watch=1&labelSelector=on%3Dyes")).await;
    let mut map = config_map("c");
    world.post(maps, &map).await;
    for (labels, expected) in [
        (json!({ "on": "yes" }), "ADDED"),
        (json!({ "on": "yes", "more": "x" }), "MODIFIED"),
        (json!({ "on": "no" }), "DELETED"),
    ] {
        map["metadata"]["labels"] = labels;
        assert_eq!(world.put(&format!("{maps}/c"), &map).await.code, 200);
        assert_eq!(lines.kind_and_name().await, (expected.into(), "c".into()));
    }
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark() {
    let world = World::start().await;
    world.pod("a").await;
    let query =
        "watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let mut lines = Lines::watch(&world, &format!("{PODS}?{query}")).await;
    assert_eq!(lines.kind_and_name().await.0, "ADDED");
    let bookmark = lines.next().await;
    assert_eq!(bookmark["type"], "BOOKMARK");
    let metadata = &bookmark["object"]["metadata"];
    assert_eq!(metadata["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!(metadata["resourceVersion"], world.server.registry().store().version().to_string());
}

#[tokio::test]
async fn an_old_version_has_expired() {
    let world = World::with_history(2).await;
    for name in ["a", "b", "c", "d"] {
        world.pod(name).await;
    }
    let answer = world.get(&format!("{PODS}?watch=1&resourceVersion=1")).await;
    let (code, reason, message) = failure(&answer);
    assert_eq!((code, reason), (410, "Expired"));
    assert!(message.starts_with("too old resource version: 1 ("), "{message}");
    assert_eq!(world.get(&format!("{PODS}?watch=1&resourceVersion=x")).await.code, 400);
}

#[tokio::test]
async fn rows_are_streamed_with_one_header() {
    let world = World::start().await;
    world.pod("a").await;
    world.pod("b").await;
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let request = Request::get(format!("{PODS}?watch=1")).header("accept", accept);
    let response = world.open(request.body(Full::new(Bytes::new())).unwrap()).await;
    let mut lines = Lines { body: response.into_body(), buffer: BytesMut::new() };
    let (first, second) = (lines.next().await, lines.next().await);
    assert!(!first["object"]["columnDefinitions"].as_array().unwrap().is_empty());
    assert!(second["object"]["columnDefinitions"].as_array().unwrap().is_empty());
    assert_eq!(second["object"]["rows"][0]["cells"][0], "b");
}

#[tokio::test]
async fn a_stopping_server_ends_its_watches() {
    let mut world = World::start().await;
    let mut lines = Lines::watch(&world, "/api/v1/namespaces?watch=1").await;
    assert_eq!(lines.kind_and_name().await, ("ADDED".into(), "default".into()));
    assert_eq!(lines.kind_and_name().await, ("ADDED".into(), "kube-system".into()));
    world.stop().await;
    assert_eq!(lines.next().await, Value::Null);
}
