//! Making the pod sandbox: directories, volumes, cgroup, supervisor, namespaces, network.

use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use klet_api::PodSpec;
use klet_cri::{NetworkMode, Reply, Request, SandboxConfig};
use klet_net::{HostPort, Protocol};
use klet_spec::resources;

use super::observe::SandboxRecord;
use super::worker::Worker;
use super::{files, ids, logs};
use crate::events::Severity;
use crate::node::NodeRef;
use crate::objects;
use crate::shim::{CallError, WORK};
use crate::timeline::What;

/// Size of a pod's `/dev/shm`, bytes.
const SHM_BYTES: u64 = 64 << 20;
/// `oom_score_adj` of pause (kubelet `PodInfraOOMAdj`).
const PAUSE_OOM_SCORE_ADJ: i32 = -998;

impl Worker {
    /// Makes sandbox number `attempt`; whatever a former attempt left half-made is taken down first.
    ///
    /// # Errors
    /// Any step; told as `FailedMount` or `FailedCreatePodSandBox`.
    pub async fn create_sandbox(&mut self, attempt: u32) -> anyhow::Result<()> {
        self.drop_shim().await.context("cannot end the former pod sandbox")?;
        let kept =
            self.make_directories().and_then(|()| objects::keep(&self.identity.dir, &self.pod));
        if let Err(error) = kept {
            let text = format!("error making pod data directories: {error}");
            let reason = "FailedToMakePodDataDirectories";
            self.node.events.pod(&self.pod, Severity::Warning, reason, text.as_str());
            bail!(text);
        }
        self.set_up_volumes().await?;
        if let Err(error) = self.try_create_sandbox(attempt).await {
            if self.pod.metadata.deletion_timestamp.is_none() {
                let text = format!("Failed to create pod sandbox: {error:#}");
                self.node.events.pod(&self.pod, Severity::Warning, "FailedCreatePodSandBox", text);
            }
            if let Err(error) = self.drop_shim().await {
                // The next attempt begins with the same and fails with it.
                tracing::warn!(
                    pod = self.identity.name,
                    "half-made sandbox not removed: {error:#}"
                );
            }
            return Err(error.context("cannot create the pod sandbox"));
        }
        Ok(())
    }

    async fn try_create_sandbox(&mut self, attempt: u32) -> anyhow::Result<()> {
        let config = self.sandbox_config()?;
        let (node, pod_cgroup) = (self.node.clone(), config.cgroup_parent.clone());
        let spec = self.pod.spec.clone().unwrap_or_default();
        let qos = resources::qos(&self.pod);
        // The node's own limit, not one that the pod asks for: without the controller it is waived.
        let pids =
            (!node.cgroups.missing().contains(&"pids")).then_some(node.config.pod_pids_limit);
        let limits = resources::pod(&spec, qos, pids);
        let uid = self.identity.uid.clone();
        let host_network = config.network == NetworkMode::Host;
        let prepared = tokio::task::spawn_blocking(move || {
            let cgroup = node.cgroups.container(&pod_cgroup);
            cgroup.create().context("unable to ensure pod container exists")?;
            cgroup.apply(&limits).context("unable to ensure pod container exists")?;
            if host_network { Ok(None) } else { Ok(Some(node.network.lease(&uid)?)) }
        });
        let shim = self.node.launcher.start(&self.identity.uid).await?;
        self.shim.set(Some(shim.clone()));
        let lease = prepared.await?.map_err(|error: anyhow::Error| error)?;
        let id = config.id.clone();
        let (reply, fds) = shim.call_within(WORK, Request::CreateSandbox(config)).await?;
        ensure!(matches!(reply, Reply::Sandbox { .. }), "the supervisor answered {reply:?}");
        let ips = match lease {
            Some(lease) => self.attach(lease, fds).await?,
            None => self.node.facts.host_ips.clone(),
        };
        let record = SandboxRecord { id, attempt, ips };
        files::write_pod_files(&self.node, &self.pod, &self.identity, &record.ips)?;
        record.write(&self.identity.dir).context("cannot write the sandbox record")?;
        let addresses: Vec<_> = record.ips.iter().map(IpAddr::to_string).collect();
        self.note(None, What::SandboxCreated, addresses.join(", "));
        Ok(())
    }

    fn make_directories(&self) -> std::io::Result<()> {
        make_private(&self.identity.dir)?;
        // What a former shim left is of no use to the next one.
        crate::files::remove_tree(self.identity.run.path())?;
        make_private(self.identity.run.path())?;
        logs::claim(&self.node.config.root, &self.identity.logs)
    }

    async fn set_up_volumes(&mut self) -> anyhow::Result<()> {
        let (pod, dir) = (self.pod.clone(), self.identity.dir.clone());
        let objects = self.node.objects();
        let made = tokio::task::spawn_blocking(move || {
            let dirs = klet_volume::PodDirs::new(dir);
            klet_volume::set_up(&pod, &dirs, &objects, jiff::Timestamp::now())
        });
        match made.await? {
            Ok(volumes) => {
                self.volumes = volumes;
                Ok(())
            }
            Err(error) => {
                self.node.events.pod(
                    &self.pod,
                    Severity::Warning,
                    "FailedMount",
                    error.to_string(),
                );
                Err(error.into())
            }
        }
    }

