//! The table of graceful deletion.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{DeleteOptions, Deletion, ended_pod, is_finished, namespace, plain, pod};
use crate::query::Query;

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn running() -> Value {
    json!({
        "metadata": { "name": "p", "uid": "u", "generation": 1 },
        "spec": { "nodeName": "n", "terminationGracePeriodSeconds": 30 },
        "status": { "phase": "Running" },
    })
}

fn with(pointer: &str, value: Value) -> Value {
    let mut pod = running();
    *pod.pointer_mut(pointer).unwrap() = value;
    pod
}

/// Grace and seconds until the deadline of a marked pod.
#[track_caller]
fn marked(deletion: Deletion) -> (i64, i64) {
    let Deletion::Mark(pod) = deletion else { panic!("{deletion:?}") };
    let deadline: Timestamp =
        pod["metadata"]["deletionTimestamp"].as_str().unwrap().parse().unwrap();
    let grace = pod["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap();
    (grace, deadline.duration_since(now()).as_secs())
}

#[test]
fn a_first_deletion_takes_its_grace_from_options_then_spec() {
    assert_eq!(marked(pod(&running(), None, now())), (30, 30));
    assert_eq!(marked(pod(&running(), Some(5), now())), (5, 5));
    assert_eq!(marked(pod(&running(), Some(60), now())), (60, 60));
    assert_eq!(marked(pod(&running(), Some(-1), now())), (1, 1));
    let negative = with("/spec/terminationGracePeriodSeconds", json!(-3));
    assert_eq!(marked(pod(&negative, None, now())), (1, 1));
}

#[test]
fn no_grace_removes_at_once() {
    let finished = |deletion| matches!(deletion, Deletion::Finish(pod) if pod["metadata"]["deletionGracePeriodSeconds"] == 0);
    assert!(finished(pod(&running(), Some(0), now())));
    let ends =
        [("/status/phase", "Succeeded"), ("/status/phase", "Failed"), ("/spec/nodeName", "")];
    for (pointer, value) in ends {
        assert!(finished(pod(&with(pointer, json!(value)), Some(10), now())), "{value}");
    }
}

#[test]
fn a_second_deletion_only_shortens() {
    let Deletion::Mark(first) = pod(&running(), None, now()) else { panic!() };
    assert_eq!(first["metadata"]["generation"], 2);
    let later = now() + SignedDuration::from_secs(7);
    for grace in [None, Some(30), Some(31)] {
        assert_eq!(pod(&first, grace, later), Deletion::Pending, "{grace:?}");
    }
    // Counted from the first deletion.
    let second = pod(&first, Some(10), later);
    let Deletion::Mark(object) = &second else { panic!() };
    assert_eq!(object["metadata"]["generation"], 2);
    assert_eq!(marked(second), (10, 10));
    let Deletion::Finish(object) = pod(&first, Some(0), later) else { panic!() };
    assert_eq!(object["metadata"]["deletionTimestamp"], json!(crate::meta::seconds(now())));
    // Nothing of it is left on the node: the same, and counted from the first deletion.
    assert_eq!(ended_pod(&first, later), Deletion::Finish(object));
}

#[test]
fn finalizers_keep_the_object() {
    let mut held = running();
    held["metadata"]["finalizers"] = json!(["a/b"]);
    assert_eq!(marked(pod(&held, Some(0), now())), (0, 0));
    let Deletion::Mark(mut waiting) = plain(&held, now()) else { panic!() };
    assert_eq!(plain(&waiting, now()), Deletion::Pending);
    assert!(!is_finished(&waiting));
    waiting["metadata"]["finalizers"] = json!([]);
    assert!(is_finished(&waiting));
    assert_eq!(plain(&running(), now()), Deletion::Remove);
}

#[test]
fn a_pod_in_its_grace_is_not_finished() {
    let Deletion::Mark(first) = pod(&running(), None, now()) else { panic!() };
    assert!(!is_finished(&first));
    assert!(!is_finished(&running()));
}

#[test]
fn a_namespace_waits_until_it_is_empty() {
    let object = json!({ "metadata": { "name": "n" }, "status": { "phase": "Active" } });
    assert_eq!(namespace(&object, true, now()), Deletion::Remove);
    let Deletion::Mark(marked) = namespace(&object, false, now()) else { panic!() };
    assert_eq!(marked["status"]["phase"], "Terminating");
    assert_eq!(namespace(&marked, false, now()), Deletion::Pending);
}

#[test]
fn absurd_graces_do_not_overflow() {
    for grace in [i64::MAX, i64::MIN] {
        let Deletion::Mark(marked) = pod(&running(), Some(grace), now()) else { panic!() };
        assert!(marked["metadata"]["deletionTimestamp"].is_string());
        pod(&marked, Some(1), now());
    }
}

#[test]
fn options_come_from_body_or_query() {
    let parse = |body: &str, query: &str| {
        DeleteOptions::parse(body.as_bytes(), &Query::parse(Some(query)).unwrap())
    };
    assert_eq!(parse("", "gracePeriodSeconds=3").unwrap().grace_period_seconds, Some(3));
    let both = parse(r#"{"kind":"DeleteOptions","gracePeriodSeconds":4}"#, "gracePeriodSeconds=3");
    assert_eq!(both.unwrap().grace_period_seconds, Some(4));
    assert!(parse("", "dryRun=All").unwrap().is_dry_run());
    let uid = parse(r#"{"preconditions":{"uid":"other"}}"#, "").unwrap();
    assert_eq!(
        uid.unmet(&running()).unwrap(),
        "Precondition failed: UID in precondition: other, UID in object meta: u"
    );
    assert!(parse("{", "").is_err());
}
