//! Exec over a WebSocket.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::Request;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::world::{DEADLINE, PODS, World, failure};

type Socket = WebSocketStream<UnixStream>;

async fn connect(
    world: &World,
    query: &str,
    protocols: &str,
) -> Result<(Socket, String), Box<Error>> {
    let request = Request::get(format!("ws://klet{PODS}/p/exec?{query}"))
        .header("host", "klet")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", generate_key())
        .header("sec-websocket-protocol", protocols)
        .body(())
        .expect("a request");
    let (socket, response) =
        tokio_tungstenite::client_async(request, world.connect().await).await?;
    let protocol = response.headers()["sec-websocket-protocol"].to_str().expect("text").to_owned();
    Ok((socket, protocol))
}

/// What came on each channel, and the code of the close frame.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    stdout: String,
    stderr: String,
    status: Value,
    close: Option<u16>,
}

async fn hear(socket: &mut Socket) -> Heard {
    let mut heard = Heard::default();
    let all = async {
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Binary(bytes) => {
                    let text = String::from_utf8_lossy(&bytes[1..]).into_owned();
                    match bytes[0] {
                        1 => heard.stdout += &text,
                        2 => heard.stderr += &text,
                        3 => heard.status = serde_json::from_str(&text).expect("a status"),
                        other => panic!("channel {other}"),
                    }
                }
                Message::Close(frame) => heard.close = frame.map(|frame| frame.code.into()),
                _ => {}
            }
        }
    };
    tokio::time::timeout(DEADLINE, all).await.expect("the end in time");
    heard
}

fn said(channel: u8, bytes: &[u8]) -> Message {
    let mut message = vec![channel];
    message.extend_from_slice(bytes);
    Message::Binary(Bytes::from(message))
}

#[tokio::test]
async fn input_goes_in_and_comes_out_until_its_end() {
    let world = World::start().await;
    world.pod("p").await;
    let query = "command=cat&stdin=true&stdout=true&stderr=true";
    let (mut socket, protocol) =
        connect(&world, query, "v5.channel.k8s.io, v4.channel.k8s.io").await.unwrap();
    assert_eq!(protocol, "v5.channel.k8s.io");
    // The server says at once that the command runs.
    assert_eq!(socket.next().await.unwrap().unwrap(), said(1, b""));
    let filler = "x".repeat(100_000);
    socket.send(said(0, filler.as_bytes())).await.unwrap();
    socket.send(said(0, b" end")).await.unwrap();
    socket.send(said(255, &[0])).await.unwrap();
    let heard = hear(&mut socket).await;
    assert_eq!(heard.stdout, filler + " end");
    assert_eq!(heard.status, json!({ "metadata": {}, "status": "Success" }));
    assert_eq!(heard.close, Some(CloseCode::Normal.into()));
}

#[tokio::test]
async fn an_exit_code_travels_on_the_error_channel() {
    let world = World::start().await;
    world.pod("p").await;
    let query = "command=fail&stdout=true&stderr=true&container=main";
    let (mut socket, protocol) = connect(&world, query, "v4.channel.k8s.io").await.unwrap();
    assert_eq!(protocol, "v4.channel.k8s.io");
    let heard = hear(&mut socket).await;
    assert_eq!((heard.stderr.as_str(), heard.close), ("oh no\n", Some(1000)));
    assert_eq!(heard.status["reason"], "NonZeroExitCode");
    assert_eq!(heard.status["message"], "command terminated with exit code 3");
    assert_eq!(
        heard.status["details"]["causes"],
        json!([{ "reason": "ExitCode", "message": "3" }])
    );
}

#[tokio::test]
async fn a_terminal_is_resized() {
    let world = World::start().await;
    world.pod("p").await;
    let query = "command=hang&stdin=true&stdout=true&tty=true";
    let (mut socket, _) = connect(&world, query, "v5.channel.k8s.io").await.unwrap();
    let mut size = world.node.size.subscribe();
    socket.send(said(4, br#"{"Width":132,"Height":43}"#)).await.unwrap();
    let resized = tokio::time::timeout(DEADLINE, size.wait_for(|size| *size == (132, 43)));
    resized.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_command() {
    let world = World::start().await;
    world.pod("p").await;
    for farewell in [true, false] {
        let before = *world.node.dropped.borrow();
        let query = "command=hang&stdin=true&stdout=true";
        let (mut socket, _) = connect(&world, query, "v5.channel.k8s.io").await.unwrap();
        if farewell {
            socket.close(None).await.unwrap();
        }
        drop(socket);
        let mut dropped = world.node.dropped.subscribe();
        let ended = tokio::time::timeout(DEADLINE, dropped.wait_for(|count| *count > before));
        ended.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn what_a_command_leaves_behind_does_not_hold_its_end() {
    let world = World::start().await;
    world.pod("p").await;
    let (mut socket, _) =
        connect(&world, "command=leave&stdout=true", "v5.channel.k8s.io").await.unwrap();
    // From here on time passes when nothing else happens.
    tokio::time::pause();
    let heard = hear(&mut socket).await;
    assert_eq!((&heard.status["status"], heard.close), (&json!("Success"), Some(1000)));
}

#[tokio::test]
async fn refusals_are_ordinary_answers() {
    let world = World::start().await;
    world.pod("p").await;
    let refused = |error: Box<Error>| match *error {
        Error::Http(response) => response.status().as_u16(),
        other => panic!("{other}"),
    };
    for (query, protocols, code) in [
        ("command=refuse&stdout=true", "v5.channel.k8s.io", 400),
        ("command=cat", "v5.channel.k8s.io", 400),
        ("stdout=true", "v5.channel.k8s.io", 400),
        ("command=cat&stdout=true&stderr=true&tty=true", "v5.channel.k8s.io", 400),
        ("command=cat&stdout=true&container=x", "v5.channel.k8s.io", 400),
        ("command=cat&stdout=true", "v1.channel.k8s.io", 400),
    ] {
        let error = connect(&world, query, protocols).await.unwrap_err();
        assert_eq!(refused(error), code, "{query}");
    }
    let plain = world.get(&format!("{PODS}/p/exec?command=cat&stdout=true")).await;
    assert_eq!(failure(&plain), (400, "BadRequest", "Upgrade request required"));
    assert_eq!(world.delete(&format!("{PODS}/p/exec")).await.code, 405);
}
