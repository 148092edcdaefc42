//! The writer: one thread that decides, commits in groups, then shows and answers.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};

use crate::disk::Disk;
use crate::error::{ModifyError, WriteError};
use crate::key::Key;
use crate::state::{Event, EventKind, Object, Shared, State};

/// Writes that share one commit, and so one wait for the disk.
const GROUP: usize = 256;

/// What a decision makes of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Leave it as it is; nothing is written.
    Keep,
    /// Create it or replace it. A value equal to the present one is not written.
    Put(Value),
    /// Remove it.
    Delete,
    /// Replace it and remove it in one step: watches see first how it ended, then that it is gone.
    Finish(Value),
}

/// What a decision sees: the store with every earlier write, also those still on
/// their way to the disk. No other write comes between the look and the change.
pub struct View<'a> {
    key: &'a Key,
    state: &'a State,
    draft: &'a Draft,
}

impl std::fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("key", self.key).finish_non_exhaustive()
    }
}

impl View<'_> {
    /// The object that the decision is about.
    #[must_use]
    pub fn current(&self) -> Option<Object> {
        self.get(self.key)
    }

    /// Any other object.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Object> {
        match self.draft.changes.get(key) {
            Some(change) => change.clone(),
            None => self.state.get(key),
        }
    }

    /// Whether no object, of whatever resource, lives in the namespace.
    #[must_use]
    pub fn namespace_is_empty(&self, namespace: &str) -> bool {
        let inside = |key: &&Key| key.namespace.as_deref() == Some(namespace);
        let kept = |key: &Key| !matches!(self.draft.changes.get(key), Some(None));
        !self.state.keys().filter(inside).any(kept)
            && !self.draft.changes.iter().any(|(key, object)| inside(&key) && object.is_some())
    }
}

