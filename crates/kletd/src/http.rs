//! The HTTP requests the kubelet makes itself: probes and hooks.
//!
//! One connection per request, no keep-alive, no proxy, bodies bounded, failures in the words of
//! Go's client, because users compare them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::header::{ACCEPT, CONNECTION, HOST, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use klet_api::Container;
use klet_api::k8s_openapi::api::core::v1::HTTPGetAction;
use klet_api::k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;

/// `User-Agent` of probes.
pub const PROBE_AGENT: &str = "kube-probe/1.32";
/// `User-Agent` of hooks.
pub const LIFECYCLE_AGENT: &str = "kube-lifecycle/1.32";
/// Bytes of a body that are read.
const BODY: usize = 10 << 10;
/// Redirects followed.
const REDIRECTS: usize = 10;

/// Why there is no response to judge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The request cannot be made: says nothing about the server.
    #[error("{0}")]
    Request(String),
    /// The server did not answer properly.
    #[error("{0}")]
    Transport(String),
}

/// Where to send a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub host: String,
    pub port: u16,
    pub path: String,
    pub headers: Vec<(String, String)>,
}

/// A response as far as anyone looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Target {
    /// # Errors
    /// A port name that the container does not have, no address, or HTTPS.
    pub fn of(
        action: &HTTPGetAction,
        container: Option<&Container>,
        ip: Option<IpAddr>,
    ) -> Result<Self, HttpError> {
        if action.scheme.as_deref() == Some("HTTPS") {
            return Err(HttpError::Request("HTTPS is not supported".to_owned()));
        }
        let given = action.host.clone().filter(|host| !host.is_empty());
        let host = given.or_else(|| ip.map(|ip| ip.to_string()));
        let headers = action.http_headers.iter().flatten();
        Ok(Self {
            host: host.ok_or_else(|| HttpError::Request("the pod has no address".to_owned()))?,
            port: port(&action.port, container)?,
            path: match action.path.as_deref() {
                Some(path) if path.starts_with('/') => path.to_owned(),
                Some(path) => format!("/{path}"),
                None => "/".to_owned(),
            },
            headers: headers.map(|header| (header.name.clone(), header.value.clone())).collect(),
        })
    }

    fn url(&self) -> String {
        format!("http://{}:{}{}", self.host, self.port, self.path)
    }
}

/// A port number, or the number of a named port of the same container.
///
/// # Errors
/// Go's words for a number that does not parse or is out of range.
pub fn port(port: &IntOrString, container: Option<&Container>) -> Result<u16, HttpError> {
    let number = match port {
        IntOrString::Int(number) => i64::from(*number),
        IntOrString::String(name) => {
            let named = container
                .iter()
                .flat_map(|container| container.ports.iter().flatten())
                .find(|port| port.name.as_deref() == Some(name))
                .map(|port| i64::from(port.container_port));
            match named {
                Some(number) => number,
                None => name.parse().map_err(|_| {
                    HttpError::Request(format!("strconv.Atoi: parsing {name:?}: invalid syntax"))
                })?,
            }
        }
    };
    u16::try_from(number)
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| HttpError::Request(format!("invalid port number: {number}")))
}

/// GET within `timeout`, following redirects on the same host.
///
/// # Errors
/// See [`HttpError`].
pub async fn get(target: &Target, agent: &str, timeout: Duration) -> Result<Answer, HttpError> {
    let url = target.url();
    let failed = |text: &str| HttpError::Transport(format!("Get \"{url}\": {text}"));
    let slow = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
    tokio::time::timeout(timeout, follow(target.clone(), agent, &failed))
        .await
        .unwrap_or_else(|_| Err(failed(slow)))
}

async fn follow(
    mut target: Target,
    agent: &str,
    failed: &impl Fn(&str) -> HttpError,
) -> Result<Answer, HttpError> {
    for _ in 0..REDIRECTS {
        let (answer, location) = once(&target, agent, failed).await?;
        let same_host = location.as_deref().and_then(|location| redirect(&target, location));
        match same_host {
            Some(next) if (300..400).contains(&answer.status) => target = next,
            Some(_) | None => return Ok(answer),
        }
    }
    Err(failed("stopped after 10 redirects"))
}

