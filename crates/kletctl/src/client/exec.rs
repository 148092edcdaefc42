//! `exec` over a WebSocket, subprotocol `v5.channel.k8s.io`.
//!
//! The first byte of a message names its channel: 0 stdin, 1 stdout, 2 stderr, 3 the final Status,
//! 4 terminal sizes, 255 closes the channel named by the second byte.

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use http::HeaderValue;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::Client;
use crate::error::{Error, Result, Status};

const PROTOCOL: &str = "v5.channel.k8s.io";
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;
const CHUNK_BYTES: usize = 32 * 1024;

type Socket = WebSocketStream<UnixStream>;

/// A running exec session.
#[derive(Debug)]
pub(crate) struct Session {
    socket: Socket,
}

/// The near ends of an exec session.
pub(crate) struct Ends<'a> {
    pub(crate) stdin: Option<&'a mut (dyn AsyncRead + Unpin)>,
    pub(crate) stdout: &'a mut (dyn AsyncWrite + Unpin),
    pub(crate) stderr: &'a mut (dyn AsyncWrite + Unpin),
    /// Yields each new terminal size, the present one first.
    pub(crate) sizes: Option<watch::Receiver<(u16, u16)>>,
}

impl Client {
    /// Opens an exec session; `path` carries the query.
    pub(crate) async fn exec(&self, path: &str) -> Result<Session> {
        let stream = self.connect().await?;
        let mut request = format!("ws://klet{path}").into_client_request().map_err(broken)?;
        request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(PROTOCOL));
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((socket, _)) => Ok(Session { socket }),
            Err(WsError::Http(response)) => {
                let body = response.body().as_deref().unwrap_or_default();
                Err(Status::from_response(response.status().as_u16(), body).into())
            }
            Err(other) => Err(broken(other)),
        }
    }
}

impl Session {
    /// Carries bytes both ways until the server has told how the command ended. The two ways are
    /// independent: a command that reads nothing must not keep us from printing what it writes.
    pub(crate) async fn run(self, ends: Ends<'_>) -> Result {
        let Ends { stdin, stdout, stderr, sizes } = ends;
        let (to, from) = self.socket.split();
        let status = tokio::select! {
            status = receive(from, stdout, stderr) => status?,
            failed = send(to, stdin, sizes) => return Err(failed),
        };
        exit_of(&status)
    }
}

/// Prints output until the end; gives the Status.
async fn receive(
    mut from: SplitStream<Socket>,
    stdout: &mut (dyn AsyncWrite + Unpin),
    stderr: &mut (dyn AsyncWrite + Unpin),
) -> Result<Value> {
    let mut outcome = None;
    loop {
        let message = match from.next().await {
            Some(Ok(Message::Binary(message))) => message,
            Some(Ok(Message::Close(_)) | Err(WsError::ConnectionClosed)) | None => break,
            Some(Ok(_)) => continue,
            // The answer is there; how the server hangs up does not matter.
            Some(Err(_)) if outcome.is_some() => break,
            Some(Err(cause)) => return Err(broken(cause)),
        };
        let Some((channel, data)) = message.split_first() else { continue };
        match *channel {
            STDOUT => write(stdout, data).await?,
            STDERR => write(stderr, data).await?,
            STATUS if !data.is_empty() => {
                let status = serde_json::from_slice(data);
                let bad = |cause| Error::Connection(format!("bad exec status: {cause}"));
                outcome = Some(status.map_err(bad)?);
            }
            _ => {}
        }
    }
    outcome.ok_or_else(|| Error::Connection("the session ended without an exit code".to_owned()))
}

/// Sends input and terminal sizes. Ends only when that fails.
async fn send(
    mut to: SplitSink<Socket, Message>,
    mut stdin: Option<&mut (dyn AsyncRead + Unpin)>,
    mut sizes: Option<watch::Receiver<(u16, u16)>>,
) -> Error {
    let mut chunk = vec![0; CHUNK_BYTES];
    if let Some(sizes) = &mut sizes {
        sizes.mark_changed();
    }
    loop {
        let frame = tokio::select! {
            count = read_some(&mut stdin, &mut chunk) => match count {
                Ok(0) => {
                    stdin = None;
                    vec![CLOSE, STDIN]
                }
                Ok(count) => [&[STDIN], &chunk[..count]].concat(),
                Err(cause) => return cause.into(),
            },
            (width, height) = changed(&mut sizes) => {
                let size = serde_json::json!({"Width": width, "Height": height}).to_string();
                [&[RESIZE], size.as_bytes()].concat()
            }
        };
        match to.send(Message::Binary(Bytes::from(frame))).await {
            Ok(()) => {}
            // The command has ended; how comes from the receiving side.
            Err(_closed) => return std::future::pending().await,
        }
    }
}

async fn write(out: &mut (dyn AsyncWrite + Unpin), data: &[u8]) -> Result {
    out.write_all(data).await?;
    Ok(out.flush().await?)
}

async fn read_some(
    stdin: &mut Option<&mut (dyn AsyncRead + Unpin)>,
    chunk: &mut [u8],
) -> std::io::Result<usize> {
    match stdin {
        Some(stdin) => stdin.read(chunk).await,
        None => std::future::pending().await,
    }
}

async fn changed(sizes: &mut Option<watch::Receiver<(u16, u16)>>) -> (u16, u16) {
    if let Some(receiver) = sizes
        && receiver.changed().await.is_ok()
    {
        return *receiver.borrow_and_update();
    }
    std::future::pending().await
}

/// What the final Status means for our own exit.
fn exit_of(status: &Value) -> Result {
    if status["status"] == "Success" {
        return Ok(());
    }
    let causes = status.pointer("/details/causes").and_then(Value::as_array);
    let code = causes
        .into_iter()
        .flatten()
        .find(|cause| cause["reason"] == "ExitCode")
        .and_then(|cause| cause["message"].as_str()?.parse().ok());
    match code {
        Some(code) if status["reason"] == "NonZeroExitCode" => Err(Error::Exit(code)),
        _ => Err(Error::Plain(status["message"].as_str().unwrap_or("unknown error").to_owned())),
    }
}

fn broken(cause: WsError) -> Error {
    Error::Connection(cause.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_final_status_gives_the_exit_code() {
        assert!(exit_of(&json!({"status": "Success"})).is_ok());
        let failed = json!({"status": "Failure", "reason": "NonZeroExitCode", "details":
            {"causes": [{"reason": "ExitCode", "message": "3"}]}});
        assert_eq!(exit_of(&failed).unwrap_err().exit_code(), 3);
        let broken = json!({"status": "Failure", "message": "no such file"});
        let error = exit_of(&broken).unwrap_err();
        assert_eq!((error.exit_code(), error.to_string().as_str()), (1, "error: no such file"));
    }
}
