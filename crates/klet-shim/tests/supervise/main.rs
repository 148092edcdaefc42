//! The real shim from outside: what a pod's life looks like to a client.

mod common;
mod hostile;

use std::time::{Duration, Instant};

use common::{World, patience};
use klet_cri::log::parse_line;
use klet_cri::{ContainerState, Reply, Request, ShimErrorKind};

#[test]
fn an_exit_code_is_recorded_then_announced() {
    let world = World::new();
    let mut client = world.sandbox();
    let config = world.container("1", "exit 7");
    client.start(&config);
    let record = client.exited(&world, &config.id);
    assert_eq!((record.code, record.oom_killed, record.start_error), (7, false, None));
    assert!(record.started_at_ns > 0 && record.finished_at_ns >= record.started_at_ns);
    let snapshot = client.only_container();
    assert_eq!((snapshot.pid, snapshot.labels), (None, config.labels));
}

#[test]
fn a_program_that_is_missing_leaves_a_record_of_code_128() {
    let world = World::new();
    let mut client = world.sandbox();
    let mut config = world.container("1", "");
    let mut process = config.spec.process().clone().unwrap();
    process.set_args(Some(vec!["/bin/absent".to_owned()]));
    config.spec.set_process(Some(process));
    let error = client.ask(Request::StartContainer(Box::new(config.clone()))).unwrap_err();
    assert_eq!(error.kind, ShimErrorKind::Start, "{error}");
    let ContainerState::Exited(record) = client.only_container().state else { panic!() };
    assert_eq!((record.code, record.start_error), (128, Some(error.message)));
    assert_eq!(world.processes().len(), 1, "pause alone is left");
}

#[test]
fn the_log_is_the_output_byte_for_byte_over_rotations() {
    let world = World::new();
    let mut client = world.sandbox();
    let mut config = world.container(
        "1",
        "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; printf end",
    );
    config.log.max_bytes = 64 << 10;
    config.log.max_files = 20;
    client.start(&config);
    assert_eq!(client.exited(&world, &config.id).code, 0);
    let directory = config.log.path.parent().unwrap();
    let mut files: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 1, "it was rotated");
    // The current file sorts first and is the newest.
    files.rotate_left(1);
    let mut text = Vec::new();
    for file in files {
        for line in std::fs::read(file).unwrap().split_inclusive(|byte| *byte == b'\n') {
            let line = parse_line(line).unwrap();
            text.extend_from_slice(line.payload);
            if !line.partial {
                text.push(b'\n');
            }
        }
    }
    let expected: String = (0..3000).map(|i| format!("line {i}\n")).collect();
    assert_eq!(String::from_utf8(text).unwrap(), expected + "end\n");
}

#[test]
fn a_captured_exec_answers_and_its_timeout_kills_grandchildren() {
    let world = World::new();
    let mut client = world.sandbox();
    let config = world.container("1", "sleep 600");
    client.start(&config);
    let before = world.processes().len();
    let outcome = client.exec(&config.id, "echo out; echo err >&2; exit 3", None);
    assert_eq!((outcome.code, outcome.timed_out), (3, false));
    assert_eq!(outcome.stderr, b"err\n");
    assert_eq!(outcome.output.len(), b"out\nerr\n".len());
    let outcome = client.exec(&config.id, "(setsid sleep 600 &) ; sleep 600", Some(200));
    assert!(outcome.timed_out);
    let deadline = Instant::now() + patience(Duration::from_secs(10));
    while world.processes().len() > before {
        assert!(Instant::now() < deadline, "grandchildren live on");
        std::thread::yield_now();
    }
}

#[test]
fn a_lost_client_changes_nothing_and_the_next_one_finds_all() {
    let world = World::new();
    let mut client = world.sandbox();
    let config = world.container("1", "sleep 600");
    let pid = client.start(&config);
    drop(client);
    let mut client = world.connect();
    let status = client.status();
    assert!(status.sandbox_ready && status.sandbox.is_some());
    assert_eq!(status.containers[0].pid, Some(pid));
    assert!(matches!(status.containers[0].state, ContainerState::Running { .. }));
    // Asked again, it is still the same one.
    assert_eq!(client.start(&config), pid);
}

#[test]
fn a_repeated_sandbox_request_brings_the_descriptors_again() {
    let world = World::new();
    let mut client = world.sandbox();
    assert_eq!(client.take_fds().len(), 2);
    let Ok(Reply::Sandbox { .. }) = client.ask(world.sandbox_request()) else { panic!() };
    assert_eq!(client.take_fds().len(), 2);
}

#[test]
fn a_stop_waits_for_its_grace_and_then_kills() {
    let world = World::new();
    let mut client = world.sandbox();
    let polite =
        world.container("1", "trap 'exit 5' TERM; echo up; while :; do sleep 600 & wait; done");
    let deaf = world.container("2", "trap '' TERM; echo up; while :; do sleep 600; done");
    for config in [&polite, &deaf] {
        client.start(config);
        let deadline = Instant::now() + patience(Duration::from_secs(10));
        while std::fs::metadata(&config.log.path).map_or(0, |m| m.len()) == 0 {
            assert!(Instant::now() < deadline, "it says nothing");
            std::thread::yield_now();
        }
    }
    let stop =
        |id: &str, grace_ms| Request::StopContainer { id: id.to_owned(), signal: 15, grace_ms };
    client.ask(stop(&polite.id, 60_000)).unwrap();
    assert_eq!(client.exited(&world, &polite.id).code, 5);
    let begin = Instant::now();
    client.ask(stop(&deaf.id, 60_000)).unwrap();
    client.ask(stop(&deaf.id, 300)).unwrap();
    assert_eq!(client.exited(&world, &deaf.id).code, 137);
    let took = begin.elapsed();
    assert!(
        took >= Duration::from_millis(300) && took < patience(Duration::from_secs(10)),
        "{took:?}"
    );
}

#[test]
fn removal_leaves_no_process_cgroup_or_file() {
    let mut world = World::new();
    let mut client = world.sandbox();
    client.start(&world.container("1", "sleep 600"));
    client.start(&world.container("2", "exit 0"));
    client.ask(Request::RemoveSandbox).unwrap();
    assert_eq!(world.processes(), [] as [i32; 0]);
    assert_eq!(world.leaves(), [] as [std::path::PathBuf; 0]);
    assert_eq!(world.shim_ends(), 0);
    let left: Vec<_> =
        std::fs::read_dir(world.run().path()).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(left, [] as [std::path::PathBuf; 0]);
}

#[test]
fn without_a_sandbox_the_last_client_takes_the_shim_along() {
    let mut world = World::new();
    drop(world.connect());
    assert_eq!(world.shim_ends(), 0);
}

#[test]
fn a_flood_of_output_does_not_keep_the_shim_from_answering() {
    let world = World::new();
    let mut client = world.sandbox();
    client.start(&world.container("1", "yes"));
    let begin = Instant::now();
    for _ in 0..20 {
        client.status();
    }
    assert!(begin.elapsed() < patience(Duration::from_secs(2)), "{:?}", begin.elapsed());
}
