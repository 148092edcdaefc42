//! A server on a socket in a temporary directory, and a client for it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use klet_apiserver::{AdmitAll, ApiServer, Body, Config, Extension, body, serve_unix};
use klet_store::{Options, Store};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::fake::FakeNode;

/// Nothing that these tests wait for takes so long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) const JSON: &str = "application/json";
pub(crate) const PODS: &str = "/api/v1/namespaces/default/pods";

pub(crate) struct World {
    pub(crate) server: ApiServer,
    pub(crate) node: Arc<FakeNode>,
    pub(crate) socket: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<()>>,
    _directory: TempDir,
}

/// Counts the bytes that it is sent.
struct Counter;

impl Extension for Counter {
    fn handle(&self, request: Request<Incoming>) -> BoxFuture<'static, Response<Body>> {
        Box::pin(async move {
            let mut incoming = request.into_body();
            let mut length = 0;
            while let Some(Ok(frame)) = incoming.frame().await {
                length += frame.data_ref().map_or(0, Bytes::len);
            }
            body::json(StatusCode::OK, &json!({ "length": length }))
        })
    }
}

pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) value: Value,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with_history(1024).await
    }

    pub(crate) async fn with_history(history: usize) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let options = Options { history, ..Options::default() };
        let store = Store::open(&directory.path().join("db"), options).expect("a store");
        let node = FakeNode::new();
        let server = ApiServer::new(Config {
            store,
            node_name: "node".to_owned(),
            node: node.clone(),
            admission: Arc::new(AdmitAll),
            extension: Some(Arc::new(Counter)),
        });
        server.registry().ensure_defaults().await.expect("the default namespaces");
        let socket = directory.path().join("klet.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let (stop, stopped) = oneshot::channel();
        let shutdown = async { drop(stopped.await) };
        let serving = Some(tokio::spawn(serve_unix(listener, server.clone(), shutdown)));
        Self { server, node, socket, stop: Some(stop), serving, _directory: directory }
    }

    /// Stops the server and waits until it has.
    pub(crate) async fn stop(&mut self) {
        self.stop = None;
        if let Some(serving) = self.serving.take() {
            let stopped = tokio::time::timeout(DEADLINE, serving).await;
            stopped.expect("a stop in time").expect("a stop without a panic");
        }
    }

    pub(crate) async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.socket).await.expect("the server listens")
    }

    /// Sends a request and returns the response with its body still to come.
    pub(crate) async fn open(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        let stream = TokioIo::new(self.connect().await);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(stream).await.expect("a connection");
        tokio::spawn(connection);
        let answer = tokio::time::timeout(DEADLINE, sender.send_request(request));
        answer.await.expect("an answer in time").expect("an answer")
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        (content_type, body): (&str, impl Into<Bytes>),
    ) -> Answer {
        let request =
            Request::builder().method(method).uri(path).header("content-type", content_type);
        self.answer(request.body(Full::new(body.into())).expect("a request")).await
    }

    pub(crate) async fn answer(&self, request: Request<Full<Bytes>>) -> Answer {
        let response = self.open(request).await;
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.expect("a whole body").to_bytes();
        let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
        let value = serde_json::from_slice(&bytes).unwrap_or_else(|_| text());
        Answer { code: head.status.as_u16(), headers: head.headers, value }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, (JSON, "")).await
    }

    pub(crate) async fn post(&self, path: &str, value: &Value) -> Answer {
        self.send("POST", path, (JSON, value.to_string())).await
    }

    pub(crate) async fn put(&self, path: &str, value: &Value) -> Answer {
        self.send("PUT", path, (JSON, value.to_string())).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, (JSON, "")).await
    }

    /// Creates a pod with one container.
    pub(crate) async fn pod(&self, name: &str) -> Value {
        let answer = self.post(PODS, &pod(name)).await;
        assert_eq!(answer.code, 201, "{}", answer.value);
        answer.value
    }
}

pub(crate) fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "labels": { "app": name } },
        "spec": { "containers": [{ "name": "main", "image": "busybox" }] },
    })
}

pub(crate) fn config_map(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { "k": "v" } })
}

/// Code, reason and message of a failure.
pub(crate) fn failure(answer: &Answer) -> (u16, &str, &str) {
    assert_eq!(answer.value["kind"], "Status", "{}", answer.value);
    assert_eq!(answer.value["status"], "Failure", "{}", answer.value);
    assert_eq!(answer.value["code"], answer.code);
    let text = |field: &str| answer.value[field].as_str().unwrap_or_default();
    (answer.code, text("reason"), text("message"))
}
