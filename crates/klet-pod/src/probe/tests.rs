//! The probe worker, rule by rule, on virtual time.

use super::*;
use crate::testing::at;

fn spec(kind: Kind) -> ProbeSpec {
    ProbeSpec {
        kind,
        initial_delay: Duration::ZERO,
        period: Duration::from_secs(10),
        timeout: Duration::from_secs(1),
        success_threshold: 1,
        failure_threshold: 3,
    }
}

fn worker(kind: Kind) -> Worker {
    Worker::new(spec(kind), at(0), Duration::ZERO, None)
}

/// Container `c`, running and started since second 3.
fn up() -> ContainerView {
    ContainerView {
        id: Some("c".into()),
        life: Life::Running { since: at(3) },
        started: true,
        restarts: true,
        deleted: false,
        finished: false,
    }
}

fn none() -> ContainerView {
    ContainerView { id: None, life: Life::Other, started: false, ..up() }
}

/// A worker that waited for its container from second 0 to second 3.
fn waited(kind: Kind) -> Worker {
    let mut worker = worker(kind);
    assert_eq!(worker.next(&none(), at(0)), Step::WaitForChange);
    worker
}

const TRY: Step = Step::Probe { attempt: 0 };

#[test]
fn numbers_have_their_defaults() {
    let read = ProbeSpec::new(Kind::Liveness, &Probe::default());
    assert_eq!(read, spec(Kind::Liveness));
    let probe = Probe {
        initial_delay_seconds: Some(5),
        period_seconds: Some(0),
        failure_threshold: Some(-1),
        success_threshold: Some(2),
        ..Probe::default()
    };
    let read = ProbeSpec::new(Kind::Readiness, &probe);
    assert_eq!(read.initial_delay.as_secs(), 5);
    assert_eq!((read.period.as_secs(), read.failure_threshold), (10, 3));
    assert_eq!(read.success_threshold, 2);
}

#[test]
fn a_new_container_has_the_verdict_of_its_kind() {
    for (kind, initial) in [
        (Kind::Startup, Verdict::Unknown),
        (Kind::Readiness, Verdict::Failure),
        (Kind::Liveness, Verdict::Success),
    ] {
        let mut worker = waited(kind);
        assert_eq!((worker.verdict(), worker.container_id()), (Verdict::Unknown, None));
        worker.next(&up(), at(3));
        assert_eq!((worker.verdict(), worker.container_id()), (initial, Some("c")));
    }
}

#[test]
fn ticks_come_every_period_from_the_workers_start() {
    let mut worker = waited(Kind::Liveness);
    assert_eq!(worker.next(&up(), at(3)), Step::Wait(at(10)));
    assert_eq!(worker.next(&up(), at(10)), TRY);
    assert_eq!(worker.record(Outcome::Success, at(10)), None);
    assert_eq!(worker.next(&up(), at(11)), Step::Wait(at(20)));
}

#[test]
fn readiness_is_probed_as_soon_as_the_container_has_started() {
    let mut worker = waited(Kind::Readiness);
    assert_eq!(worker.next(&up(), at(3)), TRY);
    assert_eq!(worker.record(Outcome::Success, at(3)), Some(Verdict::Success));
    assert_eq!(worker.next(&up(), at(4)), Step::Wait(at(13)), "ticks start over from there");
}

#[test]
fn the_initial_delay_counts_from_the_containers_start() {
    for (kind, first) in [(Kind::Liveness, 20), (Kind::Readiness, 23)] {
        let spec = ProbeSpec { initial_delay: Duration::from_secs(12), ..spec(kind) };
        let mut worker = Worker::new(spec, at(0), Duration::ZERO, None);
        worker.next(&none(), at(0));
        assert_eq!(worker.next(&up(), at(3)), Step::Wait(at(first)), "{kind:?}");
        assert_eq!(worker.next(&up(), at(first)), TRY);
    }
}

#[test]
fn liveness_fails_after_as_many_failures_in_a_row_and_then_holds() {
    let mut worker = waited(Kind::Liveness);
    let mut verdicts = Vec::new();
    for (tick, outcome) in
        [Outcome::Failure, Outcome::Failure, Outcome::Success, Outcome::Failure, Outcome::Failure]
            .into_iter()
            .chain([Outcome::Failure])
            .enumerate()
    {
        let now = at(10 * (i64::try_from(tick).unwrap() + 1));
        assert_eq!(worker.next(&up(), now), TRY);
        verdicts.push(worker.record(outcome, now));
    }
    assert_eq!(verdicts, [None, None, None, None, None, Some(Verdict::Failure)]);
    assert_eq!(worker.next(&up(), at(100)), Step::WaitForChange);
    let next = ContainerView { id: Some("d".into()), ..up() };
    assert_eq!(worker.next(&next, at(101)), Step::Wait(at(110)));
    assert_eq!(worker.verdict(), Verdict::Success);
}

#[test]
fn a_startup_verdict_holds_either_way() {
    let starting = ContainerView { started: false, ..up() };
    for (outcomes, verdict) in [
        (vec![Outcome::Failure, Outcome::Success], Verdict::Success),
        (vec![Outcome::Failure, Outcome::Failure, Outcome::Failure], Verdict::Failure),
    ] {
        let mut worker = waited(Kind::Startup);
        let mut last = None;
        for (tick, outcome) in outcomes.into_iter().enumerate() {
            let now = at(10 * (i64::try_from(tick).unwrap() + 1));
            assert_eq!(worker.next(&starting, now), TRY);
            last = worker.record(outcome, now);
        }
        assert_eq!(last, Some(verdict));
        assert_eq!(worker.next(&starting, at(90)), Step::WaitForChange);
    }
}

