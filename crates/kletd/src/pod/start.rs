//! Starting one container: image, configuration, process, postStart.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use jiff::Timestamp;
use klet_api::Container;
use klet_cri::{
    ContainerConfig, LogConfig, Namespace, Reply, Request, Rootfs, ShimErrorKind, limits,
};
use klet_image::Image;
use klet_pod::{ContainerKind, Kill, Start, text};
use klet_spec::ConfigError;
use klet_spec::compose::{ImageFacts, Input, ResolvedUser, compose};
use klet_spec::environment::{self, Facts, environment};
use klet_spec::mounts::VolumeMount;
use klet_spec::security::{Context as Security, verify_non_root};

use super::records::Labels;
use super::worker::Worker;
use super::{files, find, hooks, ids, signals};
use crate::events::Severity;
use crate::shim::{CallError, Shim, WORK};
use crate::timeline::What;

/// Why a container did not start, under the kubelet's waiting reason.
#[derive(Debug)]
struct Failure {
    reason: &'static str,
    message: String,
    /// Text of the `Failed` event after "Error: "; absent when other events tell enough.
    event: Option<String>,
}

impl Failure {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { reason, event: Some(message.clone()), message }
    }

    fn image(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), event: Some(reason.to_owned()) }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(error.reason(), error.to_string())
    }
}

/// One container about to be started.
struct Attempt<'a> {
    start: &'a Start,
    container: &'a Container,
    id: String,
    image: Image,
}

impl Worker {
    /// Starts the next attempt of a container. A failure is remembered as the container's waiting
    /// reason and told as an event; it does not end the round, so that other containers start.
    ///
    /// # Errors
    /// The pod cannot be worked on at all (no supervisor).
    pub async fn start_container(&mut self, start: Start) -> anyhow::Result<()> {
        let shim = self.shim.get().context("the pod has no sandbox")?;
        let pod = self.pod.clone();
        let Some(container) = find(&pod, start.kind, &start.name) else { return Ok(()) };
        self.memory.starting(&pod, &start, Timestamp::now());
        match self.try_start(&shim, &start, container).await {
            Ok(id) => {
                self.memory.started(&start.name);
                self.post_start(&shim, &start, container, &id).await
            }
            Err(failure) => {
                self.failed(&start, &failure);
                Ok(())
            }
        }
    }

    fn failed(&mut self, start: &Start, failure: &Failure) {
        let target = (start.kind, start.name.as_str());
        if let Some(text) = &failure.event {
            let text = format!("Error: {text}");
            self.node.events.container(&self.pod, target, Severity::Warning, "Failed", text);
        }
        self.note(
            Some(&start.name),
            What::StartFailed,
            format!("{}: {}", failure.reason, failure.message),
        );
        self.memory.start_failed(&start.name, failure.reason, &failure.message, Timestamp::now());
    }

    /// A container waits: the status and an event say so.
    pub fn back_off(&mut self, kind: ContainerKind, name: &str, message: &str) {
        let text = text::crash_back_off_event(name, &self.pod);
        self.node.events.container(&self.pod, (kind, name), Severity::Warning, "BackOff", text);
        self.note(Some(name), What::BackOff, message.to_owned());
        self.memory.backed_off(name, message, Timestamp::now());
    }

    async fn try_start(
        &mut self,
        shim: &Shim,
        start: &Start,
        container: &Container,
    ) -> Result<String, Failure> {
        let image = self.image(start, container)?;
        self.ensure_volumes()
            .await
            .map_err(|error| Failure::new("CreateContainerConfigError", format!("{error:#}")))?;
        let internal =
            |error: anyhow::Error| Failure::new("CreateContainerError", format!("{error:#}"));
        let id = ids::random().map_err(internal)?;
        let attempt = Attempt { start, container, id, image };
        let config = if self.reaches_the_host() {
            // A path of the host may hang (NFS): nothing else waits for it.
            tokio::task::block_in_place(|| self.configure(&attempt))?
        } else {
            self.configure(&attempt)?
        };
        let target = (start.kind, start.name.as_str());
        let events = &self.node.events;
        events.container(
            &self.pod,
            target,
            Severity::Normal,
            "Created",
            text::created(&start.name),
        );
        match shim.call_within(WORK, Request::StartContainer(Box::new(config))).await {
            Ok((Reply::Started { started_at_ns, .. }, _)) => {
                let time = Timestamp::from_nanosecond(started_at_ns.into());
                self.note_start(&start.name, start.attempt, time.unwrap_or_default());
            }
            Ok((other, _)) => return Err(internal(anyhow!("the supervisor answered {other:?}"))),
            Err(CallError::Refused(error)) if error.kind == ShimErrorKind::InvalidConfig => {
                return Err(Failure::new("CreateContainerError", error.message));
            }
            Err(error) => return Err(Failure::new("RunContainerError", error.to_string())),
        }
        events.container(
            &self.pod,
            target,
            Severity::Normal,
            "Started",
            text::started(&start.name),
        );
        Ok(attempt.id)
    }

