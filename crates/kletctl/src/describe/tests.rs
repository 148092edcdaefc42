//! Recorded objects against what kubectl printed of them (`tests/describe/NAME.{json,txt}`).
//!
//! The texts are kubectl 1.33's, but for what newer releases print differently: the words of probe
//! thresholds, port names, the part of the pod that an event is about. Leases are left out: klet has
//! none. Keys of Secrets and ConfigMaps are sorted. Control characters never reach the terminal.

use std::fs;
use std::path::Path;

use jiff::tz::TimeZone;

use super::*;

#[test]
fn objects_are_described_as_kubectl_describes_them() {
    let clock = Clock { now: "2026-11-24T12:00:00Z".parse().unwrap(), zone: TimeZone::UTC };
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/describe");
    let mut count = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let record: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let list = |name: &str| record[name].as_array().cloned().unwrap_or_default();
        let around = Around { events: Some(list("events")), pods: list("pods") };
        let expected = fs::read_to_string(path.with_extension("txt")).unwrap();
        let text = super::describe(&record["object"], &around, &clock);
        assert_eq!(text, expected, "{}", path.display());
        count += 1;
    }
    assert!(count >= 11, "only {count} recorded objects found");
}

#[test]
fn times_are_shown_in_the_readers_zone() {
    let zone = TimeZone::fixed(jiff::tz::offset(2));
    let clock = Clock { now: Timestamp::UNIX_EPOCH, zone };
    let object = serde_json::json!({"at": "2026-07-01T23:30:00Z"});
    assert_eq!(clock.date(&object, "/at"), "Thu, 02 Jul 2026 01:30:00 +0200");
}

#[test]
fn the_class_follows_from_the_resources() {
    let describe = |limits: Value, requests: Value| {
        let resources = serde_json::json!({"limits": limits, "requests": requests});
        let containers = serde_json::json!([{"name": "c", "resources": resources}]);
        let pod = serde_json::json!({"kind": "Pod", "spec": {"containers": containers}});
        let clock = Clock { now: Timestamp::UNIX_EPOCH, zone: TimeZone::UTC };
        let text = super::describe(&pod, &Around::default(), &clock);
        let line = text.lines().find(|line| line.starts_with("QoS Class:")).unwrap().to_owned();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    let both = serde_json::json!({"cpu": "1", "memory": "1Gi"});
    let same = serde_json::json!({"cpu": "1000m", "memory": "1024Mi"});
    let none = serde_json::json!({});
    assert_eq!(describe(both.clone(), same), "Guaranteed");
    assert_eq!(describe(none.clone(), both.clone()), "Burstable");
    assert_eq!(describe(both, none.clone()), "Burstable");
    assert_eq!(describe(none.clone(), none), "BestEffort");
}
