//! Power cuts: whatever was acknowledged is there afterwards, and nothing half.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::simulated::{Call, Random, SimulatedDisk, apply};
use crate::disk::Disk;
use crate::{Key, Options, Store};

type Model = BTreeMap<Key, u64>;

/// What was true once `calls` calls had reached the disk.
struct Acknowledged {
    calls: usize,
    version: u64,
}

struct History {
    disk: SimulatedDisk,
    before: Vec<u8>,
    acknowledged: Vec<Acknowledged>,
    models: BTreeMap<u64, Model>,
}

/// Random writes, with the model of the store after each of them.
async fn record(random: &mut Random, writes: usize) -> History {
    let disk = SimulatedDisk::formatted();
    let before = disk.bytes();
    let (opened, contents) = Disk::load(disk.opener()).unwrap();
    let store = Store::start(opened, contents, Options::default(), None).unwrap();
    let mut model = Model::new();
    let mut models = BTreeMap::from([(store.version(), model.clone())]);
    let mut acknowledged = vec![Acknowledged { calls: 0, version: store.version() }];
    for number in 0..writes {
        let key = Key::new("", "pods", Some("default"), &format!("p{}", random.below(40)));
        let value = json!({ "n": number, "filler": "x".repeat(random.below(3000)) });
        let object = match (model.contains_key(&key), random.below(3)) {
            (false, _) => store.create(&key, value).await.unwrap(),
            (true, 0) => store.delete(&key, None).await.unwrap(),
            (true, _) => store.update(&key, None, value).await.unwrap(),
        };
        if store.get(&key).is_some() {
            model.insert(key, object.version);
        } else {
            model.remove(&key);
        }
        models.insert(object.version, model.clone());
        acknowledged.push(Acknowledged { calls: disk.calls().len(), version: object.version });
    }
    drop(store);
    History { disk, before, acknowledged, models }
}

/// The disk after a power cut: everything up to the last sync before it, and of what
/// followed a random half, some of it torn.
fn cut(history: &History, calls: &[Call], at: usize, random: &mut Random) -> Vec<u8> {
    let synced =
        calls[..at].iter().rposition(|call| matches!(call, Call::Sync)).map_or(0, |i| i + 1);
    let mut bytes = history.before.clone();
    for call in &calls[..synced] {
        apply(&mut bytes, call);
    }
    for call in &calls[synced..at] {
        match (random.below(4), call) {
            (0 | 1, _) => {}
            (2, Call::Write(offset, data)) if data.len() > 512 => {
                let torn = data[..512 * random.below(data.len() / 512)].to_vec();
                apply(&mut bytes, &Call::Write(*offset, torn));
            }
            _ => apply(&mut bytes, call),
        }
    }
    bytes
}

#[tokio::test]
async fn no_acknowledged_write_is_lost_and_none_is_half_done() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let history = record(&mut random, 300).await;
    let calls = history.disk.calls();
    for _ in 0..2000 {
        let at = random.below(calls.len() + 1);
        let disk = SimulatedDisk::with_bytes(cut(&history, &calls, at, &mut random));
        let (_, contents) = Disk::load(disk.opener()).expect("a cut leaves a store that opens");
        let known = history.acknowledged.iter().rfind(|known| known.calls <= at).unwrap();
        assert!(contents.version >= known.version, "cut at {at}: lost {}", known.version);
        let found: Model =
            contents.objects.iter().map(|object| (object.key.clone(), object.version)).collect();
        assert_eq!(Some(&found), history.models.get(&contents.version), "cut at {at}");
        for object in &contents.objects {
            let stamped = object.value["metadata"]["resourceVersion"].as_str().map(str::to_owned);
            assert_eq!(stamped, Some(object.version.to_string()));
            assert!(matches!(object.value["n"], Value::Number(_)));
        }
    }
}
