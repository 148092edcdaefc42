//! Containers on this kernel: what a process finds around it.

mod common;

use std::os::fd::AsFd;

use common::World;
use klet_runtime::RootfsInput;
use klet_sys::features::Features;
use klet_sys::pidfd::{self, Exit};
use serde_json::json;

#[test]
fn a_container_runs_and_its_exit_code_is_seen() {
    let ended = World::new().shell("echo out; echo err >&2; exit 7").run().unwrap();
    assert_eq!(ended.exit, Exit::Code(7));
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("out\n", "err\n"));
}

#[test]
fn the_process_is_the_first_of_its_namespace_with_its_name_and_environment() {
    let world =
        World::new().shell("echo $$; hostname; echo $GREETING; readlink /proc/self/ns/cgroup");
    let output = world.output();
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(lines[..3], ["1", "pod", "hello"]);
    assert_ne!(lines[3], std::fs::read_link("/proc/self/ns/cgroup").unwrap().to_string_lossy());
}

#[test]
fn privileges_are_those_of_the_spec() {
    let world = World::new().shell("cat /proc/self/status; id");
    let output = world.output();
    // CHOWN 0, SETUID 7, NET_BIND_SERVICE 10.
    let set = format!("{:016x}", 1 | 1 << 7 | 1 << 10);
    let none = "0".repeat(16);
    for (name, value) in [
        ("CapInh", none.as_str()),
        ("CapPrm", set.as_str()),
        ("CapEff", set.as_str()),
        ("CapBnd", set.as_str()),
        ("CapAmb", none.as_str()),
        ("NoNewPrivs", "1"),
        ("Groups", "10 20"),
        ("SigBlk", none.as_str()),
        ("SigIgn", none.as_str()),
        ("Umask", "0022"),
    ] {
        let line =
            output.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        assert_eq!(line.trim(), value, "{name}");
    }
    assert!(output.contains("uid=0(root) gid=0"), "{output}");
}

#[test]
fn another_user_has_no_capabilities_unless_they_are_ambient() {
    let mut world = World::new().shell("id -u; id -g; cat /proc/self/status");
    world.spec["process"]["user"] = json!({"uid": 1000, "gid": 2000, "umask": 63});
    let plain = world.output();
    assert!(plain.starts_with("1000\n2000\n"), "{plain}");
    assert!(plain.contains("CapEff:\t0000000000000000"), "{plain}");
    assert!(plain.contains("Umask:\t0077"), "{plain}");
    for name in ["inheritable", "ambient"] {
        world.spec["process"]["capabilities"][name] = json!(["CAP_NET_BIND_SERVICE"]);
    }
    let ambient = world.output();
    assert!(ambient.contains("CapAmb:\t0000000000000400"), "{ambient}");
    assert!(ambient.contains("CapEff:\t0000000000000400"), "{ambient}");
}

#[test]
fn only_the_standard_streams_are_open() {
    let leak = std::fs::File::open("/").unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    let output = World::new().shell("ls /proc/$$/fd; readlink /proc/self/fd/0").output();
    let descriptors: Vec<_> = output.lines().collect();
    assert_eq!(descriptors, ["0", "1", "2", "/dev/null"]);
}

#[test]
fn devices_links_and_hidden_paths_are_there() {
    let script = "for f in null zero full random urandom tty; do test -c /dev/$f || echo no $f; done
        echo x > /dev/null; readlink /dev/fd; readlink /dev/ptmx; cat /proc/kcore; cat /proc/keys; ls /proc/acpi
        touch /proc/sys/kernel/hostname_ 2>&1; echo y > /proc/sys/kernel/hostname; ls /dev/pts; ls /sys/fs/cgroup >/dev/null && echo cg
        exit 0";
    let ended = World::new().shell(script).run().unwrap();
    assert_eq!(ended.exit, Exit::Code(0), "{ended:?}");
    assert!(ended.stdout.starts_with("/proc/self/fd\npts/ptmx\n"), "{ended:?}");
    assert!(ended.stdout.ends_with("ptmx\ncg\n"), "{ended:?}");
    assert!(ended.stderr.contains("Read-only file system"), "{ended:?}");
}

#[test]
fn a_read_only_root_is_read_only_and_volumes_are_as_asked() {
    let mut world = World::new().shell(
        "touch /x; touch /data/sub/y && touch /ro/z; touch /tmp/t || exit 3; cat /etc/file; echo $(ls /data/sub)",
    );
    std::fs::create_dir(world.path("volume")).unwrap();
    std::fs::write(world.path("file"), "content\n").unwrap();
    world.spec["root"]["readonly"] = json!(true);
    let (volume, file) = (world.path("volume"), world.path("file"));
    let mounts = world.spec["mounts"].as_array_mut().unwrap();
    mounts.push(json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs"}));
    mounts.push(
        json!({"destination": "/data/sub", "source": volume, "options": ["rbind", "rprivate"]}),
    );
    mounts.push(json!({"destination": "/ro", "source": volume, "options": ["rbind", "ro"]}));
    mounts.push(json!({"destination": "/etc/file", "source": file, "options": ["bind", "ro"]}));
    mounts.push(json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}));
    let ended = world.run().unwrap();
    assert_eq!(ended.exit, Exit::Code(0), "{ended:?}");
    assert_eq!(ended.stdout, "content\ny\n");
    assert_eq!(ended.stderr.matches("Read-only file system").count(), 2, "{ended:?}");
    assert!(world.path("volume/y").exists() && !world.path("volume/z").exists());
}

