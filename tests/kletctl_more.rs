//! The command line against a real daemon: describe, timeline, images, the system.

use std::fs;
use std::process::Output;

use klet_e2e::{Session, World, images};
use serde_json::{Value, json};

fn sh(script: &str) -> Value {
    json!(["sh", "-c", script])
}

/// Runs `kletctl`, which must fail with code 1, and gives what it said.
fn refused(world: &World, args: &[&str]) -> anyhow::Result<String> {
    let output: Output = world.kletctl(args)?;
    assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The texts appear in this order.
fn assert_order(text: &str, expected: &[&str]) {
    let mut rest = text;
    for part in expected {
        let found = rest.split_once(part);
        rest = found.unwrap_or_else(|| panic!("{part:?} is missing or too early in\n{text}")).1;
    }
}

fn archive(name: &str) -> String {
    images().join(format!("{name}.tar")).display().to_string()
}

/// A pod that is initialised, runs its hooks, and is restarted by its liveness probe.
fn eventful(world: &World) -> anyhow::Result<()> {
    world.create(&json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "eventful", "labels": { "app": "demo" } },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "volumes": [{ "name": "work", "emptyDir": {} }],
            "initContainers": [{ "name": "prepare", "image": "busybox",
                "command": sh("echo ready > /work/state"),
                "volumeMounts": [{ "name": "work", "mountPath": "/work" }] }],
            "containers": [{
                "name": "web", "image": "busybox", "command": sh("exec sleep 1000"),
                "env": [{ "name": "GREETING", "value": "hello" }],
                "ports": [{ "containerPort": 80, "name": "http" }],
                "volumeMounts": [{ "name": "work", "mountPath": "/work", "subPath": "" }],
                "livenessProbe": {
                    "exec": { "command": ["cat", "/work/state"] },
                    "periodSeconds": 1, "failureThreshold": 1,
                },
                "lifecycle": {
                    "postStart": { "exec": { "command": sh("true") } },
                    "preStop": { "exec": { "command": sh("echo again > /work/state") } },
                },
            }],
        },
    }))?;
    world.kletctl_ok(&["wait", "--for=condition=Ready", "pod/eventful", "--timeout=120s"])?;
    world.kletctl_ok(&["exec", "eventful", "--", "rm", "/work/state"])?;
    world.until("the pod was restarted and is ready", |world| {
        let pod = world.pod("eventful")?;
        let container = &pod["status"]["containerStatuses"][0];
        Ok((container["restartCount"] == 1 && container["ready"] == true).then_some(()))
    })
}

/// Draws the life of the eventful pod.
fn is_drawn(world: &World) -> anyhow::Result<()> {
    let drawn = world.kletctl_ok(&["timeline", "eventful", "--ascii"])?;
    let life = [
        "default/eventful: Running, 1/1 ready, restarts: 1",
        "\nsandbox  ~",
        "\nprepare  ",
        "v\nweb      ",
        "!",
        ">\n",
        "TIME",
        "accepted\n",
        "sandbox made: 10.88.",
        "prepare     started\n",
        "prepare     ended: Completed, exit code 0\n",
        "web         started\n",
        "web         postStart hook done\n",
        "Liveness probe fails: cat: can't open '/work/state'",
        "web         preStop hook done\n",
        "web         started, restart 1\n",
    ];
    assert_order(&drawn, &life);
    let record: Value =
        serde_json::from_str(&world.kletctl_ok(&["timeline", "pod/eventful", "-o", "json"])?)?;
    let first = &record["entries"][0];
    assert_eq!((&first["what"], &first["container"]), (&json!("Accepted"), &Value::Null));
    Ok(())
}