    /// Brings configMap, secret, downwardAPI and projected volumes of a running pod up to date.
    pub async fn refresh_volumes(&mut self) {
        if self.volumes.is_empty() {
            return;
        }
        let (pod, dir, objects) =
            (self.pod.clone(), self.identity.dir.clone(), self.node.objects());
        let updated = tokio::task::spawn_blocking(move || {
            let dirs = klet_volume::PodDirs::new(dir);
            klet_volume::update(&pod, &dirs, &objects, jiff::Timestamp::now())
        });
        if let Ok(Err(error)) = updated.await {
            tracing::info!(pod = self.identity.name, "volume keeps its content: {error}");
        }
    }

    /// Volumes by name, set up again if this daemon has not done so yet.
    ///
    /// # Errors
    /// As setting them up.
    pub async fn ensure_volumes(&mut self) -> anyhow::Result<()> {
        let wanted =
            self.pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref()).map_or(0, Vec::len);
        if self.volumes.len() == wanted { Ok(()) } else { self.set_up_volumes().await }
    }

    fn sandbox_config(&self) -> anyhow::Result<SandboxConfig> {
        let spec = self.pod.spec.as_ref().context("the pod has no spec")?;
        let set = |flag: Option<bool>| flag == Some(true);
        let network = if set(spec.host_network) { NetworkMode::Host } else { NetworkMode::Pod };
        let sysctls =
            spec.security_context.iter().flat_map(|context| context.sysctls.iter().flatten());
        Ok(SandboxConfig {
            id: ids::random()?,
            pod_uid: self.identity.uid.clone(),
            namespace: self.identity.namespace.clone(),
            name: self.identity.name.clone(),
            hostname: files::kernel_hostname(&self.node, &self.pod, &self.identity)?,
            network,
            host_ipc: set(spec.host_ipc),
            host_pid: set(spec.host_pid),
            shared_pid: set(spec.share_process_namespace),
            sysctls: sysctls.map(|sysctl| (sysctl.name.clone(), sysctl.value.clone())).collect(),
            cgroup_parent: self.pod_cgroup(),
            shm_bytes: SHM_BYTES,
            shm_path: self.identity.run.shm(),
            oom_score_adj: PAUSE_OOM_SCORE_ADJ,
        })
    }

    /// The pod's cgroup below each controller.
    #[must_use]
    pub fn pod_cgroup(&self) -> String {
        let qos = resources::qos(&self.pod);
        resources::pod_cgroup(&self.node.config.cgroup_parent, qos, &self.identity.uid)
    }

    async fn attach(
        &self,
        lease: klet_net::Lease,
        fds: Vec<OwnedFd>,
    ) -> anyhow::Result<Vec<IpAddr>> {
        let Ok([netns, route_socket]) = <[OwnedFd; 2]>::try_from(fds) else {
            bail!("the supervisor did not pass the network namespace");
        };
        let ports = self.pod.spec.as_ref().map(host_ports).unwrap_or_default();
        let (node, uid): (NodeRef, _) = (self.node.clone(), self.identity.uid.clone());
        let attached = tokio::task::spawn_blocking(move || {
            node.network.attach(&uid, &lease, netns.as_fd(), route_socket, &ports)
        });
        let attached = attached.await?.context("failed to setup network for sandbox")?;
        Ok(attached.ips.into_iter().map(IpAddr::V4).collect())
    }

    /// Ends the shim and everything in the pod, whatever state it is in. Afterwards nobody uses the
    /// files of the pod.
    ///
    /// # Errors
    /// Something does not end; the shim stays.
    pub async fn drop_shim(&mut self) -> anyhow::Result<()> {
        let shim = match self.shim.get() {
            Some(shim) => Some(shim),
            None => self.node.launcher.lingering(&self.identity.uid).await,
        };
        let Some(shim) = shim else { return Ok(()) };
        match shim.remove_sandbox().await {
            Ok(()) if shim.is_closed() => {}
            Err(error @ CallError::Refused(_)) => return Err(error.into()),
            // It is dead or hangs: two shims of one pod would take each other's files away.
            Ok(()) | Err(CallError::Gone(_)) => self.end_cgroups().await?,
        }
        self.shim.set(None);
        Ok(())
    }
}

fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
}

/// The host ports of a pod's app containers.
#[must_use]
pub fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    spec.containers
        .iter()
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(|port| {
            Some(HostPort {
                host_ip: port.host_ip.as_deref().and_then(|ip| ip.parse().ok()),
                host_port: u16::try_from(port.host_port?).ok().filter(|port| *port != 0)?,
                container_port: u16::try_from(port.container_port).ok()?,
                protocol: match port.protocol.as_deref() {
                    Some("UDP") => Protocol::Udp,
                    Some("SCTP") => Protocol::Sctp,
                    _ => Protocol::Tcp,
                },
            })
        })
        .collect()
}
