//! What a container can do to its volumes, and what must come of it: nothing.

use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::*;

const REFUSED: &str = "failed to prepare subPath for volumeMount \"v\" of container \"c\"";

fn ask<'a>(volume: &'a Path, sub_path: &'a str) -> SubPath<'a> {
    SubPath { volume, volume_name: "v", container: "c", index: 0, sub_path }
}

fn an_empty_dir(dirs: &PodDirs) -> PathBuf {
    let pod = pod(volume(json!({"name": "v", "emptyDir": {}})));
    set_up(&pod, dirs, &Fixed::default(), Timestamp::UNIX_EPOCH).unwrap()["v"].host_path.clone()
}

#[test]
fn a_sub_path_is_bound_and_bound_again() {
    privately(|dir| {
        let dirs = PodDirs::new(dir.join("pod"));
        let volume = an_empty_dir(&dirs);
        let bound = sub_path(&dirs, &ask(&volume, "a/b")).unwrap();
        assert_eq!(bound, dirs.base().join("volume-subpaths/v/c/0"));
        assert_eq!(mode(volume.join("a/b")), 0o777, "the mode of the volume's root");
        std::fs::write(bound.join("f"), "x").unwrap();
        assert_eq!(std::fs::read_to_string(volume.join("a/b/f")).unwrap(), "x");
        symlink("b/f", volume.join("a/link")).unwrap();
        let file = sub_path(&dirs, &ask(&volume, "a/link")).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "x", "links inside the volume work");
        let again = sub_path(&dirs, &ask(&volume, "a")).unwrap();
        assert!(again.is_dir());
        tear_down(&dirs).unwrap();
        assert_eq!(std::fs::read_dir(dirs.base()).unwrap().count(), 0);
    });
}

#[test]
fn a_sub_path_never_leaves_its_volume() {
    privately(|dir| {
        let dirs = PodDirs::new(dir.join("pod"));
        let volume = an_empty_dir(&dirs);
        symlink("/etc", volume.join("absolute")).unwrap();
        symlink("../..", volume.join("up")).unwrap();
        symlink("/proc/self/root", volume.join("magic")).unwrap();
        symlink("nowhere/../../../x", volume.join("dangling")).unwrap();
        for hostile in
            ["absolute", "absolute/new", "up", "up/x", "../x", "/etc", "magic", "magic/etc"]
        {
            let error = sub_path(&dirs, &ask(&volume, hostile)).unwrap_err();
            assert_eq!(error.to_string(), REFUSED, "{hostile}");
        }
        assert!(sub_path(&dirs, &ask(&volume, "dangling/y")).is_err());
        assert!(
            dir.join("pod/volumes").read_dir().unwrap().count() == 1,
            "nothing was made outside"
        );
        std::fs::write(volume.join("file"), "").unwrap();
        let error = sub_path(&dirs, &ask(&volume, "file/below")).unwrap_err();
        assert!(!error.to_string().is_empty());
        tear_down(&dirs).unwrap();
    });
}

#[test]
fn an_exchange_in_the_middle_gains_nothing() {
    privately(|dir| {
        let dirs = PodDirs::new(dir.join("pod"));
        let volume = an_empty_dir(&dirs);
        let outside = dir.join("outside");
        std::fs::create_dir_all(outside.join("deep")).unwrap();
        std::fs::write(outside.join("deep/canary"), "").unwrap();
        std::fs::create_dir_all(volume.join("d/deep")).unwrap();
        symlink(&outside, volume.join("evil")).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (a, b) = (volume.join("d"), volume.join("evil"));
                while !done.load(Ordering::Relaxed) {
                    renameat_with(CWD, &a, CWD, &b, RenameFlags::EXCHANGE).unwrap();
                }
            });
            let mut bound = 0;
            for round in 0..2000 {
                let wanted = if round % 2 == 0 { "d/deep" } else { "d/deep/new" };
                if let Ok(path) = sub_path(&dirs, &ask(&volume, wanted)) {
                    bound += 1;
                    assert!(!path.join("canary").exists(), "the bind mount shows the outside");
                }
            }
            done.store(true, Ordering::Relaxed);
            assert!(bound > 0, "the race was never run");
        });
        assert_eq!(outside.join("deep").read_dir().unwrap().count(), 1, "nothing was made outside");
        tear_down(&dirs).unwrap();
        assert!(outside.join("deep/canary").exists());
    });
}