#[test]
fn a_pods_life_is_described_and_drawn() -> anyhow::Result<()> {
    let mut world = World::new(&["busybox"])?;
    eventful(&world)?;

    let text = world.kletctl_ok(&["describe", "pod", "eventful"])?;
    let expected = [
        "Name:             eventful\nNamespace:        default\n",
        "Node:             test-node/",
        "Labels:           app=demo\n",
        "Status:           Running\n",
        "Init Containers:\n  prepare:\n",
        "Completed\n",
        "Containers:\n  web:\n",
        "80/TCP (http)\n",
        "Last State:",
        "Restart Count:  1\n",
        "exec [cat /work/state] delay=0s timeout=1s period=1s \
         successThreshold=1 failureThreshold=1\n",
        "GREETING:  hello\n",
        "/work from work (rw)\n",
        "Conditions:\n  Type                        Status\n",
        "EmptyDir (a temporary directory that shares a pod's lifetime)\n",
        "QoS Class:       BestEffort\n",
        "Events:\n",
        "Successfully assigned default/eventful to test-node\n",
        "spec.initContainers{prepare}: Started container prepare\n",
        "Container web failed liveness probe, will be restarted\n",
    ];
    assert_order(&text, &expected);
    assert_eq!(
        world.kletctl_ok(&["describe", "pods", "-l", "app=demo"])?.lines().next(),
        text.lines().next()
    );
    let by_beginning = world.kletctl_ok(&["describe", "pod", "event", "--show-events=false"])?;
    assert!(by_beginning.contains("eventful") && !by_beginning.contains("Events:"));
    assert_eq!(
        refused(&world, &["describe", "pod", "other"])?,
        "Error from server (NotFound): pods \"other\" not found\n"
    );
    let node = world.kletctl_ok(&["describe", "node", "test-node"])?;
    assert_order(&node, &["Non-terminated Pods:", "(1 in total)\n", "default", "eventful"]);

    is_drawn(&world)?;
    // A new daemon has seen nothing of it; the status tells what it can.
    world.kill_daemon()?;
    world.start()?;
    let again = world.until("the pod was found again", |world| {
        let text = world.kletctl_ok(&["timeline", "eventful", "--ascii"])?;
        Ok(text.contains("found running by a new kletd").then_some(text))
    })?;
    let rest =
        ["prepare     ended: Completed", "web         ended: ", "web         started, restart 1\n"];
    assert_order(&again, &rest);
    world.delete("eventful")?;
    assert!(refused(&world, &["timeline", "eventful"])?.contains("(NotFound)"));
    world.end()
}

#[test]
fn other_objects_are_described() -> anyhow::Result<()> {
    let world = World::new(&[])?;
    world.kletctl_ok(&["create", "configmap", "settings", "--from-literal=color=blue"])?;
    assert_order(
        &world.kletctl_ok(&["describe", "cm", "settings"])?,
        &["Name:         settings\n", "\nData\n====\ncolor:\n----\nblue\n\n", "Events:  <none>\n"],
    );
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "key" },
        "stringData": { "password": "secret" } });
    world.request("POST", "/api/v1/namespaces/default/secrets", secret.to_string().as_bytes())?;
    let text = world.kletctl_ok(&["describe", "secret/key"])?;
    assert_order(&text, &["Type:  Opaque\n", "password:  6 bytes\n"]);
    assert!(!text.contains("secret\n"), "{text}");
    assert_order(
        &world.kletctl_ok(&["describe", "ns", "default"])?,
        &["Name:         default\n", "Status:       Active\n", "No resource quota.\n"],
    );
    let none = world.kletctl(&["describe", "pods"])?;
    assert_eq!(String::from_utf8_lossy(&none.stderr), "No resources found in default namespace.\n");
    world.end()
}

