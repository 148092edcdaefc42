//! The store on a real file: writes, conflicts, reopening, locking, damage, many clients.

use std::path::Path;

use klet_store::{Change, Key, ModifyError, OpenError, Options, Store, View, WriteError};
use serde_json::{Value, json};

fn open(path: &Path) -> Store {
    Store::open(path, Options::default()).expect("a store opens")
}

fn key(name: &str) -> Key {
    Key::new("", "pods", Some("default"), name)
}

#[tokio::test]
async fn objects_live_through_their_whole_life() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("db"));
    let created = store.create(&key("a"), json!({ "n": 1 })).await.unwrap();
    assert_eq!(created.value["metadata"]["resourceVersion"], created.version.to_string());
    assert!(matches!(store.create(&key("a"), json!({})).await, Err(WriteError::Exists)));

    let updated = store.update(&key("a"), Some(created.version), json!({ "n": 2 })).await.unwrap();
    assert!(updated.version > created.version);
    let lost = store.update(&key("a"), Some(created.version), json!({ "n": 3 })).await;
    assert!(matches!(lost, Err(WriteError::Conflict { current }) if current == updated.version));

    let lost = store.delete(&key("a"), Some(created.version)).await;
    assert!(matches!(lost, Err(WriteError::Conflict { .. })));
    let deleted = store.delete(&key("a"), None).await.unwrap();
    assert_eq!(deleted.value["n"], 2);
    assert!(deleted.version > updated.version);
    assert!(store.get(&key("a")).is_none());
    assert!(matches!(store.delete(&key("a"), None).await, Err(WriteError::NotFound)));
    assert!(matches!(store.update(&key("a"), None, json!({})).await, Err(WriteError::NotFound)));
}

#[tokio::test]
async fn lists_are_ranges_of_the_map() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("db"));
    let keys = [
        Key::new("", "pods", Some("a"), "y"),
        Key::new("", "pods", Some("a"), "x"),
        Key::new("", "pods", Some("ab"), "x"),
        Key::new("", "podtemplates", Some("a"), "x"),
        Key::new("", "nodes", None, "x"),
        Key::new("g", "pods", Some("a"), "x"),
    ];
    for key in &keys {
        store.create(key, json!({})).await.unwrap();
    }
    let names = |group, resource, namespace| {
        let (objects, version) = store.list(group, resource, namespace);
        assert_eq!(version, store.version());
        objects.into_iter().map(|object| object.key.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names("", "pods", None), ["pods a/x", "pods a/y", "pods ab/x"]);
    assert_eq!(names("", "pods", Some("a")), ["pods a/x", "pods a/y"]);
    assert_eq!(names("g", "pods", Some("a")), ["pods.g a/x"]);
    assert_eq!(names("", "nodes", None), ["nodes x"]);
    assert!(names("", "pods", Some("b")).is_empty());
}

#[tokio::test]
async fn everything_survives_a_restart_and_versions_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let store = open(&path);
    let kept = store.create(&key("a"), json!({ "n": 1 })).await.unwrap();
    store.create(&key("b"), json!({})).await.unwrap();
    let last = store.delete(&key("b"), None).await.unwrap();
    drop(store);

    let store = open(&path);
    assert_eq!(store.version(), last.version);
    assert_eq!(store.list("", "pods", None).0, [kept]);
    let next = store.create(&key("b"), json!({})).await.unwrap();
    assert!(next.version > last.version);
    assert!(!dir.path().join("db.new").exists());
}

#[test]
fn a_second_daemon_is_told_who_was_first() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let first = open(&path);
    let error = Store::open(&path, Options::default()).unwrap_err();
    let OpenError::InUse { pid, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*pid, Some(std::process::id()));
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    drop(first);
    open(&path);
}

