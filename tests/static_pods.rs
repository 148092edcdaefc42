//! Static pods: what files say and what users do about it.

use std::fs;

use klet_e2e::World;
use serde_json::{Value, json};

fn manifest(name: &str, word: &str) -> String {
    let command = format!("echo {word}; exec sleep 100000");
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{ "name": "main", "image": "busybox", "command": ["sh", "-c", command] }],
        },
    })
    .to_string()
}

/// Waits until a pod is ready; its first container's status.
fn ready(world: &World, name: &str) -> anyhow::Result<Value> {
    world.until(&format!("{name} is ready"), |world| {
        let container = world.pod(name)?["status"]["containerStatuses"][0].clone();
        Ok((container["ready"] == true).then_some(container))
    })
}

fn gone(world: &World, name: &str) -> anyhow::Result<()> {
    world.until(&format!("{name} is gone"), |world| Ok(world.pod(name).is_err().then_some(())))
}

fn told(world: &World, about: &str, text: &str) -> anyhow::Result<()> {
    world.until(&format!("an event of {about} says {text:?}"), |world| {
        let events = world.events(about)?;
        anyhow::ensure!(events.iter().any(|event| event.contains(text)), "{events:#?}");
        Ok(Some(()))
    })
}

#[test]
fn a_file_that_is_not_followed_is_explained_once() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    let file = world.path("manifests/web.yaml");
    fs::write(&file, manifest("web", "hello"))?;
    let before = ready(&world, "web-test-node")?;
    fs::write(&file, "apiVersion: v1\nkind: Pod\nspec:\n  containers: [\n")?;
    let text = "FailedValidation Error validating pod web-test-node from file due to ";
    told(&world, "web-test-node", text)?;
    told(&world, "web-test-node", "web.yaml:")?;
    assert_eq!(before, ready(&world, "web-test-node")?, "the pod goes on");
    // A file that never was a pod is told by the node.
    fs::write(world.path("manifests/odd.json"), "{\"kind\": \"Service\", \"apiVersion\": \"v1\"}")?;
    told(&world, "test-node", "manifests/odd.json due to is a \"Service\", not a Pod, ignoring")?;
    let bad = manifest("A_b", "x");
    fs::write(world.path("manifests/bad-name.json"), bad)?;
    told(&world, "test-node", "manifests/bad-name.json due to invalid pod: [metadata.name: ")?;
    // The same name twice: the first file has it.
    fs::write(world.path("manifests/first"), manifest("twin", "first"))?;
    ready(&world, "twin-test-node")?;
    fs::write(world.path("manifests/second"), manifest("twin", "second"))?;
    told(&world, "test-node", "duplicate pod name \"twin-test-node\", which first has, ignoring")?;
    fs::write(world.path("manifests/.hidden"), "no pod")?;
    // Each fault is told once, however often the directory is read.
    let log = world.daemon_log();
    assert_eq!(log.matches("odd.json: is a").count(), 1, "{log}");
    assert!(!log.contains(".hidden"));
    fs::remove_file(world.path("manifests/first"))?;
    world.until("the second file's pod runs", |world| {
        let path = "/api/v1/namespaces/default/pods/twin-test-node/log";
        Ok((world.request_text("GET", path, b"")? == "second\n").then_some(()))
    })?;
    for name in ["web.yaml", "odd.json", "bad-name.json", "second"] {
        fs::remove_file(world.path("manifests").join(name))?;
    }
    gone(&world, "web-test-node")?;
    gone(&world, "twin-test-node")?;
    world.end()
}

#[test]
fn the_directory_may_come_and_go() -> anyhow::Result<()> {
    let mut world = World::without_daemon()?;
    let directory = world.path("etc/klet/manifests").display().to_string();
    world.set_arguments(&["--manifests", &directory]);
    world.start()?;
    world.load("busybox")?;
    for word in ["one", "two"] {
        fs::create_dir_all(&directory)?;
        fs::write(format!("{directory}/web.json"), manifest("web", word))?;
        ready(&world, "web-test-node")?;
        let pod = world.pod("web-test-node")?;
        assert_eq!(pod["metadata"]["annotations"]["kubernetes.io/config.source"], "file");
        fs::remove_dir_all(world.path("etc"))?;
        gone(&world, "web-test-node")?;
    }
    world.end()
}

#[test]
fn a_restarted_daemon_adopts_them() -> anyhow::Result<()> {
    let mut world = World::new(&["busybox"])?;
    let file = world.path("manifests/web.json");
    fs::write(&file, manifest("web", "hello"))?;
    let before = ready(&world, "web-test-node")?;
    world.kill_daemon()?;
    world.start()?;
    assert_eq!(before, ready(&world, "web-test-node")?);
    // What changed while nobody looked counts as well.
    world.kill_daemon()?;
    fs::remove_file(&file)?;
    world.start()?;
    gone(&world, "web-test-node")?;
    world.end()
}

#[test]
fn deleting_the_mirror_leaves_the_pod() -> anyhow::Result<()> {
    let mut world = World::new(&["busybox"])?;
    let file = world.path("manifests/web.json");
    fs::write(&file, manifest("web", "hello"))?;
    let before = ready(&world, "web-test-node")?;
    let path = "/api/v1/namespaces/default/pods/web-test-node";
    let old = world.pod("web-test-node")?["metadata"].clone();
    let answer = world.request("DELETE", &format!("{path}?gracePeriodSeconds=0"), b"")?;
    assert_eq!(answer["metadata"]["uid"], old["uid"], "the object that was deleted");
    let new = world.pod("web-test-node")?["metadata"].clone();
    assert_ne!(new["uid"], old["uid"], "another object");
    assert_eq!(new["deletionTimestamp"], Value::Null);
    world.kill_daemon()?;
    world.start()?;
    assert_eq!(before, ready(&world, "web-test-node")?, "the same container");
    let log = world.request_text("GET", &format!("{path}/log"), b"")?;
    assert_eq!(log, "hello\n");
    let exec = world.exec("web-test-node", "main", &["echo", "here"])?;
    assert!(exec.windows(5).any(|window| window == b"here\n"));

    // Nobody else may say that an object mirrors a pod.
    let mut copy: Value = serde_json::from_str(&manifest("copy", "x"))?;
    let mirror = new["annotations"]["kubernetes.io/config.mirror"].clone();
    copy["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": mirror });
    let refused = world.create(&copy).unwrap_err().to_string();
    assert!(refused.contains(" 403 ") && refused.contains("mirror pods are made for files only"));
    copy["metadata"]["annotations"] = Value::Null;
    world.create(&copy)?;
    let mut copy = world.pod("copy")?;
    copy["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": mirror });
    let copy_path = "/api/v1/namespaces/default/pods/copy";
    let refused = world.request("PUT", copy_path, copy.to_string().as_bytes()).unwrap_err();
    assert!(refused.to_string().contains("may not add mirror pod annotation"), "{refused}");
    world.delete("copy")?;

    // The same file again, before the pod it took away is gone.
    fs::remove_file(&file)?;
    fs::write(&file, manifest("web", "hello"))?;
    world.until("a pod of the file is ready and stays", |world| {
        let pod = world.pod("web-test-node")?;
        let stays = pod["metadata"]["deletionTimestamp"] == Value::Null;
        Ok((stays && pod["status"]["containerStatuses"][0]["ready"] == true).then_some(()))
    })?;
    fs::remove_file(&file)?;
    gone(&world, "web-test-node")?;
    world.end()
}
