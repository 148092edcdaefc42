//! The gRPC health check: one unary call of `grpc.health.v1.Health/Check` over clear-text HTTP/2.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::header::{CONTENT_TYPE, TE, USER_AGENT};
use hyper_util::rt::{TokioExecutor, TokioIo};

use klet_pod::text::go_duration;
use tokio::net::TcpStream;

use super::handlers::Checked;
use crate::http;
use crate::http::tap::{Notes, Tap};

/// Bytes of an answer that are read: a health response has two.
const BODY: usize = 4 << 10;
/// Bytes before each message: compression flag and length (gRPC over HTTP/2).
const PREFIX: usize = 5;
/// gRPC status `UNIMPLEMENTED`.
const UNIMPLEMENTED: &str = "12";
/// Pause before a refused connection is tried again (gRPC's first back-off).
const AGAIN: Duration = Duration::from_secs(1);
/// The names of gRPC's status codes, as its Go library prints them.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// What the service says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Health {
    Serving,
    /// Anything else, in the kubelet's words.
    Not(String),
}

/// Asks for the health of `service` within `timeout`.
pub(super) async fn check(address: SocketAddr, service: &str, timeout: Duration) -> Checked {
    let limit = go_duration(timeout);
    let notes = Notes::default();
    let asked = tokio::time::timeout(timeout, ask(address, service, &notes)).await;
    let late = |_| match notes.first().is_empty() {
        true => format!(
            "timeout: failed to connect service \"{address}\" within {limit}: context deadline exceeded"
        ),
        false => format!("timeout: health rpc did not complete within {limit}"),
    };
    asked.unwrap_or_else(|elapsed| Health::Not(late(elapsed))).into()
}

async fn ask(address: SocketAddr, service: &str, notes: &Notes) -> Health {
    // A connection is tried again until the time is up, as gRPC clients do.
    let stream = loop {
        match http::connect(address).await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    };
    match call(Tap::new(stream, notes.clone()), address, service).await {
        Ok(answer) => answered(&answer),
        Err(text) => Health::Not(format!(
            "error: health rpc probe failed: rpc error: code = Unavailable desc = {text}"
        )),
    }
}

fn answered(answer: &Answer) -> Health {
    let Answer { status, text, message } = answer;
    if status == UNIMPLEMENTED {
        return Health::Not(format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {text}"
        ));
    }
    if status == "0" {
        return judge(serving_status(message));
    }
    let name = status.parse().ok().and_then(|number: usize| CODES.get(number));
    let name = name.copied().unwrap_or(status);
    Health::Not(format!("error: health rpc probe failed: rpc error: code = {name} desc = {text}"))
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

/// A response as far as anyone looks at it.
#[derive(Debug)]
struct Answer {
    /// `grpc-status`, a number.
    status: String,
    /// `grpc-message`.
    text: String,
    message: Vec<u8>,
}

/// The call itself.
async fn call(
    stream: Tap<TcpStream>,
    address: SocketAddr,
    service: &str,
) -> Result<Answer, String> {
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
) -> Result<Answer, String> {
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(USER_AGENT, http::PROBE_AGENT.as_str())
        .body(Full::new(Bytes::from(request_message(service))))
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    // An answer without a message has its status among the headers, any other after the body.
    let mut fields = response.headers().clone();
    let mut body = response.into_body();
    let mut message = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        if let Some(data) = frame.data_ref() {
            message.extend_from_slice(data);
        } else if let Ok(trailers) = frame.into_trailers() {
            fields.extend(trailers);
        }
        if message.len() > BODY {
            return Err("response is too long".to_owned());
        }
    }
    let field = |name| fields.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let status = field("grpc-status").ok_or("the server sent no grpc-status")?.into_owned();
    let text = field("grpc-message").map(|text| decode(&text)).unwrap_or_default();
    Ok(Answer { status, text, message })
}

/// Resolves the percent-encoding of `grpc-message`.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).filter(|_| *byte == b'%');
        let hex = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        decoded.push(hex.unwrap_or(*byte));
        at += if hex.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
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
    fn refusals_are_worded_as_gos_library_does() {
        let not = |status: &str, text: &str| {
            let (status, text) = (status.to_owned(), decode(text));
            match answered(&Answer { status, text, message: Vec::new() }) {
                Health::Not(text) => text,
                Health::Serving => panic!("serving"),
            }
        };
        assert_eq!(
            not("5", "unknown%20service%"),
            "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service%"
        );
        assert_eq!(
            not("12", "unknown service x"),
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): unknown service x"
        );
        assert!(not("99", "").contains("code = 99"));
    }

    #[test]
    fn anything_but_serving_is_unhealthy() {
        assert_eq!(judge(1), Health::Serving);
        let text = "service unhealthy (responded with \"NOT_SERVING\")";
        assert_eq!(judge(2), Health::Not(text.to_owned()));
    }
}
