//! kletd is killed at random moments while pods come and go: nothing is restarted, lost, doubled
//! or left behind.
//!
//! `CHAOS_KILLS` and `CHAOS_SECONDS` bound the run (whichever comes first), `CHAOS_SEED` repeats
//! one: the same choices, though not the same timing.

#[path = "chaos/pods.rs"]
mod pods;
#[path = "chaos/rng.rs"]
mod rng;
#[path = "chaos/user.rs"]
mod user;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use klet_e2e::World;
use serde_json::Value;

use rng::Rng;
use user::User;

/// Longest time from a start of the daemon to its end.
const LONGEST_LIFE: Duration = Duration::from_millis(900);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn a_daemon_killed_at_random_moments_loses_nothing() -> anyhow::Result<()> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let seed = number("CHAOS_SEED").unwrap_or(now.as_nanos() as u64);
    let seconds = number("CHAOS_SECONDS");
    let kills = number("CHAOS_KILLS").unwrap_or(if seconds.is_some() { u64::MAX } else { 20 });
    eprintln!("seed {seed}");
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(24 * 3600));
    run(&mut Rng::new(seed), kills, end).with_context(|| format!("CHAOS_SEED={seed}"))
}

fn run(rng: &mut Rng, kills: u64, end: Instant) -> anyhow::Result<()> {
    let mut world = World::new(&["busybox"])?;
    std::fs::create_dir(world.path("state"))?;
    for pod in pods::stable(&world.path("state")) {
        world.create(&pod)?;
    }
    let before = world.until("the stable pods are ready", stable)?;
    let mut user = User::default();
    let mut done = 0;
    while done < kills && Instant::now() < end {
        let death = Death::later(world.daemon_pid()?, rng.below(LONGEST_LIFE));
        while !death.has_begun() {
            if let Err(error) = user.act(&world, rng)
                && !death.has_begun()
            {
                return Err(error.context(format!("after {done} kills, while the daemon lived")));
            }
        }
        death.wait()?;
        world.kill_daemon()?;
        done += 1;
        if rng.one_in(3) {
            // Some die before they have looked around.
            world.spawn()?;
            Death::later(world.daemon_pid()?, rng.below(Duration::from_millis(150))).wait()?;
            world.kill_daemon()?;
            done += 1;
        }
        world.start()?;
        user.check(&world).with_context(|| format!("after {done} kills"))?;
    }
    eprintln!("{done} kills; {user}");
    user.settle(&world)?;
    let after = world.until("the stable pods are ready", stable)?;
    ensure!(before == after, "the stable pods changed from {before:#?} to {after:#?}");
    lines_are_whole(&world)?;
    finish(world, &user)
}

/// SIGKILL for a process, after a while.
struct Death {
    begun: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Death {
    fn later(pid: u32, pause: Duration) -> Self {
        let begun = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&begun);
        let thread = std::thread::spawn(move || {
            // The moment is what is random here.
            std::thread::park_timeout(pause);
            flag.store(true, Ordering::SeqCst);
            let status = Command::new("kill").args(["-9", &pid.to_string()]).status()?;
            ensure!(status.success(), "kill -9 {pid}");
            Ok(())
        });
        Self { begun, thread }
    }

    fn has_begun(&self) -> bool {
        self.begun.load(Ordering::SeqCst)
    }

    fn wait(self) -> anyhow::Result<()> {
        self.thread.join().map_err(|_| anyhow::anyhow!("the killer panicked"))?
    }
}

/// Container ids and restart counts of the stable pods, when all are ready.
fn stable(world: &World) -> anyhow::Result<Option<Vec<(Value, Value)>>> {
    let mut seen = Vec::new();
    for name in pods::STABLE {
        let pod = world.pod(name)?;
        let statuses = pod["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
        if statuses.is_empty() || statuses.iter().any(|status| status["ready"] != true) {
            return Ok(None);
        }
        seen.extend(statuses.iter().map(|s| (s["containerID"].clone(), s["restartCount"].clone())));
    }
    Ok(Some(seen))
}

/// Every line of the counting container is in its log, once and in order.
fn lines_are_whole(world: &World) -> anyhow::Result<()> {
    let path = "/api/v1/namespaces/default/pods/counter/log?container=count";
    let log = world.request_text("GET", path, b"")?;
    let mut expected = 1;
    for line in log.lines() {
        ensure!(line == format!("line {expected}"), "{line:?} where line {expected} belongs");
        expected += 1;
    }
    eprintln!("{} lines", expected - 1);
    ensure!(expected > 10, "only {} lines", expected - 1);
    Ok(())
}

/// Deletes everything and looks for what is left.
fn finish(world: World, user: &User) -> anyhow::Result<()> {
    for name in pods::STABLE.into_iter().map(ToOwned::to_owned).chain(user.present()) {
        let path = format!("/api/v1/namespaces/default/pods/{name}?gracePeriodSeconds=1");
        world.request("DELETE", &path, b"")?;
    }
    world.until("every pod is gone", |world| {
        let list = world.request("GET", "/api/v1/namespaces/default/pods", b"")?;
        Ok(list["items"].as_array().is_some_and(Vec::is_empty).then_some(()))
    })?;
    world.until("no lease and no log is left", |world| {
        for directory in ["root/net/leases", "log"] {
            let left = std::fs::read_dir(world.path(directory))?.count();
            ensure!(left == 0, "{left} entries in {directory}");
        }
        Ok(Some(()))
    })?;
    world.end()
}
