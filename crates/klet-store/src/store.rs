//! The store as its users hold it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::disk::{Contents, Disk, FIRST};
use crate::error::{Expired, ModifyError, OpenError, WriteError};
use crate::key::Key;
use crate::lock::Lock;
use crate::open;
use crate::state::{Object, Shared};
use crate::watch::Watch;
use crate::writer::{self, Change, Decision, Job, View};

/// Writes waiting for the writer; further writers wait to queue.
const QUEUE: usize = 1024;

/// How to open a store.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Changes kept per resource for watches that start in the past.
    pub history: usize,
    /// Bytes of file pages that the database keeps in memory.
    pub cache: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { history: 1024, cache: 2 << 20 }
    }
}

/// Durable objects. Clones share one store, which is closed with the last of them.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    jobs: Option<mpsc::Sender<Box<dyn Job>>>,
    writer: Option<JoinHandle<()>>,
}

impl Drop for Inner {
    /// Lets the writer finish what was queued and release the file.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the store's writer panicked");
        }
        self.shared.write().close();
    }
}

impl Store {
    /// Opens the store at `path`, creating it if there is none. Blocks.
    ///
    /// # Errors
    /// [`OpenError::InUse`] while another process has it open, [`OpenError::Damaged`] for
    /// a file that is no whole store, [`OpenError::Io`] for what the system refuses.
    pub fn open(path: &Path, options: Options) -> Result<Self, OpenError> {
        let (lock, disk, contents) = open::open(path, options.cache)?;
        Self::start(disk, contents, options, Some(lock)).map_err(|source| OpenError::Io {
            path: path.to_owned(),
            step: "start its writer",
            source,
        })
    }

    /// Renames a damaged store's file so that a new one can be made; returns the new name.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn set_aside(path: &Path) -> io::Result<PathBuf> {
        open::set_aside(path)
    }

    pub(crate) fn start(
        disk: Disk,
        contents: Contents,
        options: Options,
        lock: Option<Lock>,
    ) -> io::Result<Self> {
        let shared = Shared::new(contents.objects, contents.version, options.history);
        let shared = Arc::new(shared);
        let (jobs, queue) = mpsc::channel(QUEUE);
        let seen = Arc::clone(&shared);
        let writer = thread::Builder::new().name("store".to_owned()).spawn(move || {
            writer::run(queue, &seen, disk);
            drop(lock);
        })?;
        Ok(Self(Arc::new(Inner { shared, jobs: Some(jobs), writer: Some(writer) })))
    }

    /// Nothing was ever written: the store was made by this opening.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.version() <= FIRST
    }

    /// The version of the newest change.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.0.shared.read().version()
    }

    /// One object.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Object> {
        self.0.shared.read().get(key)
    }

    /// The objects of a resource in one namespace or in all, sorted by namespace and
    /// name, and the version at which they are exactly these.
    #[must_use]
    pub fn list(&self, group: &str, resource: &str, namespace: Option<&str>) -> (Vec<Object>, u64) {
        let state = self.0.shared.read();
        (state.list(group, resource, namespace).collect(), state.version())
    }

    /// Every change of a resource after version `from`, in one namespace or in all.
    ///
    /// # Errors
    /// [`Expired`] if the history does not reach back to `from`.
    pub fn watch(
        &self,
        group: &str,
        resource: &str,
        namespace: Option<&str>,
        from: u64,
    ) -> Result<Watch, Expired> {
        Watch::new(Arc::clone(&self.0.shared), (group, resource), namespace, from)
    }

    /// Creates an object; [`WriteError::Exists`] if there is one of that name.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn create(&self, key: &Key, value: Value) -> Result<Object, WriteError> {
        let decide = move |view: &View<'_>| match view.current() {
            Some(_) => Err(WriteError::Exists),
            None => Ok(Change::Put(value)),
        };
        self.transact(key, decide).await.map_err(flatten)
    }

    /// Replaces an object, if it is still at `expected` (`None`: whatever it is at).
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn update(
        &self,
        key: &Key,
        expected: Option<u64>,
        value: Value,
    ) -> Result<Object, WriteError> {
        let decide = move |view: &View<'_>| {
            check(view, expected)?;
            Ok(Change::Put(value))
        };
        self.transact(key, decide).await.map_err(flatten)
    }

    /// Removes an object, if it is still at `expected`; returns its last value under
    /// the version of the removal.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn delete(&self, key: &Key, expected: Option<u64>) -> Result<Object, WriteError> {
        let decide = move |view: &View<'_>| {
            check(view, expected)?;
            Ok(Change::Delete)
        };
        self.transact(key, decide).await.map_err(flatten)
    }

    /// Changes an object by a function of its value; no conflict is possible. `None`
    /// from the function leaves it; a value equal to the present one is not written.
    ///
    /// # Errors
    /// The function's refusal, or see [`WriteError`].
    pub async fn modify<E, F>(&self, key: &Key, mut change: F) -> Result<Object, ModifyError<E>>
    where
        F: FnMut(Value) -> Result<Option<Value>, E> + Send + 'static,
        E: Send + 'static,
    {
        let decide = move |view: &View<'_>| match view.current() {
            // The writer answers NotFound to a `Keep` of nothing.
            None => Ok(Change::Keep),
            Some(current) => {
                let changed = change(Value::clone(&current.value))?;
                Ok(changed.map_or(Change::Keep, Change::Put))
            }
        };
        self.transact(key, decide).await
    }

    /// The general write: looks and decides in the writer, between all other writes.
    /// The function must be quick and must not call the store. Returns the object after
    /// the change (as it last was, for a deletion).
    ///
    /// # Errors
    /// The function's refusal; [`WriteError::NotFound`] for a `Keep` or `Delete` of
    /// nothing; [`WriteError::Full`] or [`WriteError::Io`] from the disk.
    pub async fn transact<E, F>(&self, key: &Key, decide: F) -> Result<Object, ModifyError<E>>
    where
        F: FnOnce(&View<'_>) -> Result<Change, E> + Send + 'static,
        E: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Decision { key: key.clone(), function: Some(decide), refusal: None, reply };
        let jobs = self.0.jobs.as_ref().ok_or(WriteError::Closed)?;
        jobs.send(Box::new(job)).await.map_err(|_| WriteError::Closed)?;
        answer.await.map_err(|_| WriteError::Closed)?
    }
}

fn check(view: &View<'_>, expected: Option<u64>) -> Result<(), WriteError> {
    let current = view.current().ok_or(WriteError::NotFound)?.version;
    match expected {
        Some(expected) if expected != current => Err(WriteError::Conflict { current }),
        _ => Ok(()),
    }
}

fn flatten(error: ModifyError<WriteError>) -> WriteError {
    match error {
        ModifyError::Store(error) | ModifyError::Refused(error) => error,
    }
}
