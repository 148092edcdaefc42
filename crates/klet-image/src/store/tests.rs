//! Names, removal, and what a crash leaves behind.

use super::*;
use crate::SnapshotError;
use crate::testing::{LayerTar, Oci, World, names};

fn image(name: &str, text: &str) -> Oci {
    Oci::new(name, vec![LayerTar::default().file("f", text).bytes()])
}

fn never(_: &str) -> bool {
    false
}

#[test]
fn images_are_found_by_every_name() {
    let world = World::new();
    let id = world.store.load(&image("busybox", "b").archive()[..]).unwrap()[0].id.clone();
    let image = world.store.resolve("busybox").unwrap().unwrap();
    let digest = image.digests[0].clone();
    let asked = [
        "busybox:latest",
        "docker.io/library/busybox",
        "docker.io/busybox:latest",
        &digest,
        &id,
        &id[..20],
        &id[7..20],
    ];
    for name in asked {
        assert_eq!(world.store.resolve(name).unwrap().unwrap().id, id, "{name}");
    }
    let zeros = format!("busybox@sha256:{}", "0".repeat(64));
    for name in ["busybox:1", "klet/busybox", "sha256:00000000", &zeros] {
        assert_eq!(world.store.resolve(name).unwrap(), None, "{name}");
    }
    let error = world.store.resolve("Not/A name").unwrap_err().to_string();
    assert_eq!(error, "couldn't parse image name \"Not/A name\": invalid reference format");
}

#[test]
fn a_name_moves_to_the_image_loaded_last() {
    let world = World::new();
    let old = world.store.load(&image("app", "1").archive()[..]).unwrap()[0].id.clone();
    let new = world.store.load(&image("app", "2").archive()[..]).unwrap()[0].id.clone();
    assert_eq!(world.store.resolve("app").unwrap().unwrap().id, new);
    let dangling = world.store.resolve(&old).unwrap().unwrap();
    assert!(dangling.names.is_empty());
    let report = world.store.remove(&old, &never).unwrap();
    assert_eq!((report.deleted, report.freed), (Some(old), 1));
    world.assert_clean();
}

#[test]
fn removal_goes_name_by_name() {
    let world = World::new();
    let id = world.store.load(&image("a", "x").archive()[..]).unwrap()[0].id.clone();
    world.store.load(&image("b", "x").archive()[..]).unwrap();
    assert!(matches!(world.store.remove(&id, &never), Err(RemoveError::SeveralNames { .. })));
    let report = world.store.remove("a", &|_| true).unwrap();
    assert_eq!(
        (report.untagged, report.deleted),
        (vec!["docker.io/library/a:latest".to_owned()], None)
    );
    assert!(matches!(world.store.remove("b", &|used| used == id), Err(RemoveError::InUse(_))));
    assert_eq!(world.store.remove("b", &never).unwrap().deleted, Some(id));
    assert!(matches!(world.store.remove("b", &never), Err(RemoveError::NotFound(_))));
    assert!(world.store.list().is_empty());
    world.assert_clean();
}

#[test]
fn snapshots_keep_their_layers() {
    let world = World::new();
    world.store.load(&image("a", "x").archive()[..]).unwrap();
    let image = world.store.resolve("a").unwrap().unwrap();
    let snapshot = world.store.prepare_snapshot(&image, "c1").unwrap();
    assert!(matches!(world.store.prepare_snapshot(&image, "c1"), Err(SnapshotError::Exists(_))));
    for id in ["", ".", "..", "../x", "a/b", "a\0", &"x".repeat(129)] {
        assert!(
            matches!(world.store.prepare_snapshot(&image, id), Err(SnapshotError::Id(_))),
            "{id:?}"
        );
        assert!(matches!(world.store.remove_snapshot(id), Err(SnapshotError::Id(_))), "{id:?}");
    }
    assert_eq!(world.store.remove("a", &never).unwrap().freed, 0);
    assert_eq!(fs::read_to_string(snapshot.lower[0].join("f")).unwrap(), "x");
    world.store.prepare_snapshot(&image, "c2").unwrap();
    world.store.remove_snapshot("c2").unwrap();
    assert_eq!(world.store.snapshots(), ["c1"]);
    world.store.remove_snapshot("c1").unwrap();
    world.store.remove_snapshot("c1").unwrap();
    assert_eq!(world.store.collect_garbage().unwrap(), 1);
    assert!(matches!(world.store.prepare_snapshot(&image, "c3"), Err(SnapshotError::NoImage(_))));
    let root = world.root();
    let World { directory, store } = world;
    drop(store);
    assert_eq!(names(&root.join("trash")), Vec::<String>::new());
    drop(directory);
}

