//! The objects, typed, for the daemon itself: no HTTP, the same store and rules.

use std::marker::PhantomData;

use jiff::Timestamp;
use klet_api::k8s_openapi::Resource;
use klet_api::k8s_openapi::api::core::v1::Namespace;
use klet_api::{Pod, PodStatus};
use klet_store::{
    Change, EventKind, Expired, Key, ModifyError, Object, Store, View, Watch, WriteError,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::delete::{self, Deletion};
use crate::{meta, mirror};

/// Why a registry operation failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] WriteError),
    /// There is an object of that name, but it is another one.
    #[error("object has UID {found:?}, not {wanted:?}")]
    OtherUid {
        /// The UID asked for.
        wanted: String,
        /// The UID it has.
        found: String,
    },
    /// The object does not convert to JSON or back.
    #[error("object does not convert")]
    Convert(#[from] serde_json::Error),
}

impl From<ModifyError<RegistryError>> for RegistryError {
    fn from(error: ModifyError<RegistryError>) -> Self {
        match error {
            ModifyError::Store(error) => Self::Store(error),
            ModifyError::Refused(error) => error,
        }
    }
}

/// Typed access to the objects. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Registry {
    store: Store,
}

/// A change of an object of type `K`.
#[derive(Clone, Debug)]
pub struct TypedEvent<K> {
    /// What happened.
    pub kind: EventKind,
    /// The object after the change (before it, for a deletion).
    pub object: K,
}

/// A watch of objects of type `K`.
#[derive(Debug)]
pub struct TypedWatch<K> {
    watch: Watch,
    kind: PhantomData<fn() -> K>,
}

impl<K: DeserializeOwned> TypedWatch<K> {
    /// The next change; `None` when the watch expired (list again) or the store closed.
    pub async fn next(&mut self) -> Option<TypedEvent<K>> {
        loop {
            let event = self.watch.next().await?;
            if let Some(object) = decode(&event.object) {
                return Some(TypedEvent { kind: event.kind, object });
            }
        }
    }

    /// Whether changes were missed: list again. Told apart from a closed store.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        self.watch.expired().is_some()
    }
}

