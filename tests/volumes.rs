//! Volumes and static pods, on real processes.

use klet_e2e::World;
use serde_json::{Value, json};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn config_map(value: &str) -> Vec<u8> {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "settings" },
        "data": { "key": value },
    });
    object.to_string().into_bytes()
}

fn log(world: &World, pod: &str) -> anyhow::Result<String> {
    world.request_text("GET", &format!("/api/v1/namespaces/default/pods/{pod}/log"), b"")
}

#[test]
fn a_config_map_reaches_running_containers() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    world.create(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "reader" },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "volumes": [{ "name": "settings", "configMap": { "name": "settings" } }],
            "containers": [{
                "name": "main", "image": "busybox",
                "env": [{ "name": "NODE", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } }],
                "command": ["sh", "-c", "echo $NODE; while true; do cat /s/key; echo; sleep 0.1; done"],
                "volumeMounts": [{ "name": "settings", "mountPath": "/s" }],
            }],
        },
    }))?;
    world.until("the missing source is told", |world| {
        let text = "FailedMount MountVolume.SetUp failed for volume \"settings\" : configmap \"settings\" not found";
        Ok(world.events("reader")?.iter().any(|event| event == text).then_some(()))
    })?;
    world.request("POST", CONFIG_MAPS, &config_map("one"))?;
    world.until("the first value is read", |world| {
        Ok(log(world, "reader")?.contains("test-node\none\n").then_some(()))
    })?;
    world.request("PUT", &format!("{CONFIG_MAPS}/settings"), &config_map("two"))?;
    world.until("the second value is read", |world| {
        Ok(log(world, "reader")?.contains("two\n").then_some(()))
    })?;
    world.delete("reader")?;
    world.end()
}

#[test]
fn only_whole_volumes_follow_their_sources() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    let object = |kind: &str, name: &str, value: &str| {
        let field = if kind == "Secret" { "stringData" } else { "data" };
        json!({
            "apiVersion": "v1", "kind": kind, "metadata": { "name": name },
            (field): { "key": value },
        })
        .to_string()
        .into_bytes()
    };
    let secrets = CONFIG_MAPS.replace("configmaps", "secrets");
    world.request("POST", CONFIG_MAPS, &config_map("one"))?;
    world.request("POST", &secrets, &object("Secret", "password", "one"))?;
    let script = "while true; do echo env $FROM_ENV sub $(cat /sub) whole $(cat /s/key) \
                  secret $(cat /p/key) optional $(cat /o/key 2> /dev/null); sleep 0.1; done";
    world.create(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "reader" },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "volumes": [
                { "name": "settings", "configMap": { "name": "settings" } },
                { "name": "password", "secret": { "secretName": "password" } },
                { "name": "optional", "configMap": { "name": "later", "optional": true } },
            ],
            "containers": [{
                "name": "main", "image": "busybox", "command": ["sh", "-c", script],
                "env": [{
                    "name": "FROM_ENV",
                    "valueFrom": { "configMapKeyRef": { "name": "settings", "key": "key" } },
                }],
                "volumeMounts": [
                    { "name": "settings", "mountPath": "/sub", "subPath": "key" },
                    { "name": "settings", "mountPath": "/s" },
                    { "name": "password", "mountPath": "/p" },
                    { "name": "optional", "mountPath": "/o" },
                ],
            }],
        },
    }))?;
    let says = |whole: &str, secret: &str, optional: &str| {
        let line = format!("env one sub one whole {whole} secret {secret} optional{optional}");
        world.until(&format!("the pod says {line:?}"), |world| {
            let log = log(world, "reader")?;
            let last = log.lines().last();
            anyhow::ensure!(last == Some(&*line), "{last:?}");
            Ok(Some(()))
        })
    };
    says("one", "one", "")?;
    world.request("PUT", &format!("{CONFIG_MAPS}/settings"), &config_map("two"))?;
    says("two", "one", "")?;
    world.request("PUT", &format!("{secrets}/password"), &object("Secret", "password", "two"))?;
    says("two", "two", "")?;
    world.request("POST", CONFIG_MAPS, &object("ConfigMap", "later", "here"))?;
    says("two", "two", " here")?;
    world.request("DELETE", &format!("{CONFIG_MAPS}/later"), b"")?;
    says("two", "two", "")?;
    // A source that is gone and not optional leaves what was there.
    world.request("DELETE", &format!("{CONFIG_MAPS}/settings"), b"")?;
    world.request("PUT", &format!("{secrets}/password"), &object("Secret", "password", "three"))?;
    says("two", "three", "")?;
    world.delete("reader")?;
    world.end()
}

