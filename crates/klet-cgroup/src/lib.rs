//! Control groups, v1 and v2: making, limiting, joining, counting, killing and removing them.
//!
//! A [`Cgroup`] is a path that may or may not exist; every operation may be repeated. Processes
//! enter when they are made (v2: `CLONE_INTO_CGROUP`; v1: the new single-threaded process writes
//! `0` to `tasks`), never later: moving a process waits for an RCU grace period, milliseconds.

mod devices;
mod error;
mod file;
mod layout;
mod plan;
mod stats;
#[cfg(test)]
mod tests;
mod tree;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources};
use rustix::event::EventfdFlags;

pub use error::{CgroupError, Warning};
use layout::Layout;
use plan::{Knob, Need};
pub use stats::Stats;

/// The hierarchies of this machine.
#[derive(Debug, Clone)]
pub struct Cgroups {
    layout: Layout,
}

impl Cgroups {
    /// Looks at the mounts of this process.
    ///
    /// # Errors
    /// `NotMounted` when there is no usable hierarchy.
    pub fn detect() -> Result<Self, CgroupError> {
        let text = file::read(Path::new("/proc/self/mountinfo"))?;
        let layout = layout::from_mountinfo(&text).ok_or(CgroupError::NotMounted)?;
        Ok(Self { layout })
    }

    /// The group at `path` (absolute, below the mount of each hierarchy): a container's, pause's
    /// or a pod's. Nothing is made yet. A bad path is told by the first operation.
    #[must_use]
    pub fn container(&self, path: &str) -> Cgroup {
        let components = match layout::components(path) {
            Ok(components) => components,
            Err(why) => {
                let places = Err(why);
                return Cgroup { path: path.to_owned(), v2: self.is_v2(), places };
            }
        };
        let places = match &self.layout {
            Layout::V2(mount) => vec![Place::new(&[], mount, &components)],
            Layout::V1(hierarchies) => hierarchies
                .iter()
                .map(|h| Place::new(&h.controllers, &h.mount, &components))
                .collect(),
        };
        Cgroup { path: path.to_owned(), v2: self.is_v2(), places: Ok(places) }
    }

    /// Makes the group below which all others of the caller will stand. On v2 a caller alone in a
    /// group on the way moves to that group's child `leaf`: delegation gives a service its own group,
    /// and a group with processes cannot hand controllers down.
    ///
    /// # Errors
    /// As for [`Cgroup::create`]; `Occupied` when a group on the way holds other processes.
    pub fn settle(&self, path: &str, leaf: &str) -> Result<(), CgroupError> {
        let group = self.container(path);
        if !self.is_v2() {
            return group.create();
        }
        group.own()?.try_for_each(|place| tree::settle_v2(&place.mount, &place.directory, leaf))
    }

    /// Controllers that pods' limits need and that are not available here.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let needed: &[&'static str] = match &self.layout {
            // Devices are kept by a program there, frozen is what every group can be.
            Layout::V2(_) => &["cpu", "cpuset", "memory", "pids"],
            Layout::V1(_) => &["cpu", "cpuset", "devices", "freezer", "memory", "pids"],
        };
        needed.iter().copied().filter(|controller| !self.has(controller)).collect()
    }

    fn has(&self, controller: &str) -> bool {
        match &self.layout {
            Layout::V2(mount) => file::read(&mount.join("cgroup.controllers"))
                .is_ok_and(|text| text.split_whitespace().any(|word| word == controller)),
            Layout::V1(hierarchies) => {
                hierarchies.iter().any(|hierarchy| hierarchy.controllers.contains(&controller))
            }
        }
    }

    /// The unified hierarchy is used.
    #[must_use]
    pub fn is_v2(&self) -> bool {
        matches!(self.layout, Layout::V2(_))
    }
}

/// What a new process needs to enter a group.
#[derive(Debug)]
pub enum EnterFiles {
    /// `tasks` files, memory first: the process, single-threaded still, writes `0` to each.
    V1(Vec<OwnedFd>),
    /// The directory to clone into.
    V2 { directory: OwnedFd },
}

