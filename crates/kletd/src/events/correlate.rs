//! Which events are written, and as what: client-go's `EventCorrelator`, made pure.
//!
//! In this order: events that differ in nothing but their message are folded into one once there
//! are ten of them within ten minutes; an event that was told before is counted instead of told
//! again; and whoever tells too much about one object is not listened to for a while.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use jiff::Timestamp;
use klet_api::k8s_openapi::api::core::v1::ObjectReference;
use klet_apiserver::EventRecord;

/// Different messages after which events are folded (`defaultAggregateMaxEvents`).
const SIMILAR: usize = 10;
/// Silence after which folding begins anew, seconds (`defaultAggregateIntervalInSeconds`).
const INTERVAL: i64 = 600;
/// Events about one object at once (`defaultSpamBurst`).
const BURST: f64 = 25.0;
/// Events about one object per second in the long run (`defaultSpamQPS`).
const RATE: f64 = 1.0 / 300.0;
/// Entries of each memory (`maxLruCacheEntries`).
const REMEMBERED: usize = 4096;
/// Beginning of the message of a folded event.
const FOLDED: &str = "(combined from similar events): ";

/// Who tells about what: component, object kind, namespace, name, UID.
type Source = (String, [Option<String>; 4]);
/// What similar events have in common: source, type, reason.
type Similarity = (Source, String, String);

/// What identical events have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// Field path and message come on top of the similarity.
    One(Similarity, Option<String>, String),
    /// All similar events together.
    Folded(Similarity),
}

/// What to do about an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Write it, and tell [`Correlator::written`] under which name.
    New(EventRecord, Key),
    /// It stands under this name: set its count and message; gone meanwhile, it is new.
    Again { record: EventRecord, key: Key, name: String, count: i32 },
    /// Too many about this object.
    Dropped,
}

/// What was told lately.
#[derive(Debug, Default)]
pub struct Correlator {
    similar: Recent<Similarity, Similar>,
    told: Recent<Key, Told>,
    buckets: Recent<Source, Bucket>,
}

#[derive(Debug, Clone, Default)]
struct Similar {
    messages: BTreeSet<String>,
    last: Timestamp,
}

#[derive(Debug, Clone, Default)]
struct Told {
    name: Option<String>,
    count: i32,
}

#[derive(Debug, Clone)]
struct Bucket {
    tokens: f64,
    filled: Timestamp,
}

impl Correlator {
    /// Decides about an event that happened `now`.
    pub fn consider(&mut self, record: EventRecord, now: Timestamp) -> Verdict {
        let (record, key) = self.fold(record, now);
        let told = self.told.entry(key.clone(), Told::default);
        told.count = told.count.saturating_add(1);
        let told = told.clone();
        if !self.may_tell(source(&record), now) {
            return Verdict::Dropped;
        }
        match told.name {
            Some(name) => Verdict::Again { record, key, name, count: told.count },
            None => Verdict::New(record, key),
        }
    }

    /// The event of this key was written as a new one of this name.
    pub fn written(&mut self, key: Key, name: String) {
        *self.told.entry(key, Told::default) = Told { name: Some(name), count: 1 };
    }

    /// Counts an event of this key once more, if one is written: its name and the count.
    pub fn again(&mut self, key: &Key) -> Option<(String, i32)> {
        let told = self.told.entry(key.clone(), Told::default);
        let name = told.name.clone()?;
        told.count = told.count.saturating_add(1);
        Some((name, told.count))
    }

    fn fold(&mut self, mut record: EventRecord, now: Timestamp) -> (EventRecord, Key) {
        let similarity = (source(&record), record.kind.clone(), record.reason.clone());
        let similar = self.similar.entry(similarity.clone(), Similar::default);
        if now.duration_since(similar.last).as_secs() > INTERVAL {
            similar.messages.clear();
        }
        similar.last = now;
        similar.messages.insert(record.message.clone());
        if similar.messages.len() < SIMILAR {
            let (path, message) = (record.object.field_path.clone(), record.message.clone());
            return (record, Key::One(similarity, path, message));
        }
        // Nine are remembered, so that the next one is folded, too.
        similar.messages.pop_first();
        record.message.insert_str(0, FOLDED);
        (record, Key::Folded(similarity))
    }

    fn may_tell(&mut self, source: Source, now: Timestamp) -> bool {
        let bucket = self.buckets.entry(source, || Bucket { tokens: BURST, filled: now });
        let passed = now.duration_since(bucket.filled).as_secs_f64().max(0.0);
        bucket.tokens = (bucket.tokens + passed * RATE).min(BURST);
        bucket.filled = now;
        let may = bucket.tokens >= 1.0;
        if may {
            bucket.tokens -= 1.0;
        }
        may
    }
}

fn source(record: &EventRecord) -> Source {
    let ObjectReference { kind, namespace, name, uid, .. } = record.object.clone();
    (record.component.clone(), [kind, namespace, name, uid])
}

