//! A node that runs nothing: its commands are names for behaviours.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use klet_api::Pod;
use klet_apiserver::{ByteStream, ExecRequest, ExecSession, LogOptions, Node, NodeError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::sync::{mpsc, oneshot, watch};

/// What became of sessions and logs.
#[derive(Debug)]
pub(crate) struct FakeNode {
    /// Execs and followed logs that were dropped.
    pub(crate) dropped: watch::Sender<u32>,
    /// The newest terminal size.
    pub(crate) size: watch::Sender<(u16, u16)>,
}

impl FakeNode {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { dropped: watch::Sender::new(0), size: watch::Sender::new((0, 0)) })
    }

    fn guard(&self) -> Guard {
        Guard(self.dropped.clone())
    }
}

struct Guard(watch::Sender<u32>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count += 1);
    }
}

impl Node for FakeNode {
    fn logs(
        &self,
        _: Pod,
        container: String,
        options: LogOptions,
    ) -> BoxFuture<'static, Result<ByteStream, NodeError>> {
        let guard = self.guard();
        Box::pin(async move {
            if options.previous {
                let text =
                    format!("previous terminated container {container:?} in pod \"p\" not found");
                return Err(NodeError::bad_request(text));
            }
            let (sender, receiver) = mpsc::channel(1);
            tokio::spawn(async move {
                drop(sender.send(Bytes::from(format!("log of {container}\n"))).await);
                if options.follow {
                    sender.closed().await;
                }
                drop(guard);
            });
            Ok(receiver)
        })
    }

    fn exec(
        &self,
        _: Pod,
        _: String,
        request: ExecRequest,
    ) -> BoxFuture<'static, Result<ExecSession, NodeError>> {
        let (guard, size) = (self.guard(), self.size.clone());
        Box::pin(async move {
            let (stdin, mut input) = duplex(1 << 10);
            let (mut output, stdout) = duplex(1 << 10);
            let (mut errors, stderr) = duplex(1 << 10);
            let (resize, mut sizes) = mpsc::channel::<(u16, u16)>(4);
            let (done, exit) = oneshot::channel();
            let name = request.command[0].clone();
            if name == "refuse" {
                return Err(NodeError::bad_request("container not running"));
            }
            tokio::spawn(async move {
                while let Some(new) = sizes.recv().await {
                    size.send_replace(new);
                }
            });
            tokio::spawn(async move {
                let code = match name.as_str() {
                    // Copies its input to its output until the end of the input.
                    "cat" => {
                        drop(tokio::io::copy(&mut input, &mut output).await);
                        0
                    }
                    "fail" => {
                        drop(errors.write_all(b"oh no\n").await);
                        3
                    }
                    // Ends, while something that it left behind holds its output.
                    "leave" => {
                        tokio::spawn(async move { output.read_u8().await });
                        0
                    }
                    _ => std::future::pending().await,
                };
                drop(errors);
                drop(done.send(Ok(code)));
            });
            Ok(ExecSession {
                stdin: request.stdin.then(|| Box::new(stdin) as _),
                stdout: request.stdout.then(|| Box::new(stdout) as _),
                stderr: request.stderr.then(|| Box::new(stderr) as _),
                resize: request.tty.then_some(resize),
                exit,
                guard: Box::new(guard),
            })
        })
    }
}