#[test]
fn a_static_pod_follows_its_file() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    let manifest = |word: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: fixed}}\nspec:\n  terminationGracePeriodSeconds: 1\n  \
             containers:\n  - name: main\n    image: busybox\n    command: [sh, -c, 'echo {word}; exec sleep 1000']\n"
        )
    };
    let file = world.path("manifests/fixed.yaml");
    let said = |world: &World, word: &str| -> anyhow::Result<Option<()>> {
        Ok((log(world, "fixed-test-node")? == format!("{word}\n")).then_some(()))
    };
    std::fs::write(&file, manifest("first"))?;
    world.until("the pod runs", |world| said(world, "first"))?;
    std::fs::write(&file, "apiVersion: v1\nkind: [\n")?;
    world.until("the bad file is told", |world| {
        let text = std::fs::read_to_string(world.path("kletd.log"))?;
        Ok(text.contains("static pod manifest").then_some(()))
    })?;
    let pod = world.pod("fixed-test-node")?;
    assert_eq!(pod["metadata"]["deletionTimestamp"], Value::Null, "the running pod stays");
    std::fs::write(&file, manifest("second"))?;
    world.until("the changed pod runs", |world| said(world, "second"))?;
    std::fs::remove_file(&file)?;
    world.until("the pod is gone", |world| {
        Ok(world.pod("fixed-test-node").is_err().then_some(()))
    })?;
    world.end()
}

#[test]
fn a_sub_path_shows_its_part_of_the_volume() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    world.request("POST", CONFIG_MAPS, &config_map("one"))?;
    world.create(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "parts" },
        "spec": {
            "restartPolicy": "Never",
            "volumes": [
                { "name": "settings", "configMap": { "name": "settings" } },
                { "name": "work", "emptyDir": {} },
            ],
            "containers": [{
                "name": "main", "image": "busybox",
                "command": ["sh", "-c", "cat /one; echo; echo two > /a/f; cat /b/f; stat -c %a /a"],
                "volumeMounts": [
                    { "name": "settings", "mountPath": "/one", "subPath": "key" },
                    { "name": "work", "mountPath": "/a", "subPath": "x/y" },
                    { "name": "work", "mountPath": "/b", "subPath": "x/y" },
                ],
            }],
        },
    }))?;
    world.until("both parts are seen", |world| {
        Ok((log(world, "parts")? == "one\ntwo\n777\n").then_some(()))
    })?;
    world.delete("parts")?;
    world.end()
}

#[test]
fn an_empty_dir_over_its_limit_evicts_the_pod() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    world.create(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "grows" },
        "spec": {
            "volumes": [
                { "name": "d", "emptyDir": { "sizeLimit": "5Mi" } },
                { "name": "m", "emptyDir": { "sizeLimit": "1Mi", "medium": "Memory" } },
            ],
            "containers": [{
                "name": "main", "image": "busybox",
                "command": ["sh", "-c", "dd if=/dev/zero of=/m/x bs=64k count=32 2> /dev/null; \
                    stat -c %s /m/x; until [ -e /d/go ]; do sleep 0.1; done; \
                    dd if=/dev/zero of=/d/x bs=1M count=6; sleep 1000"],
                "volumeMounts": [
                    { "name": "d", "mountPath": "/d" }, { "name": "m", "mountPath": "/m" },
                ],
            }],
        },
    }))?;
    world.until("memory ends at its limit", |world| {
        Ok((log(world, "grows")? == "1048576\n").then_some(()))
    })?;
    let pod = world.pod("grows")?;
    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
    let volume = world.path(&format!("root/pods/{uid}/volumes/kubernetes.io~empty-dir/d"));
    std::fs::write(volume.join("go"), b"")?;
    let pod = world.until("the pod has failed", |world| {
        let pod = world.pod("grows")?;
        Ok((pod["status"]["phase"] == "Failed").then_some(pod))
    })?;
    let message = "Usage of EmptyDir volume \"d\" exceeds the limit \"5Mi\". ";
    let status = &pod["status"];
    assert_eq!((&status["reason"], &status["message"]), (&json!("Evicted"), &json!(message)));
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let target = conditions.iter().find(|condition| condition["type"] == "DisruptionTarget");
    let target = target.cloned().unwrap_or_default();
    assert_eq!(
        (&target["status"], &target["reason"]),
        (&json!("True"), &json!("TerminationByKubelet"))
    );
    let ended = &status["containerStatuses"][0]["state"]["terminated"];
    assert_eq!(ended["exitCode"], 137, "sh does not end at TERM: {ended}");
    assert!(world.events("grows")?.contains(&format!("Evicted {message}")));
    world.until("the space is given back", |_| Ok((!volume.exists()).then_some(())))?;
    world.delete("grows")?;
    world.end()
}
