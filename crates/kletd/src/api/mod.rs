//! What the API server asks of the node: logs, exec, admission, klet's own paths.

pub mod admission;
pub mod checks;
pub mod exec;
pub mod extension;
pub mod images;
pub mod logs;
pub mod system;
pub mod tty;

use futures_util::future::BoxFuture;
use klet_api::Pod;
use klet_apiserver::{
    ByteStream, ExecRequest, ExecSession, LogOptions, Node as ApiNode, NodeError,
};
use klet_cri::paths::PodRunDir;

use crate::node::NodeRef;
use crate::pod::dispatch::Workers;
use crate::shim::Shim;

/// The node as the API server sees it.
#[derive(Debug, Clone)]
pub struct Backend {
    pub node: NodeRef,
    pub workers: Workers,
}

impl Backend {
    /// The shim of a pod: the worker's connection, or one of our own while the worker of a daemon
    /// that has just started has not looked yet.
    pub async fn shim(&self, uid: &str) -> Option<Shim> {
        if let Some(shim) = self.workers.get(uid).and_then(|worker| worker.shim.get()) {
            return Some(shim);
        }
        Shim::connect(&PodRunDir::new(&self.node.config.run, uid)).await.ok()
    }
}

impl ApiNode for Backend {
    fn logs(
        &self,
        pod: Pod,
        container: String,
        options: LogOptions,
    ) -> BoxFuture<'static, Result<ByteStream, NodeError>> {
        let backend = self.clone();
        Box::pin(async move { logs::open(&backend, &pod, &container, options) })
    }

    fn exec(
        &self,
        pod: Pod,
        container: String,
        request: ExecRequest,
    ) -> BoxFuture<'static, Result<ExecSession, NodeError>> {
        let backend = self.clone();
        Box::pin(async move { exec::open(&backend, &pod, &container, request).await })
    }
}
