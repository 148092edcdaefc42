//! What a container may not do, and what it may when it is asked for.

use std::fs;

use klet_e2e::World;
use klet_e2e::pods::{busybox, pod};
use serde_json::{Value, json};

/// The value of a line of `/proc/self/status` in a container.
fn status(world: &World, pod: &str, key: &str) -> anyhow::Result<String> {
    let text = world.execute(pod, &["cat", "/proc/self/status"])?.stdout;
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key}:")));
    Ok(line.unwrap_or_default().trim().to_owned())
}

fn sleeper(name: &str, security: Value) -> Value {
    let mut container = busybox("exec sleep 100000");
    container["securityContext"] = security;
    pod(name, container)
}

#[test]
fn a_restricted_container_has_nothing_it_need_not_have() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    world.create(&sleeper(
        "restricted",
        json!({
            "readOnlyRootFilesystem": true, "runAsUser": 1000, "runAsGroup": 2000,
            "runAsNonRoot": true, "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] }, "seccompProfile": { "type": "RuntimeDefault" },
        }),
    ))?;
    world.create(&sleeper("usual", json!({})))?;
    world.ready("restricted")?;
    world.ready("usual")?;
    for (key, restricted, usual) in [
        ("Uid", "1000\t1000\t1000\t1000", "0\t0\t0\t0"),
        ("Gid", "2000\t2000\t2000\t2000", "0\t0\t0\t0"),
        ("CapEff", "0000000000000000", "00000000a80425fb"),
        ("CapBnd", "0000000000000000", "00000000a80425fb"),
        ("NoNewPrivs", "1", "0"),
        // Without a profile asked for there is none, as in the kubelet without `seccompDefault`.
        ("Seccomp", "2", "0"),
    ] {
        assert_eq!(status(&world, "restricted", key)?, restricted, "{key}");
        assert_eq!(status(&world, "usual", key)?, usual, "{key}");
    }
    let refused = |pod: &str, command: &[&str], why: &str| -> anyhow::Result<()> {
        let end = world.execute(pod, command)?;
        anyhow::ensure!(end.code != 0 && end.stderr.contains(why), "{command:?}: {end:?}");
        Ok(())
    };
    refused("restricted", &["touch", "/file"], "Read-only file system")?;
    // The filter forbids even what an unprivileged user may do elsewhere.
    refused("restricted", &["unshare", "-U", "true"], "Operation not permitted")?;
    refused("usual", &["mount", "-t", "tmpfs", "x", "/tmp"], "permission denied")?;
    world.delete("restricted")?;
    world.delete("usual")?;
    world.end()
}

#[test]
fn a_container_that_must_not_be_root_does_not_start_as_root() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    world.create(&sleeper("rootless", json!({ "runAsNonRoot": true })))?;
    let waiting = world.until("it is refused", |world| {
        let waiting = world.container("rootless")?["state"]["waiting"].clone();
        Ok((waiting["reason"] == "CreateContainerConfigError").then_some(waiting))
    })?;
    let message = waiting["message"].as_str().unwrap_or_default();
    assert!(
        message.starts_with("container has runAsNonRoot and image will run as root"),
        "{message}"
    );
    world.delete("rootless")?;
    world.end()
}

#[test]
fn what_the_kernel_shows_of_the_host_is_masked() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    world.create(&sleeper("masked", json!({})))?;
    world.ready("masked")?;
    for path in ["/proc/acpi", "/proc/scsi", "/sys/firmware"] {
        let end = world.execute("masked", &["ls", "-A", path])?;
        assert!(end.stdout.is_empty(), "{path}: {end:?}");
    }
    for path in ["/proc/kcore", "/proc/keys", "/proc/timer_list"] {
        let end = world.execute("masked", &["head", "-c", "1", path])?;
        assert!(end.stdout.is_empty(), "{path}: {end:?}");
    }
    for path in ["/proc/sys/kernel/panic", "/proc/sys/vm/swappiness"] {
        let end = world.execute("masked", &["sh", "-c", &format!("echo 1 > {path}")])?;
        assert!(end.code != 0 && end.stderr.contains("Read-only file system"), "{path}: {end:?}");
    }
    for path in ["/proc", "/sys", "/proc/sys", "/etc/hosts"] {
        let end = world.execute("masked", &["umount", path])?;
        assert!(end.code != 0, "{path}: {end:?}");
    }
    world.delete("masked")?;
    world.end()
}

