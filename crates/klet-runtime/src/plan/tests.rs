//! Plans as tables: the order of steps, and what a spec's parts turn into.

use std::os::fd::AsFd;
use std::path::Path;

use klet_sys::capability::Set;
use klet_sys::features::Features;
use serde_json::{Value, json};

use super::*;
use crate::input::RootfsInput;

fn spec() -> Value {
    json!({
        "ociVersion": "1.2.0",
        "process": {
            "user": {"uid": 5, "gid": 6, "additionalGids": [7]}, "args": ["prog", "x"], "env": [], "cwd": "/w",
            "capabilities": {
                "bounding": ["CAP_CHOWN"], "effective": ["CAP_CHOWN", "CAP_KILL"], "permitted": ["CAP_CHOWN"],
                "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"],
            },
            "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}],
            "oomScoreAdj": 3,
        },
        "root": {"path": "r", "readonly": true},
        "hostname": "h",
        "mounts": [
            {"destination": "/proc", "type": "proc"},
            {"destination": "/dev", "type": "tmpfs"},
            {"destination": "/dev/pts", "type": "devpts"},
            {"destination": "/b", "source": "/s", "options": ["rbind", "ro"]},
            {"destination": "/b/c", "type": "tmpfs"},
        ],
        "linux": {
            "cgroupsPath": "/cg",
            "namespaces": [
                {"type": "mount"}, {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"},
                {"type": "cgroup"},
            ],
            "seccomp": {"defaultAction": "SCMP_ACT_ALLOW"},
            "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"],
        },
    })
}

fn plan_of(spec: &Value, join: Option<JoinSandbox<'_>>) -> Result<StartPlan, PlanError> {
    let spec: Spec = serde_json::from_value(spec.clone()).unwrap();
    plan(&ContainerInput {
        id: "c",
        spec: &spec,
        rootfs: RootfsInput::Directory(Path::new("/r")),
        join,
        features: Features { overlay_layers: true },
        host_mounts: None,
    })
}

/// The name of a step, with what it concerns.
fn name(step: &Step) -> String {
    match step {
        Step::Mount(mount) => format!("Mount {}", mount.destination),
        Step::Device(device) => format!("Device {}", device.path),
        Step::Link { path, .. } => format!("Link {path}"),
        other => format!("{other:?}").split(['(', ' ']).next().unwrap_or_default().to_owned(),
    }
}

#[test]
fn steps_come_in_the_order_that_is_safe() {
    let plan = plan_of(&spec(), None).unwrap();
    let names: Vec<_> =
        plan.steps.iter().map(name).filter(|name| !name.starts_with("Device")).collect();
    let expected = "EnterCgroup,OomScoreAdj,Unshare,SlavePropagation,AttachRoot,Mount /proc,Mount /dev,\
        Mount /dev/pts,Mount /b,Mount /b/c,Link /dev/fd,Link /dev/stdin,Link /dev/stdout,Link /dev/stderr,\
        Link /dev/core,Link /dev/ptmx,MakeWorkingDirectory,Readonly,Mask,HostName,Pivot,ReadonlyRoot,StandardStreams,\
        ResourceLimit,NewKeyring,Umask,Seccomp,Bound,User,Capabilities,WorkingDirectory,FindProgram,CleanUp,Execute";
    assert_eq!(names.join(","), expected);
    let new = libc::CLONE_NEWNS | libc::CLONE_NEWPID | SHARED;
    assert_eq!(
        (plan.clone, plan.join_pid, plan.cgroup.as_str(), plan.user),
        (new, false, "/cg", 5)
    );
}

#[test]
fn a_filter_comes_last_once_privileges_are_given_up() {
    let mut spec = spec();
    spec["process"]["noNewPrivileges"] = json!(true);
    let names: Vec<_> = plan_of(&spec, None).unwrap().steps.iter().map(name).collect();
    assert!(names.join(",").ends_with(
        "Capabilities,NoNewPrivileges,WorkingDirectory,FindProgram,CleanUp,Seccomp,Execute"
    ));
    assert_eq!(names.iter().filter(|name| *name == "Seccomp").count(), 1);
}