#[test]
fn tearing_down_follows_no_link_and_enters_no_mount() {
    privately(|dir| {
        let dirs = PodDirs::new(dir.join("pod"));
        let volume = an_empty_dir(&dirs);
        let canary = dir.join("canary");
        std::fs::create_dir(&canary).unwrap();
        std::fs::write(canary.join("f"), "").unwrap();
        symlink(&canary, volume.join("link")).unwrap();
        symlink("link", volume.join(".klet-removed-1")).unwrap();
        std::fs::create_dir_all(volume.join("x/y/z")).unwrap();
        // A bind mount of the same file system: a walk that only looks at device numbers enters it.
        rustix::mount::mount_bind(&canary, volume.join("x/y/z")).unwrap();
        let entered = remove::tree(&volume).unwrap_err();
        assert!(!entered.to_string().is_empty());
        assert!(canary.join("f").exists(), "a mount that is still there is not emptied");
        let through_link = dir.join("pod-link");
        symlink(dirs.base(), &through_link).unwrap();
        tear_down(&PodDirs::new(through_link)).unwrap();
        assert_eq!(
            std::fs::read_dir(dirs.base()).unwrap().count(),
            0,
            "mounts are found through a link as well"
        );
        assert!(canary.join("f").exists());
    });
}

#[test]
fn no_nesting_is_too_deep() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = PodDirs::new(dir.path().to_owned());
    let volume = an_empty_dir(&dirs);
    // Deeper than a path may be long and than descriptors may be open.
    let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let open = |at: std::os::fd::BorrowedFd<'_>, name: &str| {
        rustix::fs::openat(at, name, flags, rustix::fs::Mode::empty()).unwrap()
    };
    let mut at = rustix::fs::open(&volume, flags, rustix::fs::Mode::empty()).unwrap();
    for _ in 0..3_000 {
        rustix::fs::mkdirat(at.as_fd(), "d", rustix::fs::Mode::RWXU).unwrap();
        at = open(at.as_fd(), "d");
    }
    drop(at);
    assert!(usage(&dirs).unwrap()["v"].inodes >= 3_000);
    tear_down(&dirs).unwrap();
    assert!(!volume.exists());
}

#[test]
fn a_privileged_container_cannot_misdirect_an_update() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = PodDirs::new(dir.path().join("pod"));
    let canary = dir.path().join("canary");
    std::fs::create_dir(&canary).unwrap();
    std::fs::write(canary.join("a"), "safe").unwrap();
    let pod = pod(config_volume());
    let write = |second: i64, value: &str| {
        let now = Timestamp::from_second(second).unwrap();
        set_up(&pod, &dirs, &config(&[("a", value)]), now).unwrap()["v"].host_path.clone()
    };
    let path = write(1, "1");
    let hostile: [&dyn Fn(); 4] = [
        &|| {
            std::fs::remove_file(path.join("..data")).unwrap();
            symlink(&canary, path.join("..data")).unwrap();
        },
        &|| symlink(&canary, path.join("..data_tmp")).unwrap(),
        &|| {
            std::fs::remove_file(path.join("a")).unwrap();
            symlink(canary.join("a"), path.join("a")).unwrap();
        },
        &|| {
            let data = path.join(std::fs::read_link(path.join("..data")).unwrap());
            std::fs::remove_dir_all(&data).unwrap();
            symlink(&canary, data).unwrap();
        },
    ];
    for (second, act) in (2..).zip(hostile) {
        act();
        let value = second.to_string();
        write(second, &value);
        assert_eq!(std::fs::read_to_string(path.join("a")).unwrap(), value);
        assert_eq!(std::fs::read_to_string(canary.join("a")).unwrap(), "safe");
    }
}
