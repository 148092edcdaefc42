//! Layers that attack, layers that delete, and agreement with GNU tar.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::testing::{LayerTar, describe, names, unpack};

/// A directory with a victim beside the layers.
struct Scene {
    directory: TempDir,
    layers: Vec<PathBuf>,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("victim")).unwrap();
        fs::write(directory.path().join("victim/file"), "alive").unwrap();
        Self { directory, layers: Vec::new() }
    }

    fn victim(&self) -> String {
        self.directory.path().join("victim").display().to_string()
    }

    fn try_layer(&mut self, tar: LayerTar) -> Result<PathBuf, String> {
        let path = self.directory.path().join(format!("layer{}", self.layers.len()));
        let result = unpack(&tar.bytes(), &path, &self.layers);
        let victim = self.directory.path().join("victim");
        assert_eq!(names(&victim), ["file"]);
        assert_eq!(fs::read_to_string(victim.join("file")).unwrap(), "alive");
        assert_eq!(fs::metadata(&victim).unwrap().mode() & 0o7777, 0o755);
        self.layers.insert(0, path.clone());
        result.map(|_| path).map_err(|error| error.to_string())
    }

    fn layer(&mut self, tar: LayerTar) -> PathBuf {
        self.try_layer(tar).unwrap()
    }
}

fn tar() -> LayerTar {
    LayerTar::default()
}

#[test]
fn paths_stay_inside() {
    let mut scene = Scene::new();
    for path in ["../x", "a/../../x", "a/.."] {
        assert!(scene.try_layer(tar().file(path, "")).unwrap_err().contains("'..'"), "{path}");
    }
    let by_pax = tar().pax(&[("path", "../../victim/x")]).file("x", "");
    assert!(scene.try_layer(by_pax).unwrap_err().contains("'..'"));
    let victim = scene.victim();
    let layer = scene.layer(tar().file(&format!("{victim}/file"), "inside"));
    assert_eq!(fs::read_to_string(layer.join(&victim[1..]).join("file")).unwrap(), "inside");
}

#[test]
fn links_are_resolved_inside_the_root() {
    let mut scene = Scene::new();
    let victim = scene.victim();
    let layer = scene.layer(
        tar()
            .symlink("out", &victim)
            .file("out/file", "through an absolute link")
            .symlink("up", "../../../../victim")
            .file("up/file", "through dots")
            .symlink("final", &format!("{victim}/file"))
            .file("final", "replaces the link")
            .symlink("out2", &victim)
            .dir("out2", 0o777)
            .symlink("moded", &victim)
            .hardlink("hard", "moded"),
    );
    assert_eq!(
        fs::read_to_string(layer.join(&victim[1..]).join("file")).unwrap(),
        "through an absolute link"
    );
    assert_eq!(fs::read_to_string(layer.join("victim/file")).unwrap(), "through dots");
    assert_eq!(fs::read_to_string(layer.join("final")).unwrap(), "replaces the link");
    assert!(fs::symlink_metadata(layer.join("hard")).unwrap().is_symlink());
    assert!(fs::symlink_metadata(layer.join("out2")).unwrap().is_dir());
    let error =
        scene.try_layer(tar().symlink("a", "b").symlink("b", "a").file("a/x", "")).unwrap_err();
    assert!(error.contains("cannot be unpacked"), "{error}");
}

#[test]
fn hard_links_stay_inside() {
    let mut scene = Scene::new();
    let victim = scene.victim();
    for target in ["/etc/passwd", "../victim/file", &format!("{victim}/file"), "", "/"] {
        assert!(scene.try_layer(tar().hardlink("x", target)).is_err(), "{target}");
    }
    let through = tar().symlink("out", &victim).hardlink("x", "out/file");
    assert!(scene.try_layer(through).unwrap_err().contains("does not exist"));
    assert!(
        scene
            .try_layer(tar().dir("d", 0o755).hardlink("x", "d"))
            .unwrap_err()
            .contains("directory")
    );
    let own = scene.layer(tar().file("a", "kept").hardlink("a", "./a"));
    assert_eq!(fs::read_to_string(own.join("a")).unwrap(), "kept");
}

