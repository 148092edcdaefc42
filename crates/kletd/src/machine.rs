//! What this machine offers: memory, processors, capabilities, devices, addresses.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::str::FromStr;

use klet_spec::compose::Machine;
use oci_spec::runtime::{Capability, LinuxDevice, LinuxDeviceBuilder, LinuxDeviceType};

/// Deepest directory below `/dev` that is looked into.
const DEV_DEPTH: usize = 3;

/// Looks at the machine once, at start.
#[must_use]
pub fn look(cgroup_v2: bool) -> Machine {
    Machine {
        memory_bytes: memory_bytes(),
        capabilities: held_capabilities(),
        devices: devices(),
        extra_masked: thermal_throttles(),
        cgroup_v2,
    }
}

/// How many processors there are.
#[must_use]
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Node allocatable: everything there is.
#[must_use]
pub fn allocatable(machine: &Machine, root: &Path) -> BTreeMap<String, String> {
    let disk = rustix::fs::statvfs(root).map_or(0, |disk| disk.f_blocks * disk.f_frsize);
    [
        ("ephemeral-storage".to_owned(), disk.to_string()),
        ("cpu".to_owned(), cpus().to_string()),
        ("memory".to_owned(), machine.memory_bytes.to_string()),
        ("pods".to_owned(), "110".to_owned()),
    ]
    .into()
}

fn memory_bytes() -> i64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()).and_then(|kib| kib.parse().ok());
    kib.unwrap_or(0_i64) * 1024
}

/// The bounding set: what a child of ours could get at most.
fn held_capabilities() -> HashSet<Capability> {
    let held = caps::read(None, caps::CapSet::Permitted).unwrap_or_default();
    let bound = caps::read(None, caps::CapSet::Bounding).unwrap_or_default();
    held.intersection(&bound)
        .filter_map(|capability| {
            let name = capability.to_string();
            Capability::from_str(name.strip_prefix("CAP_").unwrap_or(&name)).ok()
        })
        .collect()
}

/// Names of the capabilities that the kernel knows and this daemon lacks, without `CAP_`.
#[must_use]
pub fn missing_capabilities(machine: &Machine) -> Vec<String> {
    let all = caps::runtime::procfs_all_supported(None).unwrap_or_else(|_| caps::all());
    let held = |name: &str| {
        Capability::from_str(name).is_ok_and(|known| machine.capabilities.contains(&known))
    };
    let mut names: Vec<String> = all
        .into_iter()
        .map(|capability| capability.to_string().trim_start_matches("CAP_").to_owned())
        .filter(|name| !held(name))
        .collect();
    names.sort();
    names
}

/// Device nodes of the host, but for what every container has of its own.
fn devices() -> Vec<LinuxDevice> {
    let mut found = Vec::new();
    collect(Path::new("/dev"), DEV_DEPTH, &mut found);
    found
}

fn collect(directory: &Path, depth: usize, found: &mut Vec<LinuxDevice>) {
    const OWN: [&str; 7] = ["pts", "shm", "mqueue", "fd", "console", "ptmx", ".udev"];
    const DEFAULT: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if OWN.iter().chain(&DEFAULT).any(|own| name == *own) {
            continue;
        }
        let Ok(metadata) = std::fs::symlink_metadata(entry.path()) else { continue };
        let kind = metadata.file_type();
        if kind.is_dir() && depth > 0 {
            collect(&entry.path(), depth - 1, found);
        } else if kind.is_char_device() || kind.is_block_device() {
            let typ = if kind.is_char_device() { LinuxDeviceType::C } else { LinuxDeviceType::B };
            let device = LinuxDeviceBuilder::default()
                .path(entry.path())
                .typ(typ)
                .major(i64::from(rustix::fs::major(metadata.rdev())))
                .minor(i64::from(rustix::fs::minor(metadata.rdev())))
                .file_mode(metadata.mode() & 0o7777)
                .uid(metadata.uid())
                .gid(metadata.gid())
                .build();
            found.extend(device);
        }
    }
}

fn thermal_throttles() -> Vec<String> {
    let directory = Path::new("/sys/devices/system/cpu");
    std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("thermal_throttle"))
        .filter(|path| path.exists())
        .map(|path| path.to_string_lossy().into_owned())
        .collect()
}

/// The node's address: that of the default route, else the pods' gateway.
///
/// Connecting a datagram socket chooses a route and sends nothing.
#[must_use]
pub fn host_ips(gateway: Ipv4Addr) -> Vec<IpAddr> {
    let chosen = UdpSocket::bind("0.0.0.0:0")
        .and_then(|socket| socket.connect("192.0.2.1:9").map(|()| socket))
        .and_then(|socket| socket.local_addr());
    vec![chosen.map_or(IpAddr::V4(gateway), |address| address.ip())]
}
