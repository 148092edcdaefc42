//! `system check` where no daemon answers: what can be seen of the machine without it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

/// The oldest kernel that kletd starts on.
const KERNEL: (u32, u32) = (5, 12);

/// What the machine shows.
#[derive(Debug, Clone)]
struct Facts {
    socket: String,
    root: bool,
    kernel: String,
    overlay: bool,
    cgroup: Option<&'static str>,
}

/// The checks in kletd's own form.
pub(super) fn report(socket: &Path) -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let filesystems = read("/proc/filesystems");
    let mut kinds = filesystems.split_whitespace();
    let cgroup = if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        Some("version 2")
    } else {
        Path::new("/sys/fs/cgroup/memory").is_dir().then_some("version 1")
    };
    judge(&Facts {
        socket: socket.display().to_string(),
        root: rustix::process::geteuid().is_root(),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        overlay: kinds.any(|kind| kind == "overlay"),
        cgroup,
    })
}

fn judge(facts: &Facts) -> Value {
    let check = |name: &str, ok: bool, detail: &str, hint: &str| {
        let (level, hint) = if ok { ("ok", "") } else { ("problem", hint) };
        json!({ "name": name, "level": level, "detail": detail, "hint": hint })
    };
    json!({ "checks": [
        check(
            "kletd",
            false,
            &format!("no answer on {}", facts.socket),
            "start it as root: kletd, or systemctl start kletd; it says what it lacks",
        ),
        check(
            "user",
            facts.root,
            if facts.root { "root" } else { "not root" },
            "only root may use the socket: sudo kletctl",
        ),
        check(
            "kernel",
            version(&facts.kernel) >= KERNEL,
            &facts.kernel,
            "kletd needs Linux 5.12 or newer",
        ),
        check(
            "overlay",
            facts.overlay,
            if facts.overlay { "available" } else { "absent" },
            "load the kernel module: modprobe overlay",
        ),
        check(
            "control groups",
            facts.cgroup.is_some(),
            facts.cgroup.unwrap_or("absent"),
            "mount them: mount -t cgroup2 none /sys/fs/cgroup",
        ),
    ] })
}

/// Major and minor of `6.1.0-18-amd64`.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().ok());
    let mut next = || numbers.next().flatten().unwrap_or(0);
    (next(), next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_daemon_is_looked_at() {
        let good = Facts {
            socket: "/run/klet/klet.sock".into(),
            root: true,
            kernel: "6.1.0-18-amd64".into(),
            overlay: true,
            cgroup: Some("version 2"),
        };
        let problems = |facts: &Facts| -> Vec<String> {
            let report = judge(facts);
            let checks = report["checks"].as_array().unwrap().iter();
            let bad = checks.filter(|check| check["level"] == "problem");
            bad.inspect(|check| assert_ne!(check["hint"], ""))
                .map(|check| check["name"].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(problems(&good), ["kletd"]);
        let bad =
            Facts { root: false, kernel: "5.10.0".into(), overlay: false, cgroup: None, ..good };
        assert_eq!(problems(&bad), ["kletd", "user", "kernel", "overlay", "control groups"]);
    }
}
