//! How long a container takes from `start` to its executed program, and an exec probe to its end.
//!
//! `cargo bench -p klet-runtime` prints medians; it needs root and busybox-static.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measuring program that prints")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use common::{World, pipes};
use klet_runtime::{ExecInput, RootfsInput, exec};
use klet_sys::pidfd;

const ROUNDS: u32 = 200;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn starts(world: &World) -> (Duration, Duration) {
    let (upper, work) = (world.path("upper"), world.path("work"));
    let lower = [world.root()];
    let (mut executed, mut ended) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for directory in [&upper, &work] {
            let _ = std::fs::remove_dir_all(directory);
            std::fs::create_dir(directory).unwrap();
        }
        let rootfs = RootfsInput::Overlay { lower: &lower, upper: &upper, work: &work };
        let (io, _stdout, _stderr) = pipes();
        let began = Instant::now();
        let started = world.start_on(rootfs, Some(io)).unwrap();
        executed.push(began.elapsed());
        pidfd::wait(started.pidfd.as_fd()).unwrap();
        started.cgroup.remove().unwrap();
        ended.push(began.elapsed());
    }
    (median(executed), median(ended))
}

fn execs(world: World) -> Duration {
    let world = world.shell("sleep 1000");
    let started = world.start(Some(pipes().0)).unwrap();
    let (spec, args) = (world.spec(), ["/bin/test".to_owned(), "a".to_owned()]);
    let mut times = Vec::new();
    for number in 0..ROUNDS {
        let input = ExecInput {
            process: spec.process().as_ref().unwrap(),
            filter: started.filter.as_ref(),
            args: &args,
            extra_env: &[],
            terminal: None,
            init_pidfd: started.pidfd.as_fd(),
            cgroup: &started.cgroup,
            exec_number: number.into(),
        };
        let (io, _stdout, _stderr) = pipes();
        let began = Instant::now();
        let execed = exec(&input, Some(io)).unwrap();
        pidfd::wait(execed.pidfd.as_fd()).unwrap();
        times.push(began.elapsed());
        execed.cgroup.remove().unwrap();
    }
    pidfd::send_signal(started.pidfd.as_fd(), libc::SIGKILL).unwrap();
    pidfd::wait(started.pidfd.as_fd()).unwrap();
    started.cgroup.remove().unwrap();
    median(times)
}

fn main() {
    let mut world = World::new().shell("exit 0");
    let own = ["pid", "mount", "cgroup"];
    world.spec["linux"]["namespaces"] =
        own.iter().map(|kind| serde_json::json!({"type": kind})).collect();
    let (executed, ended) = starts(&world);
    println!("container start to exec  {executed:?}");
    println!("container start to gone  {ended:?}");
    println!("exec probe to its end    {:?}", execs(world));
}
