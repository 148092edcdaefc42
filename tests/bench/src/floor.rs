//! The floor: the system calls that a Kubernetes container cannot do without, and nothing else.
//!
//! Everything that can be known before is prepared before the clock starts: strings, the compiled
//! filter, the directories of the writable layer. No plan, no message, no log, no record. Runs in a
//! process of its own, single-threaded and small, because its memory is copied by every clone.

use std::ffi::CString;
use std::io::{BufRead, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use anyhow::{Context, ensure};
use klet_sys::capability::{Set, Sets};
use klet_sys::clone::{Cloned, fork_like};
use klet_sys::exec::{Vector, execute};
use klet_sys::in_root::{InRootPath, Symlinks, open};
use klet_sys::mount::{self, Attributes, FileSystem, attach};
use klet_sys::node::{Device, make_device, make_directory, make_symlink};
use klet_sys::{SysError, capability, fd, keyring, namespace, pidfd, process, seccomp, signal};
use oci_spec::runtime::Spec;
use rustix::fs::{FileType, Gid, Mode, OFlags};
use serde::{Deserialize, Serialize};

/// What the floor's process is told, as JSON in its first line of input.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    pub spec: Spec,
    pub lower: String,
    /// `{n}/upper` and `{n}/work` exist below it for each run.
    pub layers: String,
    /// The process whose net, ipc and uts namespaces are joined.
    pub pause: i32,
    /// Directories of the container's cgroup, memory first; one on v2.
    pub cgroups: Vec<String>,
    /// Control files to write: path and value.
    pub limits: Vec<(String, String)>,
    pub v2: bool,
    /// v1: the controllers by which the hierarchies are mounted inside the container.
    pub hierarchies: Vec<String>,
}

const QUIET: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
const READONLY: Attributes = Attributes { set: libc::MOUNT_ATTR_RDONLY, clear: 0, propagation: 0 };
const PRIVATE: Attributes = Attributes { set: 0, clear: 0, propagation: libc::MS_PRIVATE };

const DEVICES: [(&std::ffi::CStr, u32, u32); 6] = [
    (c"null", 1, 3),
    (c"zero", 1, 5),
    (c"full", 1, 7),
    (c"random", 1, 8),
    (c"urandom", 1, 9),
    (c"tty", 5, 0),
];

const LINKS: [(&std::ffi::CStr, &std::ffi::CStr); 6] = [
    (c"fd", c"/proc/self/fd"),
    (c"stdin", c"/proc/self/fd/0"),
    (c"stdout", c"/proc/self/fd/1"),
    (c"stderr", c"/proc/self/fd/2"),
    (c"core", c"/proc/kcore"),
    (c"ptmx", c"pts/ptmx"),
];

/// Everything as the kernel takes it.
struct Floor {
    order: Order,
    pause: OwnedFd,
    filter: Vec<libc::sock_filter>,
    binds: Vec<Bind>,
    readonly: Vec<CString>,
    masked: Vec<CString>,
    cgroups: Vec<CString>,
    tasks: Vec<CString>,
    limits: Vec<(CString, Vec<u8>)>,
    hierarchies: Vec<CString>,
    arguments: Vector,
    environment: Vector,
}

/// A bind mount; an image need not have the place.
struct Bind {
    source: CString,
    place: InRootPath,
    directory: bool,
}

/// Reads the order, then starts one container for every line and answers with nanoseconds.
///
/// # Errors
/// An order that cannot be read, or a run that fails.
pub fn serve() -> anyhow::Result<()> {
    let mut lines = std::io::stdin().lock().lines();
    let order = serde_json::from_str(&lines.next().context("no order")??)?;
    let floor = Floor::new(order)?;
    let mut output = std::io::stdout().lock();
    for number in lines {
        let time = floor.run(&number?)?;
        writeln!(output, "{time}")?;
        output.flush()?;
    }
    Ok(())
}

fn c(text: impl Into<Vec<u8>>) -> anyhow::Result<CString> {
    Ok(CString::new(text)?)
}