    /// The image, or why it cannot be had. klet pulls nothing: what is not loaded is not there.
    fn image(&mut self, start: &Start, container: &Container) -> Result<Image, Failure> {
        let name = container.image.clone().unwrap_or_default();
        let target = (start.kind, start.name.as_str());
        // A look into memory: another thread would take longer to wake than to answer.
        let found = self.node.images.resolve(&name);
        let events = self.node.events.clone();
        let event = |severity, reason: &str, text: String| {
            events.container(&self.pod, target, severity, reason, text);
        };
        match found {
            Ok(Some(image)) => {
                event(Severity::Normal, "Pulled", text::image_present(&name));
                Ok(image)
            }
            Ok(None) if container.image_pull_policy.as_deref() == Some("Never") => {
                let message = text::image_never_pull(&name);
                event(Severity::Warning, "ErrImageNeverPull", message.clone());
                Err(Failure::image("ErrImageNeverPull", message))
            }
            Ok(None) => Err(self.pull(target, &name)),
            Err(error) => {
                let message = text::invalid_image_name(&name, &error.to_string());
                event(Severity::Warning, "InspectFailed", message.clone());
                Err(Failure::image("InvalidImageName", message))
            }
        }
    }

    /// A pull that cannot succeed yet, in the kubelet's states and at its pace.
    fn pull(&mut self, target: (ContainerKind, &str), image: &str) -> Failure {
        let error = format!(
            "image {image:?} is not loaded and klet has no registry to pull it from; load it with: kletctl image load FILE"
        );
        let now = Timestamp::now();
        let events = &self.node.events;
        if self.memory.pull_wait(image, now).is_some() {
            let text = text::pull_back_off_event(image);
            events.container(&self.pod, target, Severity::Normal, "BackOff", text);
            let message = text::pull_back_off(image, &error);
            return Failure::image("ImagePullBackOff", message);
        }
        events.container(&self.pod, target, Severity::Normal, "Pulling", text::pulling(image));
        let text = text::pull_failed(image, &error);
        events.container(&self.pod, target, Severity::Warning, "Failed", text);
        self.memory.pull_failed(image, now);
        Failure::image("ErrImagePull", error)
    }

    /// The pod has volumes that are not klet's own files.
    fn reaches_the_host(&self) -> bool {
        let volumes = self.pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
        volumes.into_iter().flatten().any(|volume| volume.host_path.is_some())
    }

    /// Everything the shim needs to start the container.
    fn configure(&self, attempt: &Attempt<'_>) -> Result<ContainerConfig, Failure> {
        let internal =
            |error: anyhow::Error| Failure::new("CreateContainerError", format!("{error:#}"));
        let Attempt { start, container, id, image } = attempt;
        let facts = self.downward_facts();
        let variables = environment(&self.pod, container, &self.node.objects(), &facts)?;
        let user = self.user(container, image)?;
        let volumes = self.mounts(container, &variables)?;
        let managed = files::for_container(&self.identity, container).map_err(internal)?;
        let pod_cgroup = self.pod_cgroup();
        let image_facts = ImageFacts {
            entrypoint: image.config.entrypoint.clone(),
            cmd: image.config.cmd.clone(),
            env: image.config.env.clone(),
            working_dir: image.config.working_dir.clone(),
        };
        let hostname =
            files::kernel_hostname(&self.node, &self.pod, &self.identity).map_err(internal)?;
        let spec = compose(&Input {
            pod: &self.pod,
            container,
            container_id: id,
            image: &image_facts,
            user: &user,
            environment: &variables,
            hostname: &hostname,
            volumes: &volumes,
            files: &managed,
            pod_cgroup: &pod_cgroup,
            localhost_seccomp: self.localhost_seccomp(container)?,
            machine: &self.node.machine,
        })?;
        let stop_signal = image.config.stop_signal.as_deref().and_then(signals::number);
        let termination_log = managed.termination_log.map(|(path, _)| path).unwrap_or_default();
        let labels = Labels {
            image: container.image.clone().unwrap_or_default(),
            image_ref: image_name(image, container),
            image_id: image.digests.first().cloned().unwrap_or_else(|| image.id.clone()),
            definition: klet_pod::plan::definition_hash(
                &container.name,
                container.image.as_deref().unwrap_or_default(),
            ),
            stop_signal: stop_signal.unwrap_or(signals::TERM),
            termination_log,
            falls_back_to_logs: container.termination_message_policy.as_deref()
                == Some("FallbackToLogsOnError"),
        };
        Ok(ContainerConfig {
            id: id.clone(),
            name: container.name.clone(),
            attempt: start.attempt,
            spec,
            rootfs: self.rootfs(id, image).map_err(internal)?,
            join: self.joined(),
            log: self.log(start).map_err(internal)?,
            stdin: container.stdin == Some(true),
            labels: labels.to_map(),
        })
    }

