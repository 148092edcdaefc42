//! HTTP/1.1 to kletd over its unix socket. One connection per request: on a unix socket that costs
//! less than looking after a pool.

pub(crate) mod exec;
mod lines;
pub(crate) mod watch;

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::error::{Error, Result, Status};
pub(crate) use lines::Lines;

/// A request body: bytes, or a stream of them.
pub(crate) type Body = BoxBody<Bytes, io::Error>;

/// Largest answer that is read whole.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Media types of patches.
pub(crate) const MERGE_PATCH: &str = "application/merge-patch+json";
pub(crate) const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
pub(crate) const JSON_PATCH: &str = "application/json-patch+json";
pub(crate) const JSON: &str = "application/json";

/// Where kletd listens.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    socket: PathBuf,
}

impl Client {
    pub(crate) fn new(socket: &Path) -> Self {
        Client { socket: socket.to_owned() }
    }

    /// A connection to the socket.
    pub(crate) async fn connect(&self) -> Result<UnixStream> {
        UnixStream::connect(&self.socket).await.map_err(|cause| match cause.kind() {
            io::ErrorKind::PermissionDenied => Error::NotAllowed { socket: self.socket.clone() },
            _ => Error::NotRunning { socket: self.socket.clone() },
        })
    }

    /// Sends a request; an answer that is an error becomes one.
    pub(crate) async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>> {
        let stream = TokioIo::new(self.connect().await?);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(stream).await.map_err(lost)?;
        tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(lost)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let code = response.status().as_u16();
        let body = read_all(response).await?;
        Err(Status::from_response(code, &body).into())
    }

    /// A GET whose answer is read as it comes.
    pub(crate) async fn stream(&self, path: &str) -> Result<Response<Incoming>> {
        self.send(request(Method::GET, path, JSON, Bytes::new())).await
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        parse(self.stream(path).await?).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.json(Method::POST, path, JSON, body).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.json(Method::PUT, path, JSON, body).await
    }

    pub(crate) async fn patch(&self, path: &str, media_type: &str, body: &Value) -> Result<Value> {
        self.json(Method::PATCH, path, media_type, body).await
    }

    pub(crate) async fn delete(&self, path: &str, options: &Value) -> Result<Value> {
        self.json(Method::DELETE, path, JSON, options).await
    }

    async fn json(&self, method: Method, path: &str, media: &str, body: &Value) -> Result<Value> {
        let body = Bytes::from(body.to_string());
        parse(self.send(request(method, path, media, body)).await?).await
    }
}

/// A request with a body held in memory.
pub(crate) fn request(method: Method, path: &str, media: &str, body: Bytes) -> Request<Body> {
    with_body(method, path, media, Full::new(body).map_err(never).boxed())
}

/// A request with any body.
pub(crate) fn with_body(method: Method, path: &str, media: &str, body: Body) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::HOST, "klet")
        .header(http::header::ACCEPT, JSON)
        .header(http::header::CONTENT_TYPE, media)
        .header(http::header::USER_AGENT, concat!("kletctl/", env!("CARGO_PKG_VERSION")))
        .body(body)
        .expect("paths are escaped where they are made")
}

fn never(impossible: Infallible) -> io::Error {
    match impossible {}
}

fn lost(cause: hyper::Error) -> Error {
    Error::Connection(with_source(&cause))
}

/// An error and what caused it, on one line.
fn with_source(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// The whole answer, within a bound.
pub(crate) async fn read_all(response: Response<Incoming>) -> Result<Bytes> {
    let body = http_body_util::Limited::new(response.into_body(), ANSWER_BYTES_MAX);
    let whole = body.collect().await.map_err(|cause| Error::Connection(cause.to_string()))?;
    Ok(whole.to_bytes())
}

async fn parse(response: Response<Incoming>) -> Result<Value> {
    if response.status() == StatusCode::NO_CONTENT {
        return Ok(Value::Null);
    }
    let body = read_all(response).await?;
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&body)
        .map_err(|cause| Error::Connection(format!("the answer is not JSON: {cause}")))
}

/// Percent-encodes one path segment or query value.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// Appends a query to a path.
pub(crate) fn with_query(path: &str, query: &[(&str, &str)]) -> String {
    let mut out = path.to_owned();
    for (index, (key, value)) in query.iter().enumerate() {
        out.push(if index == 0 { '?' } else { '&' });
        out.push_str(key);
        out.push('=');
        out.push_str(&escape(value));
    }
    out
}