/// One directory of a group: v2 has one, v1 one per hierarchy.
#[derive(Debug, Clone)]
struct Place {
    controllers: Vec<&'static str>,
    mount: PathBuf,
    directory: PathBuf,
    /// False for the directories an exec session shares with its container.
    own: bool,
}

impl Place {
    fn new(controllers: &[&'static str], mount: &Path, components: &[&str]) -> Self {
        Self {
            controllers: controllers.to_vec(),
            mount: mount.to_owned(),
            directory: layout::below(mount, components),
            own: true,
        }
    }

    fn has(&self, controller: &str) -> bool {
        self.controllers.contains(&controller)
    }
}

/// One control group.
#[derive(Debug, Clone)]
pub struct Cgroup {
    path: String,
    v2: bool,
    places: Result<Vec<Place>, &'static str>,
}

impl Cgroup {
    /// The path it was asked for with.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Makes the group and what is missing above it.
    ///
    /// # Errors
    /// A refused path, or the directory or file the kernel refused.
    pub fn create(&self) -> Result<(), CgroupError> {
        for place in self.own()? {
            if self.v2 {
                tree::create_v2(&place.mount, &place.directory)?;
            } else {
                tree::create_v1(&place.mount, &place.directory, place.has("cpuset"))?;
            }
        }
        Ok(())
    }

    /// Sets limits and device rules. Refinements that could not be set come back as warnings.
    ///
    /// # Errors
    /// `Limit` names the file and value of a limit that was asked for and refused;
    /// `Resources` a contradiction in what was asked.
    pub fn apply(&self, resources: &LinuxResources) -> Result<Vec<Warning>, CgroupError> {
        let knobs = if self.v2 { plan::v2(resources)? } else { plan::v1(resources)? };
        let mut warnings = Vec::new();
        let mut again = Vec::new();
        for knob in &knobs {
            match self.turn(knob) {
                // Values that bound one another (memory and memory+swap, quota and period) are
                // accepted in one order when they grow and in the other when they shrink.
                Err(error) if dependent(&error) => again.push(knob),
                result => settle(self.target(knob), knob, result, &mut warnings)?,
            }
        }
        for knob in again {
            settle(self.target(knob), knob, self.turn(knob), &mut warnings)?;
        }
        if let Some(rules) = resources.devices().as_deref().filter(|rules| !rules.is_empty()) {
            self.restrict_devices(rules)?;
        }
        Ok(warnings)
    }

    /// Opens what a new process needs to enter.
    ///
    /// # Errors
    /// The file that could not be opened.
    pub fn enter_files(&self) -> Result<EnterFiles, CgroupError> {
        let places = self.places()?;
        if self.v2 {
            return Ok(EnterFiles::V2 { directory: file::directory(&places[0].directory)? });
        }
        let files = places.iter().map(|p| file::open_to_write(&p.directory.join("tasks")));
        Ok(EnterFiles::V1(files.collect::<Result<_, _>>()?))
    }

    /// A group of its own for exec session `n` below this one, made: so that it can be killed
    /// with everything it started. On v1 it exists in one hierarchy only and shares the rest.
    ///
    /// # Errors
    /// As for [`Cgroup::create`].
    pub fn exec_child(&self, n: u64) -> Result<Self, CgroupError> {
        let name = format!("exec-{n}");
        let mut places = self.places()?.to_vec();
        let listing = self.listing()?.directory.clone();
        for place in &mut places {
            place.own = place.directory == listing;
            if place.own {
                place.directory.push(&name);
            }
        }
        let child = Self { path: format!("{}/{name}", self.path), v2: self.v2, places: Ok(places) };
        for place in child.own()? {
            // Not `create`: the container's group holds processes, so on v2 it cannot hand
            // controllers down; a child without controllers still counts towards it.
            match std::fs::create_dir(&place.directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(CgroupError::io("make", &place.directory, error));
                }
                _ => {}
            }
        }
        Ok(child)
    }

