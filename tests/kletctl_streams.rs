//! The command line against a real daemon: logs, exec, watches, waits and events.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use klet_e2e::{Session, World};
use serde_json::json;

/// A pod whose init container and two containers have written their lines, ready.
fn talkative(world: &World) -> anyhow::Result<()> {
    let container = |name: &str, script: &str| json!({ "name": name, "image": "busybox", "command": ["sh", "-c", script] });
    world.create(&json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "talks", "labels": { "app": "talks" } },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "initContainers": [container("prepare", "echo prepared")],
            "containers": [
                container("first", "echo one; echo two; echo three >&2; exec sleep 1000"),
                container("second", "echo other; exec sleep 1000"),
            ],
        },
    }))?;
    world.kletctl_ok(&["wait", "pod/talks", "--for=condition=Ready", "--timeout=60s"])?;
    world.until("everything is written", |world| {
        let logs = world.kletctl_ok(&["logs", "talks", "--all-containers"])?;
        Ok((logs.lines().count() == 5).then_some(()))
    })
}

#[test]
fn logs_are_printed_as_asked() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    talkative(&world)?;
    let run = |args: &[&str]| world.kletctl_ok(args);
    let default = world.kletctl(&["log", "talks"])?;
    assert_eq!(String::from_utf8_lossy(&default.stdout), "one\ntwo\nthree\n");
    assert_eq!(
        String::from_utf8_lossy(&default.stderr),
        "Defaulted container \"first\" out of: first, second, prepare (init)\n"
    );
    assert_eq!(run(&["logs", "talks", "-c", "prepare"])?, "prepared\n");
    assert_eq!(run(&["logs", "talks", "second"])?, "other\n");
    assert_eq!(run(&["logs", "pod/talks", "-c", "first", "--tail=1"])?, "three\n");
    assert_eq!(run(&["logs", "talks", "-c", "first", "--limit-bytes=5"])?, "one\nt");
    assert_eq!(run(&["logs", "talks", "-c", "first", "--stream=Stderr"])?, "three\n");
    assert_eq!(run(&["logs", "talks", "-c", "first", "--since=1h"])?, "one\ntwo\nthree\n");
    assert_eq!(run(&["logs", "talks", "-c", "first", "--since-time=2999-01-01T00:00:00Z"])?, "");
    assert_eq!(
        run(&["logs", "talks", "--all-containers", "--prefix"])?,
        "[pod/talks/prepare] prepared\n[pod/talks/first] one\n[pod/talks/first] two\n\
         [pod/talks/first] three\n[pod/talks/second] other\n"
    );
    let stamped = run(&["logs", "-l", "app=talks", "-c", "first", "--timestamps", "--tail=1"])?;
    let (time, line) = stamped.split_once(' ').unwrap_or_default();
    assert!(time.len() == 30 && time.ends_with('Z') && line == "three\n", "{stamped}");
    for (args, text) in [
        (
            &["logs", "talks", "-c", "nobody"][..],
            "error: container nobody is not valid for pod talks\n",
        ),
        (
            &["logs", "talks", "-c", "first", "-p"],
            "Error from server (BadRequest): previous terminated container \"first\" in pod \
             \"talks\" not found\n",
        ),
        (&["logs", "talks", "--tail=-2"], "error: --tail must be greater than or equal to -1\n"),
    ] {
        let output = world.kletctl(args)?;
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), text, "{args:?}");
    }

    let mut follow = world.kletctl_command(&["logs", "-f", "talks", "-c", "first"]);
    let mut follow = follow.stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(follow.stdout.take().expect("a pipe")).lines();
    for expected in ["one", "two", "three"] {
        assert_eq!(lines.next().transpose()?.as_deref(), Some(expected));
    }
    world.kletctl_ok(&["delete", "pod", "talks"])?;
    assert!(lines.next().is_none(), "the log ends with its container");
    assert!(follow.wait()?.success());
    world.end()
}

#[test]
fn exec_carries_streams_and_the_exit_code() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    talkative(&world)?;
    let exec = |args: &[&str], input: &str| {
        world.kletctl_with(&[&["exec", "talks", "-c", "second"], args].concat(), input)
    };
    let done = exec(&["--", "sh", "-c", "echo out; echo err >&2; exit 7"], "")?;
    assert_eq!((done.status.code(), &*done.stdout), (Some(7), &b"out\n"[..]));
    assert_eq!(String::from_utf8_lossy(&done.stderr), "err\ncommand terminated with exit code 7\n");
    // More than every buffer on the way, there and back at once.
    let long: String = (0..300_000).map(|number| format!("{number}\n")).collect();
    let echoed = exec(&["-i", "--", "cat"], &long)?;
    assert!(
        echoed.status.success() && echoed.stdout == long.as_bytes(),
        "{} bytes",
        echoed.stdout.len()
    );
    let counted = exec(&["-i", "--", "wc", "-c"], "12345")?;
    assert_eq!(String::from_utf8_lossy(&counted.stdout).trim(), "5");
    let without = exec(&["-it", "--", "tty"], "")?;
    assert!(
        String::from_utf8_lossy(&without.stderr).starts_with(
            "Unable to use a TTY - input is not a terminal or the right kind of file\n"
        ),
        "{without:?}"
    );
    let missing = exec(&["--", "no-such-program"], "")?;
    assert!(!missing.status.success());
    assert!(String::from_utf8_lossy(&missing.stderr).contains("no-such-program"), "{missing:?}");
    let absent = world.kletctl(&["exec", "talks", "-c", "absent", "--", "true"])?;
    assert_eq!(
        String::from_utf8_lossy(&absent.stderr),
        "error: container absent not found in pod talks\n"
    );
    world.kletctl_ok(&["delete", "pod", "talks"])?;
    world.end()
}

