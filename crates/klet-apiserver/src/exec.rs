//! `pods/NAME/exec`: the request, its checks and the upgrade to a WebSocket.

mod channel;
mod session;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use klet_api::status_error;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::body::{self, Body};
use crate::container;
use crate::error::ApiError;
use crate::hooks::ExecRequest;
use crate::query::Query;
use crate::route::Target;
use crate::server::ApiServer;
use channel::Protocol;

/// Bytes of one WebSocket message from a client.
const MESSAGE: usize = 1 << 20;
/// Bytes of output on their way to a client that does not read.
const UNSENT: usize = 1 << 20;

/// Answers an exec request. The command is started before the upgrade is granted, so
/// that a refusal is an ordinary `Status`.
pub(crate) async fn answer(
    server: &ApiServer,
    target: &Target,
    query: &Query,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    if !matches!(*request.method(), Method::GET | Method::POST) {
        return Err(status_error::method_not_allowed(
            target.resource.named(),
            request.method().as_str(),
        )
        .into());
    }
    let (key, protocol) = handshake(request.headers())?;
    let wanted = options(query)?;
    let pod = container::pod(&server.config.store, target)?;
    let container = container::choose(&pod, query.get("container"))?;
    let place = server.stream_place()?;
    let session = server.config.node.exec(pod, container, wanted).await;
    let session =
        session.map_err(|error| ApiError::new(error.code, &error.reason, error.message))?;
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // Without an upgrade the session is dropped here, which ends the command.
        match upgrade.await {
            Ok(io) => {
                let config = WebSocketConfig::default()
                    .max_message_size(Some(MESSAGE))
                    .max_frame_size(Some(MESSAGE))
                    .max_write_buffer_size(UNSENT);
                let socket =
                    WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Server, Some(config));
                session::run(socket.await, session, protocol).await;
            }
            Err(error) => tracing::debug!(%error, "exec: no upgrade"),
        }
        drop(place);
    });
    switch(&key, protocol)
}

fn options(query: &Query) -> Result<ExecRequest, ApiError> {
    let request = ExecRequest {
        command: query.all("command"),
        stdin: query.flag("stdin")?,
        stdout: query.flag("stdout")?,
        stderr: query.flag("stderr")?,
        tty: query.flag("tty")?,
    };
    if request.command.is_empty() {
        return Err(ApiError::bad_request(
            "you must specify at least one command for the container",
        ));
    }
    if request.tty && request.stderr {
        return Err(ApiError::bad_request("tty and stderr cannot both be true"));
    }
    if !request.stdin && !request.stdout && !request.stderr {
        return Err(ApiError::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    Ok(request)
}

/// The client's key and the first of its protocols that klet speaks.
fn handshake(headers: &HeaderMap) -> Result<(Vec<u8>, Protocol), ApiError> {
    let text = |name| {
        headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default()
    };
    if text(header::UPGRADE).to_ascii_lowercase().starts_with("spdy") {
        let message = "klet speaks WebSocket, not SPDY: use kubectl 1.30 or newer, or kletctl";
        return Err(ApiError::new(403, "Forbidden", message));
    }
    let upgrade = text(header::UPGRADE).eq_ignore_ascii_case("websocket");
    let version = text(header::SEC_WEBSOCKET_VERSION) == "13";
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| upgrade && version) else {
        return Err(ApiError::bad_request("Upgrade request required"));
    };
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    let offered =
        offered.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let protocol = offered.map(str::trim).find_map(Protocol::named);
    let protocol = protocol.ok_or_else(|| {
        let known = Protocol::NAMES.join(", ");
        ApiError::bad_request(format!("unable to negotiate protocol: the server speaks {known}"))
    })?;
    Ok((key.as_bytes().to_vec(), protocol))
}

fn switch(key: &[u8], protocol: Protocol) -> Result<Response<Body>, ApiError> {
    let accept = HeaderValue::from_str(&derive_accept_key(key)).map_err(ApiError::internal)?;
    let mut response = Response::new(body::full(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol.name()));
    Ok(response)
}
