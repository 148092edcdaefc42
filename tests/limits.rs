//! What control groups do for a pod, on whichever version the machine has.

use std::fs::read_to_string;
use std::path::PathBuf;

use anyhow::Context;
use klet_e2e::{World, cgroup_v2, controller};
use serde_json::{Value, json};

/// A pod with one busybox container that runs a script.
fn pod(name: &str, script: &str, container: Value) -> Value {
    let mut main = json!({ "name": "main", "image": "busybox", "command": ["sh", "-c", script] });
    for (key, value) in container.as_object().into_iter().flatten() {
        main[key] = value.clone();
    }
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": {
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [main],
        },
    })
}

fn status(world: &World, name: &str) -> anyhow::Result<Value> {
    Ok(world.pod(name)?["status"]["containerStatuses"][0].clone())
}

fn until_ready(world: &World, name: &str) -> anyhow::Result<Value> {
    world.until("the pod is ready", |world| {
        (status(world, name)?["ready"] == true).then(|| world.pod(name)).transpose()
    })
}

/// How the only container ended.
fn until_ended(world: &World, name: &str) -> anyhow::Result<Value> {
    world.until("the container has ended", |world| {
        let ended = status(world, name)?["state"]["terminated"].clone();
        Ok((!ended.is_null()).then_some(ended))
    })
}

fn log(world: &World, name: &str) -> anyhow::Result<String> {
    world.request_text("GET", &format!("/api/v1/namespaces/default/pods/{name}/log"), b"")
}

/// The group of a process for a controller, as a directory (cgroups(7), `/proc/PID/cgroup`).
fn group_of(pid: &str, name: &str) -> anyhow::Result<PathBuf> {
    let text = read_to_string(format!("/proc/{pid}/cgroup"))?;
    let lines = text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    let own = if cgroup_v2() { "" } else { name };
    let mut found = lines.filter(|(controllers, _)| controllers.split(',').any(|c| c == own));
    let (_, path) = found.next().with_context(|| format!("{name} is not in {text}"))?;
    Ok(controller(name).join(path.trim_start_matches('/')))
}

/// Files of the container's group (`.`) or its pod's (`..`), by controller, with what is to be in them.
fn expected() -> &'static [(&'static str, &'static str, &'static str)] {
    if cgroup_v2() {
        &[
            ("memory", "./memory.max", "67108864"),
            ("memory", "./memory.swap.max", "0"),
            ("memory", "./memory.oom.group", "1"),
            ("cpu", "./cpu.weight", "59"),
            ("cpu", "./cpu.max", "75000 100000"),
            ("memory", "../memory.max", "67108864"),
            ("memory", "../memory.oom.group", "0"),
            ("cpu", "../cpu.weight", "59"),
            ("cpu", "../cpu.max", "75000 100000"),
            ("pids", "../pids.max", "4096"),
            ("pids", "../cgroup.procs", ""),
        ]
    } else {
        &[
            ("memory", "./memory.limit_in_bytes", "67108864"),
            ("cpu", "./cpu.shares", "512"),
            ("cpu", "./cpu.cfs_quota_us", "75000"),
            ("cpu", "./cpu.cfs_period_us", "100000"),
            ("memory", "../memory.limit_in_bytes", "67108864"),
            ("cpu", "../cpu.shares", "512"),
            ("cpu", "../cpu.cfs_quota_us", "75000"),
            ("pids", "../pids.max", "4096"),
            ("pids", "../cgroup.procs", ""),
        ]
    }
}

#[test]
fn limits_are_in_force_and_the_container_sees_its_own() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    let script = "cd /sys/fs/cgroup; cat memory.max memory/memory.limit_in_bytes 2>/dev/null; \
                  (echo 1 >memory.max; echo 1 >memory/memory.limit_in_bytes) 2>/dev/null || echo refused; \
                  exec sleep 1000";
    let resources = json!({
        "requests": { "cpu": "500m", "memory": "32Mi" },
        "limits": { "cpu": "750m", "memory": "64Mi" },
    });
    world.create(&pod("limited", script, json!({ "resources": resources })))?;
    let running = until_ready(&world, "limited")?;
    let pids = world.processes_of(&running)?;
    let pid = pids.first().context("no process")?;
    for (controller, file, value) in expected() {
        let path = group_of(pid, controller)?.join(file);
        let text = read_to_string(&path).with_context(|| path.display().to_string())?;
        assert_eq!(text.trim(), *value, "{}", path.display());
    }
    world.until("the container says what it sees", |world| {
        Ok((log(world, "limited")? == "67108864\nrefused\n").then_some(()))
    })?;
    world.delete("limited")?;
    world.end()
}