#[test]
fn images_come_and_go() -> anyhow::Result<()> {
    let world = World::new(&[])?;
    let busybox = "docker.io/library/busybox:latest";
    assert_eq!(
        world.kletctl_ok(&["image", "load", &archive("busybox")])?,
        format!("Loaded image: {busybox}\n")
    );
    let mut from_stdin = world.kletctl_command(&["image", "load", "-"]);
    let output = from_stdin.stdin(fs::File::open(archive("fixture"))?).output()?;
    assert_eq!(String::from_utf8(output.stdout)?, "Loaded image: docker.io/klet/fixture:latest\n");
    assert_eq!(output.stderr, b"", "no progress where there is no terminal");

    let table = world.kletctl_ok(&["image", "ls"])?;
    let rows: Vec<Vec<&str>> =
        table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "ID", "CREATED", "SIZE", "PODS"]);
    assert_eq!((rows[2][0], rows[2].last()), (busybox, Some(&"0")), "{table}");
    let shown: Value = serde_json::from_str(&world.kletctl_ok(&["image", "inspect", "busybox"])?)?;
    assert_eq!(shown["names"], json!([busybox]));
    assert_eq!(world.kletctl_ok(&["image", "ls", "-q"])?.lines().count(), 2);

    world.create(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "user" },
        "spec": { "terminationGracePeriodSeconds": 1, "containers": [{
            "name": "c", "image": "busybox", "command": sh("exec sleep 1000") }] },
    }))?;
    assert_eq!(
        refused(&world, &["image", "rm", "busybox"])?,
        "Error from server (Conflict): image busybox is in use by pod default/user; \
         delete it first, or use --force\n"
    );
    let pruned = world.kletctl_ok(&["image", "prune", "--all", "--force"])?;
    assert_order(
        &pruned,
        &["Untagged: docker.io/klet/fixture:latest\n", "Deleted: sha256:", "Space freed: "],
    );
    assert!(refused(&world, &["image", "prune", "--all"])?.contains("give --force"));
    assert!(refused(&world, &["image", "rm", "klet/fixture"])?.contains("(NotFound)"));
    let removed = world.kletctl_ok(&["image", "rm", "busybox", "--force"])?;
    assert_order(&removed, &[&format!("Untagged: {busybox}\n"), "Deleted: sha256:"]);
    world.delete("user")?;
    world.end()
}

#[test]
fn what_is_no_image_is_refused() -> anyhow::Result<()> {
    let world = World::new(&[])?;
    let file = world.path("noise.tar");
    fs::write(&file, vec![7_u8; 100_000])?;
    let file = file.display().to_string();
    let text = refused(&world, &["image", "load", &file])?;
    assert!(text.starts_with(&format!("error: {file}: ")), "{text}");
    let whole = fs::read(archive("busybox"))?;
    fs::write(&file, &whole[..whole.len() / 2])?;
    assert!(refused(&world, &["image", "load", &file])?.starts_with("error: "));
    let directory = world.path("root").display().to_string();
    assert!(refused(&world, &["image", "load", &directory])?.contains("is a directory"));
    assert!(refused(&world, &["image", "load", "/nowhere"])?.contains("No such file"));
    assert_eq!(world.kletctl_ok(&["image", "ls", "-q"])?, "");

    let load = world.kletctl_command(&["image", "load", &archive("nginx")]);
    let mut session = Session::start(&load, (100, 30))?;
    session.expect("loading ")?;
    session.expect("Loaded image: docker.io/library/nginx:latest")?;
    assert_eq!(session.end()?, 0);
    world.end()
}

