//! Root file systems made by an attacker: nothing outside the root is touched.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use std::os::unix::fs::symlink;

use common::World;
use klet_sys::pidfd::Exit;
use serde_json::json;

/// A world with a directory outside the root that must stay empty.
fn hostile() -> World {
    let world = World::new();
    std::fs::create_dir(world.path("canary")).unwrap();
    world
}

fn canary_is_untouched(world: &World) -> bool {
    std::fs::read_dir(world.path("canary")).unwrap().next().is_none()
}

#[test]
fn dev_is_a_symlink_to_the_host() {
    let world = hostile();
    symlink(world.path("canary"), world.root().join("dev")).unwrap();
    let error = world.failure();
    assert!(error.contains("too many levels of symbolic links"), "{error}");
    assert!(canary_is_untouched(&world));
}

#[test]
fn proc_and_sys_are_symlinks() {
    for name in ["proc", "sys"] {
        let world = hostile();
        symlink("tmp", world.root().join(name)).unwrap();
        let error = world.failure();
        assert!(error.contains(&format!("rootfs at \"/{name}\"")), "{error}");
    }
}

#[test]
fn a_mount_below_an_absolute_symlink_stays_inside() {
    for (destination, seen) in
        [("/mnt/volume", "/mnt/volume"), ("/mnt/../mnt/new/file", "/mnt/new/file")]
    {
        let mut world = hostile();
        let canary = world.path("canary");
        symlink(&canary, world.root().join("mnt")).unwrap();
        // The same path inside the root exists, so the link leads there.
        std::fs::create_dir_all(world.root().join(canary.strip_prefix("/").unwrap())).unwrap();
        let mount = json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"});
        world.spec["mounts"].as_array_mut().unwrap().push(mount);
        let world = world.shell(&format!("touch {seen}/x"));
        let ended = world.run().unwrap();
        assert_eq!(ended.exit, Exit::Code(0), "{ended:?}");
        assert!(canary_is_untouched(&world));
    }
}

#[test]
fn a_dangling_final_symlink_is_filled_inside() {
    let mut world = hostile();
    let outside = world.path("outside");
    std::fs::write(&outside, "volume\n").unwrap();
    symlink("/tmp/resolved", world.root().join("etc/resolv.conf")).unwrap();
    let mount =
        json!({"destination": "/etc/resolv.conf", "source": outside, "options": ["bind", "ro"]});
    world.spec["mounts"].as_array_mut().unwrap().push(mount);
    assert_eq!(world.shell("cat /etc/resolv.conf /tmp/resolved").output(), "volume\nvolume\n");
    assert!(!std::path::Path::new("/tmp/resolved").exists());
}

#[test]
fn the_null_device_is_not_what_it_says() {
    let mut world = hostile();
    let mounts = world.spec["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    std::fs::create_dir(world.root().join("dev")).unwrap();
    symlink("/proc/self/fd/1", world.root().join("dev/null")).unwrap();
    let error = world.failure();
    assert!(error.contains("creating device /dev/null"), "{error}");
}

#[test]
fn the_working_directory_does_not_lead_to_a_leaked_descriptor() {
    let leak = std::fs::File::open("/").unwrap();
    let mut world = hostile();
    let number = std::os::fd::AsRawFd::as_raw_fd(&leak);
    world.spec["process"]["cwd"] = json!(format!("/proc/self/fd/{number}"));
    let error = world.failure();
    assert!(
        error.starts_with("unable to start container process: mkdir /proc/self/fd/"),
        "{error}"
    );
}

#[test]
fn host_mounts_are_out_of_sight() {
    let output = hostile().shell("cat /proc/self/mountinfo").output();
    let places: Vec<_> = output.lines().map(|line| line.split(' ').nth(4).unwrap()).collect();
    assert_eq!(places[0], "/");
    for place in &places[1..] {
        assert!(["/proc", "/dev", "/sys"].iter().any(|top| place.starts_with(top)), "{places:?}");
    }
}
