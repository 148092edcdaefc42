//! Against this kernel, below a group of this test's own; and against plain directories that
//! play the hierarchies.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::*;

fn resources(value: Value) -> LinuxResources {
    serde_json::from_value(value).unwrap()
}

/// A group on this machine that is killed and removed at the end, whatever the test does.
struct Scratch {
    parent: Cgroup,
    cgroups: Cgroups,
    path: String,
}

impl Scratch {
    fn new(name: &str) -> Self {
        let cgroups = Cgroups::detect().unwrap();
        let path = format!("/klet-test-{}-{name}", std::process::id());
        Self { parent: cgroups.container(&path), cgroups, path }
    }

    fn group(&self, name: &str) -> Cgroup {
        let group = self.cgroups.container(&format!("{}/{name}", self.path));
        group.create().unwrap();
        group
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = self.parent.kill();
        self.parent.remove().unwrap();
    }
}

/// A program inside `group`: the test puts a shell in while it waits for a line, then it runs `script`.
fn run_in(group: &Cgroup, script: &str) -> Child {
    let mut child = Command::new("/bin/sh")
        .args(["-c", &format!("read go; {script}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    match group.enter_files().unwrap() {
        EnterFiles::V1(files) => {
            for file in files {
                write!(std::fs::File::from(file), "{}", child.id()).unwrap();
            }
        }
        EnterFiles::V2 { .. } => {
            let procs = group.places().unwrap()[0].directory.join("cgroup.procs");
            file::write(&procs, &child.id().to_string()).unwrap();
        }
    }
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    child
}

fn line_of(child: &mut Child) -> String {
    let mut line = String::new();
    let stdout = child.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
    line
}

#[test]
fn limits_are_set_and_grow_and_shrink() {
    let scratch = Scratch::new("limits");
    let group = scratch.group("one");
    for bytes in [64i64 << 20, 256 << 20, 32 << 20] {
        let wanted = resources(json!({
            "memory": {"limit": bytes, "swap": bytes},
            "cpu": {"shares": 512, "quota": 20_000, "period": 100_000},
            "pids": {"limit": 50},
        }));
        group.apply(&wanted).unwrap();
        let (controller, name) =
            if group.v2 { ("memory", "memory.max") } else { ("memory", "memory.limit_in_bytes") };
        let directory = &group.with(controller).unwrap().unwrap().directory;
        assert_eq!(file::read(&directory.join(name)).unwrap().trim(), bytes.to_string());
    }
    assert!(group.stats().unwrap().memory_bytes.is_some());
    group.remove().unwrap();
    group.remove().unwrap();
}

#[test]
fn a_refused_limit_names_file_and_value_and_a_refinement_only_warns() {
    let scratch = Scratch::new("refused");
    let group = scratch.group("one");
    let error = group.apply(&resources(json!({"cpu": {"cpus": "4000"}}))).unwrap_err().to_string();
    assert!(error.contains("\"4000\"") && error.ends_with("/one/cpuset.cpus"), "{error}");
    let error = group.apply(&resources(json!({"unified": {"../x": "1"}}))).unwrap_err();
    assert!(matches!(error, CgroupError::Limit { .. }), "{error}");
    let warnings = group.apply(&resources(json!({"cpu": {"idle": 77}}))).unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
}

#[test]
fn a_kill_takes_children_of_children_and_frozen_groups_too() {
    let scratch = Scratch::new("kill");
    let group = scratch.group("one");
    let mut child =
        run_in(&group, "(sleep 600 & sleep 600) & (setsid sleep 600 &) ; echo up; wait");
    assert_eq!(line_of(&mut child), "up\n");
    assert!(group.processes().unwrap().len() >= 3);
    group.freeze(true).unwrap();
    group.kill().unwrap();
    child.wait().unwrap();
    group.remove().unwrap();
    assert_eq!(group.processes().unwrap(), [] as [i32; 0]);
}

#[test]
fn an_exec_child_dies_alone() {
    let scratch = Scratch::new("exec");
    let group = scratch.group("one");
    let mut init = run_in(&group, "echo up; exec sleep 600");
    assert_eq!(line_of(&mut init), "up\n");
    let session = group.exec_child(7).unwrap();
    let mut program = run_in(&session, "sleep 600 & echo up; wait");
    assert_eq!(line_of(&mut program), "up\n");
    session.kill().unwrap();
    program.wait().unwrap();
    session.remove().unwrap();
    assert_eq!(group.processes().unwrap(), [init.id() as i32]);
    assert!(init.try_wait().unwrap().is_none());
    group.kill().unwrap();
    init.wait().unwrap();
}

#[test]
fn out_of_memory_is_counted_and_told() {
    let scratch = Scratch::new("oom");
    let group = scratch.group("one");
    let bytes = 8i64 << 20;
    group.apply(&resources(json!({"memory": {"limit": bytes, "swap": bytes}}))).unwrap();
    let told = group.oom_event_fd().unwrap().unwrap();
    assert_eq!(group.oom_kills().unwrap(), 0);
    let mut child = run_in(&group, "x=$(head -c 60000000 /dev/zero | tr '\\0' x); echo $x");
    let events =
        if group.v2 { rustix::event::PollFlags::PRI } else { rustix::event::PollFlags::IN };
    let mut fds = [rustix::event::PollFd::new(&told, events)];
    let limit = rustix::event::Timespec { tv_sec: 20, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut fds, Some(&limit)).unwrap(), 1);
    // Reading frees the writer of a full pipe.
    let _ = line_of(&mut child);
    child.wait().unwrap();
    assert!(group.oom_kills().unwrap() > 0);
}

#[test]
fn device_rules_reach_the_kernel() {
    let scratch = Scratch::new("devices");
    let group = scratch.group("one");
    let rules = json!({"devices": [
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
    ]});
    group.apply(&resources(rules)).unwrap();
    let script = "(: </dev/null) 2>/dev/null && echo null; (: </dev/full) 2>/dev/null && echo full; echo end";
    let mut child = run_in(&group, script);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut text).unwrap();
    child.wait().unwrap();
    assert_eq!(text, "null\nend\n");
}