    /// A `Localhost` profile, read from `<root>/seccomp`. Missing means refused, never unconfined.
    fn localhost_seccomp(
        &self,
        container: &Container,
    ) -> Result<Option<oci_spec::runtime::LinuxSeccomp>, Failure> {
        let Some(("Localhost", name)) = Security::of(&self.pod, container).seccomp() else {
            return Ok(None);
        };
        let name = name.unwrap_or_default();
        let refuse = |why: String| {
            Failure::new("CreateContainerError", format!("seccomp profile {name:?}: {why}"))
        };
        if name.is_empty() || name.split('/').any(|part| part == "..") {
            return Err(refuse("must be a path below the seccomp directory".to_owned()));
        }
        let path = self.node.config.root.join("seccomp").join(name.trim_start_matches('/'));
        let bytes = std::fs::read(&path).map_err(|error| refuse(error.to_string()))?;
        serde_json::from_slice(&bytes).map(Some).map_err(|error| refuse(error.to_string()))
    }

    fn downward_facts(&self) -> Facts {
        let parse = |text: &Option<String>| text.as_deref().and_then(|ip| ip.parse().ok());
        let own = super::observe::SandboxRecord::read(&self.identity.dir);
        let status = self.pod.status.as_ref();
        Facts {
            pod_ips: own.map_or_else(
                || status.and_then(|status| parse(&status.pod_ip)).into_iter().collect(),
                |record| record.ips,
            ),
            host_ips: self.node.facts.host_ips.clone(),
            allocatable: self.node.allocatable.clone(),
        }
    }

    fn user(&self, container: &Container, image: &Image) -> Result<ResolvedUser, Failure> {
        let named = image.config.user.split(':').next().unwrap_or_default();
        verify_non_root(&self.pod, container, named)?;
        let security = Security::of(&self.pod, container);
        let wanted = match security.run_as_user() {
            Some(uid) => uid.to_string(),
            None => image.config.user.clone(),
        };
        let info = klet_image::users::lookup(&image.layers, &wanted)
            .map_err(|error| Failure::new("CreateContainerError", error.to_string()))?;
        let group = security.run_as_group().and_then(|gid| u32::try_from(gid).ok());
        Ok(ResolvedUser {
            uid: info.uid,
            gid: group.unwrap_or(info.gid),
            image_groups: info.additional_gids,
            home: Some(info.home),
        })
    }