impl Registry {
    /// The registry of a store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// The store below.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Creates what must always exist: the namespaces `default` and `kube-system`.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn ensure_defaults(&self) -> Result<(), RegistryError> {
        for name in ["default", "kube-system"] {
            self.ensure_namespace(name).await?;
        }
        Ok(())
    }

    /// Creates a namespace if there is none of this name.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn ensure_namespace(&self, name: &str) -> Result<(), RegistryError> {
        match self.store.create(&key::<Namespace>(None, name), namespace(name)).await {
            Ok(_) | Err(WriteError::Exists) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// One object; `None` if there is none.
    #[must_use]
    pub fn get<K: Resource + DeserializeOwned>(
        &self,
        namespace: Option<&str>,
        name: &str,
    ) -> Option<K> {
        decode(&self.store.get(&key::<K>(namespace, name))?)
    }

    /// One pod.
    #[must_use]
    pub fn pod(&self, namespace: &str, name: &str) -> Option<Pod> {
        self.get(Some(namespace), name)
    }

    /// The objects of a kind, in one namespace or in all, and the version to watch from.
    #[must_use]
    pub fn list<K: Resource + DeserializeOwned>(&self, namespace: Option<&str>) -> (Vec<K>, u64) {
        let (objects, version) = self.store.list(K::GROUP, K::URL_PATH_SEGMENT, namespace);
        (objects.iter().filter_map(decode).collect(), version)
    }

    /// Changes of a kind after `from`.
    ///
    /// # Errors
    /// [`Expired`]: list again.
    pub fn watch<K: Resource + DeserializeOwned>(
        &self,
        namespace: Option<&str>,
        from: u64,
    ) -> Result<TypedWatch<K>, Expired> {
        let watch = self.store.watch(K::GROUP, K::URL_PATH_SEGMENT, namespace, from)?;
        Ok(TypedWatch { watch, kind: PhantomData })
    }

    /// Creates an object as it is given, with UID and creation time if it has none.
    ///
    /// # Errors
    /// [`WriteError::Exists`] and what else the store answers.
    pub async fn create<K>(
        &self,
        namespace: Option<&str>,
        name: &str,
        object: &K,
    ) -> Result<K, RegistryError>
    where
        K: Resource + Serialize + DeserializeOwned,
    {
        let mut value = serde_json::to_value(object)?;
        fill(&mut value, namespace, name);
        let created = self.store.create(&key::<K>(namespace, name), value).await?;
        convert(&created)
    }

    /// Creates an object or replaces all but its identity (UID, creation time).
    ///
    /// # Errors
    /// What the store answers.
    pub async fn put<K>(
        &self,
        namespace: Option<&str>,
        name: &str,
        object: &K,
    ) -> Result<K, RegistryError>
    where
        K: Resource + Serialize + DeserializeOwned,
    {
        let mut value = serde_json::to_value(object)?;
        let (space, id) = (namespace.map(str::to_owned), name.to_owned());
        let decide = move |view: &View<'_>| {
            if let (Some(current), Some(metadata)) = (view.current(), meta::metadata(&mut value)) {
                for field in ["uid", "creationTimestamp"] {
                    if let Some(text) = meta::field(&current.value, field) {
                        metadata.insert(field.to_owned(), json!(text));
                    }
                }
            }
            fill(&mut value, space.as_deref(), &id);
            Ok::<_, RegistryError>(Change::Put(value))
        };
        convert(&self.store.transact(&key::<K>(namespace, name), decide).await?)
    }

    /// Writes a pod's status, if the pod is still the one with this UID. Conditions of types other
    /// than `own` stay as they are stored: somebody else writes them. Nothing is written when the
    /// status is the same.
    ///
    /// # Errors
    /// [`WriteError::NotFound`], [`RegistryError::OtherUid`], and what the store answers.
    pub async fn update_status(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
        status: &PodStatus,
        own: &'static [&'static str],
    ) -> Result<Pod, RegistryError> {
        let status = serde_json::to_value(status)?;
        let uid = uid.to_owned();
        let change = move |mut pod: Value| {
            same_uid(&pod, &uid)?;
            let theirs = foreign_conditions(&pod, own);
            pod["status"] = status.clone();
            if let Some(Value::Array(conditions)) = pod["status"].get_mut("conditions") {
                conditions.retain(|condition| is_own(condition, own));
                conditions.splice(0..0, theirs);
            }
            Ok::<_, RegistryError>(Some(pod))
        };
        convert(&self.store.modify(&key::<Pod>(Some(namespace), name), change).await?)
    }

    /// Gives a pod that has no node to `node`, as a scheduler does.
    ///
    /// # Errors
    /// [`WriteError::NotFound`], [`RegistryError::OtherUid`], and what the store answers.
    pub async fn bind_pod(&self, pod: &Pod, node: &str) -> Result<(), RegistryError> {
        let meta = &pod.metadata;
        let [namespace, name, uid] =
            [&meta.namespace, &meta.name, &meta.uid].map(|text| text.clone().unwrap_or_default());
        let node = node.to_owned();
        let change = move |mut pod: Value| {
            same_uid(&pod, &uid)?;
            pod["spec"]["nodeName"] = json!(node);
            pod["status"]["conditions"] = json!([{
                "type": "PodScheduled", "status": "True", "lastTransitionTime": meta::now(),
            }]);
            Ok::<_, RegistryError>(Some(pod))
        };
        self.store.modify(&key::<Pod>(Some(&namespace), &name), change).await?;
        Ok(())
    }

    /// Asks for a graceful end, as a delete through the API does, with a grace of at least a
    /// second. A pod that is gone already, or has been replaced by another of its name, is no
    /// error.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn delete_pod(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
    ) -> Result<(), RegistryError> {
        self.end_pod(namespace, name, uid, |pod| {
            let grace = pod["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
            delete::pod(pod, Some(grace.max(1)), Timestamp::now())
        })
        .await
    }

    /// Removes a pod for good: the end of a graceful deletion. A pod with finalizers
    /// stays, with a grace of 0, until they are gone. A pod that is gone already, or has
    /// been replaced by another of its name, is no error.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn remove_pod(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
    ) -> Result<(), RegistryError> {
        self.end_pod(namespace, name, uid, |pod| delete::ended_pod(pod, Timestamp::now())).await
    }

    async fn end_pod(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
        deletion: impl Fn(&Value) -> Deletion + Send + 'static,
    ) -> Result<(), RegistryError> {
        let uid = uid.to_owned();
        let decide = move |view: &View<'_>| {
            let Some(current) = view.current() else { return Ok(Change::Keep) };
            same_uid(&current.value, &uid)?;
            Ok(match deletion(&current.value) {
                Deletion::Mark(value) => Change::Put(value),
                Deletion::Finish(value) => Change::Finish(value),
                Deletion::Remove => Change::Delete,
                Deletion::Pending => Change::Keep,
            })
        };
        let removed = self.store.transact(&key::<Pod>(Some(namespace), name), decide).await;
        match removed.map_err(RegistryError::from) {
            Ok(_)
            | Err(RegistryError::OtherUid { .. } | RegistryError::Store(WriteError::NotFound)) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Removes any object; gone already is no error.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn remove<K: Resource>(
        &self,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<(), RegistryError> {
        match self.store.delete(&key::<K>(namespace, name), None).await {
            Ok(_) | Err(WriteError::NotFound) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The store's key of an object of type `K`.
pub(crate) fn key<K: Resource>(namespace: Option<&str>, name: &str) -> Key {
    Key::new(K::GROUP, K::URL_PATH_SEGMENT, namespace, name)
}

fn is_own(condition: &Value, own: &[&str]) -> bool {
    condition["type"].as_str().is_some_and(|kind| own.contains(&kind))
}

/// The conditions of the stored pod whose types are not among `own`.
fn foreign_conditions(pod: &Value, own: &[&str]) -> Vec<Value> {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().filter(|kept| !is_own(kept, own)).cloned().collect()
}

fn same_uid(object: &Value, wanted: &str) -> Result<(), RegistryError> {
    let found = mirror::stored_uid(object);
    if found == wanted {
        return Ok(());
    }
    Err(RegistryError::OtherUid { wanted: wanted.to_owned(), found: found.to_owned() })
}

/// Everything in the store went through validation; what does not decode is a defect.
fn decode<K: DeserializeOwned>(object: &Object) -> Option<K> {
    let decoded = K::deserialize(&*object.value);
    decoded
        .inspect_err(|error| tracing::error!(key = %object.key, %error, "stored object unreadable"))
        .ok()
}

fn convert<K: DeserializeOwned>(object: &Object) -> Result<K, RegistryError> {
    Ok(K::deserialize(&*object.value)?)
}

/// Name, namespace, UID and creation time, where they are missing.
fn fill(value: &mut Value, namespace: Option<&str>, name: &str) {
    let Some(metadata) = meta::metadata(value) else { return };
    metadata.insert("name".to_owned(), json!(name));
    if let Some(namespace) = namespace {
        metadata.insert("namespace".to_owned(), json!(namespace));
    }
    metadata.entry("uid").or_insert_with(|| json!(meta::uid()));
    metadata.entry("creationTimestamp").or_insert_with(|| json!(meta::now()));
}

/// A namespace as the server creates it.
pub(crate) fn namespace(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "uid": meta::uid(),
            "creationTimestamp": meta::now(),
            "labels": { "kubernetes.io/metadata.name": name },
        },
        "spec": { "finalizers": ["kubernetes"] },
        "status": { "phase": "Active" },
    })
}
