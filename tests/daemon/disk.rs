//! A full disk, and control groups that refuse.

use std::fs;

use klet_e2e::World;
use serde_json::json;

use super::{ready, server, told};

/// A root directory on a small file system of its own.
fn on_a_small_disk() -> anyhow::Result<World> {
    let mut world = World::without_daemon()?;
    let root = world.path("root");
    fs::create_dir(&root)?;
    let root = root.display().to_string();
    world.must(&["mount", "-t", "tmpfs", "-o", "size=24m", "small", &root])?;
    world.start()?;
    world.load("busybox")?;
    Ok(world)
}

/// Fills the root's file system; removing the file frees it.
fn fill(world: &World) -> anyhow::Result<String> {
    let file = world.path("root/filler").display().to_string();
    // dd ends with an error when nothing more fits.
    world.inside(&["dd", "if=/dev/zero", &format!("of={file}"), "bs=4k"])?;
    Ok(file)
}

#[test]
fn a_full_disk_refuses_writes_and_nothing_else() -> anyhow::Result<()> {
    let mut world = on_a_small_disk()?;
    world.create(&server("runs"))?;
    let before = ready(&world, "runs")?;
    let filler = fill(&world)?;
    let big = "x".repeat(600_000);
    let refused = world.until("a write is refused", |world| {
        let name = format!("big-{}", world.pod("runs")?["metadata"]["resourceVersion"]);
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": { "k": big },
            "metadata": { "generateName": name.replace('"', "") },
        });
        let path = "/api/v1/namespaces/default/configmaps";
        Ok(world.request("POST", path, map.to_string().as_bytes()).err())
    })?;
    let refused = refused.to_string();
    assert!(
        refused.contains(" 507 ") && refused.contains("no space left on the device"),
        "{refused}"
    );
    world.request("GET", "/readyz", b"")?;
    assert_eq!(before, ready(&world, "runs")?, "the pod goes on");
    let exec = world.exec("runs", "main", &["echo", "hello"])?;
    assert!(exec.windows(6).any(|window| window == b"hello\n"), "exec needs no disk");
    // A daemon that starts on a full disk comes up and finds its pods.
    world.kill_daemon()?;
    world.start()?;
    assert_eq!(before, ready(&world, "runs")?);
    world.must(&["rm", &filler])?;
    world.create(&server("later"))?;
    ready(&world, "later")?;
    assert_eq!(world.pod("runs")?["status"]["containerStatuses"][0]["restartCount"], 0);
    world.delete("runs")?;
    world.delete("later")?;
    world.kill_daemon()?;
    let root = world.path("root").display().to_string();
    world.must(&["umount", "-l", &root])?;
    world.end()
}

#[test]
fn a_pod_waits_for_control_groups_that_refuse() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    world.create(&server("before"))?;
    let before = ready(&world, "before")?;
    let trees = cgroup_mounts(&world)?;
    for tree in &trees {
        world.must(&["mount", "-o", "remount,bind,ro", tree])?;
    }
    world.create(&server("waits"))?;
    told(&world, "waits", "FailedCreatePodSandBox Failed to create pod sandbox: ")?;
    told(&world, "waits", "Read-only file system")?;
    assert_eq!(before, ready(&world, "before")?, "what runs is left alone");
    for tree in &trees {
        world.must(&["mount", "-o", "remount,bind,rw", tree])?;
    }
    ready(&world, "waits")?;
    world.delete("before")?;
    world.delete("waits")?;
    world.end()
}

fn cgroup_mounts(world: &World) -> anyhow::Result<Vec<String>> {
    let text = world.inside(&["cat", "/proc/self/mounts"])?;
    let mounts = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let cgroups =
        mounts.filter(|fields| matches!(fields.as_slice(), [_, _, "cgroup" | "cgroup2", ..]));
    Ok(cgroups.map(|fields| fields[1].to_owned()).collect())
}

#[test]
fn a_missing_controller_is_told_and_pods_run_without_its_limits() -> anyhow::Result<()> {
    let mut world = World::without_daemon()?;
    let trees = cgroup_mounts(&world)?;
    let Some(pids) = trees.iter().find(|tree| tree.ends_with("/pids")) else {
        // A unified hierarchy cannot lose one.
        return world.end();
    };
    world.must(&["umount", pids])?;
    world.start()?;
    world.load("busybox")?;
    world.create(&server("runs"))?;
    ready(&world, "runs")?;
    let check = world.request("GET", "/klet/v1/system/check", b"")?;
    let groups = check["checks"].as_array().into_iter().flatten();
    let groups: Vec<_> = groups.filter(|check| check["name"] == "control groups").collect();
    let told = groups.iter().any(|check| check["level"] == "warning");
    assert!(told && check.to_string().contains("without pids"), "{check:#}");
    world.delete("runs")?;
    world.end()
}
