//! The files through which a later kletd finds the pod again.

use std::fs;
use std::io;
use std::path::Path;

use klet_cri::ContainerSnapshot;
use klet_cri::paths::{ContainerRecord, PodRunDir, ShimIdentity};
use serde::Serialize;

fn replace(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, serde_json::to_vec(value)?)?;
    fs::rename(&temporary, path)
}

/// Says which process this shim is.
pub fn write_identity(run: &PodRunDir, cgroup_parent: &str) -> io::Result<()> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The command name, in parentheses, may hold spaces: count fields after it.
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let start_time = after.split_whitespace().nth(19).and_then(|field| field.parse().ok());
    let identity = ShimIdentity {
        pid: i32::try_from(std::process::id()).unwrap_or(0),
        start_time: start_time.unwrap_or(0),
        boot_id: fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned(),
        cgroup_parent: cgroup_parent.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    replace(&run.identity(), &identity)
}

/// Writes what is known of a container: an end is on disk before anyone hears of it.
pub fn write_container(run: &PodRunDir, container: &ContainerSnapshot) -> io::Result<()> {
    replace(&run.record(&container.id), &ContainerRecord { container: container.clone() })
}

pub fn remove_container(run: &PodRunDir, id: &str) {
    // A record that is gone already is removed.
    let _ = fs::remove_file(run.record(id));
}