    fn mounts(
        &self,
        container: &Container,
        variables: &klet_spec::environment::Environment,
    ) -> Result<Vec<VolumeMount>, Failure> {
        let config = |message: String| Failure::new("CreateContainerConfigError", message);
        let mut mounts = Vec::new();
        for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
            let volume = self.volumes.get(&mount.name).ok_or_else(|| {
                config(format!(
                    "cannot find volume {:?} to mount into container {:?}",
                    mount.name, container.name
                ))
            })?;
            let given = mount.sub_path.clone().filter(|path| !path.is_empty());
            let expression = mount.sub_path_expr.as_deref().filter(|path| !path.is_empty());
            let sub_path = match (given, expression) {
                (Some(given), _) => Some(given),
                (None, expression) => {
                    expression.map(|text| environment::sub_path(text, variables)).transpose()?
                }
            };
            let source: PathBuf = match sub_path {
                None => volume.host_path.clone(),
                Some(sub) => klet_volume::sub_path(
                    &klet_volume::PodDirs::new(self.identity.dir.clone()),
                    &klet_volume::SubPath {
                        volume: &volume.host_path,
                        volume_name: &mount.name,
                        container: &container.name,
                        index,
                        sub_path: &sub,
                    },
                )
                .map_err(|error| config(error.to_string()))?,
            };
            super::propagation::check(&source, mount.mount_propagation.as_deref())
                .map_err(|text| Failure::new("CreateContainerError", text))?;
            mounts.push(VolumeMount {
                source,
                mount_path: mount.mount_path.clone(),
                read_only: mount.read_only == Some(true) || volume.read_only_always,
                recursive_read_only: mount.recursive_read_only.as_deref() == Some("Enabled"),
                propagation: mount.mount_propagation.clone(),
            });
        }
        Ok(mounts)
    }

    fn rootfs(&self, id: &str, image: &Image) -> anyhow::Result<Rootfs> {
        let marks = self.identity.dir.join("snapshots");
        // The mark comes first: a snapshot without one would never be found again.
        std::fs::create_dir_all(&marks)?;
        std::fs::write(marks.join(id), b"")?;
        let snapshot = self.node.images.prepare_snapshot(image, id)?;
        let (lower, upper, work) = (snapshot.lower, snapshot.upper, snapshot.work);
        Ok(Rootfs::Overlay { lower, upper, work })
    }

    /// The sandbox's namespaces that its containers share.
    fn joined(&self) -> Vec<Namespace> {
        let spec = self.pod.spec.as_ref();
        let set = |flag: Option<bool>| flag == Some(true);
        let mut join = Vec::new();
        if !spec.is_some_and(|spec| set(spec.host_network)) {
            join.extend([Namespace::Network, Namespace::Uts]);
        }
        if !spec.is_some_and(|spec| set(spec.host_ipc)) {
            join.push(Namespace::Ipc);
        }
        if spec.is_some_and(|spec| set(spec.share_process_namespace)) {
            join.push(Namespace::Pid);
        }
        join
    }

    fn log(&self, start: &Start) -> anyhow::Result<LogConfig> {
        let directory = self.identity.logs.join(&start.name);
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("cannot create the log directory {}", directory.display()))?;
        Ok(LogConfig {
            path: directory.join(format!("{}.log", start.attempt)),
            max_bytes: limits::LOG_MAX_BYTES,
            max_files: limits::LOG_MAX_FILES,
        })
    }

    async fn post_start(
        &mut self,
        shim: &Shim,
        start: &Start,
        container: &Container,
        id: &str,
    ) -> anyhow::Result<()> {
        let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref());
        let Some(hook) = hook else { return Ok(()) };
        self.note(Some(&start.name), What::PostStartBegan, String::new());
        let mut desired = self.desired.clone();
        let ran = tokio::select! {
            ran = hooks::run(self, shim, (start.kind, &start.name, id), hook) => ran,
            () = deleted(&mut desired) => return Ok(()),
        };
        let Err(message) = ran else {
            self.note(Some(&start.name), What::PostStartDone, String::new());
            return Ok(());
        };
        let target = (start.kind, start.name.as_str());
        let events = &self.node.events;
        events.container(
            &self.pod,
            target,
            Severity::Warning,
            "FailedPostStartHook",
            "PostStartHook failed",
        );
        self.note(Some(&start.name), What::PostStartFailed, message.clone());
        self.memory.start_failed(
            &start.name,
            text::POST_START_HOOK_ERROR,
            &message,
            Timestamp::now(),
        );
        let spec = self.pod.spec.as_ref();
        let grace = spec.and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30);
        self.stop_one(Kill {
            kind: start.kind,
            name: start.name.clone(),
            id: id.to_owned(),
            message: "FailedPostStartHook".to_owned(),
            grace_seconds: grace,
            pre_stop: true,
        })
        .await
    }
}

/// The name under which the status shows the image: the one asked for, in full.
fn image_name(image: &Image, container: &Container) -> String {
    let asked = container.image.as_deref().unwrap_or_default();
    let full = klet_image::Reference::parse(asked).map(|reference| reference.to_string());
    match full {
        Ok(full) if image.names.contains(&full) => full,
        Ok(_) | Err(_) => image.names.first().cloned().unwrap_or_else(|| asked.to_owned()),
    }
}

/// Returns when the pod is being deleted.
pub async fn deleted(desired: &mut tokio::sync::watch::Receiver<super::worker::Desired>) {
    let gone = |desired: &super::worker::Desired| {
        desired.removed || desired.pod.metadata.deletion_timestamp.is_some()
    };
    if desired.wait_for(gone).await.is_err() {
        std::future::pending::<()>().await;
    }
}