#[test]
fn namespaces_of_the_sandbox_are_joined_and_not_made() {
    let process = std::fs::File::open("/dev/null").unwrap();
    let join =
        JoinSandbox { pidfd: process.as_fd(), network: true, ipc: false, uts: true, pid: true };
    let plan = plan_of(&spec(), Some(join)).unwrap();
    assert_eq!(plan.clone, libc::CLONE_NEWNS | libc::CLONE_NEWIPC);
    assert!(plan.join_pid);
    assert!(plan.steps.contains(&Step::JoinProcess(libc::CLONE_NEWNET | libc::CLONE_NEWUTS)));
    assert!(
        !plan.steps.iter().any(|step| matches!(step, Step::HostName(_))),
        "the name is the sandbox's"
    );
}

#[test]
fn capabilities_are_never_more_than_permitted() {
    let plan = plan_of(&spec(), None).unwrap();
    let sets = plan.steps.iter().find_map(|step| match step {
        Step::Capabilities(sets) => Some(*sets),
        _ => None,
    });
    let chown = Set(1);
    assert_eq!(
        sets,
        Some(CapabilitySets {
            bounding: chown,
            effective: chown,
            permitted: chown,
            ambient: Set(0)
        }),
        "KILL is neither permitted nor, therefore, effective or ambient"
    );
    assert_eq!(plan.warnings.len(), 1);
}

#[test]
fn devices_of_the_spec_replace_the_default_ones() {
    let mut spec = spec();
    spec["linux"]["devices"] = json!([
        {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600, "uid": 9},
        {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229},
    ]);
    let plan = plan_of(&spec, None).unwrap();
    let devices = plan.steps.iter().filter_map(|step| match step {
        Step::Device(device) => Some((device.path.as_str(), device.mode, device.user)),
        _ => None,
    });
    let devices: Vec<_> = devices.collect();
    assert_eq!(devices.len(), 7);
    assert!(
        devices.contains(&("/dev/null", 0o600, 9)) && devices.contains(&("/dev/fuse", 0o666, 0))
    );
    spec["linux"]["devices"] = json!([{"path": "fuse", "type": "c", "major": 10, "minor": 229}]);
    assert_eq!(plan_of(&spec, None), Err(PlanError::Device("fuse".to_owned())));
}

#[test]
fn kernel_parameters_need_their_namespace() {
    for (name, network, ipc, step) in [
        ("net.ipv4.ip_forward", true, false, Some("net/ipv4/ip_forward")),
        ("net/ipv4/conf/eth0.1/x", true, false, Some("net/ipv4/conf/eth0.1/x")),
        ("net.ipv4.ip_forward", false, true, None),
        ("kernel.shm_rmid_forced", false, true, Some("kernel/shm_rmid_forced")),
        ("kernel.msgmax", true, false, None),
        ("fs.mqueue.msg_max", false, true, Some("fs/mqueue/msg_max")),
        ("kernel.panic", true, true, None),
        ("net/../kernel/panic", true, true, None),
        ("net..x", true, true, None),
    ] {
        let result = sysctl(name, "1", network, ipc).ok();
        let expected =
            step.map(|name| Step::Sysctl { name: name.to_owned(), value: "1".to_owned() });
        assert_eq!(result, expected, "{name}");
    }
}

#[test]
fn what_cannot_be_carried_out_is_said_in_one_line() {
    let cases = [
        ("/process", Value::Null, "the spec describes no process"),
        ("/process/args", json!([]), "no command specified"),
        ("/process/args", json!([""]), "no command specified"),
        ("/process/args", json!(["a", "b\0"]), "a command argument contains a NUL byte"),
        ("/process/cwd", json!("w"), "Cwd must be an absolute path"),
        ("/linux/cgroupsPath", Value::Null, "the spec names no cgroup path"),
        ("/linux/namespaces", json!([{"type": "pid"}]), "the spec asks for no mount namespace"),
        ("/linux/namespaces", json!([{"type": "user"}]), "user namespaces are not supported"),
    ];
    for (path, value, text) in cases {
        let mut spec = spec();
        *spec.pointer_mut(path).unwrap() = value;
        assert_eq!(plan_of(&spec, None).unwrap_err().to_string(), text, "{path}");
    }
    let mut spec = spec();
    spec["process"]["terminal"] = json!(true);
    spec["mounts"] = json!([]);
    assert_eq!(plan_of(&spec, None), Err(PlanError::NoTerminals));
}

#[test]
fn later_environment_entries_replace_earlier_ones() {
    let entries = ["A=1", "B=2", "A=3", "ODD", "B="].map(str::to_owned);
    assert_eq!(environment(entries.iter()), ["A=3", "B=", "ODD"]);
}
