//! Watches: no gap, no duplicate, and an honest end.

use std::path::Path;

use klet_store::{EventKind, Key, Options, Store};
use serde_json::json;

fn open(path: &Path, history: usize) -> Store {
    Store::open(&path.join("db"), Options { history, ..Options::default() }).expect("a store opens")
}

fn key(namespace: &str, name: &str) -> Key {
    Key::new("", "pods", Some(namespace), name)
}

#[tokio::test]
async fn changes_come_in_order_with_what_was_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 100);
    let start = store.version();
    store.create(&key("a", "x"), json!({ "n": 1 })).await.unwrap();
    store.create(&key("b", "x"), json!({})).await.unwrap();
    store.update(&key("a", "x"), None, json!({ "n": 2 })).await.unwrap();
    store.delete(&key("a", "x"), None).await.unwrap();
    store.create(&Key::new("", "nodes", None, "x"), json!({})).await.unwrap();

    let mut watch = store.watch("", "pods", Some("a"), start).unwrap();
    let mut seen = Vec::new();
    while let Some(event) = watch.try_next() {
        let before = event.previous.map(|value| value["n"].clone());
        seen.push((event.kind, event.object.value["n"].clone(), before));
    }
    assert_eq!(
        seen,
        [
            (EventKind::Added, json!(1), None),
            (EventKind::Modified, json!(2), Some(json!(1))),
            (EventKind::Deleted, json!(2), Some(json!(2))),
        ]
    );
    assert_eq!(watch.position(), store.version());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn list_and_watch_together_miss_nothing_and_repeat_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 10_000);
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for number in 0..60 {
                    let key = key("a", &format!("{writer}-{number}"));
                    store.create(&key, json!({})).await.unwrap();
                }
            })
        })
        .collect();
    let watchers: Vec<_> = (0..4)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let (objects, version) = store.list("", "pods", None);
                let mut versions: Vec<u64> = objects.iter().map(|object| object.version).collect();
                versions.sort_unstable();
                let mut watch = store.watch("", "pods", None, version).unwrap();
                while versions.len() < 240 {
                    versions.push(watch.next().await.unwrap().object.version);
                }
                versions
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    for watcher in watchers {
        let versions = watcher.await.unwrap();
        assert!(versions.windows(2).all(|pair| pair[0] < pair[1]), "{versions:?}");
    }
}

#[tokio::test]
async fn a_slow_watch_and_an_old_start_expire() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 4);
    let start = store.version();
    let mut slow = store.watch("", "pods", None, start).unwrap();
    for number in 0..10 {
        store.create(&key("a", &number.to_string()), json!({})).await.unwrap();
    }
    assert_eq!(slow.next().await, None);
    assert!(slow.expired().is_some());
    let expired = store.watch("", "pods", None, start).unwrap_err();
    assert_eq!(expired.oldest, store.version() - 4);
    assert!(store.watch("", "pods", None, expired.oldest).is_ok());
    // Other resources keep their own history.
    assert!(store.watch("", "nodes", None, start).is_ok());
}

#[tokio::test]
async fn history_begins_with_the_process_and_the_future_is_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 100);
    store.create(&key("a", "x"), json!({})).await.unwrap();
    drop(store);
    let store = open(dir.path(), 100);
    let version = store.version();
    assert!(store.watch("", "pods", None, version).is_ok());
    assert!(store.watch("", "pods", None, version - 1).is_err());
    assert!(store.watch("", "pods", None, version + 1).is_err());
}

#[tokio::test]
async fn a_waiting_watch_ends_with_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 100);
    let mut watch = store.watch("", "pods", None, store.version()).unwrap();
    let waiting = tokio::spawn(async move { (watch.next().await, watch.expired()) });
    drop(store);
    assert_eq!(waiting.await.unwrap(), (None, None));
}
