//! Starts that must fail, and starts that must not.

use std::fs;
use std::os::unix::net::UnixListener;

use anyhow::Context;
use klet_e2e::World;
use serde_json::json;

use super::{ready, server};

#[test]
fn a_second_daemon_is_refused_and_told_who_is_there() -> anyhow::Result<()> {
    let world = World::new(&[])?;
    let pid = format!("process {}", world.daemon_pid()?);
    let second = world.doomed_daemon(&[])?;
    assert_eq!(second.code, Some(1), "{}", second.stderr);
    assert!(second.stderr.contains(&pid), "{}", second.stderr);
    assert!(second.stderr.contains("is in use by"), "{}", second.stderr);
    // Another root, but the same socket.
    let root = world.path("other-root").display().to_string();
    let third = world.doomed_daemon(&[
        "--root",
        &root,
        "--bridge",
        "klet1",
        "--pod-cidr",
        "10.99.0.0/24",
    ])?;
    assert_eq!(third.code, Some(1), "{}", third.stderr);
    assert!(third.stderr.contains(&format!("{pid} listens on")), "{}", third.stderr);
    world.request("GET", "/readyz", b"")?;
    world.end()
}

#[test]
fn a_stale_socket_is_replaced() -> anyhow::Result<()> {
    let mut world = World::without_daemon()?;
    fs::create_dir_all(world.path("run"))?;
    drop(UnixListener::bind(world.path("run/klet.sock"))?);
    world.start()?;
    world.end()
}

#[test]
fn a_socket_path_that_is_too_long_is_refused_before_anything_is_made() -> anyhow::Result<()> {
    let world = World::without_daemon()?;
    let run = world.path(&"r".repeat(80)).display().to_string();
    let refused = world.doomed_daemon(&["--run", &run])?;
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("choose a shorter one"), "{}", refused.stderr);
    assert!(!world.path("root").exists());
    world.end()
}

#[test]
fn bad_flags_and_configuration_files_are_explained() -> anyhow::Result<()> {
    let world = World::without_daemon()?;
    let unknown = world.doomed_daemon(&["--pod-cdir", "10.0.0.0/24"])?;
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("--pod-cdir") && unknown.stderr.contains("--pod-cidr"));
    let file = world.path("kletd.toml");
    let path = file.display().to_string();
    for (text, told) in [
        ("bridge = \"b\"\npod-cdir = \"10.0.0.0/24\"\n", ":2:1: unknown field `pod-cdir`"),
        ("bridge = \"b\"\nnode-name = 7\n", ":2:13: invalid type"),
        ("bridge = \"b\"\nnode-name = \"n\n", ":2:"),
    ] {
        fs::write(&file, text)?;
        let refused = world.doomed_daemon(&["--config", &path])?;
        assert_eq!(refused.code, Some(1), "{text}");
        assert!(refused.stderr.contains(&format!("{path}{told}")), "{}", refused.stderr);
        assert_eq!(refused.stderr.trim().lines().count(), 1, "{}", refused.stderr);
    }
    let missing = world.doomed_daemon(&["--config", "/nonexistent"])?;
    assert!(missing.stderr.contains("/nonexistent"), "{}", missing.stderr);
    let range = world.doomed_daemon(&["--pod-cidr", "10.0.0.0/33"])?;
    assert!(range.stderr.contains("--pod-cidr \"10.0.0.0/33\""), "{}", range.stderr);
    world.end()
}

