//! A cgroup directory with everything below it: making, listing, killing, freezing, removing.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFlags};
use rustix::process::{Pid, Signal};

use super::error::CgroupError;
use super::file;

/// Longest wait for a group to freeze or to empty.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// Longest single wait where the kernel tells nothing (v1).
const BLIND: Duration = Duration::from_millis(5);
/// Deepest tree below a container that is walked: nesting is the container's to choose.
const MAX_DEPTH: usize = 64;
/// Rounds of listing and killing; each needs a process born in between to be followed by another.
const MAX_ROUNDS: usize = 64;

/// The directory and all below it, parents first.
fn directories(root: &Path) -> Result<Vec<PathBuf>, CgroupError> {
    let mut found = vec![(root.to_owned(), 0)];
    let mut next = 0;
    while let Some((directory, depth)) = found.get(next).cloned() {
        next += 1;
        if depth == MAX_DEPTH {
            continue;
        }
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(CgroupError::io("list", &directory, error)),
        };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.push((entry.path(), depth + 1));
            }
        }
    }
    Ok(found.into_iter().map(|(directory, _)| directory).collect())
}

/// Every process at or below `root`; none when it does not exist.
pub(super) fn processes(root: &Path) -> Result<Vec<i32>, CgroupError> {
    let mut pids = BTreeSet::new();
    for directory in directories(root)? {
        let path = directory.join("cgroup.procs");
        match fs::read_to_string(&path) {
            Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
            Err(error) if gone(&error) => {}
            // A threaded v2 group lists its processes in its domain ancestor only.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
            Err(error) => return Err(CgroupError::io("read", &path, error)),
        }
    }
    Ok(pids.into_iter().collect())
}

/// SIGKILLs all at or below `root`, those born meanwhile included: lists and kills until a
/// list has nobody new.
pub(super) fn kill_listed(root: &Path) -> Result<(), CgroupError> {
    let mut killed = BTreeSet::new();
    for _ in 0..MAX_ROUNDS {
        let mut new = false;
        // 0 stands for a process of a PID namespace we cannot see.
        for pid in processes(root)?.into_iter().filter(|pid| *pid > 0) {
            new |= killed.insert(pid);
            let Some(pid) = Pid::from_raw(pid) else { continue };
            match rustix::process::kill_process(pid, Signal::KILL) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(CgroupError::io("kill processes of", root, error.into())),
            }
        }
        if !new {
            return Ok(());
        }
    }
    Err(CgroupError::Timeout { operation: "kill all of", path: root.to_owned(), millis: 0 })
}

/// v1: a frozen group forks no more, but dies only when thawed: so it is thawed whatever happens.
pub(super) fn kill_v1(root: &Path, has_freezer: bool) -> Result<(), CgroupError> {
    let state = root.join("freezer.state");
    if has_freezer {
        // Without freezing the rounds of listing do the same, only less surely.
        let _ = file::write(&state, "FROZEN");
    }
    let killed = kill_listed(root);
    let thawed = if has_freezer { thaw_v1(root) } else { Ok(()) };
    killed.and(thawed)
}

/// Thaws the group and whatever the container itself may have frozen below it.
fn thaw_v1(root: &Path) -> Result<(), CgroupError> {
    let mut result = Ok(());
    for directory in directories(root)? {
        let state = directory.join("freezer.state");
        match file::write(&state, "THAWED") {
            Err(error) if !gone(&error) && result.is_ok() => {
                result = Err(CgroupError::io("thaw", &state, error));
            }
            _ => {}
        }
    }
    result
}

/// v2: one write kills the tree, forks in flight included; kernels before 5.14 lack the file.
pub(super) fn kill_v2(root: &Path) -> Result<(), CgroupError> {
    match file::write(&root.join("cgroup.kill"), "1") {
        Ok(()) => Ok(()),
        Err(_) if !root.exists() => Ok(()),
        Err(_) => kill_listed(root),
    }
}

/// v1: `FREEZING` becomes `FROZEN` without notice, and a task entering the group meanwhile can
/// make it start over, so the order is repeated.
pub(super) fn freeze_v1(root: &Path, frozen: bool) -> Result<(), CgroupError> {
    if !frozen {
        return thaw_v1(root);
    }
    let state = root.join("freezer.state");
    let deadline = Instant::now() + PATIENCE;
    let result = loop {
        if let Err(error) = file::write_or("freeze", &state, "FROZEN") {
            break Err(error);
        }
        match file::read(&state) {
            Ok(text) if text.trim() == "FROZEN" => return Ok(()),
            Ok(_) if Instant::now() >= deadline => break Err(late("freeze", root)),
            Ok(_) => pause(Duration::from_millis(1)),
            Err(error) => break Err(error),
        }
    };
    // Half frozen is the worst state: a task in it cannot even be killed.
    let _ = thaw_v1(root);
    result
}

pub(super) fn freeze_v2(root: &Path, frozen: bool) -> Result<(), CgroupError> {
    let path = root.join("cgroup.freeze");
    let value = if frozen { "1" } else { "0" };
    file::write_or("write", &path, value)?;
    let done = file::wait_event(root, "frozen", u64::from(frozen), Instant::now() + PATIENCE)?;
    if done {
        return Ok(());
    }
    if frozen {
        let _ = file::write(&path, "0");
    }
    Err(late(if frozen { "freeze" } else { "thaw" }, root))
}