#[test]
fn hard_link_to_a_lower_layer_copies_it_up() {
    let mut scene = Scene::new();
    let mut header = LayerTar::header(b'0', "bin/tool", 4);
    header.set_mode(0o4755);
    header.set_uid(7);
    header.set_cksum();
    let records = [("SCHILY.xattr.user.k", "v")];
    scene.layer(tar().dir("bin", 0o700).pax(&records).raw(&header, b"tool"));
    let upper = scene.layer(tar().hardlink("link", "bin/tool"));
    let (link, tool) =
        (fs::metadata(upper.join("link")).unwrap(), fs::metadata(upper.join("bin/tool")).unwrap());
    assert_eq!(link.ino(), tool.ino());
    assert_eq!((tool.mode() & 0o7777, tool.uid(), tool.mtime()), (0o4755, 7, 1_000_000_000));
    assert_eq!(fs::metadata(upper.join("bin")).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(fs::read_to_string(upper.join("link")).unwrap(), "tool");
    assert!(describe(&upper).iter().any(|line| line.contains("user.k")));
}

#[test]
fn special_files_and_bits() {
    let mut scene = Scene::new();
    let mut setuid = LayerTar::header(b'0', "setuid", 0);
    setuid.set_mode(0o6755);
    setuid.set_uid(1000);
    setuid.set_gid(1001);
    setuid.set_cksum();
    let mut null = LayerTar::header(b'3', "null", 0);
    null.set_device_major(1).unwrap();
    null.set_device_minor(3).unwrap();
    null.set_mode(0o666);
    null.set_cksum();
    let fifo = LayerTar::header(b'6', "fifo", 0);
    let records = [
        ("SCHILY.xattr.trusted.overlay.opaque", "y"),
        ("SCHILY.xattr.trusted.overlay.redirect", "/victim"),
        ("SCHILY.xattr.user.ok", "1"),
    ];
    let layer = scene.layer(
        tar().raw(&setuid, b"").raw(&null, b"").raw(&fifo, b"").pax(&records).dir("d", 0o1777),
    );
    let setuid = fs::metadata(layer.join("setuid")).unwrap();
    assert_eq!((setuid.mode() & 0o7777, setuid.uid(), setuid.gid()), (0o6755, 1000, 1001));
    let null = fs::metadata(layer.join("null")).unwrap();
    assert!(
        null.file_type().is_char_device() && null.rdev() == 0x103 && null.mode() & 0o777 == 0o666
    );
    assert!(fs::metadata(layer.join("fifo")).unwrap().file_type().is_fifo());
    let lines = describe(&layer);
    assert!(lines.iter().any(|line| line.contains("user.ok")));
    assert!(!lines.iter().any(|line| line.contains("overlay")));
}

#[test]
fn file_capabilities_survive_the_change_of_owner() {
    // struct vfs_cap_data version 2 with CAP_NET_BIND_SERVICE (linux/capability.h).
    let capability = "\u{1}\0\0\u{2}\0\u{4}\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let mut header = LayerTar::header(b'0', "ping", 0);
    header.set_uid(5);
    header.set_cksum();
    let mut scene = Scene::new();
    let layer = scene
        .layer(tar().pax(&[("SCHILY.xattr.security.capability", capability)]).raw(&header, b""));
    assert!(describe(&layer).iter().any(|line| line.contains("security.capability")));
}

#[test]
fn the_last_entry_of_a_name_wins() {
    let mut scene = Scene::new();
    let layer = scene.layer(
        tar()
            .file("a", "first")
            .file("a", "second")
            .dir("d", 0o755)
            .file("d/kept", "")
            .dir("d", 0o700)
            .dir("gone/deep", 0o755)
            .file("gone/deep/file", "")
            .file("gone", "a file now")
            .file("was", "")
            .dir("was", 0o755),
    );
    assert_eq!(fs::read_to_string(layer.join("a")).unwrap(), "second");
    assert_eq!(names(&layer.join("d")), ["kept"]);
    assert_eq!(fs::metadata(layer.join("d")).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(fs::read_to_string(layer.join("gone")).unwrap(), "a file now");
    assert!(
        describe(&layer).iter().any(|line| line.starts_with("was ") && line.contains("opaque"))
    );
}

#[test]
fn whiteouts_become_overlay_marks() {
    let mut scene = Scene::new();
    scene
        .layer(tar().file("gone", "").file("dir/old", "").file("both/old", "").file("kept", "low"));
    let layer = scene.layer(
        tar()
            .file(".wh.gone", "")
            .file("dir/.wh..wh..opq", "")
            .file("both/new", "")
            .file(".wh.both", "")
            .file("kept", "high")
            .file(".wh.kept", "")
            .file(".wh.later", "")
            .file("later/file", "")
            .file(".wh..wh.plnk/1.2", ""),
    );
    let gone = fs::symlink_metadata(layer.join("gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    assert_eq!(fs::read_to_string(layer.join("kept")).unwrap(), "high");
    assert_eq!(names(&layer.join("both")), ["new"]);
    assert_eq!(names(&layer), ["both", "dir", "gone", "kept", "later"]);
    let lines = describe(&layer);
    for opaque in ["both", "dir", "later"] {
        let marked = lines
            .iter()
            .any(|line| line.starts_with(&format!("{opaque} ")) && line.contains("opaque"));
        assert!(marked, "{opaque}");
    }
    for path in [".wh.", "a/.wh..", ".wh...", ".wh.x/y"] {
        assert!(scene.try_layer(tar().file(path, "")).unwrap_err().contains("whiteout"), "{path}");
    }
}

#[test]
fn parents_look_as_they_do_below() {
    let mut scene = Scene::new();
    scene.layer(
        tar().dir("tmp", 0o1777).dir("usr/bin", 0o755).symlink("bin", "usr/bin").dir(".", 0o711),
    );
    let layer = scene.layer(tar().file("tmp/x", "").file("bin/tool", "").file("new/x", ""));
    assert_eq!(fs::metadata(layer.join("tmp")).unwrap().mode() & 0o7777, 0o1777);
    assert_eq!(fs::metadata(layer.join("tmp")).unwrap().mtime(), 1_000_000_000);
    assert_eq!(fs::metadata(layer.join("new")).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(fs::metadata(&layer).unwrap().mode() & 0o7777, 0o711);
    assert!(layer.join("usr/bin/tool").exists() && !layer.join("bin").exists());
    let error = scene.try_layer(tar().file("file", "").file("file/x", "")).unwrap_err();
    assert!(error.contains("parent is not a directory"), "{error}");
}

#[test]
fn names_have_bounds() {
    let mut scene = Scene::new();
    let long = |path: &str| tar().pax(&[("path", path)]).file("x", "");
    assert!(scene.try_layer(long(&"n".repeat(256))).unwrap_err().contains("255"));
    assert!(scene.try_layer(long(&"a/".repeat(300))).unwrap_err().contains("256 directories"));
    scene.layer(long(&format!("{}x", "n/".repeat(255))));
    let deep = scene.layer(long(&"n".repeat(255)));
    assert_eq!(names(&deep)[0].len(), 255);
}

#[test]
fn the_budget_counts_what_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let view = || crate::merged::MergedView::open(&[directory.path().to_owned()]).unwrap();
    let bytes = tar().file("a", "12345").file("b", "12345").bytes();
    assert!(super::extract("layer", &bytes[..], view(), 9).is_err());
    assert_eq!(super::extract("layer", &bytes[..], view(), 10).unwrap().0, 10);
}

fn shell(script: &str, directory: &std::path::Path) {
    let output = Command::new("sh").args(["-ec", script]).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A tree with everything a layer can hold.
const TREE: &str = "mkdir -p tree/dir/sub tree/sticky; umask 022; echo hello > tree/file; : > tree/empty
    ln tree/file tree/dir/hard; ln -s ../file tree/dir/soft; ln -s /etc/passwd tree/absolute; mkfifo tree/fifo
    mknod tree/null c 1 3; mknod tree/disk b 7 9; chmod 1777 tree/sticky; cp tree/file tree/setuid; chown 12:34 tree/setuid
    chmod 6711 tree/setuid; chown 70000:80000 tree/empty; chmod 0 tree/empty
    long=tree/$(printf 'n%.0s' $(seq 120)); mkdir -p $long/$(printf 'm%.0s' $(seq 120)); echo x > $long/$(printf 'o%.0s' $(seq 200))
    ln -s $(printf 'target%.0s' $(seq 40)) tree/longlink; touch -d '2001-02-03 04:05:06.789' tree/file
    head -c 100000 /dev/urandom > tree/big; truncate -s 9M tree/sparse
    for at in 1 3 5 7 9 11 13 15 17 19 21 23 25 27 29 31 33; do printf data | dd of=tree/sparse bs=1 seek=$((at * 200000)) conv=notrunc status=none; done
    truncate -s 1M tree/hole; touch -d '1969-12-31 23:59:58 UTC' tree/old; touch -d '2010-01-01' tree/dir/sub tree/dir tree";

#[test]
fn agrees_with_gnu_tar() {
    let directory = tempfile::tempdir().unwrap();
    shell(TREE, directory.path());
    let formats = [
        "--format=gnu",
        "--format=gnu --sparse",
        "--format=pax --xattrs",
        "--format=pax --sparse --sparse-version=0.0",
        "--format=pax --sparse --sparse-version=0.1",
        "--format=pax --sparse --sparse-version=1.0",
    ];
    for format in formats {
        shell(&format!("tar {format} -C tree -cf layer.tar ."), directory.path());
        shell(
            "rm -rf gnu ours; mkdir gnu; tar --xattrs --numeric-owner -C gnu -xpf layer.tar",
            directory.path(),
        );
        let ours = directory.path().join("ours");
        unpack(&fs::read(directory.path().join("layer.tar")).unwrap(), &ours, &[]).unwrap();
        assert_eq!(describe(&ours), describe(&directory.path().join("gnu")), "{format}");
        if format.contains("sparse") {
            assert!(
                fs::metadata(ours.join("sparse")).unwrap().blocks() < 1000,
                "{format} keeps holes"
            );
        }
    }
    fs::set_permissions(directory.path().join("tree/empty"), fs::Permissions::from_mode(0o644))
        .unwrap();
}