    /// SIGKILLs every process in the group and below; does not wait for them to end.
    ///
    /// # Errors
    /// What the kernel refused. On v1 the group is thawed in any case.
    pub fn kill(&self) -> Result<(), CgroupError> {
        let place = self.listing()?;
        if self.v2 {
            tree::kill_v2(&place.directory)
        } else {
            tree::kill_v1(&place.directory, place.has("freezer"))
        }
    }

    /// How many processes of this group the kernel killed for memory so far; 0 without a memory
    /// controller.
    ///
    /// # Errors
    /// The file that could not be read.
    pub fn oom_kills(&self) -> Result<u64, CgroupError> {
        let name = if self.v2 { "memory.events" } else { "memory.oom_control" };
        match self.with("memory")? {
            Some(place) => {
                let path = place.directory.join(name);
                match std::fs::read_to_string(&path) {
                    Ok(text) => Ok(file::keyed(&text, "oom_kill").unwrap_or(0)),
                    Err(error) if self.v2 && error.kind() == io::ErrorKind::NotFound => Ok(0),
                    Err(error) => Err(CgroupError::io("read", &path, error)),
                }
            }
            None => Ok(0),
        }
    }

    /// A descriptor that tells of out-of-memory: v1 an eventfd (`EPOLLIN`; removal of the group
    /// fires it too), v2 the open `memory.events` (`EPOLLPRI`). `None` without a memory controller.
    ///
    /// # Errors
    /// The file that could not be opened or written.
    pub fn oom_event_fd(&self) -> Result<Option<OwnedFd>, CgroupError> {
        let Some(place) = self.with("memory")? else { return Ok(None) };
        let open = |path: &Path| match std::fs::File::open(path) {
            Ok(file) => Ok(Some(OwnedFd::from(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(CgroupError::io("open", path, error)),
        };
        if self.v2 {
            return open(&place.directory.join("memory.events"));
        }
        let Some(control) = open(&place.directory.join("memory.oom_control"))? else {
            return Ok(None);
        };
        let registration = place.directory.join("cgroup.event_control");
        let event = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| CgroupError::io("make an eventfd for", &registration, error.into()))?;
        let text = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
        file::write_or("write", &registration, &text)?;
        Ok(Some(event))
    }

    /// The processes in the group and below; empty when it does not exist.
    ///
    /// # Errors
    /// The file that could not be read.
    pub fn processes(&self) -> Result<Vec<i32>, CgroupError> {
        tree::processes(&self.listing()?.directory)
    }

    /// Freezes or thaws the group and returns when it is so.
    ///
    /// # Errors
    /// `Timeout` after a second; the group is thawed then.
    pub fn freeze(&self, frozen: bool) -> Result<(), CgroupError> {
        let place = self.listing()?;
        if self.v2 {
            tree::freeze_v2(&place.directory, frozen)
        } else if place.has("freezer") {
            tree::freeze_v1(&place.directory, frozen)
        } else {
            Err(CgroupError::Resources("the freezer controller is not mounted".to_owned()))
        }
    }

    /// What the group uses now. Missing files leave gaps, never an error but for a bad path.
    ///
    /// # Errors
    /// A refused path.
    pub fn stats(&self) -> Result<Stats, CgroupError> {
        let text = |controller: &str, name: &str| -> Result<Option<String>, CgroupError> {
            let place = self.with(controller)?;
            Ok(place.and_then(|p| std::fs::read_to_string(p.directory.join(name)).ok()))
        };
        let either = |controller, v1, v2| text(controller, if self.v2 { v2 } else { v1 });
        let texts = stats::Texts {
            cpu_usage: if self.v2 { None } else { text("cpuacct", "cpuacct.usage")? },
            cpu_stat: text("cpu", "cpu.stat")?,
            memory_usage: either("memory", "memory.usage_in_bytes", "memory.current")?,
            memory_stat: text("memory", "memory.stat")?,
            memory_peak: either("memory", "memory.max_usage_in_bytes", "memory.peak")?,
            pids: text("pids", "pids.current")?,
        };
        Ok(stats::parse(&texts, self.v2))
    }

    /// Removes the group and all groups below it. Processes just ending are waited for, at most
    /// a second. Gone already is fine.
    ///
    /// # Errors
    /// `Timeout` when processes live on in it.
    pub fn remove(&self) -> Result<(), CgroupError> {
        let deadline = Instant::now() + tree::PATIENCE;
        let mut result = Ok(());
        for place in self.own()? {
            // One stubborn hierarchy must not keep the others.
            result = result.and(tree::remove(&place.directory, self.v2, deadline));
        }
        result
    }

    fn places(&self) -> Result<&[Place], CgroupError> {
        match &self.places {
            Ok(places) => Ok(places),
            Err(why) => Err(CgroupError::Path { path: self.path.clone(), why }),
        }
    }

    fn own(&self) -> Result<impl Iterator<Item = &Place>, CgroupError> {
        Ok(self.places()?.iter().filter(|place| place.own))
    }

    /// The directory with `controller`'s files.
    fn with(&self, controller: &str) -> Result<Option<&Place>, CgroupError> {
        Ok(self.places()?.iter().find(|place| self.v2 || place.has(controller)))
    }

    /// The directory by which members are listed and killed.
    fn listing(&self) -> Result<&Place, CgroupError> {
        let places = self.places()?;
        ["freezer", "pids", "memory"]
            .iter()
            .find_map(|controller| places.iter().find(|place| place.has(controller)))
            .or(places.first())
            .ok_or(CgroupError::NotMounted)
    }

    /// The file of a knob; `None` when its hierarchy is not mounted.
    fn target(&self, knob: &Knob) -> Option<PathBuf> {
        // A user's own file is named for its controller (`memory.high`) and has no slash in it.
        let controller = match knob.controller {
            "unified" => knob.file.split('.').next().unwrap_or_default(),
            controller => controller,
        };
        let plain = !knob.file.contains('/') && !knob.file.starts_with("cgroup.");
        let place = self.with(controller).ok().flatten().filter(|_| plain)?;
        Some(place.directory.join(&knob.file))
    }

    fn turn(&self, knob: &Knob) -> io::Result<()> {
        match self.target(knob) {
            Some(path) => file::write(&path, &knob.value),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "the controller is not available")),
        }
    }

