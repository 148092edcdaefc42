//! More processes in a running container, and containers in a sandbox.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use common::{World, alone, pipes, read};
use klet_runtime::{
    ContainerInput, ExecInput, Execed, JoinSandbox, RootfsInput, SandboxInput, StartError, Started,
    StartedSandbox, Stdio, exec, start, start_sandbox,
};
use klet_sys::features::Features;
use klet_sys::pidfd::{self, Exit};
use serde_json::json;

/// A container that runs until it is killed.
struct Running {
    world: World,
    started: Started,
}

impl Running {
    fn new() -> Self {
        Self::of(World::new())
    }

    fn of(world: World) -> Self {
        let mut world = world;
        world.spec["process"]["args"] = json!(["sleep", "1000"]);
        let started = world.start(Some(pipes().0)).unwrap();
        Self { world, started }
    }

    fn exec(
        &self,
        args: &[&str],
        terminal: Option<(u16, u16)>,
        io: Option<Stdio>,
    ) -> Result<Execed, StartError> {
        let args: Vec<_> = args.iter().map(ToString::to_string).collect();
        let spec = self.world.spec();
        let input = ExecInput {
            process: spec.process().as_ref().unwrap(),
            filter: self.started.filter.as_ref(),
            args: &args,
            extra_env: &["EXTRA=more".to_owned(), "GREETING=bye".to_owned()],
            terminal,
            init_pidfd: self.started.pidfd.as_fd(),
            cgroup: &self.started.cgroup,
            exec_number: 1,
        };
        let _guard = alone();
        exec(&input, io)
    }

    fn output(&self, script: &str) -> (Exit, String) {
        let (io, stdout, stderr) = pipes();
        let execed = self.exec(&["sh", "-c", script], None, Some(io)).unwrap();
        let text = read(stdout) + &read(stderr);
        let exit = pidfd::wait(execed.pidfd.as_fd()).unwrap();
        execed.cgroup.remove().unwrap();
        (exit, text)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = pidfd::send_signal(self.started.pidfd.as_fd(), libc::SIGKILL);
        let _ = pidfd::wait(self.started.pidfd.as_fd());
        let _ = self.started.cgroup.remove();
    }
}

#[test]
fn a_command_finds_itself_in_the_container() {
    let running = Running::new();
    let script = "hostname; echo $GREETING $EXTRA; cat /proc/1/comm; id -G; exit 5";
    let (exit, text) = running.output(script);
    assert_eq!((exit, text.as_str()), (Exit::Code(5), "pod\nbye more\nsleep\n0 10 20\n"));
}

#[test]
fn a_command_has_the_containers_privileges_and_namespaces() {
    let running = Running::new();
    let names = "mnt pid net ipc uts cgroup";
    let script = format!(
        "cat /proc/self/status; for n in {names}; do test $(readlink /proc/1/ns/$n) = $(readlink /proc/$$/ns/$n) || echo differs $n; done"
    );
    let (_, text) = running.output(&script);
    assert!(text.contains("CapBnd:\t0000000000000481"), "{text}");
    assert!(text.contains("NoNewPrivs:\t1"), "{text}");
    assert!(!text.contains("differs"), "{text}");
}

#[test]
fn a_missing_command_leaves_nothing() {
    let running = Running::new();
    let error = running.exec(&["nosuch"], None, Some(pipes().0)).unwrap_err();
    assert!(error.is_missing_program());
    assert_eq!(
        error.to_string(),
        r#"unable to start container process: exec: "nosuch": executable file not found in $PATH"#
    );
    assert_eq!(running.output("echo again").1, "again\n", "the session's cgroup can be made again");
}

#[test]
fn a_command_on_a_terminal() {
    let running = Running::new();
    let execed = running
        .exec(&["sh", "-c", "stty size; test -t 0 && echo yes"], Some((90, 30)), None)
        .unwrap();
    let console = execed.console.unwrap();
    let (mut text, mut buffer) = (Vec::new(), [0; 256]);
    while let Ok(length @ 1..) = klet_sys::fd::read(&console, &mut buffer) {
        text.extend_from_slice(&buffer[..length]);
    }
    assert_eq!(String::from_utf8(text).unwrap(), "30 90\r\nyes\r\n");
    assert_eq!(pidfd::wait(execed.pidfd.as_fd()).unwrap(), Exit::Code(0));
    execed.cgroup.remove().unwrap();
}

/// A whole program that waits for signals, and nothing else: `pause` in a loop, behind the headers of
/// a static executable (elf(5)). No compiler is needed where the tests run.
fn pause_program() -> Vec<u8> {
    const CODE: [u8; 9] = [0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7];
    const ADDRESS: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let size = HEADERS + CODE.len() as u64;
    let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    // Executable, x86-64, version 1; where it starts; where the program headers are; no sections.
    elf.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    elf.extend([ADDRESS + HEADERS, 64, 0].map(u64::to_le_bytes).concat());
    // Sizes of this header and of a program header, and that there is one.
    elf.extend([0, 64 | 56 << 16, 1, 0].map(u32::to_le_bytes).concat());
    // One segment, loaded to read and execute.
    elf.extend([1, 5].map(u32::to_le_bytes).concat());
    elf.extend([0, ADDRESS, ADDRESS, size, size, 0x1000].map(u64::to_le_bytes).concat());
    elf.extend(CODE);
    elf
}

