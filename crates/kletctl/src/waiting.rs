//! Waiting until an object is as wanted, or gone: one list, then a watch; no polling.

use serde_json::Value;
use tokio::time::Instant;

use crate::client::watch::Change;
use crate::client::with_query;
use crate::context::{items, resource_version};
use crate::error::Result;
use crate::kinds::Kind;

/// The object to wait for.
#[derive(Debug)]
pub(crate) struct Awaited<'a> {
    pub(crate) client: &'a crate::client::Client,
    pub(crate) kind: &'static Kind,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
}

impl Awaited<'_> {
    /// Waits until `met` holds of the object (`None`: there is none). False if the deadline came
    /// first; without a deadline, waits for ever.
    pub(crate) async fn until(
        &self,
        deadline: Option<Instant>,
        met: impl FnMut(Option<&Value>) -> bool,
    ) -> Result<bool> {
        let waiting = self.watch_until(met);
        match deadline {
            None => waiting.await.map(|()| true),
            Some(deadline) => match tokio::time::timeout_at(deadline, waiting).await {
                Ok(done) => done.map(|()| true),
                Err(_elapsed) => Ok(false),
            },
        }
    }

    async fn watch_until(&self, mut met: impl FnMut(Option<&Value>) -> bool) -> Result {
        let path = self.kind.path(Some(self.namespace), None);
        let selector = format!("metadata.name={}", self.name);
        let query = [("fieldSelector", selector.as_str())];
        loop {
            let mut list = self.client.get(&with_query(&path, &query)).await?;
            let version = resource_version(&list);
            let found = items(&mut list, self.kind).into_iter().next();
            if met(found.as_ref()) {
                return Ok(());
            }
            let mut watch = self.client.watch(&path, &query, &version).await?;
            loop {
                let (change, object) = match watch.next().await {
                    Ok(Some(next)) => next,
                    Ok(None) => break,
                    Err(error) if error.is_expired() => break,
                    Err(error) => return Err(error),
                };
                let met = match change {
                    Change::Added | Change::Modified => met(Some(&object)),
                    Change::Deleted => met(None),
                    Change::Bookmark => false,
                };
                if met {
                    return Ok(());
                }
            }
        }
    }
}
