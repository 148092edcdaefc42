//! Containers that do not behave: each has an end that the kubelet would show, and leaves nothing.

use std::time::{Duration, Instant};

use klet_e2e::World;
use klet_e2e::pods::{busybox, fixture, pod};
use serde_json::{Value, json};

/// The time of day of a Kubernetes timestamp, seconds.
fn seconds(time: &Value) -> i64 {
    let text = time.as_str().unwrap_or_default();
    let digits = |at: usize| text.get(at..at + 2).and_then(|two| two.parse().ok()).unwrap_or(-1);
    digits(11) * 3600 + digits(14) * 60 + digits(17)
}

fn never(mut pod: Value) -> Value {
    pod["spec"]["restartPolicy"] = json!("Never");
    pod
}

#[test]
fn a_container_that_ignores_term_is_killed_when_its_grace_is_over() -> anyhow::Result<()> {
    let world = World::new(&["fixture"])?;
    let mut deaf = pod("deaf", fixture(&["ignore-term"]));
    deaf["spec"]["containers"][0]["livenessProbe"] = json!({
        "exec": { "command": ["/bin/fixture", "exit", "1"] }, "initialDelaySeconds": 1,
        "periodSeconds": 2, "failureThreshold": 1, "terminationGracePeriodSeconds": 4,
    });
    world.create(&deaf)?;
    let ended = world.restarted("deaf")?;
    assert_eq!((&ended["exitCode"], &ended["reason"]), (&json!(137), &json!("Error")), "{ended}");
    let events = world.request("GET", "/api/v1/namespaces/default/events", b"")?;
    let events = events["items"].as_array().cloned().unwrap_or_default();
    let killing = events.iter().find(|event| event["reason"] == "Killing").expect("told");
    let grace =
        (seconds(&ended["finishedAt"]) - seconds(&killing["firstTimestamp"])).rem_euclid(86_400);
    assert!((3..60).contains(&grace), "killed {grace} s after: {killing}");
    let logs =
        world.request_text("GET", "/api/v1/namespaces/default/pods/deaf/log?previous=true", b"")?;
    assert!(logs.contains("received SIGTERM, staying"), "{logs}");
    let begin = Instant::now();
    world.delete("deaf")?;
    // The least grace is two seconds, whatever the pod says.
    assert!(begin.elapsed() >= Duration::from_secs(2), "{:?}", begin.elapsed());
    world.end()
}

#[test]
fn a_fork_bomb_is_held_by_the_pids_limit_and_harms_nobody_else() -> anyhow::Result<()> {
    let world = World::with_arguments(&["fixture", "busybox"], &["--pod-pids-limit", "100"])?;
    world.create(&pod("bomb", fixture(&["fork-bomb", "--limit", "5000"])))?;
    world.until("the limit is reached", |world| {
        let log = world.log("bomb")?;
        Ok(log.contains("cannot start a process").then_some(()))
    })?;
    let processes = world.processes_of(&world.pod("bomb")?)?.len();
    assert!(processes <= 100, "{processes}");
    // Its neighbours come and go.
    world.create(&pod("neighbour", busybox("echo here; exec sleep 1000")))?;
    world.ready("neighbour")?;
    world.delete("neighbour")?;
    assert!(world.container("bomb")?["state"]["running"].is_object());
    // Where there is no room for a process, a command is refused and not waited for.
    match world.execute("bomb", &["/bin/fixture", "exit", "0"]) {
        Ok(end) if end.code == 0 => {}
        Ok(end) => assert!(end.status.to_string().contains("temporarily unavailable"), "{end:?}"),
        Err(error) => assert!(error.to_string().contains("temporarily unavailable"), "{error}"),
    }
    world.delete("bomb")?;
    world.end()
}