/// A sandbox whose static program waits for signals.
fn sandbox(world: &World, new_pid: bool) -> StartedSandbox {
    let sysctls =
        BTreeMap::from([("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned())]);
    let input = SandboxInput {
        hostname: "sandbox",
        new_network: true,
        new_ipc: true,
        new_pid,
        new_uts: true,
        sysctls: &sysctls,
        cgroup: &format!("{}/sandbox", world.cgroup),
        oom_score_adj: 1000,
        pause: &pause_program(),
    };
    let _guard = alone();
    start_sandbox(&input, &world.cgroups).unwrap_or_else(|error| panic!("{error}"))
}

fn end(sandbox: &StartedSandbox) {
    pidfd::send_signal(sandbox.pidfd.as_fd(), libc::SIGKILL).unwrap();
    pidfd::wait(sandbox.pidfd.as_fd()).unwrap();
    sandbox.cgroup.remove().unwrap();
}

fn joined(world: &World, sandbox: &StartedSandbox, pid: bool) -> String {
    let (io, stdout, _stderr) = pipes();
    let spec = world.spec();
    let root = world.root();
    let join =
        JoinSandbox { pidfd: sandbox.pidfd.as_fd(), network: true, ipc: true, uts: true, pid };
    let input = ContainerInput {
        id: "c",
        spec: &spec,
        rootfs: RootfsInput::Directory(&root),
        join: Some(join),
        features: Features::probe(),
        host_mounts: None,
    };
    let guard = alone();
    let started = start(&input, &world.cgroups, Some(io)).unwrap_or_else(|error| panic!("{error}"));
    drop(guard);
    let text = read(stdout);
    assert_eq!(pidfd::wait(started.pidfd.as_fd()).unwrap(), Exit::Code(0));
    started.cgroup.remove().unwrap();
    text
}

#[test]
fn a_container_shares_the_namespaces_of_its_sandbox() {
    let world =
        World::new().shell("hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; echo $$");
    let sandbox = sandbox(&world, false);
    assert!(sandbox.network_namespace.is_some() && sandbox.route_socket.is_some());
    assert_eq!(joined(&world, &sandbox, false), "sandbox\n0\n1\n");
    end(&sandbox);
}

#[test]
fn a_shared_process_namespace_begins_with_the_sandbox() {
    let world = World::new().shell("cat /proc/1/comm; test $$ -gt 1 && echo later");
    let own = std::fs::read_link("/proc/thread-self/ns/pid_for_children").unwrap();
    let sandbox = sandbox(&world, true);
    // A memfd's comm is the descriptor's number or the name, depending on the kernel.
    assert!(joined(&world, &sandbox, true).ends_with("later\n"));
    assert_eq!(std::fs::read_link("/proc/thread-self/ns/pid_for_children").unwrap(), own);
    end(&sandbox);
}

#[test]
fn the_sandbox_has_nothing() {
    let world = World::new();
    let sandbox = sandbox(&world, false);
    let process = format!("/proc/{}", sandbox.pid);
    let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
    for line in ["CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Uid:\t65535\t65535\t65535\t65535"]
    {
        assert!(status.contains(line), "{status}");
    }
    assert_eq!(std::fs::read_dir(format!("{process}/root")).unwrap().count(), 0);
    assert_eq!(std::fs::read_to_string(format!("{process}/oom_score_adj")).unwrap(), "1000\n");
    end(&sandbox);
}

#[test]
fn a_bad_sysctl_starts_no_sandbox() {
    let world = World::new();
    let sysctls = BTreeMap::from([("kernel.panic".to_owned(), "1".to_owned())]);
    let input = SandboxInput {
        hostname: "x",
        new_network: false,
        new_ipc: true,
        new_pid: false,
        new_uts: true,
        sysctls: &sysctls,
        cgroup: &format!("{}/sandbox", world.cgroup),
        oom_score_adj: 0,
        pause: b"",
    };
    assert!(start_sandbox(&input, &world.cgroups).unwrap_err().is_config_error());
}

#[test]
fn shared_memory_of_a_pod_is_the_shims() {
    let world = World::new();
    let directory = world.path("shm");
    std::fs::create_dir(&directory).unwrap();
    let inside = directory.clone();
    std::thread::spawn(move || {
        klet_runtime::prepare_shim_mounts(&inside, 1 << 20).unwrap();
        let mounts = std::fs::read_to_string("/proc/thread-self/mounts").unwrap();
        let line = mounts.lines().find(|line| line.contains(inside.to_str().unwrap())).unwrap();
        assert!(line.contains("size=1024k") && line.contains("nosuid,nodev,noexec"), "{line}");
    })
    .join()
    .unwrap();
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(
        !mounts.contains(directory.to_str().unwrap()),
        "the mount is in the thread's namespace only"
    );
}

#[test]
fn a_late_child_of_an_ended_container_is_refused() {
    let running = Running::new();
    pidfd::send_signal(running.started.pidfd.as_fd(), libc::SIGKILL).unwrap();
    let poll = rustix::event::PollFd::new(&running.started.pidfd, rustix::event::PollFlags::IN);
    rustix::event::poll(&mut [poll], None).unwrap();
    let mut world = World::new();
    world.spec["process"]["cwd"] = json!("/");
    let error = running.exec(&["true"], None, Some(pipes().0)).unwrap_err();
    assert!(error.to_string().contains("no such process"), "{error}");
}
