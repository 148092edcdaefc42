//! One task per pod: look, plan, act, wait.
//!
//! * [`dispatch`]: which pods there are, one worker each;
//! * [`worker`]: the level-triggered loop;
//! * [`observe`]: what the node shows of the pod;
//! * [`sandbox`], [`start`], [`stop`], [`clean`]: one module per kind of action;
//! * [`eviction`]: volumes over their limits;
//! * [`hooks`]: postStart and preStop;
//! * [`files`]: the files klet writes for a pod;
//! * [`ledger`]: what the node has promised to which pods;
//! * [`logs`]: whose log directories these are;
//! * [`propagation`]: which volumes can pass mounts on;
//! * [`records`]: what is known of container attempts;
//! * [`publish`]: status on its way to the API.

pub mod clean;
pub mod dispatch;
pub mod eviction;
pub mod files;
pub mod hooks;
pub mod ids;
pub mod ledger;
pub mod logs;
pub mod observe;
pub mod orphans;
pub mod propagation;
pub mod publish;
pub mod records;
pub mod sandbox;
pub mod signals;
pub mod start;
pub mod stop;
pub mod worker;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use klet_api::{Container, Pod};
use klet_cri::paths::PodRunDir;
use klet_pod::ContainerKind;

use crate::node::Node;
use crate::shim::Shim;

/// Names and places of one pod.
#[derive(Debug, Clone)]
pub struct Identity {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// Durable directory.
    pub dir: PathBuf,
    pub run: PodRunDir,
    /// `<log-dir>/<ns>_<pod>_<uid>`.
    pub logs: PathBuf,
}

impl Identity {
    /// The identity of a stored pod.
    #[must_use]
    pub fn of(pod: &Pod, node: &Node) -> Self {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let meta = &pod.metadata;
        let (namespace, name) = (text(&meta.namespace), text(&meta.name));
        let uid = klet_apiserver::node_uid(pod).to_owned();
        Self {
            dir: node.pod_dir(&uid),
            run: PodRunDir::new(&node.config.run, &uid),
            logs: node.config.log_dir.join(format!("{namespace}_{name}_{uid}")),
            namespace,
            name,
            uid,
        }
    }
}

/// The shim a pod has at this moment, for those outside its worker (exec, probes).
#[derive(Debug, Clone, Default)]
pub struct SharedShim(Arc<Mutex<Option<Shim>>>);

impl SharedShim {
    #[must_use]
    pub fn get(&self) -> Option<Shim> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set(&self, shim: Option<Shim>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = shim;
    }
}

/// A container of the pod spec by name.
#[must_use]
pub fn find<'a>(pod: &'a Pod, kind: ContainerKind, name: &str) -> Option<&'a Container> {
    let spec = pod.spec.as_ref()?;
    let list = match kind {
        ContainerKind::Init => spec.init_containers.as_deref().unwrap_or_default(),
        ContainerKind::App => &spec.containers,
    };
    list.iter().find(|container| container.name == name)
}