#[test]
fn a_group_with_processes_hands_nothing_down_on_v2() {
    let scratch = Scratch::new("occupied");
    let group = scratch.group("one");
    let mut child = run_in(&group, "echo up; exec sleep 600");
    assert_eq!(line_of(&mut child), "up\n");
    let below = scratch.cgroups.container(&format!("{}/one/two", scratch.path));
    for result in [below.create(), scratch.cgroups.settle(below.path(), "leaf")] {
        match result {
            Err(CgroupError::Occupied { path, pids }) => {
                assert!(group.v2 && path.ends_with("one"), "{}", path.display());
                assert_eq!(pids, [child.id() as i32]);
            }
            other => assert!(!group.v2 && other.is_ok(), "{other:?}"),
        }
    }
    group.kill().unwrap();
    child.wait().unwrap();
    below.create().unwrap();
}

#[test]
fn a_refused_path_touches_nothing() {
    let cgroups = Cgroups::detect().unwrap();
    for path in ["/", "/a/../..", "relative"] {
        let group = cgroups.container(path);
        assert!(matches!(group.create(), Err(CgroupError::Path { .. })));
        assert!(matches!(group.kill(), Err(CgroupError::Path { .. })));
        assert!(matches!(group.remove(), Err(CgroupError::Path { .. })));
        assert!(matches!(group.exec_child(1), Err(CgroupError::Path { .. })));
    }
}

fn unified(mount: &Path) -> Cgroups {
    Cgroups { layout: Layout::V2(mount.to_owned()) }
}

#[test]
fn v2_hands_controllers_down_above_the_leaf_only() {
    let temporary = tempfile::tempdir().unwrap();
    let root = temporary.path();
    for (directory, controllers) in
        [(".", "cpuset cpu io memory rdma pids"), ("a", "cpu memory"), ("a/b", "")]
    {
        let directory = root.join(directory);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("cgroup.controllers"), controllers).unwrap();
        std::fs::write(directory.join("cgroup.subtree_control"), "").unwrap();
    }
    std::fs::write(root.join("a/cgroup.subtree_control"), "memory").unwrap();
    unified(root).container("/a/b").create().unwrap();
    let control = |path: &str| {
        std::fs::read_to_string(root.join(path).join("cgroup.subtree_control")).unwrap()
    };
    assert_eq!(control("."), "+cpu +memory +pids +cpuset +io");
    assert!(control("a").starts_with("+cpu"));
    assert_eq!(control("a/b"), "");
}

#[test]
fn v2_counts_and_missing_files() {
    let temporary = tempfile::tempdir().unwrap();
    let root = temporary.path();
    std::fs::create_dir(root.join("a")).unwrap();
    let group = unified(root).container("/a");
    assert_eq!(group.oom_kills().unwrap(), 0);
    assert!(group.oom_event_fd().unwrap().is_none());
    std::fs::write(root.join("a/memory.events"), "low 0\noom 3\noom_kill 2\n").unwrap();
    assert_eq!(group.oom_kills().unwrap(), 2);
    assert!(group.oom_event_fd().unwrap().is_some());
    let error = group.apply(&resources(json!({"memory": {"limit": 5}}))).unwrap_err();
    assert!(error.to_string().ends_with("/a/memory.max"), "{error}");
}
