//! Lives and how they are drawn.

use jiff::SignedDuration;
use serde_json::json;

use super::*;

fn at(milliseconds: i64) -> Timestamp {
    let begin: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
    begin + SignedDuration::from_millis(milliseconds)
}

fn entry(milliseconds: i64, container: &str, what: What, detail: &str) -> Entry {
    let container = Some(container.to_owned()).filter(|name| !name.is_empty());
    Entry { time: at(milliseconds), container, what, detail: detail.to_owned() }
}

fn look(now: i64) -> Look {
    Look { width: 70, ascii: true, color: false, now: at(now), zone: TimeZone::UTC }
}

fn pod(statuses: &Value) -> Value {
    json!({
        "metadata": {"name": "p", "namespace": "default", "creationTimestamp": "2026-11-24T12:00:00Z"},
        "spec": {
            "initContainers": [{"name": "prepare"}],
            "containers": [{"name": "web"}],
        },
        "status": {"phase": "Running", "containerStatuses": statuses},
    })
}

/// The drawing without title and list.
fn drawing(entries: &[Entry], now: i64) -> String {
    let text = render(&pod(&json!([])), entries, &look(now));
    let body = text.split_once("\n\n").unwrap().1;
    body.split_once("\nTIME").unwrap().0.to_owned()
}

#[test]
fn a_life_is_drawn_line_by_line() {
    let life = [
        entry(2, "", What::Accepted, ""),
        entry(40, "", What::SandboxCreated, "10.88.0.2"),
        entry(60, "prepare", What::InitStarted, "attempt 0"),
        entry(65, "prepare", What::Completed, "Completed, exit code 0"),
        entry(80, "web", What::Started, "attempt 0"),
        entry(85, "web", What::PostStartBegan, ""),
        entry(500, "web", What::PostStartDone, ""),
        entry(2000, "web", What::Ready, ""),
        entry(30_000, "web", What::ProbeFailure, "Liveness probe: dead"),
        entry(30_010, "web", What::Killing, "Container web failed liveness probe"),
        entry(31_000, "web", What::Failed, "Error, exit code 137"),
        entry(31_000, "web", What::NotReady, ""),
        entry(31_100, "web", What::BackOff, "back-off 10s"),
        entry(41_000, "web", What::Started, "attempt 1"),
        entry(42_000, "web", What::Ready, ""),
    ];
    let expected = [
        "         0s  58ms      498ms          29s     30s     40s   41s    59s",
        "         +---+---------+--------------+-------+-------+-----+--------+",
        "sandbox  ~~==========================================================>",
        "prepare      ==v",
        "web              -+++++------=========!=,,,,,,x.......------=========>",
        "",
        "         ~ being made   = ready   - running, not ready   + hook",
        "         , stopping   . waiting   v completed   x failed",
        "         ! probe failed",
    ];
    assert_eq!(drawing(&life, 60_000).lines().collect::<Vec<_>>(), expected);
}

#[test]
fn short_and_crowded_lives_stay_in_their_columns() {
    for (count, now) in [(0, 0), (1, 1), (3, 100_000), (500, 1_000_000_000)] {
        let entries: Vec<Entry> = (0..count)
            .flat_map(|index| {
                let time = index * 1000;
                [
                    entry(time, "web", What::Started, "attempt 0"),
                    entry(time + 1, "web", What::Failed, "Error, exit code 1"),
                ]
            })
            .collect();
        let text = drawing(&entries, now);
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= 80, "{count} entries, {widest} columns:\n{text}");
        assert_eq!(text.lines().nth(4).is_some_and(|line| line.contains('x')), count > 0, "{text}");
    }
}

#[test]
fn what_a_restarted_daemon_did_not_see_comes_from_the_status() {
    let statuses = json!([{
        "name": "web", "ready": true, "restartCount": 2,
        "state": {"running": {"startedAt": "2026-11-24T12:00:20Z"}},
        "lastState": {"terminated": {"exitCode": 3, "reason": "Error",
            "startedAt": "2026-11-24T12:00:05Z", "finishedAt": "2026-11-24T12:00:09Z"}},
    }]);
    let seen = [
        entry(9500, "web", What::Failed, "Error, exit code 3"),
        entry(60_000, "", What::Adopted, "found running"),
    ];
    let text = render(&pod(&statuses), &seen, &look(61_000));
    let list = text.split_once("TIME").unwrap().1;
    let told: Vec<&str> = list.lines().skip(1).map(|line| line[30..].trim()).collect();
    assert_eq!(
        told,
        [
            "started",
            "ended: Error, exit code 3",
            "started, restart 2",
            "ready",
            "found running by a new kletd",
        ],
        "{text}"
    );
}

#[test]
fn a_pod_that_is_over_ends_where_it_ended() {
    let mut over = pod(&json!([]));
    over["status"]["phase"] = "Failed".into();
    let entries = [
        entry(0, "", What::Accepted, ""),
        entry(5, "", What::SandboxCreated, ""),
        entry(10, "web", What::StartFailed, "RunContainerError: no such file"),
        entry(2000, "", What::SandboxRemoved, ""),
    ];
    let text = render(&over, &entries, &look(1_000_000));
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap();
    assert!(text.lines().nth(2).unwrap().ends_with(" 2s"), "{text}");
    assert!(line("sandbox").ends_with('=') && line("web").ends_with('x'), "{text}");
    over["status"]["phase"] = "Pending".into();
    let text = render(&over, &entries[..3], &look(1_000_000));
    let web = text.lines().find(|line| line.starts_with("web")).unwrap();
    assert!(web.contains("x...") && web.ends_with('>'), "{text}");
}

#[test]
fn durations_are_short() {
    let cases = [
        (0, "0s"),
        (12, "12ms"),
        (1000, "1s"),
        (1250, "1.25s"),
        (42_300, "42s"),
        (303_000, "5m3s"),
    ];
    for (milliseconds, expected) in cases {
        assert_eq!(words::elapsed(SignedDuration::from_millis(milliseconds)), expected);
    }
}

#[test]
fn colour_comes_and_goes_with_the_line() {
    let entries = [entry(0, "web", What::Started, ""), entry(10, "web", What::Ready, "")];
    let colored = Look { color: true, ..look(1000) };
    let text = render(&pod(&json!([])), &entries, &colored);
    let web = text.lines().find(|line| line.starts_with("web")).unwrap();
    assert!(web.contains("\x1b[0;33m-") && web.contains("\x1b[0;32m=") && web.ends_with("\x1b[0m"));
    assert!(!drawing(&entries, 1000).contains('\x1b'));
}
