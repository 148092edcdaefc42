//! A pod's supervisor that dies or hangs: its pod ends and begins anew, kletd and other pods go on.

use std::process::Command;

use klet_e2e::World;
use klet_e2e::pods::{busybox, pod};
use serde_json::{Value, json};

/// The process number of a pod's supervisor.
fn supervisor(world: &World, pod: &Value) -> anyhow::Result<String> {
    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
    let text = std::fs::read(world.path(&format!("run/pods/{uid}/shim.json")))?;
    Ok(serde_json::from_slice::<Value>(&text)?["pid"].to_string())
}

fn signal(pid: &str, name: &str) -> anyhow::Result<()> {
    let sent = Command::new("kill").args([&format!("-{name}"), pid]).status()?;
    anyhow::ensure!(sent.success(), "cannot signal {pid}");
    Ok(())
}

fn two_pods(world: &World) -> anyhow::Result<Value> {
    world.create(&pod("other", busybox("exec sleep 1000")))?;
    world.create(&pod("victim", busybox("echo up; exec sleep 1000")))?;
    world.ready("other")?;
    world.ready("victim")
}

/// The victim was made anew: new container, one restart, the former one killed.
fn reborn(world: &World, before: &Value) -> anyhow::Result<()> {
    let after = world.until("the pod runs again", |world| {
        let container = world.container("victim")?;
        Ok((container["restartCount"] == 1 && container["ready"] == true).then_some(container))
    })?;
    let former = &before["status"]["containerStatuses"][0]["containerID"];
    assert_ne!(&after["containerID"], former);
    let last = &after["lastState"]["terminated"];
    assert_eq!((&last["exitCode"], &last["containerID"]), (&json!(137), former), "{last}");
    assert_eq!(world.container("other")?["restartCount"], 0);
    world.event("victim", "FailedSync error determining status: ")?;
    world
        .event("victim", "SandboxChanged Pod sandbox changed, it will be killed and re-created.")?;
    Ok(())
}

#[test]
fn a_supervisor_that_dies_ends_its_pod_which_begins_anew() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    let victim = two_pods(&world)?;
    let pids = world.processes_of(&victim)?;
    signal(&supervisor(&world, &victim)?, "KILL")?;
    reborn(&world, &victim)?;
    for pid in pids {
        assert!(!std::path::Path::new(&format!("/proc/{pid}/root/bin")).exists(), "{pid} lives on");
    }
    world.delete("victim")?;
    world.delete("other")?;
    world.end()
}

#[test]
fn a_supervisor_that_died_while_there_was_no_daemon_is_found_dead() -> anyhow::Result<()> {
    let mut world = World::new(&["busybox"])?;
    let victim = two_pods(&world)?;
    world.kill_daemon()?;
    signal(&supervisor(&world, &victim)?, "KILL")?;
    world.start()?;
    reborn(&world, &victim)?;
    world.delete("victim")?;
    world.delete("other")?;
    world.end()
}

#[test]
fn a_supervisor_that_hangs_is_given_up_and_its_pod_begins_anew() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    let victim = two_pods(&world)?;
    signal(&supervisor(&world, &victim)?, "STOP")?;
    // Whoever asks it first finds out; others are served meanwhile.
    let error = match world.execute("victim", &["true"]) {
        Err(error) => error.to_string(),
        Ok(end) => end.status.to_string(),
    };
    assert!(error.contains("does not answer"), "{error}");
    assert_eq!(world.execute("other", &["echo", "here"])?.stdout, "here\n");
    reborn(&world, &victim)?;
    world.delete("victim")?;
    world.delete("other")?;
    world.end()
}

#[test]
fn a_pod_whose_supervisor_hangs_can_be_deleted() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    let victim = two_pods(&world)?;
    signal(&supervisor(&world, &victim)?, "STOP")?;
    world.delete("victim")?;
    assert_eq!(world.container("other")?["restartCount"], 0);
    world.delete("other")?;
    world.end()
}

/// A process in the container's namespace whose parent is outside and stopped: it is killed, but not
/// reaped, and the container's first process has to wait for that.
#[test]
fn a_container_that_cannot_end_is_named_and_its_pod_goes_when_it_can() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    let victim = two_pods(&world)?;
    let pid = world.processes_of(&victim)?[0].clone();
    let mut outside = Command::new("nsenter");
    outside.args(["--pid", "--target", &pid, "sh", "-c", "echo up; exec sleep 600"]);
    let mut outside = outside.stdout(std::process::Stdio::piped()).spawn()?;
    let mut up = [0; 3];
    std::io::Read::read_exact(&mut outside.stdout.take().expect("piped"), &mut up)?;
    signal(&outside.id().to_string(), "STOP")?;
    world.request("DELETE", "/api/v1/namespaces/default/pods/victim", b"")?;
    world.event(
        "victim",
        "FailedKillPod error killing pod: container main was killed and has not ended within 15s",
    )?;
    // The pod stays, and everything else goes on.
    assert!(world.pod("victim")?["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(world.execute("other", &["echo", "here"])?.stdout, "here\n");
    signal(&outside.id().to_string(), "CONT")?;
    outside.wait()?;
    world.until("the pod is gone", |world| Ok(world.pod("victim").is_err().then_some(())))?;
    world.delete("other")?;
    world.end()
}