#[test]
fn memory_beyond_the_limit_ends_as_oom_killed_and_follows_the_restart_policy() -> anyhow::Result<()>
{
    let world = World::new(&["fixture"])?;
    let eater = |name: &str| {
        let mut container = fixture(&["alloc", "64Mi"]);
        container["resources"] = json!({ "limits": { "memory": "24Mi" } });
        pod(name, container)
    };
    world.create(&never(eater("once")))?;
    world.create(&eater("again"))?;
    let ended = world.terminated("once")?;
    assert_eq!(
        (&ended["exitCode"], &ended["reason"]),
        (&json!(137), &json!("OOMKilled")),
        "{ended}"
    );
    assert_eq!(world.pod("once")?["status"]["phase"], "Failed");
    let ended = world.restarted("again")?;
    assert_eq!(
        (&ended["exitCode"], &ended["reason"]),
        (&json!(137), &json!("OOMKilled")),
        "{ended}"
    );
    world.until("it crash-loops", |world| {
        let waiting = world.container("again")?["state"]["waiting"]["reason"].clone();
        Ok((waiting == "CrashLoopBackOff").then_some(()))
    })?;
    world.delete("once")?;
    world.delete("again")?;
    world.end()
}

#[test]
fn a_child_killed_for_memory_is_noticed_though_the_container_lives() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    let mut container =
        busybox("head -c 64m /dev/zero | tail -c 48m >/dev/null; echo survived; read line; exit 0");
    container["resources"] = json!({ "limits": { "memory": "16Mi" } });
    container["stdin"] = json!(true);
    world.create(&never(pod("parent", container)))?;
    // On cgroup v2 all of a container die with one of its processes, as the kubelet has it.
    if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        let ended = world.terminated("parent")?;
        assert_eq!(
            (&ended["exitCode"], &ended["reason"]),
            (&json!(137), &json!("OOMKilled")),
            "{ended}"
        );
    } else {
        world.says("parent", "survived")?;
        world.until("the timeline tells", |world| {
            let path = "/klet/v1/pods/default/parent/timeline";
            let line = world.request_text("GET", path, b"")?;
            Ok(line.contains("OomKilled").then_some(()))
        })?;
        assert!(world.container("parent")?["state"]["running"].is_object());
    }
    world.delete("parent")?;
    world.end()
}

#[test]
fn output_closed_daemons_and_zombies_confuse_nobody() -> anyhow::Result<()> {
    let world = World::new(&["busybox", "fixture"])?;
    // Without its streams a container is as alive as with them.
    world.create(&pod("mute", busybox("exec <&- >&- 2>&-; exec sleep 1000")))?;
    // A daemon holds the log's pipes when the first process has ended.
    world.create(&never(pod(
        "daemon",
        busybox("(setsid sleep 1000 &) ; echo parent is gone; exit 3"),
    )))?;
    // Orphans in their own process namespace are the business of its first process, ours otherwise.
    world.create(&pod("orphans", fixture(&["fork", "--count", "20"])))?;
    let mut shared = pod(
        "shared",
        busybox(
            "for i in 1 2 3 4 5; do (sh -c 'sleep 0.1 & exit' &); done; echo made; exec sleep 1000",
        ),
    );
    shared["spec"]["shareProcessNamespace"] = json!(true);
    world.create(&shared)?;
    let ended = world.terminated("daemon")?;
    assert_eq!((&ended["exitCode"], &ended["reason"]), (&json!(3), &json!("Error")), "{ended}");
    assert_eq!(world.log("daemon")?, "parent is gone\n");
    world.ready("mute")?;
    world.says("orphans", "20 orphans are asleep")?;
    world.says("shared", "made")?;
    world.until("pause reaps what is orphaned", |world| {
        let seen = world.execute("shared", &["ps", "-o", "stat,comm"])?.stdout;
        anyhow::ensure!(!seen.lines().any(|line| line.starts_with('Z')), "{seen}");
        Ok(Some(()))
    })?;
    for name in ["mute", "daemon", "orphans", "shared"] {
        world.delete(name)?;
    }
    world.end()
}

