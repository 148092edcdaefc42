//! One request in, one response out; and connections on a socket.

use std::convert::Infallible;
use std::os::unix::fs::MetadataExt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use klet_api::status_error;
use klet_store::Store;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::body::Body;
use crate::error::ApiError;
use crate::hooks::{Admission, Extension, Node};
use crate::registry::Registry;

/// What an API server is made of.
pub struct Config {
    /// The objects.
    pub store: Store,
    /// The name of the one node; every pod is bound to it.
    pub node_name: String,
    /// Runs the pods.
    pub node: Arc<dyn Node>,
    /// The last word on new pods.
    pub admission: Arc<dyn Admission>,
    /// Answers `/klet/v1/`.
    pub extension: Option<Arc<dyn Extension>>,
}

/// The API server. Cheap to clone; every clone answers alike.
#[derive(Clone)]
pub struct ApiServer {
    pub(crate) config: Arc<Config>,
    pub(crate) registry: Registry,
    streams: Arc<Semaphore>,
    pub(crate) large_bodies: Arc<Semaphore>,
    stopping: watch::Sender<bool>,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("node_name", &self.node_name).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiServer").field("config", &self.config).finish_non_exhaustive()
    }
}

impl ApiServer {
    /// An API server over a store. [`Registry::ensure_defaults`] is the caller's to call.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let registry = Registry::new(config.store.clone());
        Self {
            config: Arc::new(config),
            registry,
            streams: Arc::new(Semaphore::new(STREAMS)),
            large_bodies: Arc::new(Semaphore::new(LARGE_BODIES)),
            stopping: watch::Sender::new(false),
        }
    }

    /// Goes on with what a stop interrupted: namespaces that were being emptied. To be
    /// called once, inside the runtime; [`serve_unix`] does.
    pub fn resume(&self) {
        crate::namespace::resume(&self.config.store);
    }

    /// Becomes true when the server stops: the cue to end what does not end by itself.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// A place for a response that does not end by itself, held as long as it lasts.
    pub(crate) fn stream_place(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let place = Arc::clone(&self.streams).try_acquire_owned();
        place.map_err(|_| {
            status_error::too_many_requests("too many watches, logs and execs", 1).into()
        })
    }

    /// The same objects, without HTTP.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Answers one request; never fails, every failure is a response.
    pub async fn handle(&self, request: Request<Incoming>) -> Response<Body> {
        crate::route::answer(self, request).await
    }
}

/// Watches, followed logs and execs at once.
const STREAMS: usize = 1024;
/// Connections served at once; further ones wait. Twice the streams: with HTTP/1.1 each of those
/// has a connection of its own, and others must still be answered.
const CONNECTIONS: usize = 2 * STREAMS;
/// Large request bodies in memory at once; further ones wait.
const LARGE_BODIES: usize = 32;
/// A client that has not sent its request's head by then is cut off.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of request head.
const HEAD_LIMIT: usize = 64 << 10;
/// Write permission on the socket for anyone but its owner.
const OPEN_TO_OTHERS: u32 = 0o022;
/// What a stopping server waits for answers under way.
const DRAIN: Duration = Duration::from_secs(2);

/// Serves a unix socket until `shutdown` resolves, then lets requests under way end for
/// a moment. Root may speak, others where the socket's mode is open to them.
pub async fn serve_unix(
    listener: UnixListener,
    server: ApiServer,
    shutdown: impl Future<Output = ()>,
) {
    server.resume();
    let mut shutdown = pin!(shutdown);
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = tokio::select! {
            () = &mut shutdown => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                if let Err(uid) = may_speak(&listener, &stream) {
                    tokio::spawn(async move {
                        drop(tokio::time::timeout(HEAD_TIMEOUT, refuse(stream, uid)).await);
                        drop(place);
                    });
                    continue;
                }
                let connection = graceful.watcher();
                let server = server.clone();
                tokio::spawn(async move {
                    connect(stream, server, Some(connection)).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: some will be freed.
                tracing::warn!(%error, "accept on the API socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    server.stopping.send_replace(true);
    drop(tokio::time::timeout(DRAIN, graceful.shutdown()).await);
}

/// The kernel has checked the socket's mode already, but a capability gets around that.
///
/// # Errors
/// The user who may not.
fn may_speak(listener: &UnixListener, stream: &UnixStream) -> Result<(), u32> {
    let uid = stream.peer_cred().map_or(u32::MAX, |peer| peer.uid());
    if uid == 0 {
        return Ok(());
    }
    let address = listener.local_addr().ok();
    let path = address.as_ref().and_then(|address| address.as_pathname());
    let mode = path.and_then(|path| path.metadata().ok()).map_or(0, |socket| socket.mode());
    if mode & OPEN_TO_OTHERS == 0 { Err(uid) } else { Ok(()) }
}

/// Says why, and closes when the client has closed: unread words would take the answer away.
async fn refuse(mut stream: UnixStream, uid: u32) -> std::io::Result<()> {
    tracing::warn!(uid, "a user other than root was refused on the API socket");
    let text = format!("user {uid} may not use this socket: only root may while its mode is 0600");
    let status = ApiError::new(403, "Forbidden", text);
    let body = serde_json::to_string(&*status.0).unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(drop)
}

/// Serves one connection, HTTP/1.1 or HTTP/2, of whatever kind (unix socket, TLS).
pub async fn serve_connection<S>(stream: S, server: ApiServer)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    connect(stream, server, None).await;
}

async fn connect<S>(
    stream: S,
    server: ApiServer,
    graceful: Option<hyper_util::server::graceful::Watcher>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let server = server.clone();
        async move { Ok::<_, Infallible>(server.handle(request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_LIMIT);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(128);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let result = match graceful {
        Some(watcher) => watcher.watch(connection.into_owned()).await,
        None => connection.await,
    };
    if let Err(error) = result {
        tracing::debug!(%error, "API connection");
    }
}