/// A map that forgets what was not used for longest when it is full.
#[derive(Debug)]
struct Recent<K, V> {
    entries: HashMap<K, (u64, V)>,
    clock: u64,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), clock: 0 }
    }
}

impl<K: Hash + Eq + Clone, V> Recent<K, V> {
    fn entry(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        self.clock += 1;
        if self.entries.len() >= REMEMBERED && !self.entries.contains_key(&key) {
            self.forget();
        }
        let entry = self.entries.entry(key).or_insert_with(|| (0, make()));
        entry.0 = self.clock;
        &mut entry.1
    }

    /// Forgets the older half, so that it costs little per entry.
    fn forget(&mut self) {
        let mut uses: Vec<u64> = self.entries.values().map(|(used, _)| *used).collect();
        let (_, median, _) = uses.select_nth_unstable(REMEMBERED / 2);
        let median = *median;
        self.entries.retain(|_, (used, _)| *used >= median);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(pod: &str, message: &str) -> EventRecord {
        EventRecord {
            object: ObjectReference {
                kind: Some("Pod".to_owned()),
                name: Some(pod.to_owned()),
                ..ObjectReference::default()
            },
            kind: "Warning".to_owned(),
            reason: "Unhealthy".to_owned(),
            message: message.to_owned(),
            component: "kubelet".to_owned(),
            host: "node".to_owned(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    /// Tells an event as the writer does; the message as written, and the count if it was told before.
    fn tell(
        correlator: &mut Correlator,
        event: EventRecord,
        now: Timestamp,
    ) -> Option<(String, i32)> {
        match correlator.consider(event, now) {
            Verdict::Dropped => None,
            Verdict::Again { record, count, .. } => Some((record.message, count)),
            Verdict::New(record, key) => {
                correlator.written(key, "name".to_owned());
                Some((record.message, 1))
            }
        }
    }

    fn some(message: &str, count: i32) -> Option<(String, i32)> {
        Some((message.to_owned(), count))
    }

    #[test]
    fn the_same_event_is_counted() {
        let mut correlator = Correlator::default();
        for count in 1..=3 {
            assert_eq!(tell(&mut correlator, event("a", "m"), at(0)), some("m", count));
        }
        let mut elsewhere = event("a", "m");
        elsewhere.object.field_path = Some("spec.containers{c}".to_owned());
        assert_eq!(tell(&mut correlator, elsewhere, at(0)), some("m", 1), "another container");
    }

    #[test]
    fn ten_similar_events_are_folded() {
        let mut correlator = Correlator::default();
        for number in 1..10 {
            let message = format!("m{number}");
            assert_eq!(tell(&mut correlator, event("a", &message), at(number)), some(&message, 1));
        }
        for (number, count) in (10..13).zip(1..) {
            let told = tell(&mut correlator, event("a", &format!("m{number}")), at(number));
            assert_eq!(told, some(&format!("{FOLDED}m{number}"), count));
        }
        assert_eq!(tell(&mut correlator, event("b", "m"), at(20)), some("m", 1), "another object");
        assert_eq!(
            tell(&mut correlator, event("a", "m"), at(12 + INTERVAL)),
            some(&format!("{FOLDED}m"), 4)
        );
        assert_eq!(tell(&mut correlator, event("a", "n"), at(13 + 2 * INTERVAL)), some("n", 1));
    }

    #[test]
    fn an_object_is_heard_25_times_and_then_every_five_minutes() {
        let mut correlator = Correlator::default();
        for count in 1..=25 {
            assert_eq!(tell(&mut correlator, event("a", "m"), at(0)), some("m", count));
        }
        assert_eq!(tell(&mut correlator, event("a", "m"), at(0)), None);
        assert_eq!(tell(&mut correlator, event("a", "m"), at(299)), None);
        assert_eq!(tell(&mut correlator, event("b", "m"), at(299)), some("m", 1), "another object");
        assert_eq!(tell(&mut correlator, event("a", "m"), at(300)), some("m", 28), "drops count");
        assert_eq!(tell(&mut correlator, event("a", "m"), at(300)), None);
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing_away() {
        let mut correlator = Correlator::default();
        for _ in 0..25 {
            tell(&mut correlator, event("a", "m"), at(600));
        }
        assert_eq!(tell(&mut correlator, event("a", "m"), at(0)), None);
    }

    #[test]
    fn an_event_that_was_not_written_is_new_again() {
        let mut correlator = Correlator::default();
        for _ in 0..2 {
            let verdict = correlator.consider(event("a", "m"), at(0));
            assert!(matches!(verdict, Verdict::New(..)), "{verdict:?}");
        }
    }

    #[test]
    fn memory_is_bounded_and_keeps_what_is_used() {
        let mut recent = Recent::default();
        for number in 0..10 * REMEMBERED {
            recent.entry(number, || 1);
            recent.entry(usize::MAX, || 2);
            assert!(recent.entries.len() <= REMEMBERED);
        }
        assert_eq!(*recent.entry(usize::MAX, || 0), 2);
    }
}
