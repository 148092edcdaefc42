//! The tour: pods live their lives in a world of their own, told through `kletctl`.

#![expect(clippy::print_stdout, reason = "the tour is told on standard output")]

use std::io::{BufRead, BufReader, IsTerminal};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context, ensure};
use klet_e2e::{World, workspace};
use serde_json::Value;

fn main() -> anyhow::Result<()> {
    let begun = Instant::now();
    let on_host = std::env::var_os("HOST").is_some_and(|value| value == "1");
    let place = if on_host { "in the host's namespaces" } else { "in a world of its own" };
    chapter(0, &format!("A daemon starts {place}, and two images are loaded."));
    let images = ["busybox", "nginx"];
    let mut world = if on_host { World::on_host(&images)? } else { World::new(&images)? };
    say(&world, &["image", "ls"])?;
    in_order(&world)?;
    lifecycle_demo(&world)?;
    frozen(&world)?;
    crash(&mut world)?;
    nothing_left(world)?;
    println!("\nThe tour took {:.1} s.", begun.elapsed().as_secs_f64());
    Ok(())
}

fn in_order(world: &World) -> anyhow::Result<()> {
    chapter(1, "Init containers run one after the other, each to completion; then the app starts.");
    apply(world, "init-containers.yaml")?;
    let watch = Watch::start(world, "init-demo")?;
    until_ready(world, "init-demo")?;
    watch.stop()?;
    world.until("the app has spoken", |world| {
        let log =
            world.request_text("GET", "/api/v1/namespaces/default/pods/init-demo/log", b"")?;
        Ok(log.contains("running").then_some(()))
    })?;
    say(world, &["logs", "init-demo"])
}

fn lifecycle_demo(world: &World) -> anyhow::Result<()> {
    chapter(2, "nginx with a postStart and a preStop hook.");
    apply(world, "lifecycle-demo.yaml")?;
    say(world, &["wait", "--for=condition=Ready", "pod/lifecycle-demo", "--timeout=60s"])?;
    say(world, &["exec", "lifecycle-demo", "--", "cat", "/usr/share/message"])
}

fn frozen(world: &World) -> anyhow::Result<()> {
    chapter(3, "nginx is frozen under its probes: the process is there, but serves nothing.");
    apply(world, "web.yaml")?;
    say(world, &["wait", "--for=condition=Ready", "pod/web", "--timeout=60s"])?;
    let pod = world.pod("web")?;
    let pids = world.processes_of(&pod)?;
    command(&format!("kill -STOP {}", pids.join(" ")));
    let watch = Watch::start(world, "web")?;
    Command::new("kill").arg("-STOP").args(&pids).status()?;
    let frozen = Instant::now();
    world.until("readiness notices", |world| {
        Ok((container(&world.pod("web")?)["ready"] == false).then_some(()))
    })?;
    let noticed = frozen.elapsed();
    world.until("liveness restarts it", |world| {
        let pod = world.pod("web")?;
        Ok((container(&pod)["restartCount"] == 1 && container(&pod)["ready"] == true).then_some(()))
    })?;
    let restarted = frozen.elapsed();
    watch.stop()?;
    println!("  Not ready after {:.1} s: no traffic.", noticed.as_secs_f64());
    println!(
        "  Restarted by its liveness probe, and ready again after {:.1} s.",
        restarted.as_secs_f64()
    );
    let after = world.pod("web")?;
    ensure!(pod["status"]["podIP"] == after["status"]["podIP"], "the pod keeps its address");
    say(world, &["events", "--for", "pod/web"])?;
    say(world, &["timeline", "web"])
}

fn crash(world: &mut World) -> anyhow::Result<()> {
    chapter(4, "The daemon is killed with SIGKILL. Its pods do not notice.");
    say(world, &["get", "pods", "-o", "wide"])?;
    let before = world.pod("web")?;
    let daemon = world.daemon_pid().context("a daemon runs")?;
    command(&format!("kill -9 {daemon}   # kletd"));
    world.kill_daemon()?;
    let served = served_bytes(world, &before)?;
    println!(
        "  Without a daemon nginx still serves its page ({served} bytes). Now kletd starts again."
    );
    world.start()?;
    let after = until_ready(world, "web")?;
    ensure!(
        container(&before)["containerID"] == container(&after)["containerID"],
        "the same container runs"
    );
    say(world, &["get", "pods", "-o", "wide"])
}

fn nothing_left(world: World) -> anyhow::Result<()> {
    chapter(5, "Everything is deleted.");
    say(&world, &["delete", "pods", "--all"])?;
    let left = world.until("nothing is left", |world| {
        let left = world.leftovers()?;
        Ok(left.is_empty().then_some(left))
    })?;
    println!("  Left behind: {} processes, mounts, cgroups, links, files.", left.len());
    world.end()
}

fn chapter(number: u32, title: &str) {
    let (bold, plain) =
        if std::io::stdout().is_terminal() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    println!("\n{bold}{number}. {title}{plain}");
}

fn command(text: &str) {
    println!("\n  $ {text}");
}

/// Runs kletctl and shows what a user would see.
fn say(world: &World, arguments: &[&str]) -> anyhow::Result<()> {
    command(&format!("kletctl {}", arguments.join(" ")));
    let output = world.kletctl(arguments)?;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        println!("  {line}");
    }
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "kletctl {}: {complaint}", arguments.join(" "));
    Ok(())
}

fn apply(world: &World, example: &str) -> anyhow::Result<()> {
    let path = workspace().join("docs/examples").join(example);
    let shown = format!("docs/examples/{example}");
    command(&format!("kletctl apply -f {shown}"));
    let output = world.kletctl(&["apply", "-f", &path.display().to_string()])?;
    print!("  {}", String::from_utf8_lossy(&output.stdout));
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
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

/// The size of the page that the pod serves to the node.
fn served_bytes(world: &World, pod: &Value) -> anyhow::Result<usize> {
    let ip = pod["status"]["podIP"].as_str().context("the pod has an address")?;
    let page = world.inside(&["busybox", "wget", "-q", "-O", "-", &format!("http://{ip}/")])?;
    ensure!(!page.is_empty(), "nginx answers");
    Ok(page.len())
}

/// `kletctl get pod NAME -w`, shown line by line while the story goes on.
struct Watch {
    child: Child,
    printer: JoinHandle<()>,
}

impl Watch {
    fn start(world: &World, pod: &str) -> anyhow::Result<Self> {
        command(&format!("kletctl get pod {pod} -w"));
        let mut child =
            world.kletctl_command(&["get", "pod", pod, "-w"]).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("the watch has an output")?;
        let printer = std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                println!("  {line}");
            }
        });
        Ok(Self { child, printer })
    }

    fn stop(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        self.printer.join().map_err(|_| anyhow::anyhow!("the watch could not be printed"))
    }
}
