//! Images for `kletctl image`: load, list, inspect, remove, prune.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use klet_api::Pod;
use klet_apiserver::ApiError;
use klet_apiserver::body::{json, streamed};
use klet_image::{Image, RemoveError};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Backend;
use super::extension::{Reply, absent, blocking, chain, parameter, required};

/// Reads an image archive from the request's body, as it arrives.
pub(super) fn load(backend: &Backend, request: Request<Incoming>) -> Reply {
    let (chunks, incoming) = mpsc::channel::<Bytes>(16);
    let (lines, answer) = mpsc::channel::<Bytes>(16);
    tokio::spawn(async move {
        let mut body = request.into_body();
        while let Some(Ok(frame)) = body.frame().await {
            if let Ok(data) = frame.into_data()
                && chunks.send(data).await.is_err()
            {
                return;
            }
        }
    });
    let (images, workers) = (backend.node.images.clone(), backend.workers.clone());
    tokio::task::spawn_blocking(move || {
        let results = match images.load(ChannelReader { incoming, chunk: Bytes::new() }) {
            Ok(loaded) => loaded
                .into_iter()
                .map(|image| json!({ "loaded": { "name": image.name, "id": image.id } }))
                .collect(),
            Err(error) => vec![json!({ "error": chain(&error) })],
        };
        for result in results {
            let _ = lines.blocking_send(Bytes::from(format!("{result}\n")));
        }
        // Pods that wait for an image may find it now.
        workers.wake_all();
    });
    Ok(klet_apiserver::body::typed(StatusCode::OK, "application/jsonl", streamed(answer)))
}

/// A body as a blocking reader.
struct ChannelReader {
    incoming: mpsc::Receiver<Bytes>,
    chunk: Bytes,
}

impl std::io::Read for ChannelReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.chunk.is_empty() {
            match self.incoming.blocking_recv() {
                Some(chunk) => self.chunk = chunk,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.chunk.len());
        buffer[..count].copy_from_slice(&self.chunk.split_to(count));
        Ok(count)
    }
}

/// The pods that use each image: by the id a container was started from, or by the name in its
/// spec. A pod that has ended counts until it is deleted.
#[derive(Debug, Clone, Default)]
struct Users(BTreeMap<String, Vec<String>>);

impl Users {
    fn of(backend: &Backend) -> Self {
        let (pods, _) = backend.node.registry.list::<Pod>(None);
        let mut users = Self::default();
        for pod in pods {
            let meta = &pod.metadata;
            let (namespace, name) = (meta.namespace.as_deref(), meta.name.as_deref());
            let user = format!("{}/{}", namespace.unwrap_or_default(), name.unwrap_or_default());
            for reference in references(&pod) {
                // What is not here, or no reference, uses no image.
                if let Ok(Some(image)) = backend.node.images.resolve(&reference) {
                    let users = users.0.entry(image.id).or_default();
                    if !users.contains(&user) {
                        users.push(user.clone());
                    }
                }
            }
        }
        users
    }

    fn of_image(&self, id: &str) -> &[String] {
        self.0.get(id).map_or(&[], Vec::as_slice)
    }
}

/// Names and ids of the images that a pod's containers run or would run.
fn references(pod: &Pod) -> Vec<String> {
    let spec = pod
        .spec
        .iter()
        .flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers));
    let names = spec.filter_map(|container| container.image.clone());
    let statuses = pod.status.iter().flat_map(|status| {
        let lists = [&status.init_container_statuses, &status.container_statuses];
        lists.into_iter().flatten().flatten()
    });
    let ids = statuses.map(|status| status.image_id.clone());
    names.chain(ids).filter(|reference| !reference.is_empty()).collect()
}

fn shown(image: &Image, users: &Users) -> Value {
    json!({
        "id": image.id,
        "names": image.names,
        "digests": image.digests,
        "size": image.size,
        "created": image.created,
        "pods": users.of_image(&image.id),
    })
}

