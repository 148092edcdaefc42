//! Probes and hooks of every kind against a server whose health can be switched.

use std::process::Command;

use klet_e2e::World;
use klet_e2e::pods::{busybox, fixture, pod};
use serde_json::{Value, json};

/// A pod that serves everything, with one readiness probe.
fn server(name: &str, probe: Value) -> Value {
    let ports = ["serve", "--http", "80", "--https", "443", "--tcp", "81", "--grpc", "82"];
    let mut container = fixture(&ports);
    container["readinessProbe"] = probe;
    for (key, value) in [("periodSeconds", 1), ("failureThreshold", 1), ("timeoutSeconds", 1)] {
        if container["readinessProbe"].get(key).is_none() {
            container["readinessProbe"][key] = json!(value);
        }
    }
    pod(name, container)
}

fn get(path: &str, port: u16, scheme: &str) -> Value {
    json!({ "httpGet": { "path": path, "port": port, "scheme": scheme } })
}

/// Sends a signal to the first process of a pod's container.
fn signal(world: &World, pod: &Value, name: &str) -> anyhow::Result<()> {
    let pids = world.processes_of(pod)?;
    let sent = Command::new("kill").args([&format!("-{name}"), &pids[0]]).status()?;
    anyhow::ensure!(sent.success(), "cannot signal {pids:?}");
    Ok(())
}

fn not_ready(world: &World, name: &str) -> anyhow::Result<()> {
    world.until(&format!("{name} is not ready"), |world| {
        Ok((world.container(name)?["ready"] == false).then_some(()))
    })
}

#[test]
fn every_kind_of_probe_follows_the_servers_health() -> anyhow::Result<()> {
    let world = World::new(&["fixture"])?;
    world.create(&server("http", get("/healthz", 80, "HTTP")))?;
    world.create(&server("https", get("/healthz", 443, "HTTPS")))?;
    world.create(&server("tcp", json!({ "tcpSocket": { "port": 81 } })))?;
    world.create(&server("grpc", json!({ "grpc": { "port": 82 } })))?;
    let slow = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
    for (name, failing, hanging) in [
        (
            "http",
            "HTTP probe failed with statuscode: 500",
            format!("Get \"http://IP:80/healthz\": {slow}"),
        ),
        (
            "https",
            "HTTP probe failed with statuscode: 500",
            format!("Get \"https://IP:443/healthz\": {slow}"),
        ),
        ("tcp", "dial tcp IP:81: connect: connection refused", String::new()),
        (
            "grpc",
            "service unhealthy (responded with \"NOT_SERVING\")",
            "timeout: health rpc did not complete within 1s".to_owned(),
        ),
    ] {
        let pod = world.ready(name)?;
        let ip = pod["status"]["podIP"].as_str().unwrap_or_default();
        let told =
            |why: &str| format!("Unhealthy Readiness probe failed: {}", why.replace("IP", ip));
        signal(&world, &pod, "USR1")?;
        world.event(name, &told(failing))?;
        not_ready(&world, name)?;
        if !hanging.is_empty() {
            signal(&world, &pod, "HUP")?;
            world.event(name, &told(&hanging))?;
        }
        signal(&world, &pod, "USR2")?;
        let pod = world.ready(name)?;
        assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
        world.delete(name)?;
    }
    world.end()
}

#[test]
fn answers_without_end_and_redirects_have_bounds() -> anyhow::Result<()> {
    let world = World::new(&["fixture"])?;
    world.create(&server("body", get("/body/1000000000", 80, "HTTP")))?;
    world.create(&server("elsewhere", get("/redirect?to=http://192.0.2.1/", 80, "HTTP")))?;
    world.create(&server("loop", get("/loop", 80, "HTTP")))?;
    world.create(&server("same", get("/redirect?to=/healthz", 443, "HTTPS")))?;
    world.create(&server("plain", get("/healthz", 80, "HTTPS")))?;
    world.create(&server("silent", json!({ "grpc": { "port": 83 } })))?;
    world.create(&server("unknown", json!({ "grpc": { "port": 82, "service": "x" } })))?;
    world.create(&server(
        "name",
        json!({ "tcpSocket": { "host": "no.such.host.invalid", "port": 81 } }),
    ))?;
    world.ready("body")?;
    world.ready("same")?;
    world.ready("elsewhere")?;
    let warning =
        "ProbeWarning Readiness probe warning: Probe terminated redirects, Response body: ";
    world.event("elsewhere", warning)?;
    let failed = "Unhealthy Readiness probe failed: Get";
    world.event("loop", &format!("{failed} \"/loop\": stopped after 10 redirects"))?;
    world.event("plain", "http: server gave HTTP response to HTTPS client")?;
    let silent = world.event("silent", "timeout: failed to connect service")?;
    assert!(silent.ends_with(":83\" within 1s: context deadline exceeded"), "{silent}");
    let text = "error: health rpc probe failed: rpc error: code = NotFound desc = ";
    world.event("unknown", text)?;
    world.event("name", "dial tcp: lookup no.such.host.invalid: no such host")?;
    for name in ["body", "elsewhere", "loop", "same", "plain", "silent", "unknown", "name"] {
        world.delete(name)?;
    }
    world.end()
}

