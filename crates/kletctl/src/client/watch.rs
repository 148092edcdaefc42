//! Watching a collection: one JSON event per line.

use serde_json::Value;

use super::{Client, Lines, with_query};
use crate::error::{Error, Result, Status};

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Modified,
    Deleted,
    Bookmark,
}

/// A running watch.
#[derive(Debug)]
pub(crate) struct Watch {
    lines: Lines,
}

impl Client {
    /// Watches the collection at `path` (with a query, if any) from `resource_version` on.
    pub(crate) async fn watch(
        &self,
        path: &str,
        query: &[(&str, &str)],
        resource_version: &str,
    ) -> Result<Watch> {
        let mut query = query.to_vec();
        query.extend([("watch", "true"), ("resourceVersion", resource_version)]);
        let response = self.stream(&with_query(path, &query)).await?;
        Ok(Watch { lines: Lines::new(response) })
    }
}

impl Watch {
    /// The next change; nothing when the server ends the watch.
    pub(crate) async fn next(&mut self) -> Result<Option<(Change, Value)>> {
        while let Some(line) = self.lines.next().await? {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let mut event: Value = serde_json::from_slice(&line)
                .map_err(|cause| Error::Connection(format!("bad watch event: {cause}")))?;
            let object = event["object"].take();
            let change = match event["type"].as_str() {
                Some("ADDED") => Change::Added,
                Some("MODIFIED") => Change::Modified,
                Some("DELETED") => Change::Deleted,
                Some("BOOKMARK") => Change::Bookmark,
                Some("ERROR") => return Err(Status::new(object).into()),
                _ => continue,
            };
            return Ok(Some((change, object)));
        }
        Ok(None)
    }
}