/// Makes v2 `path` (components below `mount`), with every controller available handed down to
/// the level of `path` itself.
pub(super) fn create_v2(mount: &Path, path: &Path) -> Result<(), CgroupError> {
    let below = path.strip_prefix(mount).unwrap_or(path);
    let mut directory = mount.to_owned();
    for component in below.components() {
        hand_down(&directory)?;
        directory.push(component);
        make(&directory)?;
    }
    Ok(())
}

/// As [`create_v2`], for the first time: a group on the way that holds the caller and nobody else is
/// emptied by moving the caller to its child `leaf`.
pub(super) fn settle_v2(mount: &Path, path: &Path, leaf: &str) -> Result<(), CgroupError> {
    let own = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
    let below = path.strip_prefix(mount).unwrap_or(path);
    let mut directory = mount.to_owned();
    for component in below.components() {
        match hand_down(&directory) {
            Err(CgroupError::Occupied { pids, .. }) if pids == [own] => {
                let leaf = directory.join(leaf);
                make(&leaf)?;
                file::write_or("move this process to", &leaf.join("cgroup.procs"), "0")?;
                hand_down(&directory)?;
            }
            other => other?,
        }
        directory.push(component);
        make(&directory)?;
    }
    Ok(())
}

/// The v2 controllers handed down.
const HANDED_DOWN: [&str; 6] = ["cpu", "memory", "pids", "cpuset", "io", "hugetlb"];

fn hand_down(directory: &Path) -> Result<(), CgroupError> {
    let available = file::read(&directory.join("cgroup.controllers"))?;
    let path = directory.join("cgroup.subtree_control");
    let enabled = file::read(&path)?;
    let has = |list: &str, name: &str| list.split_whitespace().any(|word| word == name);
    let missing: Vec<_> = HANDED_DOWN
        .iter()
        .filter(|name| has(&available, name) && !has(&enabled, name))
        .map(|name| format!("+{name}"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    match file::write(&path, &missing.join(" ")) {
        // No internal processes (Documentation/admin-guide/cgroup-v2): only an empty group hands down.
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
            let procs = directory.join("cgroup.procs");
            let pids = file::read(&procs)?.lines().filter_map(|line| line.parse().ok()).collect();
            Err(CgroupError::Occupied { path: directory.to_owned(), pids })
        }
        result => result.map_err(|source| CgroupError::io("write", &path, source)),
    }
}

/// Makes v1 `path`, its own level first: those above it are there already, but for the first time.
/// A cpuset admits no process before it has CPUs and memory nodes, so each new level takes its
/// parent's.
pub(super) fn create_v1(mount: &Path, path: &Path, cpuset: bool) -> Result<(), CgroupError> {
    let Some(parent) = path.parent().filter(|_| path != mount) else { return Ok(()) };
    match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            create_v1(mount, parent, cpuset)?;
            make(path)?;
        }
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(CgroupError::io("make", path, error));
        }
        Ok(()) | Err(_) => {}
    }
    if cpuset { inherit(mount, path, parent) } else { Ok(()) }
}

/// Gives a cpuset what it lacks; a parent that lacks it, too, was left half-made by somebody.
fn inherit(mount: &Path, path: &Path, parent: &Path) -> Result<(), CgroupError> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let own = path.join(name);
        if !file::read(&own)?.trim().is_empty() {
            continue;
        }
        let mut value = file::read(&parent.join(name))?;
        if let (true, Some(above)) = (value.trim().is_empty() && parent != mount, parent.parent()) {
            inherit(mount, parent, above)?;
            value = file::read(&parent.join(name))?;
        }
        file::write_or("write", &own, value.trim())?;
    }
    Ok(())
}

fn make(directory: &Path) -> Result<(), CgroupError> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(CgroupError::io("make", directory, error))
        }
        _ => Ok(()),
    }
}

/// Removes `root` and all below it, children first. A group whose last process is just ending is
/// waited for until `deadline`.
pub(super) fn remove(root: &Path, v2: bool, deadline: Instant) -> Result<(), CgroupError> {
    for directory in directories(root)?.iter().rev() {
        loop {
            match fs::remove_dir(directory) {
                Ok(()) => break,
                Err(error) if gone(&error) => break,
                Err(error) if error.raw_os_error() != Some(libc::EBUSY) => {
                    return Err(CgroupError::io("remove", directory, error));
                }
                Err(_) if Instant::now() >= deadline => return Err(late("remove", directory)),
                Err(_) => wait_emptier(directory, v2, deadline)?,
            }
        }
    }
    Ok(())
}

fn wait_emptier(directory: &Path, v2: bool, deadline: Instant) -> Result<(), CgroupError> {
    if v2 {
        if let Ok(true) = file::wait_event(directory, "populated", 0, deadline) {
            // Unpopulated and still busy: a child appeared, or the kernel needs a moment.
            pause(BLIND.min(deadline.saturating_duration_since(Instant::now())));
        }
        return Ok(());
    }
    let left = deadline.saturating_duration_since(Instant::now());
    let pids = processes(directory)?;
    if pids.is_empty() {
        pause(BLIND.min(left));
        return Ok(());
    }
    file::wait_any_end(&pids, left)
        .map_err(|error| CgroupError::io("wait for the processes of", directory, error))
}

/// A bounded wait for something the kernel does not announce.
fn pause(limit: Duration) {
    if let Ok(nothing) = rustix::event::eventfd(0, EventfdFlags::CLOEXEC) {
        let _ = file::poll(std::os::fd::AsFd::as_fd(&nothing), PollFlags::IN, limit);
    }
}

fn late(operation: &'static str, path: &Path) -> CgroupError {
    let millis = u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX);
    CgroupError::Timeout { operation, path: path.to_owned(), millis }
}

/// The group was removed, before or while we looked.
fn gone(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}
