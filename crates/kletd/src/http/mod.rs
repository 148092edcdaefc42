//! The HTTP requests the kubelet makes itself: probes and hooks.
//!
//! One connection per request, no keep-alive, no proxy, bodies bounded, TLS not verified, failures in
//! the words of Go's client, because users compare them.
//!
//! * [`target`]: where a request goes, redirects included;
//! * [`tls`]: the handshake;
//! * [`tap`]: what a connection has seen, for the error texts.

pub mod tap;
mod target;
mod tls;

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, REFERER, USER_AGENT,
};
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use tap::{Notes, Tap};
pub use target::{Target, join, port};

/// `User-Agent` of probes.
pub static PROBE_AGENT: LazyLock<String> = LazyLock::new(|| agent("kube-probe"));
/// `User-Agent` of hooks.
pub static LIFECYCLE_AGENT: LazyLock<String> = LazyLock::new(|| agent("kube-lifecycle"));
/// Bytes of a body that are read.
const BODY: usize = 10 << 10;
/// Requests made for one: redirects followed, and the first.
const REQUESTS: usize = 10;
/// Go's text for plain HTTP where TLS is expected.
const HTTP_TO_HTTPS: &str = "http: server gave HTTP response to HTTPS client";

/// The kubelet's agents carry the version of Kubernetes.
fn agent(name: &str) -> String {
    let (major, minor) = klet_apiserver::KUBERNETES;
    format!("{name}/{major}.{minor}")
}

/// Why there is no response to judge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The request cannot be made, or the body not be read: says nothing about the server.
    #[error("{0}")]
    Request(String),
    /// The server did not answer properly.
    #[error("Get \"{url}\": {why}")]
    Transport { url: String, why: String },
}

impl HttpError {
    /// Plain HTTP came where TLS was expected.
    #[must_use]
    pub fn is_plain_answer(&self) -> bool {
        matches!(self, Self::Transport { why, .. } if why == HTTP_TO_HTTPS)
    }
}

/// A response as far as anyone looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// GET within `timeout` in all, following redirects on the same host.
///
/// # Errors
/// See [`HttpError`].
pub async fn get(target: &Target, agent: &str, timeout: Duration) -> Result<Answer, HttpError> {
    let deadline = Instant::now() + timeout;
    let mut target = target.clone();
    let mut stopped = String::new();
    for _ in 0..REQUESTS {
        let url = target.url();
        let failed = |why: String| HttpError::Transport { url: url.clone(), why };
        let slow = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
        let response = timeout_at(deadline, send(&target, agent)).await;
        let response = response.unwrap_or_else(|_| Err(Failed::Transport(slow.to_owned())));
        let (response, _driver) = response.map_err(|error| match error {
            Failed::Request(why) => HttpError::Request(why),
            Failed::Transport(why) => failed(why),
        })?;
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.filter(|_| is_redirect(response.status().as_u16()));
        let Some((next, location)) =
            location.and_then(|location| Some((target.redirect(location)?, location)))
        else {
            return body(response, deadline).await;
        };
        stopped = location.to_owned();
        let referer = (REFERER.to_string(), target.url());
        target = next;
        target.headers.retain(|(name, _)| !name.eq_ignore_ascii_case(REFERER.as_str()));
        target.headers.push(referer);
    }
    // Go names the place it did not go to.
    Err(HttpError::Transport { url: stopped, why: "stopped after 10 redirects".to_owned() })
}

fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

async fn body(response: Response<Incoming>, deadline: Instant) -> Result<Answer, HttpError> {
    let status = response.status().as_u16();
    let mut stream = response.into_body();
    let mut body = Vec::new();
    let slow =
        "context deadline exceeded (Client.Timeout or context cancellation while reading body)";
    while body.len() < BODY {
        let frame = timeout_at(deadline, stream.frame()).await;
        match frame.map_err(|_| HttpError::Request(slow.to_owned()))? {
            Some(Ok(frame)) => {
                body.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
            }
            Some(Err(error)) if error.is_incomplete_message() || is_cut(&error) => {
                return Err(HttpError::Request("unexpected EOF".to_owned()));
            }
            Some(Err(error)) => return Err(HttpError::Request(innermost(&error))),
            None => break,
        }
    }
    body.truncate(BODY);
    Ok(Answer { status, body })
}

/// The server ended in the middle of a body.
fn is_cut(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error);
    source
        .and_then(|cause| cause.downcast_ref::<std::io::Error>())
        .is_some_and(|cause| cause.kind() == std::io::ErrorKind::UnexpectedEof)
}

/// Why a single request failed; the URL is added by the caller.
#[derive(Debug)]
enum Failed {
    Request(String),
    Transport(String),
}