fn relative(paths: Option<&Vec<String>>) -> anyhow::Result<Vec<CString>> {
    paths.into_iter().flatten().map(|path| c(path.trim_start_matches('/'))).collect()
}

impl Floor {
    fn new(order: Order) -> anyhow::Result<Self> {
        let linux = order.spec.linux().as_ref().context("linux")?;
        let process = order.spec.process().as_ref().context("process")?;
        let profile = linux.seccomp().as_ref().context("seccomp")?;
        let binds = order.spec.mounts().iter().flatten();
        let binds = binds.filter(|mount| mount.typ().as_deref() == Some("bind"));
        let all = |list: &[String], end: &str| -> anyhow::Result<Vec<CString>> {
            list.iter().map(|text| c(format!("{text}{end}"))).collect()
        };
        let vector = |list: &Option<Vec<String>>| -> anyhow::Result<Vector> {
            Ok(Vector::new(all(list.as_deref().unwrap_or_default(), "")?))
        };
        Ok(Self {
            pause: pidfd::open(order.pause)?,
            filter: klet_runtime::seccomp::compile(profile)?.instructions().to_vec(),
            binds: binds
                .map(|mount| {
                    let source = mount.source().as_ref().context("a source")?;
                    let place = InRootPath::new(&mount.destination().to_string_lossy());
                    let (place, directory) = (place.context("a place")?, source.is_dir());
                    Ok(Bind { source: c(source.to_string_lossy().as_bytes())?, place, directory })
                })
                .collect::<anyhow::Result<_>>()?,
            readonly: relative(linux.readonly_paths().as_ref())?,
            masked: relative(linux.masked_paths().as_ref())?,
            tasks: all(&order.cgroups, "/tasks")?,
            cgroups: all(&order.cgroups, "")?,
            limits: order
                .limits
                .iter()
                .map(|(path, value)| Ok((c(path.as_str())?, value.clone().into_bytes())))
                .collect::<anyhow::Result<_>>()?,
            hierarchies: all(&order.hierarchies, "")?,
            arguments: vector(process.args())?,
            environment: vector(process.env())?,
            order,
        })
    }

    /// From nothing to a container that has run and is gone: nanoseconds.
    fn run(&self, number: &str) -> anyhow::Result<u128> {
        let (upper, work) = (
            c(format!("{}/{number}/upper", self.order.layers))?,
            c(format!("{}/{number}/work", self.order.layers))?,
        );
        let lower = c(self.order.lower.as_str())?;
        let begun = Instant::now();
        let (tasks, directory) = self.make_cgroup()?;
        let mounts = self.mounts(&lower, &upper, &work)?;
        let namespaces = libc::CLONE_NEWNS | libc::CLONE_NEWPID;
        match fork_like(namespaces, directory.as_ref().map(AsFd::as_fd))? {
            Cloned::Child => {
                let failed = self.child(&tasks, &mounts).err();
                process::exit_now(failed.map_or(125, |error| error.errno.0.clamp(1, 124)));
            }
            Cloned::Parent { pidfd: child, .. } => {
                drop(mounts);
                let exit = pidfd::wait(child.as_fd())?;
                ensure!(exit == pidfd::Exit::Code(0), "the floor's container ended with {exit:?}");
            }
        }
        drop(tasks);
        drop(directory);
        for directory in &self.cgroups {
            rustix::fs::rmdir(directory)?;
        }
        Ok(begun.elapsed().as_nanos())
    }

    fn make_cgroup(&self) -> anyhow::Result<(Vec<OwnedFd>, Option<OwnedFd>)> {
        for directory in &self.cgroups {
            rustix::fs::mkdir(directory, Mode::from_raw_mode(0o755))?;
            if directory.to_bytes().windows(8).any(|name| name == b"/cpuset/") {
                self.inherit_cpus(directory)?;
            }
        }
        for (file, value) in &self.limits {
            rustix::io::write(fd::open(file, OFlags::WRONLY)?, value)?;
        }
        if self.order.v2 {
            let directory = fd::open(&self.cgroups[0], OFlags::RDONLY | OFlags::DIRECTORY)?;
            return Ok((Vec::new(), Some(directory)));
        }
        let tasks: Result<_, _> =
            self.tasks.iter().map(|file| fd::open(file, OFlags::WRONLY)).collect();
        Ok((tasks?, None))
    }

