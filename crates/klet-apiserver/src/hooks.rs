//! What the API server asks of its owner: logs, exec, admission, further paths.

use std::fmt;

use futures_util::future::BoxFuture;
use http::{Request, Response};
use hyper::body::Incoming;
use jiff::Timestamp;
use klet_api::Pod;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};

use crate::body::{Body, ByteStream};
use crate::error::ApiError;

/// The node that runs the pods.
pub trait Node: Send + Sync + 'static {
    /// A container's log. The container is one of the pod's; whether it has a log, and
    /// which instance's, is the node's to say.
    fn logs(
        &self,
        pod: Pod,
        container: String,
        options: LogOptions,
    ) -> BoxFuture<'static, Result<ByteStream, NodeError>>;

    /// Starts a command in a running container.
    fn exec(
        &self,
        pod: Pod,
        container: String,
        request: ExecRequest,
    ) -> BoxFuture<'static, Result<ExecSession, NodeError>>;
}

/// Why the node could not do it, as the client is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct NodeError {
    /// HTTP status code.
    pub code: u16,
    /// `metav1.StatusReason`.
    pub reason: String,
    /// One line.
    pub message: String,
}

impl NodeError {
    /// 400 `BadRequest`: the container is in no state for it.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self { code: 400, reason: "BadRequest".to_owned(), message: message.into() }
    }

    /// 500 `InternalError`.
    pub fn internal(message: impl Into<String>) -> Self {
        Self { code: 500, reason: "InternalError".to_owned(), message: message.into() }
    }
}

/// `PodLogOptions`, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on as the container writes.
    pub follow: bool,
    /// The instance before the present one.
    pub previous: bool,
    /// Only lines of the last so many seconds.
    pub since_seconds: Option<i64>,
    /// Only lines from this time on.
    pub since_time: Option<Timestamp>,
    /// Begin every line with its time.
    pub timestamps: bool,
    /// Only so many lines from the end.
    pub tail_lines: Option<u64>,
    /// Stop after so many bytes.
    pub limit_bytes: Option<u64>,
    /// Which streams.
    pub stream: LogStream,
}

/// `PodLogOptions.stream`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogStream {
    /// Both.
    #[default]
    All,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// `PodExecOptions`, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecRequest {
    /// Program and arguments; not empty.
    pub command: Vec<String>,
    /// Connect standard input.
    pub stdin: bool,
    /// Connect standard output.
    pub stdout: bool,
    /// Connect standard error; never with `tty`.
    pub stderr: bool,
    /// Give it a terminal.
    pub tty: bool,
}

/// A running command. Dropping the session ends it.
pub struct ExecSession {
    /// Its standard input, if asked for; dropped at the client's end of input.
    pub stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    /// Its standard output (with a terminal, all output), if asked for.
    pub stdout: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// Its standard error, if asked for.
    pub stderr: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// Takes terminal sizes (columns, rows), if it has a terminal.
    pub resize: Option<mpsc::Sender<(u16, u16)>>,
    /// Its exit code, or why there is none. The code 128+n stands for signal n.
    pub exit: oneshot::Receiver<Result<i32, String>>,
    /// Dropped with the session, also when the client goes away: the owner's cue to kill.
    pub guard: Box<dyn Send>,
}

impl fmt::Debug for ExecSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecSession").finish_non_exhaustive()
    }
}

/// The last word on a pod before it is stored: defaults that depend on the node.
pub trait Admission: Send + Sync + 'static {
    /// Is there a place on the node for a new pod that names none?
    ///
    /// # Errors
    /// Why it has to wait, as `PodScheduled` tells it.
    fn schedule(&self, _pod: &Pod) -> Result<(), String> {
        Ok(())
    }

    /// Changes or refuses a new pod; it is defaulted and validated already.
    ///
    /// # Errors
    /// The refusal to send.
    fn pod(&self, pod: &mut Pod) -> Result<(), ApiError>;
}

/// Admits every pod as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct AdmitAll;

impl Admission for AdmitAll {
    fn pod(&self, _: &mut Pod) -> Result<(), ApiError> {
        Ok(())
    }
}

/// The owner's own paths below `/klet/v1/`. The request comes unread and without a
/// limit on its body; the response may stream.
pub trait Extension: Send + Sync + 'static {
    /// Answers one request.
    fn handle(&self, request: Request<Incoming>) -> BoxFuture<'static, Response<Body>>;
}