/// The task that moves the bytes of a connection; ends with this value.
struct Driver(tokio::task::AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One request on one connection, up to the head of its answer.
async fn send(target: &Target, agent: &str) -> Result<(Response<Incoming>, Driver), Failed> {
    let stream = dial(&target.host, target.port).await.map_err(Failed::Transport)?;
    let ends = stream.local_addr().and_then(|local| Ok((local, stream.peer_addr()?)));
    let (local, remote) = ends.map_err(|error| Failed::Transport(error.to_string()))?;
    let notes = Notes::default();
    let tapped = Tap::new(stream, notes.clone());
    let failed = |text: String| Failed::Transport(notes.failure(local, remote).unwrap_or(text));
    if !target.tls {
        return http1(tapped, &notes, request(target, agent)?).await.map_err(failed);
    }
    let secured = tls::connect(&target.host, tapped).await;
    let secured = secured.map_err(|error| failed(tls::words(&error, &notes.first())))?;
    let plain = Notes::default();
    if secured.get_ref().1.alpn_protocol() == Some(b"h2") {
        return http2(secured, request(target, agent)?, target).await.map_err(failed);
    }
    let secured = Tap::new(secured, plain.clone());
    http1(secured, &plain, request(target, agent)?).await.map_err(failed)
}

async fn http1<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    notes: &Notes,
    request: Request<Empty<Bytes>>,
) -> Result<(Response<Incoming>, Driver), String> {
    let words = |error: hyper::Error| http1_words(&error, &notes.first());
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(words)?;
    let driver = Driver(tokio::spawn(connection).abort_handle());
    let response = sender.send_request(request).await.map_err(words)?;
    Ok((response, driver))
}

async fn http2<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    mut request: Request<Empty<Bytes>>,
    target: &Target,
) -> Result<(Response<Incoming>, Driver), String> {
    let words = |error: hyper::Error| innermost(&error);
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(words)?;
    let driver = Driver(tokio::spawn(connection).abort_handle());
    request.headers_mut().remove(CONNECTION);
    let host = request.headers_mut().remove(HOST);
    let host = host.and_then(|host| Some(host.to_str().ok()?.to_owned()));
    let host = host.unwrap_or_else(|| target.authority());
    let uri = format!("https://{host}{}", target.path);
    *request.uri_mut() = uri.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
    *request.version_mut() = Version::HTTP_2;
    let response = sender.send_request(request).await.map_err(words)?;
    Ok((response, driver))
}

fn request(target: &Target, agent: &str) -> Result<Request<Empty<Bytes>>, Failed> {
    let invalid = |error: &dyn std::fmt::Display| Failed::Request(error.to_string());
    let value = |text: &str| HeaderValue::try_from(text).map_err(|error| invalid(&error));
    let mut request =
        Request::get(target.path.as_str()).body(Empty::new()).map_err(|error| invalid(&error))?;
    let headers: &mut HeaderMap = request.headers_mut();
    headers.insert(HOST, value(&target.authority())?);
    headers.insert(USER_AGENT, value(agent)?);
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    for (name, text) in &target.headers {
        let name = HeaderName::try_from(name.as_str()).map_err(|error| invalid(&error))?;
        if text.is_empty() && (name == ACCEPT || name == USER_AGENT) {
            headers.remove(name);
        } else if name == HOST || name == ACCEPT || name == USER_AGENT {
            headers.insert(name, value(text)?);
        } else {
            headers.append(name, value(text)?);
        }
    }
    Ok(request)
}

/// Connects to the first address of a host that takes it; the error is Go's.
///
/// # Errors
/// The text.
pub async fn dial(host: &str, port: u16) -> Result<TcpStream, String> {
    if let Ok(ip) = host.parse() {
        return connect(SocketAddr::new(ip, port)).await;
    }
    let unknown = || format!("dial tcp: lookup {host}: no such host");
    let found = tokio::net::lookup_host((host, port)).await;
    let mut last = unknown();
    for address in found.map_err(|_| unknown())? {
        match connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Connects; the error is Go's, e.g. `dial tcp 10.1.2.3:80: connect: connection refused`.
///
/// # Errors
/// The text.
pub async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address).await.map_err(|error| {
        let why = match error.raw_os_error() {
            Some(libc::ETIMEDOUT) => "i/o timeout".to_owned(),
            Some(errno) => format!("connect: {}", errno_words(errno)),
            None => format!("connect: {error}"),
        };
        format!("dial tcp {address}: {why}")
    })
}

/// An error number in Go's words.
fn errno_words(errno: i32) -> String {
    let text = match errno {
        libc::ECONNREFUSED => "connection refused",
        libc::ECONNRESET => "connection reset by peer",
        libc::EPIPE => "broken pipe",
        libc::EHOSTUNREACH => "no route to host",
        libc::ENETUNREACH => "network is unreachable",
        libc::ETIMEDOUT => "connection timed out",
        libc::EADDRNOTAVAIL => "cannot assign requested address",
        libc::EMFILE => "too many open files",
        other => return std::io::Error::from_raw_os_error(other).to_string(),
    };
    text.to_owned()
}

/// What is wrong with an answer that began with `received`.
fn http1_words(error: &hyper::Error, received: &[u8]) -> String {
    let broken = "net/http: HTTP/1.x transport connection broken";
    if error.is_parse() {
        let line = received.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
        return format!("{broken}: malformed HTTP response {:?}", &*line);
    }
    match (error.is_incomplete_message(), received.is_empty()) {
        (true, true) => "EOF".to_owned(),
        (true, false) => format!("{broken}: unexpected EOF"),
        (false, _) => innermost(error),
    }
}

fn innermost(error: &hyper::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests;
