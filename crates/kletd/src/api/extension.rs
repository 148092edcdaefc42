//! klet's own paths below `/klet/v1/`: images, system, timelines.

use futures_util::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use klet_api::status_error::{self, Resource};
use klet_apiserver::body::json;
use klet_apiserver::{ApiError, Body, Extension};
use serde_json::json;

use super::{Backend, checks, images, system};

pub(super) type Reply = Result<Response<Body>, ApiError>;

impl Extension for Backend {
    fn handle(&self, request: Request<Incoming>) -> BoxFuture<'static, Response<Body>> {
        let backend = self.clone();
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            let query = query(request.uri().query().unwrap_or_default());
            let parts: Vec<&str> = path.trim_matches('/').split('/').skip(2).collect();
            let reply = match (request.method(), parts.as_slice()) {
                (&Method::POST, ["images", "load"]) => images::load(&backend, request),
                (&Method::GET, ["images"]) => images::list(&backend).await,
                (&Method::GET, ["images", "inspect"]) => images::inspect(&backend, &query).await,
                (&Method::DELETE, ["images"]) => images::remove(&backend, &query).await,
                (&Method::POST, ["images", "prune"]) => images::prune(&backend, &query).await,
                (&Method::GET, ["system", "info"]) => {
                    Ok(json(StatusCode::OK, &system::info(&backend)))
                }
                (&Method::GET, ["system", "check"]) => {
                    Ok(json(StatusCode::OK, &checks::report(&backend)))
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

pub(super) fn parameter<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

pub(super) fn required<'a>(query: &'a [(String, String)], name: &str) -> Result<&'a str, ApiError> {
    parameter(query, name)
        .filter(|value| !value.is_empty())
        .ok_or_else(|| ApiError::bad_request(format!("the query parameter {name:?} is required")))
}

/// The error with all its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn timeline(backend: &Backend, namespace: &str, name: &str) -> Reply {
    let pod = backend.node.registry.pod(namespace, name);
    let pod = pod.ok_or_else(|| absent("pods", name))?;
    let entries = backend.node.timelines.of(klet_apiserver::node_uid(&pod));
    Ok(json(StatusCode::OK, &json!({ "entries": entries })))
}

pub(super) fn absent(resource: &str, name: &str) -> ApiError {
    status_error::not_found(Resource::core(resource), name).into()
}

pub(super) async fn blocking<T: Send + 'static>(
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
