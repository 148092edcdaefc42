//! Users and groups of a small image.

use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::testing::{LayerTar, unpack};

const PASSWD_TEXT: &str = "root:x:0:0:root:/root:/bin/sh\n# comment\nweb:x:33:34:web:/var/www:/bin/false\n\
    1000:x:0:0:digits:/:/bin/sh\nbroken:x:y:z\nhuge:x:4294967294:0:h:/:/bin/sh\nnohome:x:5:5\n";
const GROUP_TEXT: &str = "root:x:0:\nwww:x:34:\ndata:x:50:web,other\nlogs:x:40:other,web\n";

fn image() -> (TempDir, Vec<PathBuf>) {
    let directory = tempfile::tempdir().unwrap();
    let layer = directory.path().join("1");
    let tar = LayerTar::default().file("etc/passwd", PASSWD_TEXT).file("etc/group", GROUP_TEXT);
    unpack(&tar.bytes(), &layer, &[]).unwrap();
    (directory, vec![layer])
}

#[test]
fn who_is_who() {
    let (_directory, layers) = image();
    let user = |text: &str| lookup(&layers, text).unwrap();
    let ids = |text: &str| {
        let user = user(text);
        (user.uid, user.gid, user.additional_gids)
    };
    assert_eq!(ids(""), (0, 0, vec![]));
    assert_eq!(ids("web"), (33, 34, vec![40, 50]));
    assert_eq!(ids("33"), (33, 34, vec![40, 50]));
    assert_eq!(ids("web:root"), (33, 0, vec![]));
    assert_eq!(ids("web:77"), (33, 77, vec![]));
    assert_eq!(ids("1000"), (1000, 0, vec![]), "digits are never a name");
    assert_eq!(ids("00"), (0, 0, vec![]));
    assert_eq!(ids("2147483647"), (2_147_483_647, 0, vec![]));
    assert_eq!(user("web").home, "/var/www");
    assert_eq!(user("nohome").home, "/");
    assert_eq!(user("33").name.as_deref(), Some("web"));
    assert_eq!((user("4242").home.as_str(), user("4242").name), ("/", None));
}

#[test]
fn nobody_becomes_root_by_mistake() {
    let (_directory, layers) = image();
    let error = |text: &str| lookup(&layers, text).unwrap_err();
    for text in ["2147483648", "4294967296", "99999999999999999999", "huge", "web:4294967296"] {
        assert!(matches!(error(text), UserError::Range(_)), "{text}");
    }
    for text in ["-0", "-1", "ghost", " 0", "broken"] {
        assert!(matches!(error(text), UserError::UnknownUser(_)), "{text}");
    }
    assert!(matches!(error("web:ghosts"), UserError::UnknownGroup(_)));
    for text in [":0", "web:", "a:b:c", ":"] {
        assert!(matches!(error(text), UserError::Format(_)), "{text}");
    }
}

#[test]
fn upper_layers_win_and_can_delete() {
    let (directory, lower) = image();
    let with = |tar: LayerTar, name: &str| {
        let path = directory.path().join(name);
        unpack(&tar.bytes(), &path, &lower).unwrap();
        vec![path, lower[0].clone()]
    };
    let replaced = with(LayerTar::default().file("etc/passwd", "web:x:7:7::/:\n"), "replaced");
    assert_eq!(lookup(&replaced, "web").unwrap().uid, 7);
    let deleted = with(LayerTar::default().file("etc/.wh.passwd", ""), "deleted");
    assert!(matches!(lookup(&deleted, "web"), Err(UserError::UnknownUser(_))));
    let hidden = with(LayerTar::default().file("etc/.wh..wh..opq", ""), "hidden");
    assert!(matches!(lookup(&hidden, "web"), Err(UserError::UnknownUser(_))));
    let gone = with(LayerTar::default().file(".wh.etc", ""), "gone");
    assert!(matches!(lookup(&gone, "web"), Err(UserError::UnknownUser(_))));
}

#[test]
fn hostile_databases() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("outside"), "web:x:7:7::/:\n").unwrap();
    let outside = directory.path().join("outside").display().to_string();
    let up = "../../../../../../../../../..".to_owned() + &outside;
    let device = LayerTar::header(b'3', "etc/passwd", 0);
    let cases = [
        ("absolute", LayerTar::default().symlink("etc/passwd", &outside), false),
        ("dots", LayerTar::default().symlink("etc/passwd", &up), false),
        ("proc", LayerTar::default().symlink("etc/passwd", "/proc/self/environ"), false),
        ("fifo", LayerTar::default().raw(&LayerTar::header(b'6', "etc/passwd", 0), b""), true),
        ("directory", LayerTar::default().dir("etc/passwd", 0o755), true),
        ("device", LayerTar::default().raw(&zero_device(device), b""), true),
        ("large", LayerTar::default().file("etc/passwd", &"#".repeat((1 << 20) + 1)), true),
        ("lines", LayerTar::default().file("etc/passwd", &"\n".repeat(10_001)), true),
    ];
    for (name, tar, refused) in cases {
        let layer = directory.path().join(name);
        unpack(&tar.bytes(), &layer, &[]).unwrap();
        match lookup(&[layer], "web") {
            Err(UserError::File { .. }) if refused => {}
            Err(UserError::UnknownUser(_)) if !refused => {}
            other => panic!("{name}: {other:?}"),
        }
    }
    let layer = directory.path().join("loop");
    unpack(&LayerTar::default().symlink("etc", "etc").bytes(), &layer, &[]).unwrap();
    assert!(matches!(lookup(&[layer], "web"), Err(UserError::Io { .. })));
}

/// `/dev/zero`.
fn zero_device(mut header: tar::Header) -> tar::Header {
    header.set_device_major(1).unwrap();
    header.set_device_minor(5).unwrap();
    header.set_cksum();
    header
}

proptest! {
    #[test]
    fn any_text_is_resolved_or_refused(user in "\\PC{0,20}", passwd in "[a-z0-9:\n/#]{0,200}") {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("etc")).unwrap();
        fs::write(directory.path().join("etc/passwd"), passwd).unwrap();
        if let Ok(found) = lookup(&[directory.path().to_owned()], &user) {
            prop_assert!(found.uid <= MAX_ID && found.gid <= MAX_ID);
        }
    }
}
