//! Which request is answered by what.

#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use klet_api::status_error;

use crate::body::{self, Body};
use crate::error::ApiError;
use crate::query::{Query, decode};
use crate::resource::{self, Resource, Subresource};
use crate::server::ApiServer;
use crate::{discovery, exec, log, read, remove, watch, write};

/// Bytes of request body, as the API server has it.
const BODY_LIMIT: usize = 3 << 20;
/// A body that has not come by then is given up.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// What a path names.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) resource: &'static Resource,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<&'static Subresource>,
}

/// A request on a resource, with its body read.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) server: &'a ApiServer,
    pub(crate) target: Target,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Call<'_> {
    /// The object's name; empty for a collection.
    pub(crate) fn name(&self) -> &str {
        self.target.name.as_deref().unwrap_or_default()
    }

    /// The object's key.
    pub(crate) fn key(&self) -> klet_store::Key {
        self.target.resource.key(self.target.namespace.as_deref(), self.name())
    }

    pub(crate) fn not_found(&self) -> ApiError {
        status_error::not_found(self.target.resource.named(), self.name()).into()
    }

    /// The media type of the body, without parameters.
    pub(crate) fn content_type(&self) -> &str {
        let value = self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().split(';').next().unwrap_or_default().trim()
    }
}

/// Answers one request.
pub(crate) async fn answer(server: &ApiServer, request: Request<Incoming>) -> Response<Body> {
    if request.uri().path().starts_with("/klet/v1/")
        && let Some(extension) = &server.config.extension
    {
        return extension.handle(request).await;
    }
    dispatch(server, request).await.unwrap_or_else(|error| body::failure(&error))
}

async fn dispatch(
    server: &ApiServer,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let path = request.uri().path();
    if matches!(path, "/healthz" | "/livez" | "/readyz") {
        return Ok(body::text(StatusCode::OK, "ok"));
    }
    if let Some(document) = discovery::document(path) {
        return match *request.method() {
            Method::GET => Ok(body::json(StatusCode::OK, &document)),
            _ => Err(ApiError::new(405, "MethodNotAllowed", "discovery is read by GET")),
        };
    }
    let target = target(path)?;
    let query = Query::parse(request.uri().query())?;
    match target.subresource.map(|subresource| subresource.name) {
        Some("exec") => exec::answer(server, &target, &query, request).await,
        Some("log") if request.method() == Method::GET => {
            log::answer(server, &target, &query).await
        }
        _ => {
            let (head, incoming) = request.into_parts();
            let body = read_body(server, incoming).await?;
            let call = Call { server, target, query, headers: head.headers, body };
            on_objects(&call, &head.method).await
        }
    }
}

async fn on_objects(call: &Call<'_>, method: &Method) -> Result<Response<Body>, ApiError> {
    let verb = verb(call, method)?;
    let allowed = match call.target.subresource {
        Some(subresource) => subresource.verbs,
        None => call.target.resource.verbs,
    };
    if !allowed.contains(&verb) {
        return Err(status_error::method_not_allowed(call.target.resource.named(), verb).into());
    }
    match verb {
        "create" => write::create(call).await,
        "get" => read::get(call),
        "list" => read::list(call),
        "watch" => watch::answer(call),
        "update" => write::replace(call).await,
        "patch" => write::patch(call).await,
        "delete" => remove::one(call).await,
        _ => remove::collection(call).await,
    }
}

/// The Kubernetes verb of a request.
fn verb(call: &Call<'_>, method: &Method) -> Result<&'static str, ApiError> {
    let named = call.target.name.is_some();
    Ok(match *method {
        Method::GET if call.query.flag("watch")? => "watch",
        Method::GET if named => "get",
        Method::GET => "list",
        Method::POST if !named => "create",
        Method::PUT if named => "update",
        Method::PATCH if named => "patch",
        Method::DELETE if named => "delete",
        Method::DELETE => "deletecollection",
        _ => {
            let resource = call.target.resource.named();
            return Err(status_error::method_not_allowed(resource, method.as_str()).into());
        }
    })
}

/// Parses a path below `/api/v1` or `/apis/GROUP/VERSION`.
fn target(path: &str) -> Result<Target, ApiError> {
    let missing = || ApiError::from(status_error::path_not_found());
    let mut parts = path.strip_prefix('/').ok_or_else(missing)?.split('/');
    let (group, version) = match (parts.next(), parts.next()) {
        (Some("api"), Some(version)) => ("", version),
        (Some("apis"), Some(group)) => (group, parts.next().ok_or_else(missing)?),
        _ => return Err(missing()),
    };
    let rest = parts.map(|part| decode(part, false)).collect::<Result<Vec<_>, _>>()?;
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    if rest.iter().any(|part| part.is_empty() || part.contains(['/', '\0'])) {
        return Err(missing());
    }
    let (namespace, rest) = match rest.as_slice() {
        ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => (None, rest.as_slice()),
        ["namespaces", namespace, inside @ ..] if !inside.is_empty() => (Some(*namespace), inside),
        _ => (None, rest.as_slice()),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (*plural, None, None),
        [plural, name] => (*plural, Some(*name), None),
        [plural, name, subresource] => (*plural, Some(*name), Some(*subresource)),
        _ => return Err(missing()),
    };
    let resource = resource::find(group, version, plural).ok_or_else(missing)?;
    // A list may span all namespaces; an object has exactly one, or none.
    let place = if resource.namespaced {
        name.is_none() || namespace.is_some()
    } else {
        namespace.is_none()
    };
    if !place {
        return Err(missing());
    }
    let subresource = match subresource {
        Some(name) => Some(resource.subresource(name).ok_or_else(missing)?),
        None => None,
    };
    let owned = |part: Option<&str>| part.map(str::to_owned);
    Ok(Target { resource, namespace: owned(namespace), name: owned(name), subresource })
}

/// Bodies of at most so many bytes are read at any time.
const SMALL_BODY: u64 = 64 << 10;

async fn read_body(server: &ApiServer, incoming: Incoming) -> Result<Bytes, ApiError> {
    // Clients together must not fill the memory either.
    let large = incoming.size_hint().upper().is_none_or(|bytes| bytes > SMALL_BODY);
    let _place = if large { Some(server.large_bodies.acquire().await) } else { None };
    let read = Limited::new(incoming, BODY_LIMIT).collect();
    let read = tokio::time::timeout(BODY_TIMEOUT, read).await;
    let read =
        read.map_err(|_| ApiError::new(408, "Timeout", "the request's body did not come in time"))?;
    match read {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(status_error::too_large(BODY_LIMIT).into())
        }
        Err(error) => Err(ApiError::bad_request(format!("read the request's body: {error}"))),
    }
}

/// Adds one `Warning` header per warning, as many as a client will show.
pub(crate) fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for warning in warnings.iter().take(16) {
        let text = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{text}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}
