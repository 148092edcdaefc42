//! Opening the object store, and going on when it is lost.
//!
//! A store that is damaged is set aside. What runs is not ended for that: the objects of the pods
//! on the node are read from the pods' own directories (`docs/decisions/0010-a-lost-store.md`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use klet_api::Pod;
use klet_apiserver::{Registry, RegistryError};
use klet_store::{OpenError, Store, WriteError};

use crate::events::Severity;
use crate::files::{sync, write_atomically, write_durably};
use crate::node::NodeRef;
use crate::pod::orphans::names;

/// How long a lock whose holder is dead may stay: a child that it was just about to execute
/// holds it.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(100);
/// Beside the store while pods are still to be taken over: what happened to the store before it, or
/// nothing. It is there before an object is in an empty store, and goes when the last pod is in it: a daemon that
/// ends in between does not leave the rest of the pods without their objects.
const PENDING: &str = "store.restore";
/// In the directory of a pod: its object as it was last acted on, without the status.
const FILE: &str = "pod.json";

/// The store of this daemon.
#[derive(Debug)]
pub struct Opened {
    pub store: Store,
    /// The pods on the node are to be taken over.
    pub restore: Option<Restore>,
}

/// Pods that have to be put into an empty store.
#[derive(Debug)]
pub struct Restore {
    pending: PathBuf,
    /// What happened to the store that was there before; empty if there was none.
    damage: String,
}

/// Opens the store, an empty one in the place of one that is damaged.
///
/// # Errors
/// Another daemon has it; the file system refuses.
pub async fn open(path: &Path) -> anyhow::Result<Opened> {
    let pending = path.with_file_name(PENDING);
    let mut tries = 0;
    loop {
        match open_once(path) {
            Err(OpenError::InUse { pid: Some(pid), .. })
                if tries < LOCK_TRIES && !Path::new(&format!("/proc/{pid}")).exists() =>
            {
                tries += 1;
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            Ok(store) => {
                if store.is_new() && !pending.exists() {
                    write_durably(&pending, b"").context("cannot prepare a new object store")?;
                }
                let damage = std::fs::read_to_string(&pending).ok();
                let restore = damage.map(|damage| Restore { pending, damage });
                return Ok(Opened { store, restore });
            }
            Err(error @ OpenError::Damaged { .. }) => {
                write_durably(&pending, error.to_string().as_bytes())
                    .context("cannot prepare a new object store")?;
                let aside = Store::set_aside(path)
                    .context("the object store is damaged and cannot be set aside")?;
                let damage = format!("{error}; it was moved to {}", aside.display());
                tracing::error!("{damage}, and an empty store takes its place");
                write_durably(&pending, damage.as_bytes())
                    .context("cannot prepare a new object store")?;
            }
            Err(error) => return Err(error).context("cannot open the object store"),
        }
    }
}

fn open_once(path: &Path) -> Result<Store, OpenError> {
    Store::open(path, klet_store::Options::default())
}

/// Keeps a pod's object beside what is made for it.
///
/// # Errors
/// What the file system answers.
pub fn keep(directory: &Path, pod: &Pod) -> std::io::Result<()> {
    let mut pod = pod.clone();
    pod.status = None;
    pod.metadata.resource_version = None;
    let path = directory.join(FILE);
    write_atomically(&path, &serde_json::to_vec(&pod)?)?;
    // A start does not wait for the disk: the object itself is in the store.
    tokio::task::spawn_blocking(move || {
        if let Err(error) = sync(&path) {
            tracing::warn!(%error, "{} may not outlive a power failure", path.display());
        }
    });
    Ok(())
}

/// Puts the pods of the node into an empty store and says so.
///
/// # Errors
/// The store refuses one: a daemon that went on would take its pod for one that nobody wants.
pub async fn restore(node: &NodeRef, restore: Restore) -> anyhow::Result<()> {
    let mut restored = 0;
    for uid in names(&node.config.root.join("pods")) {
        match read(&node.pod_dir(&uid).join(FILE)) {
            Ok(pod) => {
                put(&node.registry, &pod).await.context("a pod cannot be taken over")?;
                restored += 1;
            }
            Err(error) => tracing::warn!(uid, "pod not taken over: {error:#}"),
        }
    }
    let found = format!("{restored} pods found on the node were taken over");
    if !restore.damage.is_empty() {
        let text = format!("{}; {found}, all other objects are lost", restore.damage);
        node.events.node(Severity::Warning, "ObjectStoreDamaged", text);
    } else if restored > 0 {
        let text = format!("there was no object store; {found}");
        tracing::warn!("{text}");
        node.events.node(Severity::Warning, "ObjectStoreMissing", text);
    }
    std::fs::remove_file(&restore.pending)
        .with_context(|| format!("cannot remove {}", restore.pending.display()))
}

fn read(file: &Path) -> anyhow::Result<Pod> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let pod: Pod = serde_json::from_slice(&bytes)
        .with_context(|| format!("{} holds no Pod", file.display()))?;
    anyhow::ensure!(pod.metadata.name.is_some(), "{}: the pod has no name", file.display());
    Ok(pod)
}

async fn put(registry: &Registry, pod: &Pod) -> anyhow::Result<()> {
    let namespace = pod.metadata.namespace.clone().unwrap_or_else(|| "default".to_owned());
    let name = pod.metadata.name.clone().unwrap_or_default();
    registry.ensure_namespace(&namespace).await?;
    match registry.create(Some(&namespace), &name, pod).await {
        // A daemon before this one came as far as this pod.
        Err(RegistryError::Store(WriteError::Exists)) => Ok(()),
        other => Ok(other.map(drop)?),
    }
}
