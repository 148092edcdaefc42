//! Disks that refuse: the writer is told, memory stays as it was, and it goes on later.

use std::io::ErrorKind;

use serde_json::json;

use super::simulated::SimulatedDisk;
use crate::disk::Disk;
use crate::{Key, Options, Store, WriteError};

fn open(disk: &SimulatedDisk) -> Store {
    let (opened, contents) = Disk::load(disk.opener()).unwrap();
    Store::start(opened, contents, Options::default(), None).unwrap()
}

fn key(name: &str) -> Key {
    Key::new("", "pods", Some("default"), name)
}

#[tokio::test]
async fn a_full_disk_fails_the_write_and_nothing_else() {
    let disk = SimulatedDisk::formatted();
    let store = open(&disk);
    let first = store.create(&key("a"), json!({ "n": 1 })).await.unwrap();
    let mut watch = store.watch("", "pods", None, store.version()).unwrap();

    disk.refuse(Some(ErrorKind::StorageFull));
    for _ in 0..3 {
        let error = store.update(&key("a"), None, json!({ "n": 2 })).await.unwrap_err();
        assert!(matches!(error, WriteError::Full(_)), "{error:?}");
    }
    let error = store.create(&key("b"), json!({})).await.unwrap_err();
    assert!(matches!(error, WriteError::Full(_)), "{error:?}");
    assert_eq!(store.get(&key("a")), Some(first.clone()));
    assert_eq!(store.get(&key("b")), None);
    assert_eq!(store.version(), first.version);
    assert_eq!(watch.try_next(), None);

    disk.refuse(None);
    let third = store.update(&key("a"), Some(first.version), json!({ "n": 3 })).await.unwrap();
    assert_eq!(watch.next().await.unwrap().object, third);
    drop(store);
    let store = open(&disk);
    assert_eq!(store.get(&key("a")), Some(third));
    assert_eq!(store.get(&key("b")), None);
}

#[tokio::test]
async fn a_write_that_changes_nothing_needs_no_disk() {
    let disk = SimulatedDisk::formatted();
    let store = open(&disk);
    let first = store.create(&key("a"), json!({ "n": 1 })).await.unwrap();
    disk.refuse(Some(ErrorKind::Other));
    assert_eq!(store.update(&key("a"), None, json!({ "n": 1 })).await.unwrap(), first);
    let kept = store.modify(&key("a"), |_| Ok::<_, ()>(None)).await.unwrap();
    assert_eq!(kept, first);
    let error = store.update(&key("a"), None, json!({ "n": 2 })).await.unwrap_err();
    assert!(matches!(error, WriteError::Io(_)), "{error:?}");
}
