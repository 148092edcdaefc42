//! What the store keeps in memory: the objects, and the recent past of each resource.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde_json::Value;
use tokio::sync::watch;

use crate::error::Expired;
use crate::key::Key;

/// One object as of one version.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Its name.
    pub key: Key,
    /// The object, with `metadata.resourceVersion` filled in.
    pub value: Arc<Value>,
    /// `metadata.resourceVersion` as a number.
    pub version: u64,
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It was created.
    Added,
    /// It was changed.
    Modified,
    /// It was removed; the event carries its last value under the version of the removal.
    Deleted,
}

/// One change, in the order of versions.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The object after the change (before it, for a deletion).
    pub object: Object,
    /// The value before the change: a filtered watch needs it to see an object
    /// enter or leave its selection.
    pub previous: Option<Arc<Value>>,
}

/// The recent changes of one resource.
#[derive(Debug)]
struct Topic {
    events: VecDeque<Event>,
    /// Every change of this resource after this version is in `events`.
    oldest: u64,
    /// Wakes the watches of this resource.
    wake: watch::Sender<u64>,
}

/// A value in the map; its key is the map's.
#[derive(Clone, Debug)]
struct Entry {
    value: Arc<Value>,
    version: u64,
}

/// Everything in memory. Changed by the writer alone, after the disk.
#[derive(Debug)]
pub(crate) struct State {
    objects: BTreeMap<Key, Entry>,
    topics: HashMap<(String, String), Topic>,
    version: u64,
    /// The version at which this process started to keep history.
    opened: u64,
    /// Events kept per resource.
    history: usize,
}

/// The state shared by store, watches and writer.
#[derive(Debug)]
pub(crate) struct Shared(RwLock<State>);

impl Shared {
    pub(crate) fn new(objects: Vec<Object>, version: u64, history: usize) -> Self {
        let entries = objects
            .into_iter()
            .map(|object| (object.key, Entry { value: object.value, version: object.version }));
        Self(RwLock::new(State {
            objects: entries.collect(),
            topics: HashMap::new(),
            version,
            opened: version,
            history: history.max(1),
        }))
    }

    /// A poisoned lock is taken as it is: no code below panics halfway through a change.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Object> {
        self.objects.get(key).map(|entry| object(key, entry))
    }

    /// The objects of a resource, in one namespace or all, sorted by key.
    pub(crate) fn list<'a>(
        &'a self,
        group: &str,
        resource: &str,
        namespace: Option<&str>,
    ) -> impl Iterator<Item = Object> + 'a + use<'a> {
        let start = Key::new(group, resource, namespace, "");
        let (first, all) = (start.clone(), namespace.is_none());
        self.objects
            .range((Bound::Included(start), Bound::Unbounded))
            .take_while(move |(key, _)| {
                key.group == first.group
                    && key.resource == first.resource
                    && (all || key.namespace == first.namespace)
            })
            .map(|(key, entry)| object(key, entry))
    }

    /// The names of all objects.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.objects.keys()
    }

    /// Makes one written change visible.
    pub(crate) fn apply(&mut self, event: Event) {
        let Event { kind, object, .. } = &event;
        self.version = object.version;
        if *kind == EventKind::Deleted {
            self.objects.remove(&object.key);
        } else {
            let entry = Entry { value: Arc::clone(&object.value), version: object.version };
            self.objects.insert(object.key.clone(), entry);
        }
        let history = self.history;
        let topic = self.topic(&event.object.key.group, &event.object.key.resource);
        if topic.events.len() >= history
            && let Some(dropped) = topic.events.pop_front()
        {
            topic.oldest = dropped.object.version;
        }
        topic.events.push_back(event);
    }

    /// Wakes the watches of every resource that changed after `since`.
    pub(crate) fn wake(&self, since: u64) {
        for topic in self.topics.values() {
            if let Some(newest) = topic.events.back().map(|event| event.object.version)
                && newest > since
            {
                topic.wake.send_replace(newest);
            }
        }
    }

    /// A receiver woken by changes of the resource, if its history reaches back to `from`.
    pub(crate) fn subscribe(
        &mut self,
        group: &str,
        resource: &str,
        from: u64,
    ) -> Result<watch::Receiver<u64>, Expired> {
        let version = self.version;
        let topic = self.topic(group, resource);
        if from < topic.oldest || from > version {
            return Err(Expired { from, oldest: topic.oldest });
        }
        Ok(topic.wake.subscribe())
    }

    /// Up to `limit` changes of the resource after `from`, and the version reached.
    pub(crate) fn since(
        &self,
        group: &str,
        resource: &str,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Event>, Expired> {
        let Some(topic) = self.topics.get(&(group.to_owned(), resource.to_owned())) else {
            return Ok(Vec::new());
        };
        if from < topic.oldest {
            return Err(Expired { from, oldest: topic.oldest });
        }
        let first = topic.events.partition_point(|event| event.object.version <= from);
        Ok(topic.events.iter().skip(first).take(limit).cloned().collect())
    }

    /// Ends every watch.
    pub(crate) fn close(&mut self) {
        self.topics.clear();
    }

    fn topic(&mut self, group: &str, resource: &str) -> &mut Topic {
        let oldest = self.opened;
        self.topics.entry((group.to_owned(), resource.to_owned())).or_insert_with(|| Topic {
            events: VecDeque::new(),
            oldest,
            wake: watch::Sender::new(oldest),
        })
    }
}

fn object(key: &Key, entry: &Entry) -> Object {
    Object { key: key.clone(), value: Arc::clone(&entry.value), version: entry.version }
}
