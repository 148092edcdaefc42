//! Opening the object store, and going on when it is lost.
//!
//! A store that is damaged is set aside. What runs is not ended for that: the objects of the pods
//! on the node are read from the pods' own directories (`docs/decisions/0010-a-lost-store.md`).

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use klet_api::Pod;
use klet_apiserver::Registry;
use klet_store::{OpenError, Store};

use crate::events::Severity;
use crate::files::write_atomically;
use crate::node::NodeRef;
use crate::pod::orphans::names;

/// How long a lock whose holder is dead may stay: a child that it was just about to execute
/// holds it.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(100);
/// In the directory of a pod: its object as it was last acted on, without the status.
const FILE: &str = "pod.json";

/// The store of this daemon.
#[derive(Debug)]
pub struct Opened {
    pub store: Store,
    /// What happened to the store that was there before, if it could not be used.
    pub damage: Option<String>,
}

/// Opens the store, an empty one in the place of one that is damaged.
///
/// # Errors
/// Another daemon has it; the file system refuses.
pub async fn open(path: &Path) -> anyhow::Result<Opened> {
    let mut tries = 0;
    loop {
        match open_once(path) {
            Err(OpenError::InUse { pid: Some(pid), .. })
                if tries < LOCK_TRIES && !Path::new(&format!("/proc/{pid}")).exists() =>
            {
                tries += 1;
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            Ok(store) => return Ok(Opened { store, damage: None }),
            Err(error @ OpenError::Damaged { .. }) => {
                let aside = Store::set_aside(path)
                    .context("the object store is damaged and cannot be set aside")?;
                let damage = format!("{error}; it was moved to {}", aside.display());
                tracing::error!("{damage}, and an empty store takes its place");
                let store = open_once(path).context("cannot open a new object store")?;
                return Ok(Opened { store, damage: Some(damage) });
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
    write_atomically(&directory.join(FILE), &serde_json::to_vec(&pod)?)
}

/// Puts the pods of the node into an empty store and says so.
pub async fn restore(node: &NodeRef, damage: Option<&str>) {
    let mut restored = 0;
    for uid in names(&node.config.root.join("pods")) {
        match restore_one(&node.registry, &node.pod_dir(&uid).join(FILE)).await {
            Ok(()) => restored += 1,
            Err(error) => tracing::warn!(uid, "pod not taken over: {error:#}"),
        }
    }
    let found = format!("{restored} pods found on the node were taken over");
    match damage {
        Some(damage) => {
            let text = format!("{damage}; {found}, all other objects are lost");
            node.events.node(Severity::Warning, "ObjectStoreDamaged", text);
        }
        None if restored > 0 => {
            let text = format!("there was no object store; {found}");
            tracing::warn!("{text}");
            node.events.node(Severity::Warning, "ObjectStoreMissing", text);
        }
        None => {}
    }
}

async fn restore_one(registry: &Registry, file: &Path) -> anyhow::Result<()> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let pod: Pod = serde_json::from_slice(&bytes)
        .with_context(|| format!("{} holds no Pod", file.display()))?;
    let namespace = pod.metadata.namespace.clone().unwrap_or_else(|| "default".to_owned());
    let name = pod.metadata.name.clone().context("the pod has no name")?;
    registry.ensure_namespace(&namespace).await?;
    registry.create(Some(&namespace), &name, &pod).await?;
    Ok(())
}