#[test]
fn exec_gives_a_terminal_that_follows_the_window() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    talkative(&world)?;
    let command = world.kletctl_command(&["exec", "talks", "-c", "first", "-it", "--", "/bin/sh"]);
    let mut session = Session::start(&command, (91, 33))?;
    session.type_in("tty && stty size\r")?;
    session.expect("/dev/pts/")?;
    session.expect("33 91")?;
    session.type_in(
        "sh -c 'trap \"stty size\" WINCH; echo set\"\"up; while sleep 0.1; do :; done'\r",
    )?;
    session.expect("setup\r\n")?;
    session.resize(120, 40)?;
    session.expect("40 120")?;
    // The key that interrupts goes to the command, not to kletctl.
    session.type_in("\u{3}")?;
    session.type_in("echo still''here\r")?;
    session.expect("stillhere")?;
    session.type_in("exit 5\r")?;
    session.expect("command terminated with exit code 5")?;
    assert_eq!(session.end()?, 5);
    world.kletctl_ok(&["delete", "pod", "talks"])?;
    world.end()
}

#[test]
fn waits_watches_and_events_tell_what_happens() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    let mut watch = world.kletctl_command(&["get", "pods", "-w", "--no-headers"]);
    let mut watch = watch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut said = BufReader::new(watch.stderr.take().expect("a pipe")).lines();
    assert_eq!(
        said.next().transpose()?.as_deref(),
        Some("No resources found in default namespace."),
        "the watch has listed"
    );
    talkative(&world)?;
    let mut rows = BufReader::new(watch.stdout.take().expect("a pipe")).lines();
    let mut statuses: Vec<String> = Vec::new();
    while !statuses.iter().any(|status| status == "Running") {
        let row = rows.next().transpose()?.expect("the watch goes on");
        statuses.extend(row.split_whitespace().nth(2).map(ToOwned::to_owned));
    }
    assert!(statuses.iter().any(|status| status == "Init:0/1"), "{statuses:?}");
    watch.kill()?;
    watch.wait()?;

    let run = |args: &[&str]| world.kletctl_ok(args);
    assert_eq!(
        run(&["wait", "pod", "talks", "--for=jsonpath={.status.phase}=Running"])?,
        "pod/talks condition met\n"
    );
    let late =
        world.kletctl(&["wait", "pod/talks", "--for=condition=Absent", "--timeout=100ms"])?;
    assert_eq!(late.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&late.stderr),
        "error: timed out waiting for the condition on pods/talks\n"
    );
    let events = run(&["events", "--for=pod/talks"])?;
    let head: Vec<&str> = events
        .lines()
        .next()
        .unwrap_or_default()
        .split("  ")
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .collect();
    assert_eq!(head, ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]);
    for reason in ["Created", "Started", "Pulled"] {
        assert!(events.contains(reason), "{reason}: {events}");
    }
    let warnings = run(&["events", "--types=Warning", "--no-headers"])?;
    assert!(!warnings.contains("Normal"), "{warnings}");
    let none = world.kletctl(&["events", "--for=pod/absent"])?;
    assert_eq!(String::from_utf8_lossy(&none.stderr), "No events found in default namespace.\n");
    let mut gone = world.kletctl_command(&["wait", "pod/talks", "--for=delete", "--timeout=60s"]);
    let gone = gone.stdout(Stdio::piped()).spawn()?;
    assert_eq!(
        run(&["delete", "pod", "--all", "--grace-period=0", "--force"])?,
        "pod \"talks\" force deleted from default namespace\n"
    );
    // It may have looked after the end, and then says nothing.
    assert!(gone.wait_with_output()?.status.success());
    world.end()
}

/// The two pods of `docs/examples`, as their readers meet them.
#[test]
fn the_examples_run_as_given() -> anyhow::Result<()> {
    let world = World::new(&["busybox", "nginx"])?;
    let examples = klet_e2e::workspace().join("docs/examples");
    let example = |name: &str| examples.join(name).display().to_string();
    let run = |args: &[&str]| world.kletctl_ok(args);
    assert_eq!(
        run(&["create", "-f", &example("lifecycle-demo.yaml")])?,
        "pod/lifecycle-demo created\n"
    );
    assert_eq!(run(&["create", "-f", &example("myapp-pod.yaml")])?, "pod/myapp-pod created\n");
    run(&["wait", "--for=condition=Ready", "pod/lifecycle-demo", "--timeout=60s"])?;
    let command = ["exec", "-it", "lifecycle-demo", "--", "cat", "/usr/share/message"];
    let mut session = Session::start(&world.kletctl_command(&command), (80, 24))?;
    session.expect("Hello from the postStart handler\r\n")?;
    assert_eq!(session.end()?, 0);
    world.until("the first init container looks for its service", |world| {
        let log = world.kletctl_ok(&["log", "myapp-pod", "-c", "init-myservice"])?;
        Ok(log.contains("waiting for myservice").then_some(()))
    })?;
    let row = run(&["get", "pod", "myapp-pod", "--no-headers"])?;
    assert_eq!(row.split_whitespace().nth(2), Some("Init:0/2"), "{row}");
    run(&["delete", "pod", "--all", "--grace-period=1"])?;
    world.end()
}
