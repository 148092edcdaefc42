//! The real shim against programs that do not behave.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::World;
use klet_cri::limits::{MAX_CAPTURE_BYTES, REMOVAL_DEADLINE_MS};
use klet_cri::{Event, ExecConfig, ExecIo, Reply, Request, ShimErrorKind};
use serde_json::json;

fn capture(container_id: &str, script: &str, limit: usize) -> Request {
    let args = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    let io = ExecIo::Capture { limit: u32::try_from(limit).expect("small"), timeout_ms: None };
    let container_id = container_id.to_owned();
    Request::Exec(Box::new(ExecConfig { container_id, args, env: Vec::new(), io }))
}

fn stream(container_id: &str, script: &str) -> Request {
    let args = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    let io = ExecIo::Stream { stdin: false, tty: None };
    let container_id = container_id.to_owned();
    Request::Exec(Box::new(ExecConfig { container_id, args, env: Vec::new(), io }))
}

#[test]
fn captured_output_is_cut_at_its_limit_and_a_limit_too_large_is_refused() {
    let world = World::new();
    let mut client = world.sandbox();
    let config = world.container("1", "sleep 600");
    client.start(&config);
    let script = "yes | head -c 9000000 >&2; exit 4";
    let answer = client.ask(capture(&config.id, script, MAX_CAPTURE_BYTES));
    let Ok(Reply::ExecDone(outcome)) = answer else { panic!("{answer:?}") };
    assert_eq!((outcome.code, outcome.timed_out), (4, false));
    assert_eq!(
        (outcome.stderr.len(), outcome.output.len()),
        (MAX_CAPTURE_BYTES, MAX_CAPTURE_BYTES)
    );
    let error = client.ask(capture(&config.id, "true", MAX_CAPTURE_BYTES + 1)).unwrap_err();
    assert_eq!(error.kind, ShimErrorKind::Protocol);
    assert!(error.message.contains("at most 65536"), "{error}");
}

#[test]
fn what_an_exec_leaves_in_the_background_lives_on_and_nobody_waits_for_it() {
    let world = World::new();
    let mut client = world.sandbox();
    let config = world.container("1", "sleep 600");
    client.start(&config);
    let before = world.processes().len();
    // It holds the pipes open: whoever waited for their end would wait for it.
    let answer = client.ask(capture(&config.id, "sleep 600 & echo begun", 100));
    let Ok(Reply::ExecDone(outcome)) = answer else { panic!("{answer:?}") };
    assert_eq!((outcome.code, outcome.output.as_slice()), (0, b"begun\n".as_slice()));
    assert_eq!(world.processes().len(), before + 1);
    // A group that is not empty is kept until it is: the next session's end finds it.
    assert_eq!(world.leaves_below(&config.id).len(), 1);
    // The container's first process is immune to signals from inside.
    client.exec(&config.id, "killall -9 sleep", None);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !world.leaves_below(&config.id).is_empty() {
        assert!(Instant::now() < deadline, "an empty group is left");
        client.exec(&config.id, "true", None);
    }
}

#[test]
fn a_sandbox_is_removed_although_sessions_run_in_it() {
    let mut world = World::new();
    let mut client = world.sandbox();
    let config = world.container("1", "sleep 600");
    client.start(&config);
    let answer = client.ask(stream(&config.id, "sleep 600"));
    assert!(matches!(answer, Ok(Reply::ExecStarted { .. })), "{answer:?}");
    client.ask(Request::RemoveSandbox).unwrap();
    assert_eq!(world.processes(), [] as [i32; 0]);
    assert_eq!(world.shim_ends(), 0);
}

/// A process of the container whose parent is outside and does not reap it keeps the container's
/// first process from ending, as an uninterruptible wait does; and it can be undone.
#[test]
fn a_process_that_does_not_end_is_named_and_everything_else_goes_on() {
    let mut world = World::new();
    let mut client = world.sandbox();
    let config = world.container("1", "sleep 600");
    let pid = client.start(&config);
    let mut outside = Command::new("nsenter");
    outside.args(["--pid", "--target", &pid.to_string(), "sh", "-c", "echo up; exec sleep 600"]);
    let mut outside = outside.stdout(Stdio::piped()).spawn().unwrap();
    let mut up = [0; 3];
    std::io::Read::read_exact(outside.stdout.as_mut().unwrap(), &mut up).unwrap();
    signal(outside.id(), "STOP");
    let begin = Instant::now();
    let request = client.send(Request::RemoveSandbox);
    // The shim answers others while it waits.
    client.status();
    let error = client.ask(Request::StartContainer(Box::new(config.clone()))).unwrap_err();
    assert_eq!(error.message, "the pod is being removed");
    let error = client.reply(request).unwrap_err();
    assert!(begin.elapsed() >= Duration::from_millis(REMOVAL_DEADLINE_MS));
    assert!(error.message.contains(&format!("process {pid} (")), "{error}");
    signal(outside.id(), "CONT");
    outside.wait().unwrap();
    // The removal was told to have failed, but goes on.
    assert_eq!(world.shim_ends(), 0);
    assert_eq!(world.leaves(), [] as [std::path::PathBuf; 0]);
}

fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status();
    assert!(sent.expect("kill runs").success());
}

#[test]
fn a_child_killed_for_memory_is_told_while_its_container_lives_on() {
    let world = World::new();
    let mut client = world.sandbox();
    // `tail` keeps what it may have to print.
    let script = "head -c 64m /dev/zero | tail -c 48m >/dev/null; echo survived; sleep 600";
    let mut config = world.container("1", script);
    let mut spec = serde_json::to_value(&config.spec).unwrap();
    spec["linux"]["resources"] = json!({ "memory": { "limit": 16 << 20 } });
    config.spec = serde_json::from_value(spec).unwrap();
    client.start(&config);
    client.event(&Event::OomKilled { id: config.id.clone() });
    assert!(client.only_container().oom_kills > 0);
    client.log_contains(&config, "survived");
    client.ask(Request::StopContainer { id: config.id.clone(), signal: 9, grace_ms: 0 }).unwrap();
    let record = client.exited(&world, &config.id);
    assert_eq!((record.code, record.oom_killed), (137, true));
}