    /// A v1 cpuset admits no process before it has processors and memory nodes.
    fn inherit_cpus(&self, directory: &CString) -> anyhow::Result<()> {
        let text = directory.to_str()?;
        let (parent, _) = text.rsplit_once('/').context("a parent")?;
        for name in ["cpuset.cpus", "cpuset.mems"] {
            let value = std::fs::read(format!("{parent}/{name}"))?;
            std::fs::write(format!("{text}/{name}"), value)?;
        }
        Ok(())
    }

    /// What the parent can mount, detached.
    fn mounts(&self, lower: &CString, upper: &CString, work: &CString) -> Result<Mounts, SysError> {
        let overlay = FileSystem::open(c"overlay")?;
        // `lowerdir+` came with Linux 6.8.
        if overlay.set(c"lowerdir+", lower).is_err() {
            overlay.set(c"lowerdir", lower)?;
        }
        overlay.set(c"upperdir", upper)?;
        overlay.set(c"workdir", work)?;
        let dev = FileSystem::open(c"tmpfs")?;
        dev.set(c"mode", c"755")?;
        dev.set(c"size", c"65536k")?;
        let pts = FileSystem::open(c"devpts")?;
        for (key, value) in [(c"ptmxmode", c"0666"), (c"mode", c"0620"), (c"gid", c"5")] {
            pts.set(key, value)?;
        }
        let cover = FileSystem::open(c"tmpfs")?;
        for (key, value) in [(c"mode", c"755"), (c"nr_blocks", c"1"), (c"nr_inodes", c"1")] {
            cover.set(key, value)?;
        }
        let bind = |path: &CString| {
            let tree = mount::clone_tree(path, true)?;
            mount::set_attributes(tree.as_fd(), PRIVATE, true)?;
            Ok(tree)
        };
        Ok(Mounts {
            root: overlay.mount(0)?,
            dev: dev.mount(libc::MOUNT_ATTR_NOSUID)?,
            pts: pts.mount(libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC)?,
            cover: cover.mount(QUIET | libc::MOUNT_ATTR_RDONLY)?,
            binds: self.binds.iter().map(|own| bind(&own.source)).collect::<Result<_, _>>()?,
        })
    }

    fn child(&self, tasks: &[OwnedFd], mounts: &Mounts) -> Result<(), SysError> {
        for file in tasks {
            process::write_once(file.as_fd(), b"0")?;
        }
        namespace::unshare(libc::CLONE_NEWCGROUP)?;
        let joined = libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
        namespace::join_process(self.pause.as_fd(), joined)?;
        mount::make_all_slave()?;
        let root = mounts.root.as_fd();
        attach(root, fd::open(c"/proc", OFlags::PATH)?)?;
        self.file_systems(root, mounts)?;
        self.hide(root, &mounts.cover)?;
        process::change_directory_to(root)?;
        process::pivot_root_here()?;
        mount::detach(c".")?;
        process::change_directory(c"/")?;
        self.become_it()
    }

