//! What `kletctl system` tells: facts, checks, disk usage.

use http::{Response, StatusCode};
use klet_api::Pod;
use klet_apiserver::body::json;
use klet_apiserver::{ApiError, Body};
use serde_json::{Value, json};

use super::Backend;

/// Facts about the daemon and its machine.
#[must_use]
pub fn info(backend: &Backend) -> Value {
    let node = &backend.node;
    let (pods, _) = node.registry.list::<Pod>(None);
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "node": node.config.node_name,
        "kernel": read("/proc/sys/kernel/osrelease"),
        "cgroup": if node.cgroups.is_v2() { "v2" } else { "v1" },
        "cgroupParent": node.config.cgroup_parent,
        "root": node.config.root,
        "run": node.config.run,
        "logDir": node.config.log_dir,
        "podCIDR": node.config.pod_cidr,
        "bridge": node.config.bridge,
        "pods": pods.len(),
        "images": node.images.list().len(),
        "uptimeSeconds": node.uptime().as_secs(),
        "allocatable": node.allocatable,
    })
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

struct Check {
    name: &'static str,
    ok: bool,
    detail: String,
    hint: &'static str,
}

/// Is this machine fit to run pods, and what to do where it is not?
#[must_use]
pub fn check(backend: &Backend) -> Value {
    let node = &backend.node;
    let forwarding = read("/proc/sys/net/ipv4/ip_forward");
    let overlay = read("/proc/filesystems")
        .lines()
        .any(|line| line.trim_start_matches("nodev").trim() == "overlay");
    let capabilities = node.machine.capabilities.len();
    let resource = node.machine.capabilities.contains(&oci_spec::runtime::Capability::SysResource);
    let bridge = std::path::Path::new("/sys/class/net").join(&node.config.bridge).exists();
    let checks = [
        Check {
            name: "overlay file system",
            ok: overlay,
            detail: if overlay { "available".into() } else { "the kernel has none".into() },
            hint: "load the module: modprobe overlay",
        },
        Check {
            name: "control groups",
            ok: true,
            detail: if node.cgroups.is_v2() { "version 2".into() } else { "version 1".into() },
            hint: "",
        },
        Check {
            name: "pod bridge",
            ok: bridge,
            detail: node.config.bridge.clone(),
            hint: "restart kletd: it makes the bridge when it starts",
        },
        Check {
            name: "IP forwarding",
            ok: forwarding == "1",
            detail: format!("net.ipv4.ip_forward = {forwarding}"),
            hint: "sysctl -w net.ipv4.ip_forward=1",
        },
        Check {
            name: "capabilities",
            ok: resource,
            detail: format!(
                "{capabilities} held{}",
                if resource { "" } else { ", without CAP_SYS_RESOURCE" }
            ),
            hint: "resource limits and oom_score_adj cannot be raised here; klet goes on with what it may set",
        },
    ];
    let list: Vec<Value> = checks
        .iter()
        .map(|check| {
            json!({
                "name": check.name,
                "ok": check.ok,
                "detail": check.detail,
                "hint": if check.ok { "" } else { check.hint },
            })
        })
        .collect();
    json!({ "checks": list })
}

/// Bytes on disk, by kind.
///
/// # Errors
/// The image store cannot be measured.
pub async fn df(backend: &Backend) -> Result<Response<Body>, ApiError> {
    let images = backend.node.images.clone();
    let usage = tokio::task::spawn_blocking(move || images.disk_usage()).await;
    let usage = usage
        .map_err(|error| ApiError::internal(error.to_string()))?
        .map_err(|error| ApiError::internal(error.to_string()))?;
    let value = json!({
        "images": { "count": usage.images, "bytes": usage.image_bytes, "reclaimable": usage.reclaimable_bytes },
        "snapshots": { "count": usage.snapshots, "bytes": usage.snapshot_bytes },
    });
    Ok(json(StatusCode::OK, &value))
}