#[tokio::test]
async fn damage_is_recognised_and_can_be_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let store = open(&path);
    for number in 0..50 {
        store
            .create(&key(&format!("p{number}")), json!({ "filler": "x".repeat(500) }))
            .await
            .unwrap();
    }
    drop(store);
    let whole = std::fs::read(&path).unwrap();
    let mut holed = whole.clone();
    holed[64..4096].fill(0xa5);
    let damages = [
        Vec::new(),
        b"not a store".to_vec(),
        vec![0; 8192],
        whole[..whole.len() / 3].to_vec(),
        whole[..100].to_vec(),
        holed,
    ];
    for (number, damage) in damages.iter().enumerate() {
        std::fs::write(&path, damage).unwrap();
        let error = Store::open(&path, Options::default()).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "damage {number}: {error:?}");
        assert_eq!(&std::fs::read(&path).unwrap(), damage, "the file is left as it was");
    }
    let aside = Store::set_aside(&path).unwrap();
    assert!(aside.exists() && !path.exists());
    assert_eq!(open(&path).list("", "pods", None).0, []);
}

#[tokio::test]
async fn a_creation_that_was_cut_off_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    std::fs::write(dir.path().join("db.new"), b"half a file").unwrap();
    open(&path).create(&key("a"), json!({})).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_increments_all_count() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("db"));
    store.create(&key("a"), json!({ "n": 0 })).await.unwrap();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..50 {
                    let add = |mut value: Value| {
                        value["n"] = json!(value["n"].as_u64().unwrap() + 1);
                        Ok::<_, ()>(Some(value))
                    };
                    store.modify(&key("a"), add).await.unwrap();
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(store.get(&key("a")).unwrap().value["n"], 400);
}

#[tokio::test]
async fn refusals_reach_the_caller_and_panics_stop_at_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("db"));
    store.create(&key("a"), json!({})).await.unwrap();
    let refused = store.modify(&key("a"), |_| Err::<Option<Value>, _>("no")).await;
    assert!(matches!(refused, Err(ModifyError::Refused("no"))));
    let decide = |_: &View<'_>| -> Result<Change, ()> { panic!("a defect in a decision") };
    let lost = store.transact(&key("a"), decide).await;
    assert!(matches!(lost, Err(ModifyError::Store(WriteError::Closed))));
    store.update(&key("a"), None, json!({ "n": 1 })).await.unwrap();
}

#[tokio::test]
async fn unstorable_objects_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("db"));
    for (name, value) in
        [("a\0b", json!({})), ("", json!({})), ("a", json!(7)), ("a", json!({ "metadata": 7 }))]
    {
        let result = store.create(&key(name), value).await;
        assert!(matches!(result, Err(WriteError::Invalid(_))), "{name:?}");
    }
}

#[tokio::test]
async fn a_decision_sees_whether_a_namespace_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("db"));
    let namespace = Key::new("", "namespaces", None, "default");
    store.create(&namespace, json!({})).await.unwrap();
    store.create(&key("a"), json!({})).await.unwrap();
    let close = |view: &View<'_>| {
        if view.namespace_is_empty("default") { Ok(Change::Delete) } else { Err("not empty") }
    };
    assert!(matches!(
        store.transact(&namespace, close).await,
        Err(ModifyError::Refused("not empty"))
    ));
    // Both may share a group: the second must see the first.
    let (pod, gone) = (key("a"), store.clone());
    let (removed, closed) =
        tokio::join!(gone.delete(&pod, None), store.transact(&namespace, close));
    removed.unwrap();
    closed.unwrap();
}

#[tokio::test]
async fn a_finish_is_seen_as_a_change_and_a_removal() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("db"));
    let created = store.create(&key("a"), json!({ "n": 1 })).await.unwrap();
    let mut watch = store.watch("", "pods", None, created.version).unwrap();
    let end = |_: &View<'_>| Ok::<_, &str>(Change::Finish(json!({ "n": 2 })));
    store.transact(&key("a"), end).await.unwrap();
    assert!(store.get(&key("a")).is_none());
    for kind in [klet_store::EventKind::Modified, klet_store::EventKind::Deleted] {
        let event = watch.next().await.unwrap();
        assert_eq!((event.kind, &event.object.value["n"]), (kind, &json!(2)));
    }
}
