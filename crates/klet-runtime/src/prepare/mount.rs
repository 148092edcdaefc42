//! Detached mounts, made by the parent; what depends on the child's namespaces is only described.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use klet_sys::features::Features;
use klet_sys::mount::{self, Attributes, FileSystem};
use klet_sys::{SysError, fd, namespace};
use rustix::fs::OFlags;

use super::{Sources, Target, c_string, overlay, place};
use crate::input::RootfsInput;
use crate::plan::{Mount, MountSource};

/// One prepared mount.
#[derive(Debug)]
pub(crate) struct MountOp {
    pub(crate) target: Target,
    pub(crate) source: Source,
    /// Whether the target must be a directory rather than a file.
    pub(crate) directory: bool,
}

/// What is attached.
#[derive(Debug)]
pub(crate) enum Source {
    /// A finished detached mount.
    Ready(OwnedFd),
    /// A file system that shows the namespaces of whoever makes it: the child's.
    FileSystem(FileSystemOp),
    /// The v1 hierarchies, each in a directory of its own on the tmpfs given.
    Hierarchies(OwnedFd, Vec<(CString, FileSystemOp)>),
}

/// A file system to make.
#[derive(Debug)]
pub(crate) struct FileSystemOp {
    kind: CString,
    parameters: Vec<(CString, Option<CString>)>,
    attributes: u64,
}

impl FileSystemOp {
    fn new(
        kind: &str,
        parameters: &[(String, Option<String>)],
        attributes: u64,
    ) -> Result<Self, SysError> {
        let parameters = parameters
            .iter()
            .map(|(key, value)| Ok((c_string(key)?, value.as_deref().map(c_string).transpose()?)))
            .collect::<Result<_, SysError>>()?;
        Ok(Self { kind: c_string(kind)?, parameters, attributes })
    }

    /// Makes it, detached. Allocates nothing.
    pub(crate) fn make(&self) -> Result<OwnedFd, SysError> {
        let file_system = FileSystem::open(&self.kind)?;
        for (key, value) in &self.parameters {
            match value {
                Some(value) => file_system.set(key, value)?,
                None => file_system.set_flag(key)?,
            }
        }
        file_system.mount(self.attributes)
    }
}

const QUIET: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;

pub(super) fn prepare(
    planned: &Mount,
    sources: &Sources<'_>,
    devpts: &mut Option<OwnedFd>,
) -> Result<MountOp, SysError> {
    let target = place(&planned.destination)?;
    let set = planned.attributes.set | planned.recursive.set;
    let (source, directory) = match &planned.source {
        MountSource::Bind { path, recursive } => {
            let tree = bind(path, *recursive, planned, sources.host_mounts)?;
            let directory = fd::is_directory(&tree)?;
            (Source::Ready(tree), directory)
        }
        MountSource::FileSystem { kind, parameters } => {
            let op = FileSystemOp::new(kind, parameters, set)?;
            // These three and nothing else show the namespaces of their maker.
            let source = if matches!(kind.as_str(), "proc" | "sysfs" | "mqueue") {
                Source::FileSystem(op)
            } else {
                Source::Ready(op.make()?)
            };
            if let (Source::Ready(made), "devpts") = (&source, kind.as_str()) {
                *devpts = Some(made.try_clone().map_err(|_| SysError::new("dup", libc::EMFILE))?);
            }
            (source, true)
        }
        MountSource::Cgroup if sources.cgroup_v2 => {
            (Source::FileSystem(FileSystemOp::new("cgroup2", &[source("cgroup")], set)?), true)
        }
        MountSource::Cgroup => (hierarchies(set)?, true),
    };
    Ok(MountOp { target, source, directory })
}