#[test]
fn a_damaged_store_is_set_aside_and_what_runs_goes_on() -> anyhow::Result<()> {
    let mut world = World::new(&["busybox"])?;
    world.create(&server("lives"))?;
    let before = ready(&world, "lives")?;
    let uid = world.pod("lives")?["metadata"]["uid"].clone();
    let store = world.path("root/store");
    for (number, damage) in [truncate, empty, scribble].into_iter().enumerate() {
        world.kill_daemon()?;
        damage(&store)?;
        world.start()?;
        let after = ready(&world, "lives")?;
        assert_eq!(before, after, "the same container runs");
        let pod = world.pod("lives")?;
        assert_eq!(pod["metadata"]["uid"], uid);
        assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
        let aside = world.path(&format!("root/store.damaged-{}", number + 1));
        assert!(aside.exists(), "{}", aside.display());
        world.until("an event tells it", |world| {
            let events = world.events("test-node")?;
            let told = events.iter().find(|event| event.starts_with("ObjectStoreDamaged"));
            let told = told.context("no event")?;
            anyhow::ensure!(told.contains(&aside.display().to_string()), "{told}");
            anyhow::ensure!(told.contains("1 pods found on the node were taken over"), "{told}");
            Ok(Some(()))
        })?;
    }
    assert!(world.daemon_log().contains("is damaged"));
    world.delete("lives")?;
    world.end()
}

fn truncate(store: &std::path::Path) -> anyhow::Result<()> {
    let file = fs::File::options().write(true).open(store)?;
    Ok(file.set_len(file.metadata()?.len() / 2)?)
}

fn empty(store: &std::path::Path) -> anyhow::Result<()> {
    Ok(fs::write(store, b"")?)
}

fn scribble(store: &std::path::Path) -> anyhow::Result<()> {
    let mut bytes = fs::read(store)?;
    bytes.iter_mut().skip(4096).step_by(97).for_each(|byte| *byte ^= 0x5a);
    Ok(fs::write(store, bytes)?)
}

#[test]
fn a_reboot_begins_every_pod_again() -> anyhow::Result<()> {
    let mut world = World::new(&["busybox"])?;
    let state = world.path("state");
    fs::create_dir(&state)?;
    let mounts = json!([{ "name": "state", "mountPath": "/state" }]);
    world.create(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "again" },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "volumes": [{ "name": "state", "hostPath": { "path": state } }],
            "initContainers": [{
                "name": "init", "image": "busybox", "volumeMounts": mounts,
                "command": ["sh", "-c", "echo init >> /state/starts"],
            }],
            "containers": [{
                "name": "main", "image": "busybox", "volumeMounts": mounts,
                "command": ["sh", "-c", "echo main >> /state/starts; exec sleep 100000"],
            }],
        },
    }))?;
    world.create(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "once" },
        "spec": {
            "restartPolicy": "Never",
            "containers": [{ "name": "main", "image": "busybox", "command": ["true"] }],
        },
    }))?;
    let before = ready(&world, "again")?;
    world.until("the other has succeeded", |world| {
        Ok((world.pod("once")?["status"]["phase"] == "Succeeded").then_some(()))
    })?;
    world.reboot()?;
    world.start()?;
    let after = world.until("another container runs", |world| {
        let pod = world.pod("again")?;
        let main = &pod["status"]["containerStatuses"][0];
        let new = main["containerID"].as_str() != Some(&before);
        Ok((new && main["ready"] == true).then_some(pod))
    })?;
    assert_eq!(after["status"]["containerStatuses"][0]["restartCount"], 1);
    assert_eq!(fs::read_to_string(state.join("starts"))?, "init\nmain\ninit\nmain\n");
    assert_eq!(world.pod("once")?["status"]["phase"], "Succeeded");
    assert_eq!(world.pod("once")?["status"]["containerStatuses"][0]["restartCount"], 0);
    world.delete("again")?;
    world.delete("once")?;
    world.end()
}

#[test]
fn a_stopped_daemon_leaves_its_pods_running() -> anyhow::Result<()> {
    let mut world = World::new(&["busybox"])?;
    world.create(&server("stays"))?;
    let before = ready(&world, "stays")?;
    assert_eq!(world.stop_daemon()?, Some(0));
    assert!(!world.path("run/klet.sock").exists(), "the socket is taken away");
    world.start()?;
    assert_eq!(before, ready(&world, "stays")?);
    world.delete("stays")?;
    world.end()
}
