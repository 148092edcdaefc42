//! delete and deletecollection.

use http::{Response, StatusCode};
use jiff::Timestamp;
use klet_api::status_error;
use klet_store::{Change, Key, ModifyError, Object, Store, View};
use serde_json::{Value, json};

use crate::body::{self, Body};
use crate::delete::{self, DeleteOptions, Deletion};
use crate::error::ApiError;
use crate::meta;
use crate::mirror;
use crate::namespace;
use crate::resource::Resource;
use crate::route::Call;
use crate::select::Selection;

/// Namespaces that klet itself needs.
const KEPT: &[&str] = &["default", "kube-system"];

/// Answers `DELETE` of one object.
pub(crate) async fn one(call: &Call<'_>) -> Result<Response<Body>, ApiError> {
    let options = DeleteOptions::parse(&call.body, &call.query)?;
    let resource = call.target.resource;
    if resource.is_namespace() && KEPT.contains(&call.name()) {
        let why = "this namespace may not be deleted";
        return Err(status_error::forbidden(resource.named(), call.name(), why).into());
    }
    let store = &call.server.config.store;
    let mirrored = store.get(&call.key()).filter(|object| mirror::stays(&object.value));
    let object = delete(store, resource, &call.key(), &options).await?;
    if let Some(before) = mirrored.filter(|_| resource.is_pod() && mirror::stays(&object.value)) {
        // The client waits for the end of the object it knew.
        let ended = delete::marked(&before.value, 0, Timestamp::now());
        return Ok(body::json(StatusCode::OK, &ended));
    }
    if resource.is_namespace() && !options.is_dry_run() {
        namespace::empty(call.server.config.store.clone(), call.name());
    }
    // Objects that may stay a while are shown as they are; of the others nothing is left.
    let stays = object.value["metadata"]["deletionTimestamp"].is_string();
    if resource.is_pod() || stays {
        return Ok(body::json(StatusCode::OK, &*object.value));
    }
    let uid = meta::field(&object.value, "uid").unwrap_or_default();
    Ok(body::json(StatusCode::OK, &status_error::success(resource.named(), call.name(), uid)))
}

/// Answers `DELETE` of a collection: every object that is selected.
pub(crate) async fn collection(call: &Call<'_>) -> Result<Response<Body>, ApiError> {
    let options = DeleteOptions::parse(&call.body, &call.query)?;
    let (target, store) = (&call.target, &call.server.config.store);
    let selection = Selection::of(target, &call.query)?;
    let namespace = target.namespace.as_deref();
    let (objects, version) = store.list(target.resource.group, target.resource.plural, namespace);
    let mut deleted = Vec::new();
    for object in objects.into_iter().filter(|object| selection.matches(&object.value)) {
        match delete(store, target.resource, &object.key, &options).await {
            Ok(object) => deleted.push(object.value),
            // Gone in the meantime: so much the better.
            Err(error) if error.code() == StatusCode::NOT_FOUND => {}
            Err(error) => return Err(error),
        }
    }
    Ok(body::json(
        StatusCode::OK,
        &json!({
            "kind": format!("{}List", target.resource.kind),
            "apiVersion": target.resource.api_version(),
            "metadata": { "resourceVersion": version.to_string() },
            "items": deleted.iter().map(|value| &**value).collect::<Vec<_>>(),
        }),
    ))
}

/// Deletes one object by its kind's rules; returns it as it is then, or last was.
pub(crate) async fn delete(
    store: &Store,
    resource: &'static Resource,
    key: &Key,
    options: &DeleteOptions,
) -> Result<Object, ApiError> {
    let (options, name) = (options.clone(), key.name.clone());
    let decide = move |view: &View<'_>| {
        // The writer answers NotFound to a `Keep` of nothing.
        let Some(current) = view.current() else { return Ok(Change::Keep) };
        if let Some(why) = options.unmet(&current.value) {
            return Err(ApiError::from(status_error::conflict(resource.named(), &name, &why)));
        }
        let deletion = decide(resource, &current.value, &options, view);
        Ok(match deletion {
            _ if options.is_dry_run() => Change::Keep,
            Deletion::Pending => Change::Keep,
            Deletion::Remove => Change::Delete,
            Deletion::Finish(value) => Change::Finish(value),
            Deletion::Mark(value) => Change::Put(value),
        })
    };
    store.transact(key, decide).await.map_err(|error| match error {
        ModifyError::Refused(error) => error,
        ModifyError::Store(error) => ApiError::from_write(&error, resource.named(), &key.name),
    })
}

fn decide(
    resource: &Resource,
    object: &Value,
    options: &DeleteOptions,
    view: &View<'_>,
) -> Deletion {
    let now = Timestamp::now();
    if resource.is_pod() && mirror::stays(object) {
        Deletion::Mark(mirror::reborn(object))
    } else if resource.is_pod() {
        delete::pod(object, options.grace_period_seconds, now)
    } else if resource.is_namespace() {
        let name = meta::field(object, "name").unwrap_or_default();
        delete::namespace(object, view.namespace_is_empty(name), now)
    } else {
        delete::plain(object, now)
    }
}