#[test]
fn a_container_that_spoils_its_own_files_and_mounts_spoils_nothing_else() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    let script = "chmod 0 /etc/hosts /etc/resolv.conf /dev/termination-log; rm -rf /etc/* /bin/* 2>/dev/null; \
                  echo spoiled > /dev/termination-log; exit 4";
    world.create(&pod("spoils", busybox(script)))?;
    let ended = world.restarted("spoils")?;
    assert_eq!(
        (&ended["exitCode"], &ended["message"]),
        (&json!(4), &json!("spoiled\n")),
        "{ended}"
    );
    // A privileged one can take its mounts apart; its end is an end all the same.
    let mut container = busybox(
        "umount -l /proc /sys /dev/shm /etc/hosts; mount -t tmpfs x /dev; echo apart; exec sleep 100000",
    );
    container["securityContext"] = json!({ "privileged": true });
    world.create(&pod("privileged", container))?;
    world.says("privileged", "apart")?;
    world.delete("spoils")?;
    world.delete("privileged")?;
    world.end()
}

#[test]
fn links_planted_in_a_volume_lead_nowhere() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    let secret = world.path("secret");
    fs::create_dir(&secret)?;
    fs::write(secret.join("file"), "the host's")?;
    let plant =
        format!("ln -s {0} /v/dir; ln -s {0}/file /v/file; ln -s / /v/root", secret.display());
    let mut attack = pod("attack", busybox("exec sleep 100000"));
    attack["spec"]["volumes"] = json!([{ "name": "v", "emptyDir": {} }]);
    attack["spec"]["initContainers"] = json!([{
        "name": "plant", "image": "busybox", "command": ["sh", "-c", plant],
        "volumeMounts": [{ "name": "v", "mountPath": "/v" }],
    }]);
    for sub_path in ["dir", "file", "root/etc"] {
        let mut attack = attack.clone();
        attack["metadata"]["name"] = json!(format!("attack-{}", sub_path.replace('/', "-")));
        attack["spec"]["containers"][0]["volumeMounts"] =
            json!([{ "name": "v", "mountPath": "/mnt/x", "subPath": sub_path }]);
        let name = attack["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        world.create(&attack)?;
        let waiting = world.until("it is refused", |world| {
            let waiting = world.container(&name)?["state"]["waiting"].clone();
            Ok((waiting["reason"] == "CreateContainerConfigError").then_some(waiting))
        })?;
        let text = "failed to prepare subPath for volumeMount \"v\" of container \"main\"";
        assert_eq!(waiting["message"], text);
        world.delete(&name)?;
    }
    assert_eq!(fs::read_to_string(secret.join("file"))?, "the host's", "removal followed no link");
    world.end()
}

/// A directory of the host with a mount of its own; `kind` is its propagation.
fn mounted(world: &World, name: &str, kind: &str) -> anyhow::Result<String> {
    let path = world.path(name).display().to_string();
    fs::create_dir(&path)?;
    world.inside(&["mount", "-t", "tmpfs", "share", &path])?;
    world.inside(&["mount", &format!("--make-{kind}"), &path])?;
    Ok(path)
}

#[test]
fn mounts_go_from_a_privileged_container_to_the_host_and_back() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    let shared = mounted(&world, "shared", "shared")?;
    let private = mounted(&world, "private", "private")?;
    let with = |name: &str, path: &str, propagation: &str| {
        let mut wanted = sleeper(name, json!({ "privileged": propagation == "Bidirectional" }));
        wanted["spec"]["volumes"] = json!([{ "name": "v", "hostPath": { "path": path } }]);
        wanted["spec"]["containers"][0]["volumeMounts"] =
            json!([{ "name": "v", "mountPath": "/v", "mountPropagation": propagation }]);
        wanted
    };
    world.create(&with("both", &shared, "Bidirectional"))?;
    world.create(&with("receives", &shared, "HostToContainer"))?;
    world.create(&with("alone", &shared, "None"))?;
    world.create(&with("refused", &private, "Bidirectional"))?;
    for name in ["both", "receives", "alone"] {
        world.ready(name)?;
    }
    let script =
        "mkdir /v/inner && mount -t tmpfs inner /v/inner && echo from inside > /v/inner/file";
    let end = world.execute("both", &["sh", "-c", script])?;
    assert_eq!(end.code, 0, "{end:?}");
    let inner = format!("{shared}/inner");
    assert_eq!(world.inside(&["cat", &format!("{inner}/file")])?, "from inside\n");
    assert_eq!(world.execute("receives", &["cat", "/v/inner/file"])?.stdout, "from inside\n");
    assert_ne!(world.execute("alone", &["cat", "/v/inner/file"])?.code, 0);
    // What the host takes away is gone everywhere.
    world.inside(&["umount", &inner])?;
    assert_ne!(world.execute("both", &["cat", "/v/inner/file"])?.code, 0);
    let waiting = world.until("a mount that is not shared is refused", |world| {
        let waiting = world.container("refused")?["state"]["waiting"].clone();
        Ok((waiting["reason"] == "CreateContainerError").then_some(waiting))
    })?;
    let text =
        format!("path \"{private}\" is mounted on \"{private}\" but it is not a shared mount");
    assert_eq!(waiting["message"], json!(text));
    for name in ["both", "receives", "alone", "refused"] {
        world.delete(name)?;
    }
    for path in [shared, private] {
        world.inside(&["umount", &path])?;
    }
    world.end()
}