    fn file_systems(&self, root: BorrowedFd<'_>, mounts: &Mounts) -> Result<(), SysError> {
        let place = |path| open(root, path, OFlags::PATH, Symlinks::Refused);
        attach(FileSystem::open(c"proc")?.mount(QUIET)?, place(c"proc")?)?;
        attach(&mounts.dev, place(c"dev")?)?;
        let dev = mounts.dev.as_fd();
        for name in [c"pts", c"shm", c"mqueue"] {
            make_directory(dev, name, 0o755)?;
        }
        attach(&mounts.pts, place(c"dev/pts")?)?;
        attach(FileSystem::open(c"mqueue")?.mount(QUIET)?, place(c"dev/mqueue")?)?;
        let read_only = QUIET | libc::MOUNT_ATTR_RDONLY;
        attach(FileSystem::open(c"sysfs")?.mount(read_only)?, place(c"sys")?)?;
        self.own_cgroups(place(c"sys/fs/cgroup")?)?;
        for (Bind { place, directory, .. }, tree) in self.binds.iter().zip(&mounts.binds) {
            let at = if *directory { InRootPath::directory } else { InRootPath::file };
            attach(tree, at(place, root, Symlinks::Inside)?)?;
        }
        for (name, major, minor) in DEVICES {
            let kind = FileType::CharacterDevice;
            make_device(dev, name, Device { kind, mode: 0o666, major, minor })?;
        }
        LINKS.iter().try_for_each(|(name, target)| make_symlink(target, dev, name))
    }

    fn own_cgroups(&self, place: OwnedFd) -> Result<(), SysError> {
        let read_only = QUIET | libc::MOUNT_ATTR_RDONLY;
        if self.order.v2 {
            return attach(FileSystem::open(c"cgroup2")?.mount(read_only)?, place);
        }
        let directory = FileSystem::open(c"tmpfs")?.mount(QUIET)?;
        attach(&directory, place)?;
        for name in &self.hierarchies {
            make_directory(directory.as_fd(), name, 0o755)?;
            let hierarchy = FileSystem::open(c"cgroup")?;
            hierarchy.set_flag(name)?;
            let place = open(directory.as_fd(), name, OFlags::PATH, Symlinks::Refused)?;
            attach(hierarchy.mount(read_only)?, place)?;
        }
        mount::set_attributes(directory.as_fd(), READONLY, false)
    }

    /// Read-only and masked paths; what does not exist is skipped.
    fn hide(&self, root: BorrowedFd<'_>, cover: &OwnedFd) -> Result<(), SysError> {
        let null = open(root, c"dev/null", OFlags::PATH, Symlinks::Refused)?;
        for path in &self.readonly {
            let Ok(place) = open(root, path, OFlags::PATH, Symlinks::Refused) else { continue };
            let tree = mount::clone_tree_at(&place, true)?;
            mount::set_attributes(tree.as_fd(), READONLY, true)?;
            attach(tree, place)?;
        }
        let mut covered = false;
        for path in &self.masked {
            let Ok(place) = open(root, path, OFlags::PATH, Symlinks::Refused) else { continue };
            match (fd::is_directory(&place)?, covered) {
                (true, true) => attach(mount::clone_tree_at(cover, false)?, place)?,
                (true, false) => {
                    covered = true;
                    attach(cover, place)?;
                }
                (false, _) => attach(mount::clone_tree_at(&null, false)?, place)?,
            }
        }
        Ok(())
    }

    fn become_it(&self) -> Result<(), SysError> {
        process::new_session()?;
        let null = fd::open(c"/dev/null", OFlags::RDWR)?;
        (0..3).try_for_each(|number| fd::duplicate_onto(null.as_fd(), number))?;
        let _ = keyring::join_new_session();
        process::set_umask(0o022);
        seccomp::load(&self.filter, 0)?;
        let kept = Set(0xa804_25fb);
        capability::bound(kept)?;
        process::keep_capabilities(true)?;
        process::set_groups(&[Gid::ROOT])?;
        process::set_group(0)?;
        process::set_user(0)?;
        capability::set(Sets { effective: kept, permitted: kept, inheritable: Set(0) })?;
        fd::close_on_exec_from(3)?;
        signal::reset_for_exec()?;
        Err(execute(c"/bin/true", &self.arguments, &self.environment))
    }
}

/// Detached mounts for one run.
struct Mounts {
    root: OwnedFd,
    dev: OwnedFd,
    pts: OwnedFd,
    cover: OwnedFd,
    binds: Vec<OwnedFd>,
}
