//! The tour: pods live their lives in a world of their own, and the story is printed.

#![expect(clippy::print_stdout, reason = "the tour is told on standard output")]

use std::time::Instant;

use klet_e2e::World;
use serde_json::{Value, json};

fn main() -> anyhow::Result<()> {
    let begun = Instant::now();
    println!("A daemon of its own starts, and two images are loaded.");
    let mut world = World::new(&["busybox", "nginx"])?;
    in_order(&world)?;
    lifecycle_demo(&world)?;
    frozen(&world)?;
    crash(&mut world)?;
    println!("\n5. Everything is deleted. What is left: processes, mounts, cgroups, links?");
    for name in ["myapp-pod", "lifecycle-demo", "web"] {
        world.delete(name)?;
        println!("   {name} is gone");
    }
    world.end()?;
    println!("   Nothing is left.\n\nThe tour took {:.1} s.", begun.elapsed().as_secs_f64());
    Ok(())
}

fn sh(script: &str) -> Value {
    json!(["sh", "-c", script])
}

fn container(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

fn until_ready(world: &World, name: &str) -> anyhow::Result<Value> {
    world.until("the pod is ready", |world| {
        let pod = world.pod(name)?;
        Ok((container(&pod)["ready"] == true).then_some(pod))
    })
}

fn in_order(world: &World) -> anyhow::Result<()> {
    println!(
        "\n1. Two init containers run one after the other; the main container finds their work."
    );
    let mounts = json!([{ "name": "work", "mountPath": "/work" }]);
    let init = |name: &str| {
        json!({ "name": name, "image": "busybox", "volumeMounts": mounts,
                "command": sh(&format!("echo {name} was here >> /work/book")) })
    };
    world.create(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "myapp-pod" },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "volumes": [{ "name": "work", "emptyDir": {} }],
            "initContainers": [init("init-myservice"), init("init-mydb")],
            "containers": [{ "name": "myapp-container", "image": "busybox", "volumeMounts": mounts,
                "command": sh("cat /work/book; echo The app is running!; exec sleep 3600") }],
        },
    }))?;
    until_ready(world, "myapp-pod")?;
    let log = world.until("the app has said so", |world| {
        let log =
            world.request_text("GET", "/api/v1/namespaces/default/pods/myapp-pod/log", b"")?;
        Ok(log.contains("running").then_some(log))
    })?;
    log.lines().for_each(|line| println!("   | {line}"));
    Ok(())
}

fn lifecycle_demo(world: &World) -> anyhow::Result<()> {
    println!("\n2. nginx with a postStart and a preStop hook.");
    let say = |text: &str| json!({ "exec": { "command": ["/bin/sh", "-c", format!("echo {text} > /usr/share/message")] } });
    world.create(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "lifecycle-demo" },
        "spec": { "containers": [{
            "name": "lifecycle-demo-container", "image": "nginx",
            "lifecycle": {
                "postStart": say("Hello from the postStart handler"),
                "preStop": say("Hello from the preStop handler"),
            },
        }] },
    }))?;
    let pod = until_ready(world, "lifecycle-demo")?;
    let pid = world.processes_of(&pod)?.into_iter().next().unwrap_or_default();
    let message = std::fs::read_to_string(format!("/proc/{pid}/root/usr/share/message"))?;
    println!("   | {}", message.trim());
    Ok(())
}

fn frozen(world: &World) -> anyhow::Result<()> {
    println!(
        "\n3. nginx under readiness and liveness probes is frozen: the process exists, but serves nothing."
    );
    let get = json!({ "path": "/", "port": 80 });
    world.create(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "web" },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "web", "image": "nginx",
                "readinessProbe": { "httpGet": get, "periodSeconds": 1, "failureThreshold": 1 },
                "livenessProbe": { "httpGet": get, "periodSeconds": 1, "failureThreshold": 2 },
            }],
        },
    }))?;
    let pod = until_ready(world, "web")?;
    for pid in world.processes_of(&pod)? {
        std::process::Command::new("kill").args(["-STOP", &pid]).status()?;
    }
    let frozen = Instant::now();
    world.until("readiness notices", |world| {
        Ok((container(&world.pod("web")?)["ready"] == false).then_some(()))
    })?;
    println!("   {:.1} s later it is not ready", frozen.elapsed().as_secs_f64());
    world.until("liveness restarts it", |world| {
        let pod = world.pod("web")?;
        Ok((container(&pod)["restartCount"] == 1 && container(&pod)["ready"] == true).then_some(()))
    })?;
    println!("   {:.1} s later it was restarted and serves again", frozen.elapsed().as_secs_f64());
    for event in world.events("web")? {
        println!("   | {event}");
    }
    println!("   Its life, as `kletctl timeline web` draws it:");
    let life = world.kletctl_ok(&["timeline", "web"])?;
    let drawing = life.lines().take_while(|line| !line.starts_with("TIME"));
    drawing.for_each(|line| println!("   | {line}"));
    Ok(())
}

fn crash(world: &mut World) -> anyhow::Result<()> {
    println!("\n4. The daemon is killed with SIGKILL. Its pods do not notice.");
    let before = world.pod("web")?;
    world.kill_daemon()?;
    let pid = world.processes_of(&before)?.into_iter().next().unwrap_or_default();
    println!("   without a daemon: nginx lives as process {pid}");
    world.start()?;
    let after = until_ready(world, "web")?;
    let same = container(&before)["containerID"] == container(&after)["containerID"];
    println!(
        "   with the next daemon: the same container: {same}, restarts: {}",
        container(&after)["restartCount"]
    );
    Ok(())
}
