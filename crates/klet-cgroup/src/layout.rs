//! Which hierarchies this machine has, read from `/proc/self/mountinfo`, and which
//! paths below them are acceptable.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The v1 controllers containers join, memory first: what is allocated later is charged there.
/// Joining the others costs run time and limits nothing Kubernetes asks for.
const CONTROLLERS: [&str; 8] =
    ["memory", "cpu", "cpuacct", "cpuset", "pids", "devices", "freezer", "hugetlb"];

/// Longest path below a mount, well below `PATH_MAX`.
const MAX_PATH: usize = 2048;
/// `NAME_MAX`.
const MAX_COMPONENT: usize = 255;

/// One v1 hierarchy: the controllers mounted together and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) controllers: Vec<&'static str>,
    pub(super) mount: PathBuf,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Layout {
    V1(Vec<Hierarchy>),
    V2(PathBuf),
}

/// Decides from the text of mountinfo (proc_pid_mountinfo(5)). A machine with v1 controllers
/// and a cgroup2 mount beside them (hybrid) is v1: its cgroup2 has no controllers.
pub(super) fn from_mountinfo(text: &str) -> Option<Layout> {
    let mounts: Vec<_> = text.lines().filter_map(mount).collect();
    let mut hierarchies: Vec<Hierarchy> = Vec::new();
    for controller in CONTROLLERS {
        // A bind mount shows a part of the hierarchy only: prefer a mount of its root.
        let found = mounts
            .iter()
            .filter(|m| m.kind == "cgroup" && m.options.split(',').any(|o| o == controller))
            .min_by_key(|m| m.root != "/");
        let Some(found) = found else { continue };
        match hierarchies.iter_mut().find(|h| h.mount == found.point) {
            Some(same) => same.controllers.push(controller),
            None => hierarchies
                .push(Hierarchy { controllers: vec![controller], mount: found.point.clone() }),
        }
    }
    if !hierarchies.is_empty() {
        return Some(Layout::V1(hierarchies));
    }
    let unified = mounts.iter().filter(|m| m.kind == "cgroup2").min_by_key(|m| m.root != "/")?;
    Some(Layout::V2(unified.point.clone()))
}

struct Mount<'a> {
    root: &'a str,
    point: PathBuf,
    kind: &'a str,
    options: &'a str,
}

fn mount(line: &str) -> Option<Mount<'_>> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let (root, point) = (left.next()?, left.next()?);
    let mut right = right.split(' ');
    let kind = right.next()?;
    let options = right.nth(1)?;
    Some(Mount { root, point: unescape(point), kind, options })
}

/// Undoes the octal escapes of blank, tab, newline and backslash.
fn unescape(field: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let [first, tail @ ..] = rest {
        let octal = (*first == b'\\')
            .then(|| tail.get(..3).and_then(|d| std::str::from_utf8(d).ok()))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(octal.unwrap_or(*first));
        rest = &rest[if octal.is_some() { 4 } else { 1 }..];
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// The components of an absolute cgroup path, or why it is refused. The mount itself (`/`) is
/// refused too: everything on the machine is in it.
pub(super) fn components(path: &str) -> Result<Vec<&str>, &'static str> {
    let Some(below) = path.strip_prefix('/') else { return Err("must begin with a slash") };
    if path.len() > MAX_PATH {
        return Err("is too long");
    }
    if below.is_empty() {
        return Err("names the root of the hierarchy");
    }
    let components: Vec<_> = below.split('/').collect();
    for component in &components {
        match *component {
            "" => return Err("has an empty component"),
            "." | ".." => return Err("has a component that is a dot or two"),
            long if long.len() > MAX_COMPONENT => return Err("has a component above 255 bytes"),
            odd if odd.bytes().any(|b| b.is_ascii_control()) => {
                return Err("has a control character");
            }
            _ => {}
        }
    }
    Ok(components)
}

/// `mount/a/b/c`.
pub(super) fn below(mount: &Path, components: &[&str]) -> PathBuf {
    let mut path = mount.to_owned();
    path.extend(components);
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "\
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /docker/1 /part rw,relatime shared:3 - cgroup cgroup rw,memory
36 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:3 - cgroup cgroup rw,memory
38 31 0:35 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn hybrid_is_v1_and_whole_mounts_win_and_unused_controllers_are_left() {
        let hierarchy = |controllers: &[&'static str], mount: &str| Hierarchy {
            controllers: controllers.to_vec(),
            mount: mount.into(),
        };
        let expected = Layout::V1(vec![
            hierarchy(&["memory"], "/sys/fs/cgroup/memory"),
            hierarchy(&["cpu", "cpuacct"], "/sys/fs/cgroup/cpu,cpuacct"),
        ]);
        assert_eq!(from_mountinfo(V1), Some(expected));
    }

    #[test]
    fn unified_and_nothing() {
        let line = "30 23 0:26 / /sys/fs/cg\\040x rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(from_mountinfo(line), Some(Layout::V2("/sys/fs/cg x".into())));
        assert_eq!(from_mountinfo("1 2 0:3 / / rw - ext4 /dev/vda rw\ngarbage\n"), None);
    }

    #[test]
    fn paths() {
        assert_eq!(
            components("/kubepods/burstable/pod1"),
            Ok(vec!["kubepods", "burstable", "pod1"])
        );
        for bad in ["", "a", "/", "/a/", "//a", "/a/../b", "/.", "/a\nb", "/a\0"] {
            assert!(components(bad).is_err(), "{bad:?}");
        }
        assert!(components(&format!("/{}", "x".repeat(256))).is_err());
        assert!(components(&"/x".repeat(2000)).is_err());
    }
}