#[test]
fn a_command_that_hangs_dies_with_all_it_started() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    let script = "(setsid sleep 77777 &) ; sleep 88888 & sleep 99999";
    let mut container = busybox("exec sleep 100000");
    container["readinessProbe"] = json!({
        "exec": { "command": ["sh", "-c", script] }, "timeoutSeconds": 1, "periodSeconds": 3600,
    });
    world.create(&pod("hangs", container))?;
    let text = format!(
        "Unhealthy Readiness probe failed: command timed out: \"sh -c {script}\" timed out after 1s"
    );
    world.event("hangs", &text)?;
    world.until("its processes are gone", |world| {
        let seen = world.execute("hangs", &["ps", "-o", "args"])?.stdout;
        let alive = ["77777", "88888", "99999"].iter().any(|number| seen.contains(number));
        anyhow::ensure!(!alive, "{seen}");
        Ok(Some(()))
    })?;
    world.delete("hangs")?;
    world.end()
}

#[test]
fn the_output_of_a_command_is_kept_up_to_ten_kibibytes() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    let mut container = busybox("exec sleep 100000");
    let script = "head -c 5000000 /dev/zero | tr '\\0' x; exit 1";
    container["readinessProbe"] = json!({
        "exec": { "command": ["sh", "-c", script] }, "timeoutSeconds": 20, "periodSeconds": 3600,
    });
    world.create(&pod("talks", container))?;
    let event = world.event("talks", "Unhealthy Readiness probe failed: xxx")?;
    let kept = event.matches('x').count();
    assert!(kept <= 10 << 10, "{kept}");
    world.delete("talks")?;
    world.end()
}

#[test]
fn a_background_child_of_a_probe_delays_nothing_and_lives_on() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    let mut container = busybox("exec sleep 100000");
    container["readinessProbe"] = json!({
        "exec": { "command": ["sh", "-c", "sleep 77777 & exit 0"] }, "timeoutSeconds": 60,
        "periodSeconds": 3600,
    });
    world.create(&pod("leaves", container))?;
    world.ready("leaves")?;
    assert!(world.execute("leaves", &["ps", "-o", "args"])?.stdout.contains("sleep 77777"));
    world.delete("leaves")?;
    world.end()
}

#[test]
fn hooks_reach_servers_with_tls_and_fall_back_without() -> anyhow::Result<()> {
    let world = World::new(&["fixture"])?;
    world.create(&server("server", get("/healthz", 443, "HTTPS")))?;
    let server = world.ready("server")?;
    let ip = server["status"]["podIP"].clone();
    let hook = |path: &str, port: u16| {
        let mut container = fixture(&["sleep"]);
        container["lifecycle"] = json!({ "postStart": { "httpGet": {
            "host": ip, "path": path, "port": port, "scheme": "HTTPS",
        } } });
        container
    };
    world.create(&pod("secure", hook("/healthz/fail", 443)))?;
    world.ready("secure")?;
    not_ready(&world, "server")?;
    world.create(&pod("fallback", hook("/healthz/ok", 80)))?;
    world.ready("fallback")?;
    world.ready("server")?;
    let ip = ip.as_str().unwrap_or_default();
    let text = format!(
        "LifecycleHTTPFallback request to HTTPS lifecycle hook {ip}:80 got HTTP response, retry with HTTP succeeded"
    );
    world.event("fallback", &text)?;
    world.create(&pod("refused", hook("/x", 9)))?;
    world.event("refused", "FailedPostStartHook PostStartHook failed")?;
    let message = world.until("the reason is shown", |world| {
        let waiting = world.container("refused")?["state"]["waiting"].clone();
        Ok((waiting["reason"] == "PostStartHookError").then(|| waiting["message"].clone()))
    })?;
    let expected = format!(
        "failed - error: Get \"https://{ip}:9/x\": dial tcp {ip}:9: connect: connection refused"
    );
    assert!(message.as_str().is_some_and(|text| text.ends_with(&expected)), "{message}");
    for name in ["secure", "fallback", "refused", "server"] {
        world.delete(name)?;
    }
    world.end()
}
