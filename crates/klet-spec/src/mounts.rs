//! What a container sees mounted: the standard file systems, klet's own files, volumes.

use std::path::PathBuf;

use oci_spec::runtime::{Mount, MountBuilder};

/// A volume (or a part of one) that kletd has made ready on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeMount {
    pub source: PathBuf,
    pub mount_path: String,
    pub read_only: bool,
    pub recursive_read_only: bool,
    /// Kubernetes `mountPropagation`; `None` means private.
    pub propagation: Option<String>,
}

/// Files that klet writes for each pod or container and binds over the image's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ManagedFiles {
    /// `/etc/hosts`; absent when the container mounts its own or the pod has no address.
    pub hosts: Option<PathBuf>,
    pub resolv_conf: Option<PathBuf>,
    pub hostname: Option<PathBuf>,
    /// Host file and the container's `terminationMessagePath`.
    pub termination_log: Option<(PathBuf, String)>,
    /// The pod's `/dev/shm`.
    pub shm: PathBuf,
}

/// How the standard mounts differ from container to container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    pub privileged: bool,
    /// The container has the host's network namespace, whose sysfs cannot be mounted anew safely.
    pub host_network: bool,
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    MountBuilder::default()
        .destination(destination)
        .typ(kind)
        .source(source)
        .options(options.iter().map(ToString::to_string).collect::<Vec<_>>())
        .build()
        .expect("every required field is set")
}

/// `/proc`, `/dev` and its children, `/sys`, cgroups (containerd's list).
#[must_use]
pub fn standard(style: Style) -> Vec<Mount> {
    let sys_mode = if style.privileged { "rw" } else { "ro" };
    vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", sys_mode]),
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", sys_mode],
        ),
    ]
}

/// klet's files and the pod's shared memory; a volume at the same place wins.
#[must_use]
pub fn managed(files: &ManagedFiles, volumes: &[VolumeMount]) -> Vec<Mount> {
    let mut wanted: Vec<(PathBuf, String, &[&str])> = vec![(
        files.shm.clone(),
        "/dev/shm".to_owned(),
        &["rbind", "rprivate", "nosuid", "nodev", "noexec", "rw"],
    )];
    let file: &[&str] = &["rbind", "rprivate", "rw"];
    for (source, destination) in [
        (&files.hosts, "/etc/hosts"),
        (&files.hostname, "/etc/hostname"),
        (&files.resolv_conf, "/etc/resolv.conf"),
    ] {
        if let Some(source) = source {
            wanted.push((source.clone(), destination.to_owned(), file));
        }
    }
    if let Some((source, destination)) = &files.termination_log {
        wanted.push((source.clone(), absolute(destination), file));
    }
    wanted
        .into_iter()
        .filter(|(_, at, _)| !volumes.iter().any(|v| same_path(&v.mount_path, at)))
        .map(|(source, at, options)| mount(&at, "bind", &source.to_string_lossy(), options))
        .collect()
}

/// The container's `volumeMounts`, parents before children.
#[must_use]
pub fn volumes(volumes: &[VolumeMount]) -> Vec<Mount> {
    let mut sorted: Vec<&VolumeMount> = volumes.iter().collect();
    sorted
        .sort_by_key(|volume| volume.mount_path.split('/').filter(|part| !part.is_empty()).count());
    sorted
        .into_iter()
        .map(|volume| {
            let propagation = match volume.propagation.as_deref() {
                Some("Bidirectional") => "rshared",
                Some("HostToContainer") => "rslave",
                _ => "rprivate",
            };
            let mode = match (volume.read_only, volume.recursive_read_only) {
                (true, true) => "rro",
                (true, false) => "ro",
                (false, _) => "rw",
            };
            let source = volume.source.to_string_lossy();
            mount(&absolute(&volume.mount_path), "bind", &source, &["rbind", propagation, mode])
        })
        .collect()
}

/// Relative paths are taken from `/`, as the kubelet does.
fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

fn same_path(a: &str, b: &str) -> bool {
    let parts = |path: &str| -> Vec<String> {
        path.split('/').filter(|part| !part.is_empty()).map(ToOwned::to_owned).collect()
    };
    parts(a) == parts(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(path: &str) -> VolumeMount {
        VolumeMount {
            source: PathBuf::from("/host").join(path.trim_start_matches('/')),
            mount_path: path.to_owned(),
            read_only: false,
            recursive_read_only: false,
            propagation: None,
        }
    }

    #[test]
    fn parents_are_mounted_before_children() {
        let mounts = volumes(&[volume("/a/b/c"), volume("/a"), volume("data")]);
        let at: Vec<_> = mounts.iter().map(|m| m.destination().to_str().unwrap()).collect();
        assert_eq!(at, ["/a", "/data", "/a/b/c"]);
    }

    #[test]
    fn a_volume_replaces_the_managed_file_at_its_place() {
        let files = ManagedFiles { hosts: Some("/x/etc-hosts".into()), ..Default::default() };
        let at = |volumes: &[VolumeMount]| -> Vec<String> {
            managed(&files, volumes).iter().map(|m| m.destination().display().to_string()).collect()
        };
        assert_eq!(at(&[]), ["/dev/shm", "/etc/hosts"]);
        assert_eq!(at(&[volume("/etc/hosts/")]), ["/dev/shm"]);
    }
}
