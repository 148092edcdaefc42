//! emptyDir: a directory, or memory.

use std::io;
use std::path::Path;

use klet_api::Pod;
use klet_api::k8s_openapi::api::core::v1::{Container, EmptyDirVolumeSource, ResourceRequirements};
use klet_api::quantity::Quantity;
use rustix::fs::{Mode, OFlags, open};

use crate::mounts;
use crate::ownership::Ownership;
use crate::set_up::{MODE, TMPFS_MODE};

pub(crate) fn make(path: &Path, source: &EmptyDirVolumeSource, pod: &Pod) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    match source.medium.as_deref().unwrap_or_default() {
        "" => mounts::directory(path, MODE).map_err(text)?,
        "Memory" => {
            mounts::tmpfs(path, Some(memory_size(source, pod)), TMPFS_MODE).map_err(text)?
        }
        other => return Err(format!("unknown storage medium {other:?}")),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = open(path, flags, Mode::empty()).map_err(|errno| text(errno.into()))?;
    // Only the root: what containers write into a setgid directory has its group by itself.
    Ownership::read_write(pod).apply_to_directory(&root).map_err(|errno| text(errno.into()))
}

/// The least of the node's memory, the pod's memory limit and the volume's own.
fn memory_size(source: &EmptyDirVolumeSource, pod: &Pod) -> u64 {
    let node = rustix::system::sysinfo();
    let node = u64::from(node.mem_unit).saturating_mul(node.totalram);
    let own = source.size_limit.as_ref().and_then(|limit| bytes(&limit.0));
    [own, pod_memory_limit(pod)]
        .into_iter()
        .flatten()
        .filter(|&limit| limit > 0)
        .fold(node, u64::min)
}

/// What the pod's cgroup may hold, if the pod or each of its containers has a limit: containers run
/// side by side (restartable init containers among them), the other init containers one by one.
fn pod_memory_limit(pod: &Pod) -> Option<u64> {
    let spec = pod.spec.as_ref()?;
    if let Some(limit) = spec.resources.as_ref().and_then(memory) {
        return Some(limit);
    }
    let limit = |container: &Container| container.resources.as_ref().and_then(memory);
    let mut together = 0_u64;
    let mut highest = 0_u64;
    for init in spec.init_containers.iter().flatten() {
        let needed = limit(init)?;
        if init.restart_policy.as_deref() == Some("Always") {
            together = together.saturating_add(needed);
            highest = highest.max(together);
        } else {
            highest = highest.max(together.saturating_add(needed));
        }
    }
    for container in &spec.containers {
        together = together.saturating_add(limit(container)?);
    }
    Some(together.max(highest))
}

fn memory(resources: &ResourceRequirements) -> Option<u64> {
    bytes(&resources.limits.as_ref()?.get("memory")?.0)
}

fn bytes(quantity: &str) -> Option<u64> {
    u64::try_from(Quantity::parse(quantity).ok()?.value()).ok()
}

#[cfg(test)]
mod tests {
    use klet_api::PodSpec;
    use klet_api::k8s_openapi::apimachinery::pkg::api::resource;

    use super::*;

    fn container(limit: Option<&str>, always: bool) -> Container {
        let limits =
            limit.map(|l| [("memory".to_owned(), resource::Quantity(l.to_owned()))].into());
        Container {
            resources: Some(ResourceRequirements { limits, ..Default::default() }),
            restart_policy: always.then(|| "Always".to_owned()),
            ..Default::default()
        }
    }

    fn pod(init: Vec<Container>, containers: Vec<Container>) -> Pod {
        let spec = PodSpec { init_containers: Some(init), containers, ..Default::default() };
        Pod { spec: Some(spec), ..Default::default() }
    }

    #[test]
    fn memory_is_bounded_by_volume_and_pod() {
        let source = |limit: Option<&str>| EmptyDirVolumeSource {
            size_limit: limit.map(|l| resource::Quantity(l.to_owned())),
            ..Default::default()
        };
        let small = pod(vec![], vec![container(Some("1Mi"), false), container(Some("1Mi"), false)]);
        assert_eq!(memory_size(&source(None), &small), 2 << 20);
        assert_eq!(memory_size(&source(Some("1Mi")), &small), 1 << 20);
        assert_eq!(memory_size(&source(Some("0")), &small), 2 << 20);
        let open_ended = pod(vec![], vec![container(Some("1Mi"), false), container(None, false)]);
        assert!(memory_size(&source(None), &open_ended) > 2 << 20, "the node's memory");
        let staged = pod(
            vec![container(Some("1Mi"), true), container(Some("8Mi"), false)],
            vec![container(Some("2Mi"), false)],
        );
        assert_eq!(memory_size(&source(None), &staged), 9 << 20);
    }
}