fn bind(
    path: &str,
    recursive: bool,
    planned: &Mount,
    host: Option<BorrowedFd<'_>>,
) -> Result<OwnedFd, SysError> {
    let shared = planned.attributes.propagation | planned.recursive.propagation == libc::MS_SHARED;
    let name = c_string(path)?;
    let tree = match host {
        Some(host) if shared => shared_tree(&name, recursive, host),
        _ => mount::clone_tree(&name, recursive),
    };
    let tree = tree.map_err(|error| SysError { call: "stat", ..error }.on(path))?;
    for (attributes, recursive) in [(planned.recursive, true), (planned.attributes, false)] {
        if !attributes.is_empty() {
            mount::set_attributes(tree.as_fd(), attributes, recursive)?;
        }
    }
    if planned.recursive.propagation == 0 && planned.attributes.propagation == 0 {
        let private = Attributes { set: 0, clear: 0, propagation: libc::MS_PRIVATE };
        mount::set_attributes(tree.as_fd(), private, true)?;
    }
    Ok(tree)
}

/// What `mount` and `df` show in the first column.
fn source(name: &str) -> (String, Option<String>) {
    ("source".to_owned(), Some(name.to_owned()))
}

/// A copy that passes mounts on to the host. The caller's own namespace only receives, so the copy is
/// made in the host's, where the caller goes for that one call.
fn shared_tree(path: &CStr, recursive: bool, host: BorrowedFd<'_>) -> Result<OwnedFd, SysError> {
    let own = fd::open(c"/proc/thread-self/ns/mnt", OFlags::RDONLY)?;
    namespace::join(host)?;
    let tree = mount::clone_tree(path, recursive);
    namespace::join(&own).expect("a process may always return to its own mount namespace");
    tree
}

/// The v1 controllers a container's cgroup is a member of.
const CONTROLLERS: [&str; 8] =
    ["memory", "cpu", "cpuacct", "cpuset", "pids", "devices", "freezer", "hugetlb"];

/// The v1 hierarchies, as the running kernel combines controllers (cgroups(7), `/proc/PID/cgroup`).
fn hierarchies(attributes: u64) -> Result<Source, SysError> {
    let text = std::fs::read_to_string("/proc/self/cgroup").map_err(|error| {
        SysError::new("read", error.raw_os_error().unwrap_or(libc::EIO)).on("/proc/self/cgroup")
    })?;
    let mut listed = Vec::new();
    for controllers in text.lines().filter_map(|line| line.split(':').nth(1)) {
        if !controllers.split(',').any(|name| CONTROLLERS.contains(&name)) {
            continue;
        }
        let mut parameters = vec![source("cgroup")];
        parameters.extend(controllers.split(',').map(|name| (name.to_owned(), None)));
        listed.push((
            c_string(controllers)?,
            FileSystemOp::new("cgroup", &parameters, attributes | QUIET)?,
        ));
    }
    let parameters = [("source", "tmpfs"), ("mode", "755"), ("size", "64k")]
        .map(|(key, value)| (key.to_owned(), Some(value.to_owned())));
    Ok(Source::Hierarchies(FileSystemOp::new("tmpfs", &parameters, QUIET)?.make()?, listed))
}

/// One empty directory that nobody can write to, to lie over those that are hidden. One for all:
/// a superblock per path would make unmounting contend (opencontainers/runc#5275).
pub(super) fn cover() -> Result<OwnedFd, SysError> {
    let parameters = [("source", "tmpfs"), ("mode", "755"), ("nr_blocks", "1"), ("nr_inodes", "1")]
        .map(|(key, value)| (key.to_owned(), Some(value.to_owned())));
    FileSystemOp::new("tmpfs", &parameters, QUIET | libc::MOUNT_ATTR_RDONLY)?.make()
}

/// The root file system, detached and private.
pub(super) fn root(rootfs: RootfsInput<'_>, features: Features) -> Result<OwnedFd, SysError> {
    match rootfs {
        RootfsInput::Overlay { lower, upper, work } => overlay::make(lower, upper, work, features),
        RootfsInput::Directory(path) => {
            let tree = mount::clone_tree(&path_string(path)?, true)
                .map_err(|error| error.on(path.to_string_lossy()))?;
            let private = Attributes { set: 0, clear: 0, propagation: libc::MS_PRIVATE };
            mount::set_attributes(tree.as_fd(), private, true)?;
            Ok(tree)
        }
    }
}

fn path_string(path: &Path) -> Result<CString, SysError> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| SysError::new("open_tree", libc::EINVAL))
}