/// A write waiting for its group.
pub(crate) trait Job: Send {
    fn key(&self) -> &Key;
    /// Called once. `None`: refused, nothing to write.
    fn decide(&mut self, view: &View<'_>) -> Option<Change>;
    /// Called once, last.
    fn answer(self: Box<Self>, result: Result<Object, WriteError>);
}

/// A [`Job`] made of the caller's function.
pub(crate) struct Decision<F, E> {
    pub(crate) key: Key,
    pub(crate) function: Option<F>,
    pub(crate) refusal: Option<E>,
    pub(crate) reply: oneshot::Sender<Result<Object, ModifyError<E>>>,
}

impl<F, E> Job for Decision<F, E>
where
    F: FnOnce(&View<'_>) -> Result<Change, E> + Send,
    E: Send,
{
    fn key(&self) -> &Key {
        &self.key
    }

    fn decide(&mut self, view: &View<'_>) -> Option<Change> {
        let function = self.function.take()?;
        function(view).map_err(|refusal| self.refusal = Some(refusal)).ok()
    }

    fn answer(self: Box<Self>, result: Result<Object, WriteError>) {
        let result = match self.refusal {
            Some(refusal) => Err(ModifyError::Refused(refusal)),
            None => result.map_err(ModifyError::Store),
        };
        // A caller that went away does not need the answer.
        drop(self.reply.send(result));
    }
}

/// The changes of one group, before the commit.
#[derive(Debug)]
struct Draft {
    version: u64,
    changes: BTreeMap<Key, Option<Object>>,
    events: Vec<Event>,
}

/// Runs until the last [`mpsc::Sender`] is gone and its jobs are done.
pub(crate) fn run(mut jobs: mpsc::Receiver<Box<dyn Job>>, shared: &Shared, mut disk: Disk) {
    let mut group = Vec::with_capacity(GROUP);
    while jobs.blocking_recv_many(&mut group, GROUP) > 0 {
        let mut draft = Draft::after(shared.read().version());
        let decided: Vec<_> = group.drain(..).filter_map(|job| draft.decide(job, shared)).collect();
        let committed = draft.commit(&mut disk, shared);
        if let Err(error) = &committed {
            tracing::error!(%error, writes = draft.events.len(), "store commit failed");
        }
        for (job, result) in decided {
            // A write that changed nothing needs no disk.
            let stands = result.as_ref().is_ok_and(|object| object.version < draft.first());
            let failed = committed.clone().err().filter(|_| !stands && result.is_ok());
            job.answer(failed.map_or(result, Err));
        }
    }
}

type Decided = (Box<dyn Job>, Result<Object, WriteError>);

impl Draft {
    fn after(version: u64) -> Self {
        Self { version, changes: BTreeMap::new(), events: Vec::new() }
    }

    /// The first version that this draft hands out.
    fn first(&self) -> u64 {
        self.version + 1 - self.events.len() as u64
    }

    /// Asks the job and notes its change. A job whose function panics is dropped:
    /// its caller learns, the others go on.
    fn decide(&mut self, mut job: Box<dyn Job>, shared: &Shared) -> Option<Decided> {
        let key = job.key().clone();
        if !key.is_storable() {
            return Some((job, Err(WriteError::Invalid("its name is empty or holds a NUL"))));
        }
        let state = shared.read();
        let view = View { key: &key, state: &state, draft: self };
        let current = view.current();
        let change = catch_unwind(AssertUnwindSafe(|| job.decide(&view)));
        drop(state);
        let Ok(change) = change else {
            tracing::error!(%key, "a write's decision panicked");
            return None;
        };
        let result = self.note(key, current, change.unwrap_or(Change::Keep));
        Some((job, result))
    }

    fn note(
        &mut self,
        key: Key,
        current: Option<Object>,
        change: Change,
    ) -> Result<Object, WriteError> {
        match (change, current) {
            (Change::Keep, Some(current)) => Ok(current),
            (Change::Keep | Change::Delete | Change::Finish(_), None) => Err(WriteError::NotFound),
            (Change::Delete, Some(current)) => {
                let value = Value::clone(&current.value);
                self.record(EventKind::Deleted, key, value, Some(current.value))
            }
            (Change::Finish(mut value), Some(current)) => {
                stamp(&mut value, current.version)?;
                let mut last = current.value;
                if value != *last {
                    let put = self.record(EventKind::Modified, key.clone(), value, Some(last))?;
                    last = put.value;
                }
                self.record(EventKind::Deleted, key, Value::clone(&last), Some(last))
            }
            (Change::Put(mut value), Some(current)) => {
                stamp(&mut value, current.version)?;
                if value == *current.value {
                    return Ok(current);
                }
                self.record(EventKind::Modified, key, value, Some(current.value))
            }
            (Change::Put(value), None) => self.record(EventKind::Added, key, value, None),
        }
    }

    fn record(
        &mut self,
        kind: EventKind,
        key: Key,
        mut value: Value,
        previous: Option<Arc<Value>>,
    ) -> Result<Object, WriteError> {
        stamp(&mut value, self.version + 1)?;
        self.version += 1;
        let object = Object { key: key.clone(), value: Arc::new(value), version: self.version };
        let kept = (kind != EventKind::Deleted).then(|| object.clone());
        self.changes.insert(key, kept);
        self.events.push(Event { kind, object: object.clone(), previous });
        Ok(object)
    }

    /// Disk first, then memory, then the watches.
    fn commit(&mut self, disk: &mut Disk, shared: &Shared) -> Result<(), WriteError> {
        if self.events.is_empty() {
            return Ok(());
        }
        let mut writes: Vec<_> = std::mem::take(&mut self.changes).into_iter().collect();
        let state = shared.read();
        let again: Vec<_> = disk
            .doubtful()
            .filter(|key| writes.binary_search_by(|(other, _)| other.cmp(key)).is_err())
            .map(|key| (key.clone(), state.get(key)))
            .collect();
        let before = state.version();
        drop(state);
        writes.extend(again);
        disk.commit(&writes, self.version)?;
        let mut state = shared.write();
        for event in &self.events {
            state.apply(event.clone());
        }
        state.wake(before);
        Ok(())
    }
}

/// Writes `metadata.resourceVersion`.
fn stamp(value: &mut Value, version: u64) -> Result<(), WriteError> {
    let object = value.as_object_mut().ok_or(WriteError::Invalid("it is no JSON object"))?;
    let metadata = object.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    let metadata = metadata.as_object_mut();
    let metadata = metadata.ok_or(WriteError::Invalid("its metadata is no JSON object"))?;
    metadata.insert("resourceVersion".to_owned(), Value::String(version.to_string()));
    Ok(())
}