    fn restrict_devices(&self, rules: &[LinuxDeviceCgroup]) -> Result<(), CgroupError> {
        let policy = devices::policy(rules)?;
        if self.v2 {
            let place = &self.places()?[0];
            return devices::attach(&place.directory, &policy);
        }
        let Some(place) = self.with("devices")? else {
            let open = policy.is_open();
            return if open { Ok(()) } else { Err(missing_devices()) };
        };
        for (name, value) in policy.v1_lines() {
            let file = place.directory.join(name);
            file::write(&file, &value).map_err(|source| CgroupError::Limit {
                file,
                value,
                source,
            })?;
        }
        Ok(())
    }
}

fn missing_devices() -> CgroupError {
    CgroupError::Resources(
        "the devices controller is not mounted: device rules cannot be kept".to_owned(),
    )
}

/// The value may become acceptable once the others are written.
fn dependent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EBUSY))
}

/// Decides what a refused write means.
fn settle(
    target: Option<PathBuf>,
    knob: &Knob,
    result: io::Result<()>,
    warnings: &mut Vec<Warning>,
) -> Result<(), CgroupError> {
    let Err(source) = result else { return Ok(()) };
    let file = target.unwrap_or_else(|| PathBuf::from(&knob.file));
    match knob.need {
        Need::Required => Err(CgroupError::Limit { file, value: knob.value.clone(), source }),
        Need::Default if source.kind() == io::ErrorKind::NotFound => Ok(()),
        Need::Default | Need::Optional => {
            let file = file.display().to_string();
            let (value, reason) = (knob.value.clone(), source.to_string());
            warnings.push(Warning { file, value, reason });
            Ok(())
        }
    }
}