#[test]
fn a_class_of_pods_weighs_what_its_pods_request() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    let requests = |cpu: &str| json!({ "resources": { "requests": { "cpu": cpu } } });
    for (name, container) in
        [("half", requests("500m")), ("quarter", requests("250m")), ("modest", json!({}))]
    {
        world.create(&pod(name, "exec sleep 1000", container))?;
    }
    let weight = |name: &str| -> anyhow::Result<String> {
        let pid = world.processes_of(&until_ready(&world, name)?)?.first().context("none")?.clone();
        let file = if cgroup_v2() { "../../cpu.weight" } else { "../../cpu.shares" };
        Ok(read_to_string(group_of(&pid, "cpu")?.join(file))?.trim().to_owned())
    };
    let [heavy, light, least] = if cgroup_v2() { ["80", "59", "1"] } else { ["768", "512", "2"] };
    assert_eq!((weight("half")?, weight("quarter")?), (heavy.into(), heavy.into()));
    assert_eq!(weight("modest")?, least);
    world.delete("quarter")?;
    world.until("the class weighs less", |_| Ok((weight("half")? == light).then_some(())))?;
    world.delete("half")?;
    world.delete("modest")?;
    world.end()
}

#[test]
fn a_container_out_of_memory_is_killed_and_said_to_be() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    let limit = json!({ "resources": { "limits": { "memory": "16Mi" } } });
    // An endless line that tail keeps for its end.
    world.create(&pod("greedy", "exec tail /dev/zero", limit.clone()))?;
    let ended = until_ended(&world, "greedy")?;
    assert_eq!((&ended["reason"], &ended["exitCode"]), (&json!("OOMKilled"), &json!(137)));
    // On v2 the container goes as one; v1 has no such thing, and its first process goes on.
    world.create(&pod("child", "tail /dev/zero; echo went on; exit 3", limit))?;
    let ended = until_ended(&world, "child")?;
    assert_eq!(ended["reason"], "OOMKilled");
    let (code, said) = if cgroup_v2() { (137, "") } else { (3, "went on\n") };
    assert_eq!(ended["exitCode"], code);
    assert!(log(&world, "child")?.ends_with(said));
    world.delete("greedy")?;
    world.delete("child")?;
    world.end()
}

#[test]
fn a_device_that_is_not_allowed_is_refused() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    // The kernel's log, 1:11: the node may be there, the device may not be used.
    let script = "head -c 4 /dev/zero | wc -c; mknod /tmp/kmsg c 1 11; cat /tmp/kmsg";
    let capabilities = json!({ "capabilities": { "add": ["MKNOD"] } });
    world.create(&pod("device", script, json!({ "securityContext": capabilities })))?;
    assert_eq!(until_ended(&world, "device")?["exitCode"], 1);
    let log = log(&world, "device")?;
    let refused = ["mknod: /tmp/kmsg: Operation not permitted\n", "can't open '/tmp/kmsg': "];
    assert!(log.starts_with("4\n"), "{log}");
    assert!(refused.iter().any(|text| log.contains(text)), "{log}");
    world.delete("device")?;
    // Privileged containers may use every device.
    let script = "mknod /tmp/kmsg c 1 11 && exec 3</tmp/kmsg && echo opened";
    world.create(&pod("free", script, json!({ "securityContext": { "privileged": true } })))?;
    assert_eq!(until_ended(&world, "free")?["exitCode"], 0);
    world.delete("free")?;
    world.end()
}

/// On v2 a group with processes hands no controllers down: the daemon makes room for its pods.
#[test]
fn a_daemon_in_a_group_of_its_own_keeps_pods_below_it() -> anyhow::Result<()> {
    let world = World::service(&["busybox"])?;
    let limit = json!({ "resources": { "limits": { "memory": "64Mi" } } });
    world.create(&pod("inside", "exec sleep 1000", limit))?;
    let running = until_ready(&world, "inside")?;
    let pid = world.processes_of(&running)?.first().context("no process")?.clone();
    let group = group_of(&pid, "memory")?;
    assert!(group.to_string_lossy().contains("/service/kubepods/"), "{}", group.display());
    let file = if cgroup_v2() { "memory.max" } else { "memory.limit_in_bytes" };
    assert_eq!(read_to_string(group.join(file))?, "67108864\n");
    let service = group.ancestors().find(|path| path.ends_with("service")).context("no service")?;
    let held = read_to_string(service.join("cgroup.procs"))?;
    assert_eq!(held.is_empty(), cgroup_v2(), "who is in the service's own group: {held:?}");
    world.delete("inside")?;
    world.end()
}
