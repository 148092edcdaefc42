//! The end of a namespace: its objects go first, then it goes itself.
//!
//! Level-triggered: every look deletes what there is, then waits for a change. Whoever
//! starts it, and however often, the result is the same.

use std::time::Duration;

use futures_util::future::select_all;
use klet_store::{Change, Key, ModifyError, Store, View, Watch, WriteError};

use crate::delete::{DeleteOptions, has_finalizers};
use crate::error::ApiError;
use crate::remove;
use crate::resource::{RESOURCES, Resource};

/// Between tries while the disk refuses.
const RETRY: Duration = Duration::from_secs(5);

/// Empties a namespace that is being deleted, and removes it, in the background.
pub(crate) fn empty(store: Store, name: &str) {
    let name = name.to_owned();
    tokio::spawn(async move {
        while let Err(error) = run(&store, &name).await {
            tracing::warn!(namespace = name, %error, "empty namespace; trying again");
            tokio::time::sleep(RETRY).await;
        }
    });
}

/// Goes on with the deletions that a stop of the server interrupted.
pub(crate) fn resume(store: &Store) {
    for namespace in store.list("", "namespaces", None).0 {
        if namespace.value["metadata"]["deletionTimestamp"].is_string() {
            empty(store.clone(), &namespace.key.name);
        }
    }
}

async fn run(store: &Store, name: &str) -> Result<(), ApiError> {
    loop {
        // Before the look, so that no change after it is missed.
        let version = store.version();
        for resource in inside() {
            clear(store, resource, name).await?;
        }
        if finish(store, name).await? {
            return Ok(());
        }
        changed(store, name, version).await;
    }
}

fn inside() -> impl Iterator<Item = &'static Resource> {
    RESOURCES.iter().filter(|resource| resource.namespaced)
}

async fn clear(
    store: &Store,
    resource: &'static Resource,
    namespace: &str,
) -> Result<(), ApiError> {
    for object in store.list(resource.group, resource.plural, Some(namespace)).0 {
        match remove::delete(store, resource, &object.key, &DeleteOptions::default()).await {
            Err(error) if error.code() != http::StatusCode::NOT_FOUND => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Removes the namespace if nothing is in it; true when it is gone.
async fn finish(store: &Store, name: &str) -> Result<bool, ApiError> {
    let (key, id) = (Key::new("", "namespaces", None, name), name.to_owned());
    let decide = move |view: &View<'_>| {
        let Some(current) = view.current() else { return Ok(Change::Keep) };
        let doomed = current.value["metadata"]["deletionTimestamp"].is_string();
        if !doomed || !view.namespace_is_empty(&id) || has_finalizers(&current.value) {
            return Err(doomed);
        }
        Ok(Change::Delete)
    };
    match store.transact(&key, decide).await {
        Ok(_) | Err(ModifyError::Store(WriteError::NotFound)) => Ok(true),
        // One that is not being deleted is a new one of the same name.
        Err(ModifyError::Refused(doomed)) => Ok(!doomed),
        Err(ModifyError::Store(error)) => Err(ApiError::internal(error)),
    }
}

/// Waits until something happened in the namespace, or to it, after `version`.
async fn changed(store: &Store, name: &str, version: u64) {
    let objects =
        inside().map(|resource| store.watch(resource.group, resource.plural, Some(name), version));
    let watches: Result<Vec<_>, _> =
        objects.chain([store.watch("", "namespaces", None, version)]).collect();
    // An expired start means that a lot happened.
    if let Ok(mut watches) = watches {
        select_all(watches.iter_mut().map(|watch: &mut Watch| Box::pin(watch.next()))).await;
    }
}
