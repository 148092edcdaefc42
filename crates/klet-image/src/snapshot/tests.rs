//! The kernel's own overlay of the layers shows what the image means.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::Snapshot;
use crate::testing::{LayerTar, Oci, World, names};

/// Runs `check` on the mounted snapshot, in a mount namespace that ends with its thread.
fn mounted(snapshot: &Snapshot, at: &Path, check: impl FnOnce() + Send) {
    let lower: Vec<String> = snapshot.lower.iter().map(|path| path.display().to_string()).collect();
    let (upper, work) = (snapshot.upper.display(), snapshot.work.display());
    let options = format!("lowerdir={},upperdir={upper},workdir={work}", lower.join(":"));
    fs::create_dir_all(at).unwrap();
    let body = || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(Some("overlay"), at, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
            .unwrap();
        check();
    };
    std::thread::scope(|scope| scope.spawn(body).join()).unwrap();
    assert!(fs::read_dir(at).unwrap().next().is_none(), "the mount stays private");
}

#[test]
fn overlayfs_shows_the_merged_image() {
    let tar = LayerTar::default;
    let bottom = tar()
        .dir(".", 0o711)
        .dir("tmp", 0o1777)
        .dir("usr/bin", 0o755)
        .symlink("bin", "usr/bin")
        .file("gone", "")
        .file("dir/old", "")
        .file("dir/kept", "")
        .file("opaque/old", "")
        .file("replaced/old", "")
        .file("file", "low")
        .file("shared", "shared");
    let top = tar()
        .file(".wh.gone", "")
        .file("dir/.wh.old", "")
        .file("opaque/.wh..wh..opq", "")
        .file("opaque/new", "")
        .file(".wh.replaced", "")
        .file("replaced/new", "")
        .file("file", "high")
        .file("bin/tool", "tool")
        .file("tmp/x", "")
        .hardlink("link", "shared");
    let world = World::new();
    let image = Oci::new("a", vec![bottom.bytes(), top.bytes()]);
    world.store.load(&image.archive()[..]).unwrap();
    let image = world.store.resolve("a").unwrap().unwrap();
    let snapshot = world.store.prepare_snapshot(&image, "c").unwrap();
    let at = world.directory.path().join("merged");
    mounted(&snapshot, &at, || {
        let all = ["bin", "dir", "file", "link", "opaque", "replaced", "shared", "tmp", "usr"];
        assert_eq!(names(&at), all);
        assert_eq!(names(&at.join("dir")), ["kept"]);
        assert_eq!(names(&at.join("opaque")), ["new"]);
        assert_eq!(names(&at.join("replaced")), ["new"]);
        assert_eq!(fs::read_to_string(at.join("file")).unwrap(), "high");
        assert_eq!(fs::read_to_string(at.join("bin/tool")).unwrap(), "tool");
        let inode = |name: &str| fs::metadata(at.join(name)).unwrap().ino();
        assert_eq!(inode("link"), inode("shared"));
        let mode = |name: &str| fs::metadata(at.join(name)).unwrap().mode() & 0o7777;
        assert_eq!((mode("."), mode("tmp")), (0o711, 0o1777));
        fs::write(at.join("dir/written"), "by the container").unwrap();
    });
    assert_eq!(names(&snapshot.upper.join("dir")), ["written"]);
    fs::remove_dir(at).unwrap();
    world.store.remove_snapshot("c").unwrap();
    world.assert_clean();
}

#[test]
fn an_image_without_layers_can_be_mounted() {
    let world = World::new();
    world.store.load(&Oci::new("empty", Vec::new()).archive()[..]).unwrap();
    let image = world.store.resolve("empty").unwrap().unwrap();
    let snapshot = world.store.prepare_snapshot(&image, "c").unwrap();
    let at = world.directory.path().join("merged");
    mounted(&snapshot, &at, || assert!(names(&at).is_empty()));
}
