//! Logs over the wire.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::json;

use crate::world::{DEADLINE, PODS, World, failure, pod};

#[tokio::test]
async fn the_only_container_is_read_by_default() {
    let world = World::start().await;
    world.pod("p").await;
    let log = world.get(&format!("{PODS}/p/log")).await;
    assert_eq!((log.code, log.value), (200, json!("log of main\n")));
    assert_eq!(log.headers["content-type"], "text/plain");
}

#[tokio::test]
async fn refusals_come_from_options_pod_and_node() {
    let world = World::start().await;
    world.pod("p").await;
    let mut two = pod("two");
    two["spec"]["containers"] =
        json!([{ "name": "a", "image": "i" }, { "name": "b", "image": "i" }]);
    assert_eq!(world.post(PODS, &two).await.code, 201);
    let cases = [
        ("p/log?container=x", 400, "container x is not valid for pod p"),
        ("two/log", 400, "a container name must be specified for pod two, choose one of: [a b]"),
        (
            "p/log?previous=true",
            400,
            "previous terminated container \"main\" in pod \"p\" not found",
        ),
        ("x/log", 404, "pods \"x\" not found"),
    ];
    for (path, code, message) in cases {
        let answer = world.get(&format!("{PODS}/{path}")).await;
        assert_eq!((failure(&answer).0, failure(&answer).2), (code, message));
    }
    let invalid = world.get(&format!("{PODS}/p/log?tailLines=-1")).await;
    assert_eq!((invalid.code, failure(&invalid).1), (422, "Invalid"));
    let cause = &invalid.value["details"]["causes"][0];
    assert_eq!(cause["field"], "tailLines");
}

#[tokio::test]
async fn a_follower_that_leaves_stops_the_reading() {
    let world = World::start().await;
    world.pod("p").await;
    let mut dropped = world.node.dropped.subscribe();
    let request = Request::get(format!("{PODS}/p/log?follow=true"));
    let response = world.open(request.body(Full::new(Bytes::new())).unwrap()).await;
    let mut body = response.into_body();
    let first = body.frame().await.unwrap().unwrap();
    assert_eq!(first.data_ref().unwrap(), "log of main\n");
    assert_eq!(*dropped.borrow(), 0);
    drop(body);
    tokio::time::timeout(DEADLINE, dropped.wait_for(|count| *count == 1)).await.unwrap().unwrap();
}