#[test]
fn the_system_tells_about_itself() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    let info = world.kletctl_ok(&["system", "info"])?;
    let root = world.path("root").display().to_string();
    assert_order(
        &info,
        &["Client:", "Server:", "test-node", "Kernel:", "Cgroups:", &root, "Images:"],
    );
    let report = world.kletctl(&["system", "check", "-o", "json"])?;
    let checks: Value = serde_json::from_slice(&report.stdout)?;
    let checks = checks["checks"].as_array().cloned().unwrap_or_default();
    let level = |name: &str| {
        let check = checks.iter().find(|check| check["name"] == name);
        check.map_or(Value::Null, |check| check["level"].clone())
    };
    for name in ["kernel", "overlay", "seccomp", "pod bridge", "IP forwarding"] {
        assert_eq!(level(name), "ok", "{name}: {checks:#?}");
    }
    let bad = checks.iter().any(|check| check["level"] == "problem");
    assert_eq!(report.status.code(), Some(i32::from(bad)));
    let mut alone = world.kletctl_command(&["system", "check"]);
    let alone = alone.env("KLET_SOCKET", "/nowhere/klet.sock").output()?;
    assert_eq!(alone.status.code(), Some(1));
    let text = String::from_utf8(alone.stdout)?;
    assert_order(
        &text,
        &["problem  kletd", "no answer on /nowhere/klet.sock\n", "ok       kernel"],
    );
    let usage = world.kletctl_ok(&["system", "df"])?;
    let rows: Vec<Vec<&str>> =
        usage.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((rows[1][0], rows[1][1]), ("Images", "1"), "{usage}");
    assert!(world.kletctl_ok(&["system", "prune"])?.contains("Space freed: 0B"));

    let versions: Value = serde_json::from_str(&world.kletctl_ok(&["version", "-o", "json"])?)?;
    assert!(versions["clientVersion"]["gitVersion"].is_string());
    assert!(versions["serverVersion"]["gitVersion"].is_string());
    let kinds = world.kletctl_ok(&["api-resources"])?;
    assert_order(&kinds, &["NAME", "KIND", "\npods ", "po ", "true ", "Pod\n"]);
    assert_eq!(
        world.kletctl_ok(&["api-resources", "-o", "name", "--namespaced=false"])?,
        "namespaces\nnodes\n"
    );
    world.end()
}

#[test]
fn a_reset_leaves_an_empty_node() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "fixed" },
        "spec": { "terminationGracePeriodSeconds": 1, "containers": [{
            "name": "c", "image": "busybox", "command": sh("exec sleep 1000") }] },
    });
    let file = world.path("manifests/fixed.json");
    fs::write(&file, pod.to_string())?;
    world.until("the static pod is there", |world| Ok(Some(world.pod("fixed-test-node")?)))?;
    let text = refused(&world, &["system", "reset", "--force"])?;
    assert!(text.contains("static pods would come back: fixed-test-node."), "{text}");
    fs::remove_file(&file)?;
    world.until("the static pod is gone", |world| Ok(world.pod("fixed-test-node").err()))?;

    world.kletctl_ok(&["create", "namespace", "team"])?;
    world.kletctl_ok(&["create", "configmap", "settings", "--from-literal=a=b", "-n", "team"])?;
    world.create(&pod)?;
    assert!(refused(&world, &["system", "reset"])?.contains("give --force"));
    let told = world.kletctl_ok(&["system", "reset", "--force"])?;
    assert_order(&told, &["pod default/fixed ended\n", "All pods, objects and images are gone"]);
    assert_eq!(world.kletctl_ok(&["get", "pods,cm", "-A"])?, "");
    assert_eq!(
        world.kletctl_ok(&["get", "ns", "-o", "name"])?,
        "namespace/default\nnamespace/kube-system\n"
    );
    assert_eq!(world.kletctl_ok(&["image", "ls", "-q"])?, "");
    world.end()
}

#[test]
fn completions_and_manual_pages_are_written() -> anyhow::Result<()> {
    let world = World::new(&[])?;
    for (shell, sign) in
        [("bash", "complete -F"), ("zsh", "#compdef kletctl"), ("fish", "complete -c kletctl")]
    {
        let script = world.kletctl_ok(&["completion", shell])?;
        assert!(script.contains(sign) && script.contains("timeline"), "{shell}");
    }
    let directory = world.path("man");
    world.kletctl_ok(&["man", "--dir", &directory.display().to_string()])?;
    let page = fs::read_to_string(directory.join("kletctl-describe.1"))?;
    assert!(page.contains("Show an object in detail"), "{page}");
    world.end()
}
