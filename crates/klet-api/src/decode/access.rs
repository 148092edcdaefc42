//! Lists and maps under the tracker: positions, unknown names, repetitions.

use std::borrow::Cow;

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess};

use super::tracker::{Step, Tracker};
use super::wrap::Tracked;

/// List items with their positions.
pub(super) struct Items<'t, A> {
    inner: A,
    index: usize,
    tracker: &'t mut Tracker,
}

impl<'t, A> Items<'t, A> {
    pub(super) fn new(inner: A, tracker: &'t mut Tracker) -> Self {
        Self { inner, index: 0, tracker }
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Items<'_, A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, A::Error> {
        self.tracker.path.push(Step::Index(self.index));
        let item = self.inner.next_element_seed(Within { seed, tracker: self.tracker })?;
        self.tracker.path.pop();
        self.index += 1;
        Ok(item)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

/// Fields of a struct or map, watched for unknown names and repetitions.
pub(super) struct Fields<'t, A> {
    inner: A,
    known: Option<&'static [&'static str]>,
    /// One bit per known field that occurred.
    seen_known: u128,
    /// Other keys that occurred.
    seen: Vec<Box<str>>,
    key: Option<Box<str>>,
    tracker: &'t mut Tracker,
}

/// Keys of one map remembered for finding duplicates; bounds the work for hostile maps.
const MAX_SEARCHED: usize = 256;

impl<'t, A> Fields<'t, A> {
    pub(super) fn new(
        inner: A,
        known: Option<&'static [&'static str]>,
        tracker: &'t mut Tracker,
    ) -> Self {
        Self { inner, known, seen_known: 0, seen: Vec::new(), key: None, tracker }
    }

    fn note(&mut self, key: &str) {
        self.key = Some(key.into());
        if let Some(known) = self.known {
            let Some(at) = known.iter().position(|name| *name == key) else {
                self.tracker.unknown(key, known);
                self.note_seen(key);
                return;
            };
            // No Kubernetes struct has 128 fields; beyond that duplicates go unnoticed.
            let bit = u32::try_from(at).ok().and_then(|at| 1_u128.checked_shl(at)).unwrap_or(0);
            if self.seen_known & bit != 0 {
                self.tracker.duplicate(key);
            }
            self.seen_known |= bit;
            return;
        }
        self.note_seen(key);
    }

    fn note_seen(&mut self, key: &str) {
        if self.seen.iter().any(|k| **k == *key) {
            self.tracker.duplicate(key);
        } else if self.seen.len() < MAX_SEARCHED {
            self.seen.push(key.into());
        }
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Fields<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let Some(key) = self.inner.next_key::<Cow<'de, str>>()? else {
            return Ok(None);
        };
        self.note(&key);
        match key {
            Cow::Borrowed(key) => seed.deserialize(BorrowedStrDeserializer::new(key)),
            Cow::Owned(key) => seed.deserialize(key.into_deserializer()),
        }
        .map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        self.tracker.path.push(Step::Key(self.key.take().unwrap_or_default()));
        let value = self.inner.next_value_seed(Within { seed, tracker: self.tracker })?;
        self.tracker.path.pop();
        Ok(value)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

/// A seed whose value is decoded under the tracker.
struct Within<'t, S> {
    seed: S,
    tracker: &'t mut Tracker,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Within<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        let Within { seed, tracker } = self;
        let result = seed.deserialize(Tracked::new(inner, tracker));
        if result.is_err() {
            tracker.fail();
        }
        result
    }
}
