//! watch: a response that never ends by itself, one JSON object per line.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use klet_api::status_error;
use klet_store::{Event, EventKind, Object};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, sleep_until};

use crate::body::{self, Body};
use crate::error::ApiError;
use crate::present::{self, Form};
use crate::resource::Resource;
use crate::route::Call;
use crate::select::Selection;

/// Lines on their way to a client.
const QUEUE: usize = 64;
/// How often a client that wants it hears where the watch stands.
const BOOKMARK: Duration = Duration::from_secs(60);
/// A watch without `timeoutSeconds` ends after this; its client starts another.
const LONGEST: Duration = Duration::from_secs(3600);
/// A client that takes nothing for so long is given up.
const STALLED: Duration = Duration::from_secs(60);

/// Where a watch starts and what it shows.
#[derive(Debug)]
struct Stream {
    resource: &'static Resource,
    selection: Selection,
    form: Form,
    header_sent: bool,
    bookmarks: bool,
    lines: mpsc::Sender<Bytes>,
    stopping: tokio::sync::watch::Receiver<bool>,
}

/// The client is gone, or too slow.
#[derive(Debug)]
struct Gone;

/// Answers a watch.
pub(crate) fn answer(call: &Call<'_>) -> Result<Response<Body>, ApiError> {
    let (target, query) = (&call.target, &call.query);
    let place = call.server.stream_place()?;
    let (group, plural) = (target.resource.group, target.resource.plural);
    let namespace = target.namespace.as_deref();
    let initial = query.flag("sendInitialEvents")?;
    let from = match query.get("resourceVersion") {
        None | Some("0") => None,
        Some(text) => Some(text.parse::<u64>().map_err(|_| {
            ApiError::bad_request(format!("resourceVersion: Invalid value: {text:?}"))
        })?),
    };
    let store = &call.server.config.store;
    let (present, from) = match from.filter(|_| !initial) {
        Some(from) => (Vec::new(), from),
        None => store.list(group, plural, namespace),
    };
    let watch = store.watch(group, plural, namespace, from);
    let watch = watch.map_err(|expired| status_error::too_old(expired.from, expired.oldest))?;
    let longest = query.number("timeoutSeconds")?.and_then(|seconds| u64::try_from(seconds).ok());
    let longest = longest.filter(|seconds| *seconds > 0).map_or(LONGEST, Duration::from_secs);
    let (lines, receiver) = mpsc::channel(QUEUE);
    let stream = Stream {
        resource: target.resource,
        selection: Selection::of(target, query)?,
        form: Form::of(&call.headers, query)?,
        header_sent: false,
        bookmarks: query.flag("allowWatchBookmarks")?,
        lines,
        stopping: call.server.stopping(),
    };
    let end = Instant::now() + longest.min(Duration::from_secs(24 * 3600));
    tokio::spawn(stream.run(present, watch, (initial, end), place));
    Ok(body::typed(StatusCode::OK, "application/json", body::streamed(receiver)))
}

impl Stream {
    async fn run(
        mut self,
        present: Vec<Object>,
        mut watch: klet_store::Watch,
        (initial, end): (bool, Instant),
        _place: OwnedSemaphorePermit,
    ) {
        let result = async {
            for object in present.iter().filter(|object| self.selection.matches(&object.value)) {
                self.header_sent |= send_object(&self, "ADDED", &object.value).await?;
            }
            if initial && self.bookmarks {
                self.bookmark(watch.position(), true).await?;
            }
            drop(present);
            self.follow(&mut watch, end).await
        };
        if let Err(Gone) = result.await {
            tracing::debug!("a watch's client went away");
        }
    }

    async fn follow(&mut self, watch: &mut klet_store::Watch, end: Instant) -> Result<(), Gone> {
        let mut next_bookmark = Instant::now() + BOOKMARK;
        loop {
            let closed = self.lines.clone();
            let mut stopping = self.stopping.clone();
            tokio::select! {
                () = closed.closed() => return Err(Gone),
                () = sleep_until(end) => return Ok(()),
                () = async { drop(stopping.wait_for(|stopping| *stopping).await) } => return Ok(()),
                () = sleep_until(next_bookmark), if self.bookmarks => {
                    next_bookmark += BOOKMARK;
                    self.bookmark(watch.position(), false).await?;
                }
                event = watch.next() => match event {
                    Some(event) => self.event(&event).await?,
                    None => return self.last(watch).await,
                },
            }
        }
    }

    /// A selected watch shows what happened to the selection: an object that enters it
    /// is new, one that leaves it is gone.
    async fn event(&mut self, event: &Event) -> Result<(), Gone> {
        let before = event.previous.as_ref().is_some_and(|value| self.selection.matches(value));
        let after = event.kind != EventKind::Deleted && self.selection.matches(&event.object.value);
        let kind = match (before, after) {
            (false, false) => return Ok(()),
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
        };
        self.header_sent |= send_object(self, kind, &event.object.value).await?;
        Ok(())
    }

    /// Tells a client that was too slow; says nothing when the server stops.
    async fn last(&self, watch: &klet_store::Watch) -> Result<(), Gone> {
        match watch.expired() {
            None => Ok(()),
            Some(expired) => {
                let status = json!(status_error::too_old(expired.from, expired.oldest));
                self.send(&json!({ "type": "ERROR", "object": status })).await
            }
        }
    }

    async fn bookmark(&self, version: u64, end_of_initial: bool) -> Result<(), Gone> {
        let mut metadata =
            json!({ "resourceVersion": version.to_string(), "creationTimestamp": null });
        if end_of_initial {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let object = json!({
            "kind": self.resource.kind,
            "apiVersion": self.resource.api_version(),
            "metadata": metadata,
        });
        self.send(&json!({ "type": "BOOKMARK", "object": object })).await
    }

    async fn send(&self, line: &Value) -> Result<(), Gone> {
        let mut bytes = line.to_string().into_bytes();
        bytes.push(b'\n');
        self.lines.send_timeout(Bytes::from(bytes), STALLED).await.map_err(|_| Gone)
    }
}

/// Sends one object in the stream's form; true: a table's header has been sent now.
async fn send_object(stream: &Stream, kind: &str, value: &Value) -> Result<bool, Gone> {
    let object = match stream.form {
        Form::Plain => value.clone(),
        Form::Table(include) => {
            let metadata = json!({ "resourceVersion": value["metadata"]["resourceVersion"] });
            present::table(stream.resource, [value], metadata, (include, !stream.header_sent))
        }
    };
    stream.send(&json!({ "type": kind, "object": object })).await?;
    Ok(true)
}
