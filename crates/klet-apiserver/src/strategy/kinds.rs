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

    /// A new pod is pending, and comes from the API.
    fn prepare_create(&mut self, _: &Context<'_>) {
        keep_source(self, None);
        self.spec.get_or_insert_default().ephemeral_containers = None;
        let phase = Some("Pending".to_owned());
        self.status = Some(PodStatus { phase, ..PodStatus::default() });
    }

    fn default(&mut self) {
        defaults::default_pod(self);
    }

    fn validate_create(&self) -> ErrorList {
        validate::pod_create(self)
    }

    /// A pod that names no node is bound to the one there is, at once, if it has a place for it.
    fn admit(&mut self, context: &Context<'_>) -> Result<(), ApiError> {
        context.admission.pod(self)?;
        let given = self.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        if given.is_some_and(|name| !name.is_empty()) {
            return Ok(());
        }
        let refusal = context.admission.schedule(self).err();
        let condition = PodCondition {
            type_: "PodScheduled".to_owned(),
            status: if refusal.is_some() { "False" } else { "True" }.to_owned(),
            reason: refusal.is_some().then(|| "Unschedulable".to_owned()),
            last_transition_time: now(),
            ..PodCondition::default()
        };
        if refusal.is_none() {
            self.spec.get_or_insert_default().node_name = Some(context.node_name.to_owned());
        }
        let conditions = vec![PodCondition { message: refusal, ..condition }];
        self.status.get_or_insert_default().conditions = Some(conditions);
        Ok(())
    }

    fn prepare_update(&mut self, old: &Self) {
        self.status.clone_from(&old.status);
        let annotations = old.metadata.annotations.as_ref();
        keep_source(self, annotations.and_then(|notes| notes.get(SOURCE)));
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

/// Where a pod comes from. The node believes it, so it is not for users to write.
const SOURCE: &str = "kubernetes.io/config.source";

fn keep_source(pod: &mut Pod, source: Option<&String>) {
    let annotations = &mut pod.metadata.annotations;
    if let Some(source) = source {
        annotations.get_or_insert_default().insert(SOURCE.to_owned(), source.clone());
    } else if let Some(notes) = annotations {
        notes.remove(SOURCE);
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
