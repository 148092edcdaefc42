//! What each kind has of its own.

use klet_api::field::ErrorList;
use klet_api::k8s_openapi::api::core::v1::{
    ConfigMap, Event, Namespace, Node, Pod, PodCondition, PodStatus, Secret,
};
use klet_api::{defaults, validate};

use super::{Context, Kind, now};
use crate::error::ApiError;

impl Kind for Pod {
    const GENERATION: bool = true;

    /// A new pod is bound to the one node at once, and pending.
    fn prepare_create(&mut self, context: &Context<'_>) {
        let spec = self.spec.get_or_insert_default();
        if spec.node_name.as_deref().unwrap_or_default().is_empty() {
            spec.node_name = Some(context.node_name.to_owned());
        }
        spec.ephemeral_containers = None;
        let scheduled = PodCondition {
            type_: "PodScheduled".to_owned(),
            status: "True".to_owned(),
            last_transition_time: now(),
            ..PodCondition::default()
        };
        self.status = Some(PodStatus {
            phase: Some("Pending".to_owned()),
            conditions: Some(vec![scheduled]),
            ..PodStatus::default()
        });
    }

    fn default(&mut self) {
        defaults::default_pod(self);
    }

    fn validate_create(&self) -> ErrorList {
        validate::pod_create(self)
    }

    fn admit(&mut self, context: &Context<'_>) -> Result<(), ApiError> {
        context.admission.pod(self)
    }

    fn prepare_update(&mut self, old: &Self) {
        self.status.clone_from(&old.status);
    }

    fn validate_update(&self, old: &Self) -> ErrorList {
        validate::pod_update(self, old)
    }

    fn with_status_of(self, old: &Self) -> Self {
        Self { status: self.status, ..old.clone() }
    }

    fn validate_status(&self, old: &Self) -> ErrorList {
        validate::pod_status_update(self, old)
    }

    fn wishes_differ(&self, old: &Self) -> bool {
        self.spec != old.spec
    }
}

impl Kind for Namespace {
    fn prepare_create(&mut self, _: &Context<'_>) {
        self.status = None;
        self.spec = None;
    }

    fn default(&mut self) {
        defaults::default_namespace(self);
    }

    fn validate_create(&self) -> ErrorList {
        validate::namespace_create(self)
    }

    fn prepare_update(&mut self, old: &Self) {
        self.status.clone_from(&old.status);
        self.spec.clone_from(&old.spec);
    }

    fn validate_update(&self, old: &Self) -> ErrorList {
        validate::namespace_update(self, old)
    }

    fn with_status_of(self, old: &Self) -> Self {
        Self { status: self.status, ..old.clone() }
    }
}

impl Kind for Node {
    fn prepare_create(&mut self, _: &Context<'_>) {
        self.status = None;
    }

    fn validate_create(&self) -> ErrorList {
        validate::node_create(self)
    }

    fn prepare_update(&mut self, old: &Self) {
        self.status.clone_from(&old.status);
    }

    fn validate_update(&self, old: &Self) -> ErrorList {
        validate::node_update(self, old)
    }

    fn with_status_of(self, old: &Self) -> Self {
        Self { status: self.status, ..old.clone() }
    }
}

impl Kind for ConfigMap {
    fn default(&mut self) {
        defaults::default_config_map(self);
    }

    fn validate_create(&self) -> ErrorList {
        validate::config_map_create(self)
    }

    fn validate_update(&self, old: &Self) -> ErrorList {
        validate::config_map_update(self, old)
    }
}

impl Kind for Secret {
    fn default(&mut self) {
        defaults::default_secret(self);
    }

    fn validate_create(&self) -> ErrorList {
        validate::secret_create(self)
    }

    fn validate_update(&self, old: &Self) -> ErrorList {
        validate::secret_update(self, old)
    }
}

impl Kind for Event {
    fn validate_create(&self) -> ErrorList {
        validate::event_create(self)
    }

    fn validate_update(&self, _: &Self) -> ErrorList {
        validate::event_create(self)
    }
}