#[test]
fn twenty_containers_that_end_at_once_are_all_seen_to_end() -> anyhow::Result<()> {
    let world = World::new(&["fixture"])?;
    let name = |number: usize| format!("quick-{number}");
    for number in 0..20 {
        world.create(&never(pod(&name(number), fixture(&["exit", &number.to_string()]))))?;
    }
    for number in 0..20 {
        let ended = world.terminated(&name(number))?;
        assert_eq!(ended["exitCode"], json!(number), "{ended}");
    }
    // And one pod with twenty that end together.
    let mut many = never(pod("many", fixture(&["exit", "0"])));
    let containers: Vec<Value> = (0..20)
        .map(|number| {
            let mut container = fixture(&["exit", &number.to_string()]);
            container["name"] = json!(format!("c{number}"));
            container
        })
        .collect();
    many["spec"]["containers"] = json!(containers);
    world.create(&many)?;
    let many = world.until("the pod has failed", |world| {
        let pod = world.pod("many")?;
        Ok((pod["status"]["phase"] == "Failed").then_some(pod))
    })?;
    let mut codes: Vec<i64> = many["status"]["containerStatuses"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|status| status["state"]["terminated"]["exitCode"].as_i64())
        .collect();
    codes.sort_unstable();
    assert_eq!(codes, (0..20).collect::<Vec<_>>());
    for number in 0..20 {
        world.delete(&name(number))?;
    }
    world.delete("many")?;
    world.end()
}

#[test]
fn a_process_that_opens_all_files_it_may_does_not_keep_others_from_theirs() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    let script = "i=3; while eval \"exec $i</dev/null\" 2>/dev/null && [ $i -lt 200 ]; do i=$((i+1)); done; \
                  echo opened $i; exec sleep 1000";
    world.create(&pod("files", busybox(script)))?;
    world.says("files", "opened")?;
    assert_eq!(world.execute("files", &["cat", "/etc/hostname"])?.stdout, "files\n");
    world.delete("files")?;
    world.end()
}

#[test]
fn a_flood_of_output_is_rotated_and_disturbs_nobody() -> anyhow::Result<()> {
    let world = World::new(&["fixture", "busybox"])?;
    let flood = world.create(&pod("flood", fixture(&["log", "--bytes", "1000"])))?;
    let uid = flood["metadata"]["uid"].as_str().unwrap_or_default();
    let directory = world.path(&format!("log/default_flood_{uid}/main"));
    let sizes = || -> Vec<u64> {
        let entries = std::fs::read_dir(&directory).into_iter().flatten().flatten();
        entries.filter_map(|entry| Some(entry.metadata().ok()?.len())).collect()
    };
    world.until("there are five files", |_| Ok((sizes().len() == 5).then_some(())))?;
    let newest = |world: &World| -> anyhow::Result<u64> {
        let path = "/api/v1/namespaces/default/pods/flood/log?tailLines=1";
        let line = world.request_text("GET", path, b"")?;
        Ok(line.split(' ').next().unwrap_or_default().parse()?)
    };
    let first = world.until("a line can be read", |world| Ok(Some(newest(world)?)))?;
    world.create(&pod("calm", busybox("echo calm; exec sleep 1000")))?;
    world.ready("calm")?;
    let later = world.until("the container goes on", |world| {
        let number = newest(world)?;
        Ok((number > first + 100_000).then_some(number))
    })?;
    assert!(later > first);
    // A reader that follows gets what it asked for, rotations or not.
    let path = "/api/v1/namespaces/default/pods/flood/log?follow=true&limitBytes=30000000";
    let followed = world.request_text("GET", path, b"")?;
    assert_eq!(followed.len(), 30_000_000);
    let sizes = sizes();
    assert!(
        sizes.len() <= 6 && sizes.iter().all(|size| *size <= (10 << 20) + (1 << 20)),
        "{sizes:?}"
    );
    world.delete("calm")?;
    world.delete("flood")?;
    world.end()
}

#[test]
fn output_without_newlines_or_text_comes_back_as_it_was() -> anyhow::Result<()> {
    let world = World::new(&["busybox"])?;
    let script = "printf 'no newline \\001\\377'; head -c 40000 /dev/zero | tr '\\0' x; printf '\\nend'; printf err >&2; exec sleep 1000";
    world.create(&pod("raw", busybox(script)))?;
    let log = world.until("all is there", |world| {
        let log = world.log("raw")?;
        anyhow::ensure!(log.contains("end"), "{} bytes", log.len());
        Ok(Some(log))
    })?;
    let first = log.lines().next().unwrap_or_default();
    assert!(first.starts_with("no newline \u{1}"), "{:?}", &first[..20]);
    assert_eq!(first.matches('x').count(), 40_000, "one line stays one");
    world.delete("raw")?;
    world.end()
}