#[test]
fn readiness_flips_both_ways_by_its_thresholds() {
    let spec = ProbeSpec { success_threshold: 2, failure_threshold: 2, ..spec(Kind::Readiness) };
    let mut worker = Worker::new(spec, at(0), Duration::ZERO, None);
    let outcomes =
        [Outcome::Success, Outcome::Warning, Outcome::Failure, Outcome::Success, Outcome::Failure];
    let mut verdicts = Vec::new();
    for (tick, outcome) in outcomes.into_iter().chain([Outcome::Failure]).enumerate() {
        let now = at(10 * i64::try_from(tick).unwrap() + 10);
        assert_eq!(worker.next(&up(), now), TRY);
        verdicts.push(worker.record(outcome, now));
    }
    let flips = [None, Some(Verdict::Success), None, None, None, Some(Verdict::Failure)];
    assert_eq!(verdicts, flips);
}

#[test]
fn startup_runs_before_it_passed_the_others_after() {
    let starting = ContainerView { started: false, ..up() };
    for kind in [Kind::Liveness, Kind::Readiness] {
        assert_eq!(worker(kind).next(&starting, at(10)), Step::WaitForChange);
        assert_eq!(worker(kind).next(&up(), at(10)), TRY);
    }
    assert_eq!(worker(Kind::Startup).next(&starting, at(10)), TRY);
    assert_eq!(worker(Kind::Startup).next(&up(), at(10)), Step::WaitForChange);
}

#[test]
fn errors_of_the_handler_are_tried_again_and_then_dropped() {
    let mut worker = waited(Kind::Liveness);
    worker.next(&up(), at(3));
    for attempt in 0..MAX_TRIES {
        assert_eq!(worker.next(&up(), at(10)), Step::Probe { attempt });
        assert_eq!(worker.record(Outcome::Error, at(10)), None);
    }
    assert_eq!(worker.next(&up(), at(11)), Step::Wait(at(20)));
    // They do not break a run of failures.
    for (tick, outcome, verdict) in [
        (20, Outcome::Failure, None),
        (30, Outcome::Failure, None),
        (40, Outcome::Error, None),
        (40, Outcome::Failure, Some(Verdict::Failure)),
    ] {
        assert!(matches!(worker.next(&up(), at(tick)), Step::Probe { .. }));
        assert_eq!(worker.record(outcome, at(tick)), verdict);
    }
}

#[test]
fn a_slow_probe_loses_ticks_but_the_last() {
    let mut worker = waited(Kind::Liveness);
    worker.next(&up(), at(3));
    assert_eq!(worker.next(&up(), at(10)), TRY);
    worker.record(Outcome::Success, at(35));
    assert_eq!(worker.next(&up(), at(35)), TRY, "the tick of second 30");
    worker.record(Outcome::Success, at(36));
    assert_eq!(worker.next(&up(), at(36)), Step::Wait(at(40)));
}

#[test]
fn what_does_not_run_has_failed() {
    let ended = ContainerView { life: Life::Ended, started: false, ..up() };
    let mut worker = waited(Kind::Readiness);
    worker.next(&up(), at(3));
    worker.record(Outcome::Success, at(3));
    assert_eq!(worker.next(&ended, at(5)), Step::WaitForChange);
    assert_eq!(worker.verdict(), Verdict::Failure);
    let for_good = ContainerView { restarts: false, ..ended };
    assert_eq!(worker.next(&for_good, at(6)), Step::End);
}

#[test]
fn deletion_ends_liveness_and_startup_but_not_readiness() {
    let deleted = ContainerView { deleted: true, ..up() };
    assert_eq!(worker(Kind::Liveness).next(&deleted, at(10)), Step::End);
    let mut startup = worker(Kind::Startup);
    assert_eq!(
        startup.next(&ContainerView { started: false, ..deleted.clone() }, at(10)),
        Step::End
    );
    assert_eq!(startup.verdict(), Verdict::Success);
    assert_eq!(worker(Kind::Readiness).next(&deleted, at(10)), TRY);
    let finished = ContainerView { finished: true, ..up() };
    assert_eq!(worker(Kind::Readiness).next(&finished, at(10)), Step::End);
}

#[test]
fn after_a_restart_of_the_daemon_the_verdict_is_kept_and_the_first_probe_spread() {
    let kept = Kept { id: "c".into(), verdict: Verdict::Success };
    let delay = Duration::from_secs(4);
    let mut same = Worker::new(spec(Kind::Readiness), at(0), delay, Some(kept.clone()));
    assert_eq!(same.next(&up(), at(1)), Step::Wait(at(4)));
    assert_eq!(same.verdict(), Verdict::Success);
    let mut other = Worker::new(spec(Kind::Readiness), at(0), delay, Some(kept));
    other.next(&ContainerView { id: Some("d".into()), ..up() }, at(1));
    assert_eq!(other.verdict(), Verdict::Failure);
}
