//! The doctor: what klet needs of a machine, and what to do where it is missing.
//!
//! [`look`] reads the machine, [`judge`] decides.

use std::path::Path;

use serde_json::{Value, json};

use super::Backend;
use crate::machine;

/// Controllers that limits need.
const CONTROLLERS: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];
/// Less free space than this on the state's file system is worth a word, bytes.
const FREE_LEAST: u64 = 1 << 30;
/// File descriptors that a hundred pods may need.
const FILES_LEAST: u64 = 4096;

/// Capabilities without which no pod starts.
const NEEDED: [&str; 10] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "KILL",
    "MKNOD",
    "NET_ADMIN",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_ADMIN",
];

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Ok,
    /// klet goes on with less.
    Warning,
    /// Pods cannot run, or not as they should.
    Problem,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Check {
    name: &'static str,
    level: Level,
    detail: String,
    /// What to do; empty if there is nothing to do.
    hint: String,
}

/// What the machine shows.
#[derive(Debug, Clone)]
struct Facts {
    kernel: String,
    overlay: bool,
    cgroup_v2: bool,
    controllers: Vec<String>,
    missing_capabilities: Vec<String>,
    seccomp: bool,
    ip_forward: bool,
    bridge: String,
    bridge_up: bool,
    root: String,
    free_bytes: u64,
    files: u64,
    manifests: String,
    manifests_there: bool,
}

/// Is this machine fit to run pods, and what to do where it is not?
#[must_use]
pub fn report(backend: &Backend) -> Value {
    let checks = judge(&look(backend));
    let shown = checks.iter().map(|check| {
        let level = match check.level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Problem => "problem",
        };
        json!({ "name": check.name, "level": level, "detail": check.detail, "hint": check.hint })
    });
    json!({ "checks": shown.collect::<Vec<_>>() })
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn look(backend: &Backend) -> Facts {
    let node = &backend.node;
    let cgroup_v2 = node.cgroups.is_v2();
    let (limit, _) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
        .unwrap_or_default();
    let free = rustix::fs::statvfs(&node.config.root);
    let filesystems = read("/proc/filesystems");
    let mut kinds = filesystems.lines().map(|line| line.trim_start_matches("nodev").trim());
    Facts {
        kernel: read("/proc/sys/kernel/osrelease"),
        overlay: kinds.any(|kind| kind == "overlay"),
        cgroup_v2,
        controllers: controllers(&node.cgroups.missing()),
        missing_capabilities: machine::missing_capabilities(&node.machine),
        seccomp: Path::new("/proc/sys/kernel/seccomp").exists(),
        ip_forward: read("/proc/sys/net/ipv4/ip_forward") == "1",
        bridge: node.config.bridge.clone(),
        bridge_up: nix::net::if_::if_nametoindex(node.config.bridge.as_str()).is_ok(),
        root: node.config.root.display().to_string(),
        free_bytes: free.map_or(0, |free| free.f_bavail * free.f_frsize),
        files: limit,
        manifests: node.config.manifests.display().to_string(),
        manifests_there: node.config.manifests.is_dir(),
    }
}

/// Controllers that can be used: enabled in version 2, mounted in version 1.
fn controllers(missing: &[&str]) -> Vec<String> {
    let present = CONTROLLERS.iter().filter(|name| !missing.contains(name));
    present.map(|name| (*name).to_owned()).collect()
}

fn check(name: &'static str, ok: bool, otherwise: Level, detail: String, hint: &str) -> Check {
    let (level, hint) = if ok { (Level::Ok, "") } else { (otherwise, hint) };
    Check { name, level, detail, hint: hint.to_owned() }
}

