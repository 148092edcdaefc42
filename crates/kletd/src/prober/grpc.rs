//! The gRPC health check: one unary call of `grpc.health.v1.Health/Check` over clear-text HTTP/2.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::header::{CONTENT_TYPE, TE, USER_AGENT};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::handlers::Checked;
use crate::http;

/// Bytes of an answer that are read: a health response has two.
const BODY: usize = 4 << 10;
/// Bytes before each message: compression flag and length (gRPC over HTTP/2).
const PREFIX: usize = 5;
/// gRPC status `UNIMPLEMENTED`.
const UNIMPLEMENTED: &str = "12";

/// What the service says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Health {
    Serving,
    /// Anything else, in the kubelet's words.
    Not(String),
}

/// Asks for the health of `service` within `timeout`.
pub(super) async fn check(address: SocketAddr, service: &str, timeout: Duration) -> Checked {
    let seconds = timeout.as_secs();
    let asked = tokio::time::timeout(timeout, ask(address, service)).await;
    asked
        .unwrap_or_else(|_| {
            Health::Not(format!("timeout: health rpc did not complete within {seconds}s"))
        })
        .into()
}

async fn ask(address: SocketAddr, service: &str) -> Health {
    match call(address, service).await {
        Ok((status, _)) if status == UNIMPLEMENTED => Health::Not(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)".to_owned(),
        ),
        Ok((status, message)) if status == "0" => judge(serving_status(&message)),
        Ok((status, _)) => Health::Not(format!("error: health rpc probe failed: code {status}")),
        Err(text) => Health::Not(format!("error: health rpc probe failed: {text}")),
    }
}

fn judge(status: u64) -> Health {
    let name = match status {
        1 => return Health::Serving,
        0 => "UNKNOWN",
        2 => "NOT_SERVING",
        _ => "SERVICE_UNKNOWN",
    };
    Health::Not(format!("service unhealthy (responded with {name:?})"))
}

/// The call itself: gRPC status and response message.
async fn call(address: SocketAddr, service: &str) -> Result<(String, Vec<u8>), String> {
    let stream = http::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
    let driver = tokio::spawn(connection);
    let result = exchange(&mut sender, address, service).await;
    driver.abort();
    result
}

async fn exchange(
    sender: &mut hyper::client::conn::http2::SendRequest<Full<Bytes>>,
    address: SocketAddr,
    service: &str,
) -> Result<(String, Vec<u8>), String> {
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(USER_AGENT, http::PROBE_AGENT)
        .body(Full::new(Bytes::from(request_message(service))))
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let header = response.headers().get("grpc-status").cloned();
    let mut body = response.into_body();
    let mut message = Vec::new();
    let mut status = header;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        if let Some(data) = frame.data_ref() {
            message.extend_from_slice(data);
        } else if let Some(trailers) = frame.trailers_ref() {
            status = trailers.get("grpc-status").cloned().or(status);
        }
        if message.len() > BODY {
            return Err("response is too long".to_owned());
        }
    }
    let status = status.ok_or("the server sent no grpc-status")?;
    Ok((String::from_utf8_lossy(status.as_bytes()).into_owned(), message))
}

/// `HealthCheckRequest { service = 1 }` with its prefix.
fn request_message(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        varint(&mut message, service.len() as u64);
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0][..], &length.to_be_bytes(), &message].concat()
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// `HealthCheckResponse.status` (field 1, an enum); absent means 0.
fn serving_status(bytes: &[u8]) -> u64 {
    match bytes.get(PREFIX..) {
        Some([0x08, value, ..]) => u64::from(*value),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_are_protobuf() {
        assert_eq!(request_message(""), [0, 0, 0, 0, 0]);
        assert_eq!(request_message("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(serving_status(&[0, 0, 0, 0, 2, 0x08, 1]), 1);
        assert_eq!(serving_status(&[0, 0, 0, 0, 0]), 0);
    }

    #[test]
    fn anything_but_serving_is_unhealthy() {
        assert_eq!(judge(1), Health::Serving);
        let text = "service unhealthy (responded with \"NOT_SERVING\")";
        assert_eq!(judge(2), Health::Not(text.to_owned()));
    }
}
