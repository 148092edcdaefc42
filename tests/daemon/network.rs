//! A pod network that is used up, taken or torn down by somebody else.

use std::process::{Child, Command, Stdio};

use anyhow::Context;
use klet_e2e::World;
use serde_json::{Value, json};

use super::{ready, server, told};

/// The bridge's address.
const GATEWAY: &str = "10.88.0.1";

/// A pod that says `hello` on port 80, reachable on a port of the host.
fn web(name: &str, host_port: u16) -> Value {
    let mut pod = server(name);
    let main = &mut pod["spec"]["containers"][0];
    main["command"] = json!(["nc", "-ll", "-p", "80", "-e", "echo", "hello"]);
    main["ports"] = json!([{ "containerPort": 80, "hostPort": host_port }]);
    pod
}

fn served(world: &World, address: &str, port: u16) -> anyhow::Result<()> {
    world.until(&format!("{address}:{port} is served"), |world| {
        let port = port.to_string();
        let said = world.inside(&["busybox", "nc", "-w", "2", address, &port])?;
        Ok((said
            == "hello
")
        .then_some(()))
    })
}

#[test]
fn a_range_without_free_addresses_makes_pods_wait() -> anyhow::Result<()> {
    let world = World::with_arguments(&["busybox"], &["--pod-cidr", "10.88.0.0/29"])?;
    // Eight addresses: network, gateway, broadcast, and five for pods.
    for number in 1..=5 {
        world.create(&server(&format!("pod-{number}")))?;
        ready(&world, &format!("pod-{number}"))?;
    }
    world.create(&server("sixth"))?;
    let text = "FailedCreatePodSandBox Failed to create pod sandbox: \
                no free address in pod network 10.88.0.0/29 (5 in use)";
    told(&world, "sixth", text)?;
    world.delete("pod-3")?;
    ready(&world, "sixth")?;
    for name in ["pod-1", "pod-2", "pod-4", "pod-5", "sixth"] {
        world.delete(name)?;
    }
    world.end()
}

#[test]
fn a_host_port_has_one_owner() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    world.create(&web("first", 8080))?;
    ready(&world, "first")?;
    world.create(&web("second", 8080))?;
    told(&world, "second", "node(s) didn't have free ports for the requested pod ports")?;
    served(&world, GATEWAY, 8080)?;
    world.delete("first")?;
    ready(&world, "second")?;
    served(&world, GATEWAY, 8080)?;
    world.delete("second")?;
    world.end()
}

/// A process that is ended with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_host_port_that_a_process_listens_on_is_left_to_it() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    let listener = world.enter(&["busybox", "nc", "-l", "-p", "8081"]);
    let listener = Process(listener_spawn(listener)?);
    world.until("it listens", |world| {
        Ok(world
            .inside(&["cat", "/proc/net/tcp", "/proc/net/tcp6"])?
            .contains(":1F91 ")
            .then_some(()))
    })?;
    world.create(&web("waits", 8081))?;
    told(&world, "waits", "host port 8081/TCP is in use by another process of this node")?;
    drop(listener);
    ready(&world, "waits")?;
    world.delete("waits")?;
    world.end()
}

fn listener_spawn(mut command: Command) -> anyhow::Result<Child> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().context("busybox is needed")
}

#[test]
fn what_somebody_else_tears_down_is_put_back() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    world.create(&web("web", 8080))?;
    let before = ready(&world, "web")?;
    let pod = world.pod("web")?;
    let ip = pod["status"]["podIP"].as_str().unwrap_or_default();
    served(&world, ip, 80)?;
    served(&world, GATEWAY, 8080)?;

    world.must(&["nft", "flush", "ruleset"])?;
    served(&world, GATEWAY, 8080)?;
    world.must(&["nft", "flush", "table", "inet", "klet"])?;
    served(&world, GATEWAY, 8080)?;
    world.must(&["ip", "address", "flush", "dev", "klet0"])?;
    served(&world, ip, 80)?;
    world.must(&["ip", "link", "delete", "klet0"])?;
    served(&world, ip, 80)?;
    served(&world, GATEWAY, 8080)?;
    assert!(world.daemon_log().contains("nftables table was removed or changed by somebody"));
    assert!(world.daemon_log().contains("pod bridge was removed or changed by somebody"));
    assert_eq!(before, ready(&world, "web")?);

    world.create(&server("later"))?;
    ready(&world, "later")?;
    world.delete("web")?;
    world.delete("later")?;
    world.end()
}
