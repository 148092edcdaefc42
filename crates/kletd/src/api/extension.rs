//! klet's own paths below `/klet/v1/`: images, system, timelines.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use klet_api::Pod;
use klet_api::status_error::{self, Resource};
use klet_apiserver::body::{json, streamed};
use klet_apiserver::{ApiError, Body, Extension};
use klet_image::Image;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Backend, system};

type Reply = Result<Response<Body>, ApiError>;

impl Extension for Backend {
    fn handle(&self, request: Request<Incoming>) -> BoxFuture<'static, Response<Body>> {
        let backend = self.clone();
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            let query = query(request.uri().query().unwrap_or_default());
            let parts: Vec<&str> = path.trim_matches('/').split('/').skip(2).collect();
            let reply = match (request.method(), parts.as_slice()) {
                (&Method::POST, ["images", "load"]) => load(&backend, request),
                (&Method::GET, ["images"]) => images(&backend).await,
                (&Method::GET, ["images", "inspect"]) => inspect(&backend, &query).await,
                (&Method::DELETE, ["images"]) => remove(&backend, &query).await,
                (&Method::GET, ["system", "info"]) => {
                    Ok(json(StatusCode::OK, &system::info(&backend)))
                }
                (&Method::GET, ["system", "check"]) => {
                    Ok(json(StatusCode::OK, &system::check(&backend)))
                }
                (&Method::GET, ["system", "df"]) => system::df(&backend).await,
                (&Method::GET, ["pods", namespace, name, "timeline"]) => {
                    timeline(&backend, namespace, name)
                }
                _ => Err(ApiError::from(status_error::path_not_found())),
            };
            reply.unwrap_or_else(|error| klet_apiserver::body::failure(&error))
        })
    }
}

/// The decoded parameters of a query string.
fn query(text: &str) -> Vec<(String, String)> {
    let decode = |text: &str| percent_decode(&text.replace('+', " "));
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail.first_chunk::<2>().filter(|_| *first == b'%');
        let code = code.and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            bytes.push(byte);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn parameter<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn required<'a>(query: &'a [(String, String)], name: &str) -> Result<&'a str, ApiError> {
    parameter(query, name)
        .filter(|value| !value.is_empty())
        .ok_or_else(|| ApiError::bad_request(format!("the query parameter {name:?} is required")))
}

/// Reads an image archive from the request's body, as it arrives.
fn load(backend: &Backend, request: Request<Incoming>) -> Reply {
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

/// The error with all its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
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

fn shown(image: &Image) -> Value {
    json!({
        "id": image.id,
        "names": image.names,
        "digests": image.digests,
        "size": image.size,
        "created": image.created,
    })
}

async fn images(backend: &Backend) -> Reply {
    let images = backend.node.images.clone();
    let list = blocking(move || images.list()).await?;
    Ok(json(StatusCode::OK, &json!({ "images": list.iter().map(shown).collect::<Vec<_>>() })))
}

async fn inspect(backend: &Backend, query: &[(String, String)]) -> Reply {
    let name = required(query, "name")?.to_owned();
    let (images, wanted) = (backend.node.images.clone(), name.clone());
    let found = blocking(move || images.resolve(&wanted)).await?;
    let image = found
        .map_err(|error| ApiError::bad_request(error.to_string()))?
        .ok_or_else(|| absent("images", &name))?;
    let mut value = shown(&image);
    value["config"] = serde_json::to_value(&image.config).unwrap_or_default();
    value["layers"] = json!(image.layers.len());
    Ok(json(StatusCode::OK, &value))
}

async fn remove(backend: &Backend, query: &[(String, String)]) -> Reply {
    let name = required(query, "name")?.to_owned();
    let used: Vec<String> =
        if parameter(query, "force") == Some("true") { Vec::new() } else { used_images(backend) };
    let images = backend.node.images.clone();
    let in_use = move |id: &str| used.iter().any(|used| used.contains(id));
    let removed = blocking(move || images.remove(&name, &in_use)).await?;
    let report = removed.map_err(|error| ApiError::bad_request(chain(&error)))?;
    let value = json!({
        "untagged": report.untagged, "deleted": report.deleted, "freed": report.freed,
    });
    Ok(json(StatusCode::OK, &value))
}

/// Ids of images that containers of the status lists were started from.
fn used_images(backend: &Backend) -> Vec<String> {
    let (pods, _) = backend.node.registry.list::<Pod>(None);
    pods.into_iter()
        .filter_map(|pod| pod.status)
        .flat_map(|status| {
            let lists = [status.container_statuses, status.init_container_statuses];
            lists.into_iter().flatten().flatten()
        })
        .map(|status| status.image_id)
        .collect()
}

fn timeline(backend: &Backend, namespace: &str, name: &str) -> Reply {
    let pod = backend.node.registry.pod(namespace, name);
    let pod = pod.ok_or_else(|| absent("pods", name))?;
    let entries = backend.node.timelines.of(pod.metadata.uid.as_deref().unwrap_or_default());
    Ok(json(StatusCode::OK, &json!({ "entries": entries })))
}

fn absent(resource: &str, name: &str) -> ApiError {
    status_error::not_found(Resource::core(resource), name).into()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| ApiError::internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        let query = query("name=docker.io%2Fbusybox%3Alatest&force=true&x");
        assert_eq!(parameter(&query, "name"), Some("docker.io/busybox:latest"));
        assert_eq!(parameter(&query, "force"), Some("true"));
        assert!(required(&query, "x").is_err());
    }
}