/// All images.
pub(super) async fn list(backend: &Backend) -> Reply {
    let backend = backend.clone();
    let images = blocking(move || {
        let users = Users::of(&backend);
        let images = backend.node.images.list();
        images.iter().map(|image| shown(image, &users)).collect::<Vec<_>>()
    });
    Ok(json(StatusCode::OK, &json!({ "images": images.await? })))
}

/// One image with its configuration.
pub(super) async fn inspect(backend: &Backend, query: &[(String, String)]) -> Reply {
    let name = required(query, "name")?.to_owned();
    let (own, wanted) = (backend.clone(), name.clone());
    let found = blocking(move || {
        let found = own.node.images.resolve(&wanted)?;
        Ok(found.map(|image| (shown(&image, &Users::of(&own)), image)))
    });
    let (mut value, image) = found
        .await?
        .map_err(|error: klet_image::ReferenceError| ApiError::bad_request(error.to_string()))?
        .ok_or_else(|| absent("images", &name))?;
    value["config"] = serde_json::to_value(&image.config).unwrap_or_default();
    value["layers"] = json!(image.layers.len());
    Ok(json(StatusCode::OK, &value))
}

/// Removes a name, and with its last name the image; one that pods use only by force.
pub(super) async fn remove(backend: &Backend, query: &[(String, String)]) -> Reply {
    let name = required(query, "name")?.to_owned();
    let force = parameter(query, "force") == Some("true");
    let (own, wanted) = (backend.clone(), name.clone());
    let removed = blocking(move || {
        let users = if force { Users::default() } else { Users::of(&own) };
        let in_use = |id: &str| !users.of_image(id).is_empty();
        own.node.images.remove(&wanted, &in_use).map_err(|error| match error {
            RemoveError::InUse(_) => in_use_error(&own, &wanted, &users),
            RemoveError::NotFound(_) => absent("images", &wanted),
            other => ApiError::bad_request(chain(&other)),
        })
    });
    let report = removed.await??;
    let value = json!({
        "untagged": report.untagged, "deleted": report.deleted, "freed": report.freed,
    });
    Ok(json(StatusCode::OK, &value))
}

fn in_use_error(backend: &Backend, name: &str, users: &Users) -> ApiError {
    let image = backend.node.images.resolve(name).ok().flatten();
    let pods = image.map(|image| users.of_image(&image.id).to_vec()).unwrap_or_default();
    let more = match pods.len() {
        0 | 1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    let first = pods.into_iter().next().unwrap_or_default();
    let text =
        format!("image {name} is in use by pod {first}{more}; delete it first, or use --force");
    ApiError::new(409, "Conflict", text)
}

/// Removes images without a name, with `all` every image that no pod uses, and what is left of
/// layers.
pub(super) async fn prune(backend: &Backend, query: &[(String, String)]) -> Reply {
    let all = parameter(query, "all") == Some("true");
    let own = backend.clone();
    let report = blocking(move || prune_now(&own, all)).await?;
    report.map(|report| json(StatusCode::OK, &report))
}

fn prune_now(backend: &Backend, all: bool) -> Result<Value, ApiError> {
    let users = Users::of(backend);
    let images = &backend.node.images;
    let in_use = |id: &str| !users.of_image(id).is_empty();
    let (mut untagged, mut deleted, mut freed) = (Vec::new(), Vec::new(), 0);
    for image in images.list() {
        if in_use(&image.id) || (!all && !image.names.is_empty()) {
            continue;
        }
        let by_id = [image.id.clone()];
        let handles = if image.names.is_empty() { &by_id[..] } else { &image.names };
        for handle in handles {
            match images.remove(handle, &in_use) {
                Ok(report) => {
                    untagged.extend(report.untagged);
                    deleted.extend(report.deleted);
                    freed += report.freed;
                }
                // Someone else was quicker.
                Err(RemoveError::NotFound(_)) => {}
                Err(error) => return Err(ApiError::internal(chain(&error))),
            }
        }
    }
    freed += images.collect_garbage().map_err(|error| ApiError::internal(chain(&error)))?;
    Ok(json!({ "untagged": untagged, "deleted": deleted, "freed": freed }))
}
