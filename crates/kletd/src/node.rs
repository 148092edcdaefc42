//! What every part of the daemon works with: one value, made at start, shared by reference.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use klet_api::k8s_openapi::api::core::v1::{ConfigMap, ResourceFieldSelector, Secret};
use klet_api::{Container, Pod};
use klet_apiserver::Registry;
use klet_cgroup::Cgroups;
use klet_image::ImageStore;
use klet_net::Network;
use klet_pod::NodeFacts;
use klet_spec::compose::Machine;
use klet_spec::environment::{Facts, resource_value};

use crate::config::Config;
use crate::events::Recorder;
use crate::pod::ledger::Ledger;
use crate::qos::Classes;
use crate::shim::Launcher;
use crate::timeline::Timelines;

/// The node and everything it owns.
#[derive(Debug)]
pub struct Node {
    pub config: Config,
    pub registry: Registry,
    pub images: ImageStore,
    pub network: Network,
    pub cgroups: Cgroups,
    pub classes: Arc<Classes>,
    pub launcher: Launcher,
    pub events: Recorder,
    pub timelines: Timelines,
    pub ledger: Ledger,
    pub facts: NodeFacts,
    pub machine: Machine,
    /// Node allocatable, by resource name.
    pub allocatable: BTreeMap<String, String>,
    /// When this daemon started.
    pub started: Instant,
    /// Pods ran already when this daemon started: it is a restart, not the first start.
    pub adopting: bool,
}

/// The node, shared.
pub type NodeRef = Arc<Node>;

impl Node {
    /// The durable directory of a pod: volumes, managed files, sandbox record.
    #[must_use]
    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.config.root.join("pods").join(uid)
    }

    /// Time since the daemon started: probes spread their first run after a restart.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}

/// ConfigMaps and Secrets as the store holds them, and what the node has to give.
#[derive(Debug, Clone)]
pub struct Objects {
    registry: Registry,
    facts: Facts,
}

impl Node {
    /// Where the references of a pod lead.
    #[must_use]
    pub fn objects(&self) -> Objects {
        let facts = Facts { allocatable: self.allocatable.clone(), ..Facts::default() };
        Objects { registry: self.registry.clone(), facts }
    }
}

impl klet_spec::environment::Sources for Objects {
    fn config_map(&self, namespace: &str, name: &str) -> Option<ConfigMap> {
        self.registry.get(Some(namespace), name)
    }

    fn secret(&self, namespace: &str, name: &str) -> Option<Secret> {
        self.registry.get(Some(namespace), name)
    }
}

impl klet_volume::Sources for Objects {
    fn config_map(&self, namespace: &str, name: &str) -> Option<ConfigMap> {
        self.registry.get(Some(namespace), name)
    }

    fn secret(&self, namespace: &str, name: &str) -> Option<Secret> {
        self.registry.get(Some(namespace), name)
    }

    fn resource(&self, pod: &Pod, selector: &ResourceFieldSelector) -> Result<String, String> {
        // In a volume the container is always named; validation saw to it.
        resource_value(selector, pod, &Container::default(), &self.facts)
            .map_err(|error| error.to_string())
    }
}