/// With each way of telling overlay its layers, many of them and with long names.
#[test]
fn an_overlay_keeps_its_layers_clean() {
    for overlay_layers in [Features::probe().overlay_layers, false] {
        let mut world = World::new()
            .shell("cat /etc/passwd; echo new > /etc/passwd; echo top > /made; cat /only");
        world.features = Features { overlay_layers };
        let deep = world.path(&format!("{0}/{0}, a:b\\c", "x".repeat(200)));
        let (upper, work) = (deep.join("upper"), deep.join("work"));
        let mut lower: Vec<_> = (0..100).map(|number| deep.join(number.to_string())).collect();
        for directory in lower.iter().chain([&upper, &work]) {
            std::fs::create_dir_all(directory).unwrap();
        }
        std::fs::write(lower[99].join("only"), "not seen\n").unwrap();
        std::fs::write(lower[0].join("only"), "in the top layer\n").unwrap();
        lower.push(world.root());
        let rootfs = RootfsInput::Overlay { lower: &lower, upper: &upper, work: &work };
        let ended = world.run_on(rootfs).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(ended.stdout, "root:x:0:0::/root:/bin/sh\nin the top layer\n");
        assert_eq!(std::fs::read_to_string(upper.join("made")).unwrap(), "top\n");
        let below = std::fs::read_to_string(world.root().join("etc/passwd")).unwrap();
        assert!(below.starts_with("root"));
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&"x".repeat(200)), "{mounts}");
    }
}

#[test]
fn limits_beyond_our_own_are_cut_and_told() {
    let mut world = World::new().shell("ulimit -n; cat /proc/self/oom_score_adj");
    let own = klet_sys::limits::get(libc::RLIMIT_NOFILE).unwrap().hard;
    world.spec["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 77, "hard": own}]);
    assert_eq!(world.output(), "77\n1000\n");
    world.spec["process"]["rlimits"] =
        json!([{"type": "RLIMIT_NOFILE", "soft": own + 1, "hard": own + 1}]);
    let may_raise = klet_sys::capability::get().unwrap().effective.contains(24);
    let ended = world.run().unwrap();
    assert_eq!(ended.warnings.is_empty(), may_raise, "{ended:?}");
    assert_eq!(ended.stdout.starts_with(&format!("{own}\n")), !may_raise, "{ended:?}");
}

#[test]
fn the_working_directory_is_made() {
    let mut world = World::new().shell("pwd");
    world.spec["process"]["cwd"] = json!("/work/deep");
    assert_eq!(world.output(), "/work/deep\n");
}

#[test]
fn a_filter_is_in_force_with_and_without_new_privileges() {
    let mut world = World::new().shell("hostname; echo reached");
    world.spec["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["uname", "cachestat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
    });
    for no_new_privileges in [true, false] {
        world.spec["process"]["noNewPrivileges"] = json!(no_new_privileges);
        let ended = world.run().unwrap();
        assert_eq!(ended.stdout.lines().last(), Some("reached"), "{ended:?}");
        assert!(!ended.stdout.contains("pod"), "{ended:?}");
    }
}

#[test]
fn sysctls_are_set_in_the_containers_namespaces() {
    let mut world = World::new()
        .shell("cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shmmax");
    world.spec["linux"]["sysctl"] =
        json!({"net.ipv4.ip_unprivileged_port_start": "7", "kernel.shmmax": "12345"});
    assert_eq!(world.output(), "7\n12345\n");
}

#[test]
fn a_terminal_is_the_containers_own() {
    let mut world = World::new()
        .shell("stty size; readlink /proc/self/fd/0; echo hi > /dev/console; test -t 0");
    world.spec["process"]["terminal"] = json!(true);
    world.spec["process"]["consoleSize"] = json!({"height": 25, "width": 81});
    let started = world.start(None).unwrap();
    let console = started.console.unwrap();
    let mut text = Vec::new();
    let mut buffer = [0; 256];
    // A terminal without programs in it answers EIO.
    while let Ok(length @ 1..) = klet_sys::fd::read(&console, &mut buffer) {
        text.extend_from_slice(&buffer[..length]);
    }
    assert_eq!(String::from_utf8(text).unwrap(), "25 81\r\n/dev/pts/0\r\nhi\r\n");
    assert_eq!(pidfd::wait(started.pidfd.as_fd()).unwrap(), Exit::Code(0));
    started.cgroup.remove().unwrap();
}

#[test]
fn the_cgroup_limits_are_in_force() {
    let world = World::new().shell("for i in 1 2 3 4 5 6 7 8; do sleep 5 & done; wait");
    let mut limited = world;
    limited.spec["linux"]["resources"]["pids"]["limit"] = json!(4);
    let ended = limited.run().unwrap();
    assert!(ended.stderr.contains("can't fork"), "{ended:?}");
}
