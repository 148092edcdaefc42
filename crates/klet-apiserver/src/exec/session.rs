//! A command and a client, talking until one of them ends.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval_at, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::channel::{self, Protocol, Said};
use crate::hooks::ExecSession;

/// Bytes read from the command at once.
const CHUNK: usize = 32 << 10;
/// Messages on their way to the client.
const QUEUE: usize = 8;
/// How long nothing may come after the command has ended until its output is taken for
/// complete: something that it left behind may hold its end of the pipe for ever.
const DRAIN: Duration = Duration::from_secs(5);
/// A ping finds out that a silent client is gone.
const PING: Duration = Duration::from_secs(15);
/// A client that takes nothing for so long is gone.
const STALLED: Duration = Duration::from_secs(60);

type Input = Option<Box<dyn AsyncWrite + Send + Unpin>>;
type Output = Option<Box<dyn AsyncRead + Send + Unpin>>;

/// Runs until the command has ended and its client knows, or the client is gone. Either
/// way the session is dropped at the end.
pub(super) async fn run<S>(socket: WebSocketStream<S>, session: ExecSession, protocol: Protocol)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (sink, source) = socket.split();
    let (messages, queue) = mpsc::channel(QUEUE);
    let ExecSession { stdin, stdout, stderr, resize, exit, guard } = session;
    let (end, ended) = watch::channel(false);
    let answer = async move {
        greet(&messages, stdout.is_some(), stderr.is_some()).await;
        let output = async {
            tokio::join!(
                pump(stdout, channel::STDOUT, &messages, ended.clone()),
                pump(stderr, channel::STDERR, &messages, ended)
            );
        };
        let exit = finish(exit, output, &end).await;
        let status = channel::status(&exit).to_string();
        let last = [
            Message::Binary(channel::message(channel::ERROR, status.as_bytes())),
            // Without code 1000 kubectl takes the end for a failure.
            Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() })),
        ];
        for message in last {
            drop(messages.send(message).await);
        }
    };
    let both = async { tokio::join!(answer, write(sink, queue)).1 };
    tokio::select! {
        () = both => {}
        () = read(source, stdin, resize, protocol) => {}
    }
    drop(guard);
}

/// An empty message tells the client that the command is running.
async fn greet(messages: &mpsc::Sender<Message>, stdout: bool, stderr: bool) {
    let lowest = match (stdout, stderr) {
        (true, _) => channel::STDOUT,
        (false, true) => channel::STDERR,
        (false, false) => channel::ERROR,
    };
    drop(messages.send(Message::Binary(channel::message(lowest, b""))).await);
}

/// Waits for the end of the command and of its output.
async fn finish(
    exit: tokio::sync::oneshot::Receiver<Result<i32, String>>,
    output: impl Future<Output = ()>,
    end: &watch::Sender<bool>,
) -> Result<i32, String> {
    let mut output = std::pin::pin!(output);
    let mut exit = exit;
    let lost = |_| Err("the command was lost before it ended".to_owned());
    tokio::select! {
        exit = &mut exit => {
            end.send_replace(true);
            output.await;
            exit.unwrap_or_else(lost)
        }
        () = &mut output => exit.await.unwrap_or_else(lost),
    }
}

/// Hands output on until there is no more, or none comes for a while after the command's end.
async fn pump(
    output: Output,
    channel: u8,
    messages: &mpsc::Sender<Message>,
    mut ended: watch::Receiver<bool>,
) {
    let Some(mut output) = output else { return };
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = tokio::select! {
            biased;
            read = output.read(&mut buffer) => read,
            () = silence(&mut ended) => return,
        };
        // A terminal whose other side is closed ends with an error.
        let Ok(length @ 1..) = read else { return };
        let message = Message::Binary(channel::message(channel, &buffer[..length]));
        if messages.send(message).await.is_err() {
            return;
        }
    }
}

/// Returns when the command has ended and its output is late.
async fn silence(ended: &mut watch::Receiver<bool>) {
    if ended.wait_for(|ended| *ended).await.is_err() {
        return;
    }
    sleep(DRAIN).await;
}

/// Writes to the client until the last message or its disappearance.
async fn write<S>(
    mut sink: SplitSink<WebSocketStream<S>, Message>,
    mut queue: mpsc::Receiver<Message>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut pings = interval_at(Instant::now() + PING, PING);
    loop {
        let message = tokio::select! {
            message = queue.recv() => message,
            _ = pings.tick() => Some(Message::Ping(Bytes::new())),
        };
        let Some(message) = message else { break };
        match timeout(STALLED, sink.send(message)).await {
            Ok(Ok(())) => {}
            _ => return,
        }
    }
    drop(timeout(STALLED, sink.close()).await);
}

/// Reads from the client until it is gone.
async fn read<S>(
    mut source: SplitStream<WebSocketStream<S>>,
    mut stdin: Input,
    mut resize: Option<mpsc::Sender<(u16, u16)>>,
    protocol: Protocol,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = source.next().await {
        let said = match message {
            Message::Binary(bytes) => channel::parse(bytes, protocol),
            Message::Text(text) => channel::parse(Bytes::from(text), protocol),
            Message::Close(_) => return,
            _ => Said::Nothing,
        };
        match said {
            Said::Stdin(bytes) => feed(&mut stdin, &bytes).await,
            Said::EndOfStdin => end(&mut stdin).await,
            Said::Resize(columns, rows) => {
                // With nobody to take it there is no terminal any more.
                if let Some(sizes) = &resize
                    && sizes.send((columns, rows)).await.is_err()
                {
                    resize = None;
                }
            }
            Said::Nothing => {}
        }
    }
}

async fn feed(stdin: &mut Input, bytes: &[u8]) {
    let Some(open) = stdin else { return };
    let fed = async {
        open.write_all(bytes).await?;
        open.flush().await
    };
    if fed.await.is_err() {
        // The command reads no more; the rest of its input goes nowhere.
        *stdin = None;
    }
}

async fn end(stdin: &mut Input) {
    if let Some(mut open) = stdin.take() {
        drop(open.shutdown().await);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_slow_client_gets_all_that_was_said() {
        let said = vec![b'x'; 20 * CHUNK];
        let (mut pipe, output) = duplex(said.len());
        // It stays open, as if held by something that the command left behind.
        pipe.write_all(&said).await.unwrap();
        let (messages, mut queue) = mpsc::channel(1);
        let (end, ended) = watch::channel(false);
        let (exit, exited) = oneshot::channel();
        exit.send(Ok(7)).unwrap();
        let answer = async move {
            let output = pump(Some(Box::new(output)), channel::STDOUT, &messages, ended);
            finish(exited, output, &end).await
        };
        let client = async {
            let mut bytes = 0;
            while let Some(message) = queue.recv().await {
                bytes += message.len() - 1;
                sleep(2 * DRAIN).await;
            }
            bytes
        };
        assert_eq!(tokio::join!(answer, client), (Ok(7), said.len()));
    }
}