/// Where a redirect leads, if it stays on the same host.
fn redirect(from: &Target, location: &str) -> Option<Target> {
    let uri: Uri = location.parse().ok()?;
    if uri.host().is_some_and(|host| host != from.host) || uri.scheme_str() == Some("https") {
        return None;
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Some(Target {
        port: uri.port_u16().unwrap_or(if uri.host().is_some() { 80 } else { from.port }),
        path: if path.starts_with('/') { path.to_owned() } else { format!("/{path}") },
        ..from.clone()
    })
}

async fn once(
    target: &Target,
    agent: &str,
    failed: &impl Fn(&str) -> HttpError,
) -> Result<(Answer, Option<String>), HttpError> {
    let address = resolve(target)?;
    let stream = connect(address).await.map_err(|error| failed(&error))?;
    let transport = |error: hyper::Error| failed(&words(&error));
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(transport)?;
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request(target, agent)?).await;
    let response = response.inspect_err(|_| driver.abort()).map_err(transport)?;
    let status = response.status().as_u16();
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let location = location.map(ToOwned::to_owned);
    let mut stream = response.into_body();
    let mut body = Vec::new();
    while body.len() < BODY {
        match stream.frame().await {
            Some(Ok(frame)) => {
                body.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]))
            }
            Some(Err(error)) => {
                driver.abort();
                return Err(HttpError::Request(words(&error)));
            }
            None => break,
        }
    }
    driver.abort();
    body.truncate(BODY);
    Ok((Answer { status, body }, location))
}

fn resolve(target: &Target) -> Result<SocketAddr, HttpError> {
    let host = if target.host == "localhost" { "127.0.0.1" } else { &target.host };
    let ip: IpAddr = host.parse().map_err(|_| {
        HttpError::Request(format!(
            "host {:?} is no IP address; klet resolves no names for probes",
            target.host
        ))
    })?;
    Ok(SocketAddr::new(ip, target.port))
}

fn request(target: &Target, agent: &str) -> Result<Request<Empty<Bytes>>, HttpError> {
    let invalid = |error: &dyn std::fmt::Display| HttpError::Request(error.to_string());
    let mut request =
        Request::get(target.path.as_str()).body(Empty::new()).map_err(|error| invalid(&error))?;
    let headers = request.headers_mut();
    let host = format!("{}:{}", target.host, target.port);
    headers.insert(HOST, HeaderValue::try_from(host).map_err(|error| invalid(&error))?);
    headers.insert(USER_AGENT, HeaderValue::try_from(agent).map_err(|error| invalid(&error))?);
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    for (name, value) in &target.headers {
        let name = HeaderName::try_from(name.as_str()).map_err(|error| invalid(&error))?;
        if value.is_empty() && (name == ACCEPT || name == USER_AGENT) {
            headers.remove(name);
        } else if name == HOST || name == ACCEPT || name == USER_AGENT {
            headers.insert(name, HeaderValue::try_from(value).map_err(|error| invalid(&error))?);
        } else {
            headers.append(name, HeaderValue::try_from(value).map_err(|error| invalid(&error))?);
        }
    }
    Ok(request)
}

/// Connects; the error is Go's, e.g. `dial tcp 10.1.2.3:80: connect: connection refused`.
///
/// # Errors
/// The text.
pub async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address).await.map_err(|error| {
        let why = match error.raw_os_error() {
            Some(libc::ECONNREFUSED) => "connect: connection refused".to_owned(),
            Some(libc::EHOSTUNREACH) => "connect: no route to host".to_owned(),
            Some(libc::ENETUNREACH) => "connect: network is unreachable".to_owned(),
            Some(libc::ETIMEDOUT) => "i/o timeout".to_owned(),
            _ => format!("connect: {error}"),
        };
        format!("dial tcp {address}: {why}")
    })
}

fn words(error: &hyper::Error) -> String {
    if error.is_incomplete_message() {
        return "EOF".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_by_number_and_name() {
        use klet_api::k8s_openapi::api::core::v1::ContainerPort;
        let port_named =
            ContainerPort { name: Some("web".into()), container_port: 8080, ..Default::default() };
        let container = Container { ports: Some(vec![port_named]), ..Default::default() };
        let text = |name: &str| port(&IntOrString::String(name.into()), Some(&container));
        assert_eq!(text("web"), Ok(8080));
        assert_eq!(text("81"), Ok(81));
        let message = text("nope").unwrap_err().to_string();
        assert_eq!(message, "strconv.Atoi: parsing \"nope\": invalid syntax");
        let zero = port(&IntOrString::Int(0), None).unwrap_err();
        assert_eq!(zero.to_string(), "invalid port number: 0");
    }

    #[test]
    fn only_redirects_to_the_same_host_are_followed() {
        let from =
            Target { host: "10.0.0.1".into(), port: 8080, path: "/".into(), headers: Vec::new() };
        assert_eq!(redirect(&from, "/next?x=1").unwrap().path, "/next?x=1");
        assert_eq!(redirect(&from, "/next").unwrap().port, 8080);
        assert_eq!(redirect(&from, "http://10.0.0.1:81/a").unwrap().port, 81);
        assert_eq!(redirect(&from, "http://example.com/"), None);
    }
}
