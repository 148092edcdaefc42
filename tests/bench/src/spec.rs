//! The one container that every runtime is asked to run: the same OCI spec for all.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use klet_api::Pod;
use klet_spec::compose::{ImageFacts, Input, Machine, ResolvedUser, compose};
use klet_spec::environment::Environment;
use klet_spec::mounts::ManagedFiles;
use oci_spec::runtime::{Capability, Spec};
use serde_json::{Value, json};

/// Files that are bound over the image's, as klet makes them for every container.
///
/// # Errors
/// They cannot be written.
pub fn managed(dir: &Path, shm: &Path) -> anyhow::Result<ManagedFiles> {
    let file = |name: &str, text: &str| -> anyhow::Result<PathBuf> {
        let path = dir.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    };
    Ok(ManagedFiles {
        hosts: Some(file("hosts", "127.0.0.1\tlocalhost\n")?),
        resolv_conf: Some(file("resolv.conf", "nameserver 127.0.0.1\n")?),
        hostname: Some(file("hostname", "bench\n")?),
        termination_log: Some((file("termination-log", "")?, "/dev/termination-log".to_owned())),
        shm: shm.to_owned(),
    })
}

/// A container `true` of a pod as Kubernetes has it, with the `RuntimeDefault` seccomp profile.
///
/// # Errors
/// There is none in practice.
pub fn container(id: &str, pod_cgroup: &str, files: &ManagedFiles) -> anyhow::Result<Spec> {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "bench", "namespace": "default"},
        "spec": {"containers": [{
            "name": "c",
            "image": "busybox",
            "command": ["/bin/true"],
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        }]},
    }))?;
    let container = &pod.spec.as_ref().context("a spec")?.containers[0];
    let machine = Machine {
        memory_bytes: 1 << 32,
        capabilities: default_capabilities(),
        devices: Vec::new(),
        extra_masked: Vec::new(),
        cgroup_v2: !std::path::Path::new("/sys/fs/cgroup/memory").is_dir(),
    };
    Ok(compose(&Input {
        pod: &pod,
        container,
        container_id: id,
        image: &ImageFacts::default(),
        user: &ResolvedUser::default(),
        environment: &Environment::new(),
        hostname: "bench",
        volumes: &[],
        files,
        pod_cgroup,
        localhost_seccomp: None,
        machine: &machine,
    })?)
}

/// What containers get unasked; no machine that runs containers lacks one of them.
fn default_capabilities() -> HashSet<Capability> {
    use Capability as C;
    [
        C::Chown,
        C::DacOverride,
        C::Fsetid,
        C::Fowner,
        C::Mknod,
        C::NetRaw,
        C::Setgid,
        C::Setuid,
        C::Setfcap,
        C::Setpcap,
        C::NetBindService,
        C::SysChroot,
        C::Kill,
        C::AuditWrite,
    ]
    .into()
}

/// Where a runtime's command takes the container's net, ipc and uts namespaces from.
#[derive(Debug, Clone, Copy)]
pub enum Sandbox {
    /// Those of this process: a further container of a pod.
    Of(i32),
    /// New ones: a pod's first container.
    New,
}

/// The `config.json` of the same container for a runtime's command.
///
/// # Errors
/// There is none in practice.
pub fn config(spec: &Spec, rootfs: &Path, cgroup: &str, from: Sandbox) -> anyhow::Result<Value> {
    let mut config = serde_json::to_value(spec)?;
    // The newest that crun 1.8.1 knows.
    config["ociVersion"] = json!("1.0.2");
    config["root"] = json!({"path": rootfs, "readonly": false});
    config["linux"]["cgroupsPath"] = json!(cgroup);
    // "No quota" is the kernel's default, and crun 1.8.1 cannot write it.
    if let Some(cpu) = config["linux"]["resources"]["cpu"].as_object_mut() {
        cpu.remove("quota");
    }
    let namespaces = config["linux"]["namespaces"].as_array_mut().context("namespaces")?;
    for (kind, file) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
        namespaces.push(match from {
            Sandbox::Of(pid) => json!({"type": kind, "path": format!("/proc/{pid}/ns/{file}")}),
            Sandbox::New => json!({"type": kind}),
        });
    }
    if matches!(from, Sandbox::New) {
        config["hostname"] = json!("bench");
    }
    Ok(config)
}