fn judge(facts: &Facts) -> Vec<Check> {
    let absent = |ok: bool, text: &str| if ok { text.to_owned() } else { "absent".to_owned() };
    vec![
        // A kletd that runs has asked for all the calls it needs.
        check("kernel", true, Level::Ok, facts.kernel.clone(), ""),
        check(
            "overlay",
            facts.overlay,
            Level::Problem,
            absent(facts.overlay, "available"),
            "load the kernel module: modprobe overlay",
        ),
        control_groups(facts),
        capabilities(facts),
        check(
            "seccomp",
            facts.seccomp,
            Level::Warning,
            absent(facts.seccomp, "available"),
            "the kernel was built without CONFIG_SECCOMP_FILTER: profiles cannot be applied",
        ),
        check(
            "IP forwarding",
            facts.ip_forward,
            Level::Problem,
            if facts.ip_forward { "on" } else { "off" }.to_owned(),
            "turn it on, or pods reach nothing outside: sysctl -w net.ipv4.ip_forward=1",
        ),
        check(
            "pod bridge",
            facts.bridge_up,
            Level::Problem,
            facts.bridge.clone(),
            "kletd puts it back by itself; where it cannot, its log says why",
        ),
        check(
            "disk space",
            facts.free_bytes >= FREE_LEAST,
            Level::Warning,
            format!("{} MiB free below {}", facts.free_bytes >> 20, facts.root),
            "make room: kletctl system df, kletctl system prune --all",
        ),
        check(
            "open files",
            facts.files >= FILES_LEAST,
            Level::Warning,
            format!("limit {}", facts.files),
            "raise the limit before kletd starts: LimitNOFILE=1048576, or ulimit -n",
        ),
        check(
            "static pods",
            facts.manifests_there,
            Level::Ok,
            facts.manifests.clone() + if facts.manifests_there { "" } else { " (not there)" },
            "",
        ),
    ]
}

fn control_groups(facts: &Facts) -> Check {
    let missing: Vec<&str> = CONTROLLERS
        .into_iter()
        .filter(|wanted| !facts.controllers.iter().any(|known| known == wanted))
        .collect();
    let version = if facts.cgroup_v2 { "version 2" } else { "version 1" };
    let detail = match missing.as_slice() {
        [] => version.to_owned(),
        missing => format!("{version}, without {}", missing.join(", ")),
    };
    let hint = "limits of these resources have no effect; enable the controllers at boot";
    check("control groups", missing.is_empty(), Level::Warning, detail, hint)
}

fn capabilities(facts: &Facts) -> Check {
    let missing = &facts.missing_capabilities;
    let (level, hint) = match missing.iter().any(|name| NEEDED.contains(&name.as_str())) {
        true => (Level::Problem, "start kletd with the capabilities that root has"),
        false => (
            Level::Warning,
            "klet goes on; containers get no more than kletd has, and limits that need these stay as they are",
        ),
    };
    let detail = match missing.as_slice() {
        [] => "all".to_owned(),
        missing => format!("without {}", missing.join(", ")),
    };
    check("capabilities", missing.is_empty(), level, detail, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Facts {
        Facts {
            kernel: "6.1.0-18-amd64".into(),
            overlay: true,
            cgroup_v2: true,
            controllers: CONTROLLERS.map(ToOwned::to_owned).to_vec(),
            missing_capabilities: Vec::new(),
            seccomp: true,
            ip_forward: true,
            bridge: "klet0".into(),
            bridge_up: true,
            root: "/var/lib/klet".into(),
            free_bytes: 2 << 30,
            files: 1 << 20,
            manifests: "/etc/klet/manifests".into(),
            manifests_there: false,
        }
    }

    fn found(facts: &Facts) -> Vec<(&'static str, Level)> {
        let bad = judge(facts).into_iter().filter(|check| check.level != Level::Ok);
        bad.inspect(|check| assert_ne!(check.hint, ""))
            .map(|check| (check.name, check.level))
            .collect()
    }

    #[test]
    fn a_good_machine_has_nothing_to_do() {
        assert_eq!(found(&good()), []);
        assert!(judge(&good()).iter().all(|check| check.hint.is_empty()));
    }

    #[test]
    fn every_lack_is_found() {
        let old = Facts { overlay: false, ..good() };
        assert_eq!(found(&old), [("overlay", Level::Problem)]);
        let poor = Facts {
            controllers: vec!["cpu".into()],
            missing_capabilities: vec!["SYS_RESOURCE".into()],
            free_bytes: 5,
            files: 1024,
            ..good()
        };
        let expected = ["control groups", "capabilities", "disk space", "open files"];
        assert_eq!(found(&poor), expected.map(|name| (name, Level::Warning)));
        let weak = Facts { missing_capabilities: vec!["SYS_ADMIN".into()], ..good() };
        assert_eq!(found(&weak), [("capabilities", Level::Problem)]);
        let alone = Facts { ip_forward: false, bridge_up: false, seccomp: false, ..good() };
        assert_eq!(found(&alone).len(), 3);
    }
}