#[test]
fn removed_trees_may_be_deep_and_hostile() {
    let world = World::new();
    world.store.load(&image("a", "x").archive()[..]).unwrap();
    let image = world.store.resolve("a").unwrap().unwrap();
    let upper = world.store.prepare_snapshot(&image, "c").unwrap().upper;
    std::os::unix::fs::symlink(world.directory.path(), upper.join("out")).unwrap();
    // Deeper than PATH_MAX, as a container makes it by mkdir and chdir.
    let mut directory = crate::merged::open_root(&upper).unwrap();
    for _ in 0..3000 {
        rustix::fs::mkdirat(&directory, "deep", rustix::fs::Mode::RWXU).unwrap();
        rustix::fs::mkdirat(&directory, ".klet-deep-1", rustix::fs::Mode::RWXU).unwrap();
        directory =
            crate::merged::open_dir(std::os::fd::AsFd::as_fd(&directory), "deep".as_ref()).unwrap();
    }
    drop(directory);
    world.store.remove_snapshot("c").unwrap();
    let root = world.root();
    let World { directory, store } = world;
    drop(store);
    assert_eq!(names(&root.join("trash")), Vec::<String>::new());
    assert!(directory.path().join("canary").exists());
}

#[test]
fn the_store_survives_its_process() {
    let world = World::new();
    world.store.load(&image("a", "x").archive()[..]).unwrap();
    let image = world.store.resolve("a").unwrap().unwrap();
    world.store.prepare_snapshot(&image, "c").unwrap();
    let root = world.root();
    assert!(matches!(ImageStore::open(&root), Err(StoreError::Locked(_))));
    let World { directory, store } = world;
    drop(store);
    // What crashes in the middle of a load, a commit and a write of the index leave.
    fs::create_dir_all(root.join("images/tmp/7/fs/etc")).unwrap();
    fs::create_dir_all(root.join("images/layers/8/fs")).unwrap();
    fs::write(root.join("images/blobs/sha256").join("0".repeat(64)), "").unwrap();
    fs::write(root.join("images/index.new"), "{\"ver").unwrap();
    let store = ImageStore::open(&root).unwrap();
    assert_eq!((store.list(), store.snapshots()), (vec![image], vec!["c".to_owned()]));
    assert_eq!(fs::metadata(&root).unwrap().permissions().mode() & 0o777, 0o700);
    World { directory, store }.assert_clean();
}

#[test]
fn a_damaged_index_is_an_error() {
    for text in ["", "{}", "{\"version\":2,\"next_layer\":1,\"layers\":{},\"images\":{}}"] {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("images")).unwrap();
        fs::write(directory.path().join("images/index.json"), text).unwrap();
        assert!(
            matches!(ImageStore::open(directory.path()), Err(StoreError::Index { .. })),
            "{text}"
        );
    }
}

#[test]
fn usage_is_counted() {
    let world = World::new();
    world.store.load(&image("a", "12345").archive()[..]).unwrap();
    let image = world.store.resolve("a").unwrap().unwrap();
    let before = world.store.disk_usage().unwrap();
    assert_eq!(
        (before.images, before.image_bytes, before.reclaimable_bytes, before.snapshots),
        (1, 5, 5, 0)
    );
    let snapshot = world.store.prepare_snapshot(&image, "c").unwrap();
    fs::write(snapshot.upper.join("data"), vec![1; 100_000]).unwrap();
    let after = world.store.disk_usage().unwrap();
    assert_eq!((after.reclaimable_bytes, after.snapshots), (0, 1));
    assert!(after.snapshot_bytes >= 100_000);
}
