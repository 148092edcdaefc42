//! The statuses one after another, and the spans between them.

use std::collections::BTreeSet;

use super::{GLIMPSE, SPAN_PART, SPAN_SECONDS};
use crate::shot::Shot;

/// Cost of leaving out a recorded status, and of showing one more.
const MISSING: u32 = 14;
const EXTRA: u32 = 3;
/// Cost of a difference in what a container or the pod is doing, and in a detail of it.
const ESSENTIAL: u32 = 4;
const DETAIL: u32 = 1;

pub(super) fn differences(golden: &[Shot], seen: &[Shot]) -> Vec<String> {
    let mut found = Vec::new();
    let (golden, seen) = (golden.to_vec(), strip_unknown(golden, seen, &mut found));
    let pairs = align(&golden, &seen);
    for step in &pairs {
        match *step {
            Step::Pair(g, s) => fields(&golden[g], &seen[s], &mut found),
            Step::Missing(g) => {
                let until = golden.get(g + 1).map_or(f64::MAX, |next| next.at);
                let short = until - golden[g].at < GLIMPSE && is_run(&golden[g]);
                let how = if short { "glimpsed" } else { "missing" };
                found.push(format!("status {how}: {}", golden[g].line()));
            }
            Step::Extra(s) => {
                let until = seen.get(s + 1).map_or(f64::MAX, |next| next.at);
                if until - seen[s].at >= GLIMPSE {
                    found.push(format!("status added: {}", seen[s].line()));
                }
            }
        }
    }
    spans(&golden, &seen, &pairs, &mut found);
    found.dedup();
    found
}

/// Some container runs.
fn is_run(shot: &Shot) -> bool {
    shot.containers().any(|name| shot.field(&format!("{name} state")) == "running")
}

/// Takes out what no recorded status knows: one difference for each kind of field, not one for
/// each status.
fn strip_unknown(golden: &[Shot], seen: &[Shot], found: &mut Vec<String>) -> Vec<Shot> {
    let known: BTreeSet<&str> =
        golden.iter().flat_map(|s| s.fields.keys().map(String::as_str)).collect();
    let mut unknown = BTreeSet::new();
    let mut kept = seen.to_vec();
    for shot in &mut kept {
        shot.fields.retain(|name, _| {
            let newer = name.starts_with("condition ") || name.ends_with(" started");
            let keep = !newer || known.contains(name.as_str());
            if !keep {
                unknown.insert(name.clone());
            }
            keep
        });
    }
    found.extend(unknown.into_iter().map(|name| format!("status also tells: {name}")));
    // Without those fields some statuses are the same as the one before.
    kept.dedup_by(|later, earlier| later.kind == earlier.kind && later.fields == earlier.fields);
    kept
}

fn fields(golden: &Shot, seen: &Shot, found: &mut Vec<String>) {
    let when = if !golden.field("reason").is_empty() {
        format!(" when {}", golden.field("reason"))
    } else if !golden.field("deleting").is_empty() {
        " when deleting".to_owned()
    } else {
        String::new()
    };
    let has_conditions =
        |shot: &Shot| shot.fields.keys().any(|name| name.starts_with("condition "));
    let wiped = golden.field("phase") == "Failed" && !has_conditions(golden);
    let mut tell = |text: String| {
        if !found.contains(&text) {
            found.push(text);
        }
    };
    if wiped && has_conditions(seen) {
        tell(format!("status conditions{when}: recorded none, klet some"));
    }
    for name in golden.differing(seen) {
        if wiped && name.starts_with("condition ") {
            continue;
        }
        let (was, is) = match name {
            "kind" => (golden.kind.as_str(), seen.kind.as_str()),
            _ => (golden.field(name), seen.field(name)),
        };
        tell(format!("status {name}{when}: recorded {was:?}, klet {is:?}"));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Pair(usize, usize),
    Missing(usize),
    Extra(usize),
}

/// The cheapest way to lay the two sequences beside each other.
fn align(golden: &[Shot], seen: &[Shot]) -> Vec<Step> {
    let (rows, columns) = (golden.len(), seen.len());
    let mut cost = vec![vec![u32::MAX; columns + 1]; rows + 1];
    cost[rows][columns] = 0;
    for g in (0..=rows).rev() {
        for s in (0..=columns).rev() {
            let mut best = cost[g][s];
            if g < rows {
                best = best.min(cost[g + 1][s].saturating_add(MISSING));
            }
            if s < columns {
                best = best.min(cost[g][s + 1].saturating_add(EXTRA));
            }
            if g < rows && s < columns {
                let pair = distance(&golden[g], &seen[s]);
                best = best.min(cost[g + 1][s + 1].saturating_add(pair));
            }
            cost[g][s] = best;
        }
    }
    let (mut g, mut s, mut steps) = (0, 0, Vec::new());
    while g < rows || s < columns {
        let both = g < rows && s < columns;
        if both && cost[g][s] == cost[g + 1][s + 1].saturating_add(distance(&golden[g], &seen[s])) {
            steps.push(Step::Pair(g, s));
            (g, s) = (g + 1, s + 1);
        } else if s < columns && cost[g][s] == cost[g][s + 1].saturating_add(EXTRA) {
            steps.push(Step::Extra(s));
            s += 1;
        } else {
            steps.push(Step::Missing(g));
            g += 1;
        }
    }
    steps
}

/// 0 for the same; more than leaving both out for what has nothing in common.
fn distance(golden: &Shot, seen: &Shot) -> u32 {
    let differing = golden.differing(seen);
    let weigh = |name: &&str| if is_essential(name) { ESSENTIAL } else { DETAIL };
    differing.iter().map(weigh).sum()
}

fn is_essential(field: &str) -> bool {
    matches!(field, "kind" | "deleting" | "phase")
        || field.ends_with(" state")
        || field.ends_with(" restarts")
        || field.ends_with(" ready")
}

/// The place in `seen` of the shot that shows, in everything essential, what the last recorded
/// one shows. If the record shows that several times (a container that waits again and again),
/// so must klet have. `None`: not yet.
pub(crate) fn reached(golden: &[Shot], seen: &[Shot]) -> Option<usize> {
    let last = golden.last()?;
    if last.kind == "DELETED" {
        return seen.iter().position(|shot| shot.kind == "DELETED");
    }
    let wanted = visits(golden, last).len();
    visits(seen, last).into_iter().nth(wanted.checked_sub(1)?)
}

/// Where a sequence comes to show the same as `shot` in everything essential.
fn visits(shots: &[Shot], shot: &Shot) -> Vec<usize> {
    let same = |other: &Shot| {
        other.kind != "DELETED" && shot.differing(other).iter().all(|name| !is_essential(name))
    };
    let (mut found, mut before) = (Vec::new(), false);
    for (index, other) in shots.iter().enumerate() {
        let now = same(other);
        if now && !before {
            found.push(index);
        }
        before = now;
    }
    found
}

/// Spans between statuses that both show. A container that waits out a back-off is measured
/// against the back-off itself: the kubelet looks again only every 10 to 15 seconds.
fn spans(golden: &[Shot], seen: &[Shot], steps: &[Step], found: &mut Vec<String>) {
    let mut before: Option<(&Shot, &Shot)> = None;
    for step in steps {
        let Step::Pair(g, s) = *step else { continue };
        let now = (&golden[g], &seen[s]);
        if let Some(before) = before {
            let (recorded, own) = (now.0.at - before.0.at, now.1.at - before.1.at);
            let what = now.0.line();
            if let Some(named) = back_off_ended(before.1, now.1) {
                let exact = (-0.5..=SPAN_SECONDS).contains(&(own - named));
                let verdict = if exact { "as it says" } else { "not as it says" };
                found.push(format!("time of a back-off {verdict}: {named:.0} s, klet {own:.0} s"));
            } else if (recorded - own).abs() > SPAN_SECONDS + SPAN_PART * recorded {
                let how = if own < recorded { "sooner" } else { "later" };
                found.push(format!(
                    "time {how}: {recorded:.0} s recorded, klet {own:.0} s until {what}"
                ));
            }
        }
        before = Some(now);
    }
}

/// The back-off, in seconds, that a container waited out between two statuses.
fn back_off_ended(before: &Shot, now: &Shot) -> Option<f64> {
    before.containers().find_map(|name| {
        let state = |shot: &Shot| shot.field(&format!("{name} state")).to_owned();
        let waited = state(before) == "waiting:CrashLoopBackOff" && state(now) != state(before);
        let message = before.field(&format!("{name} msg"));
        let length = message.strip_prefix("back-off ")?.split(' ').next()?;
        waited.then(|| crate::notes::seconds(length)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shot(line: &str) -> Shot {
        Shot::parse(line).expect("a shot")
    }

    fn golden() -> Vec<Shot> {
        vec![
            shot("0.0 ADDED phase=Pending | conds[]"),
            shot("1.0 MODIFIED phase=Running | main=running ready=True restarts=0"),
            shot("5.0 MODIFIED phase=Failed | main=terminated:Error(1) ready=False restarts=0"),
        ]
    }

    #[test]
    fn the_same_has_no_differences() {
        assert_eq!(differences(&golden(), &golden()), [""; 0]);
    }

    #[test]
    fn a_missing_status_and_one_that_stands_long_are_told() {
        let mut brief = golden();
        brief[2].at = 2.5;
        let glimpsed = "status glimpsed: MODIFIED phase=Running main=running/0";
        let seen = [brief[0].clone(), brief[2].clone()];
        assert_eq!(differences(&brief, &seen), [glimpsed]);
        let mut seen = golden();
        seen.remove(1);
        let missing = "status missing: MODIFIED phase=Running main=running/0";
        assert_eq!(differences(&golden(), &seen), [missing]);
        let mut seen = golden();
        seen.insert(1, shot("0.5 MODIFIED phase=Pending | main=waiting:X ready=False restarts=0"));
        assert_eq!(differences(&golden(), &seen), [""; 0], "half a second is a glimpse");
        seen[2].at = 3.0;
        let added = "status added: MODIFIED phase=Pending main=waiting:X/0";
        assert_eq!(differences(&golden(), &seen), [added]);
    }

    #[test]
    fn fields_that_differ_are_named() {
        let mut seen = golden();
        seen[2] =
            shot("5.0 MODIFIED phase=Failed | main=terminated:Error(2) ready=False restarts=0");
        let wanted =
            "status main state: recorded \"terminated:Error(1)\", klet \"terminated:Error(2)\"";
        assert_eq!(differences(&golden(), &seen), [wanted]);
    }

    #[test]
    fn what_no_recorded_status_knows_is_told_once() {
        let mut seen = golden();
        for shot in &mut seen[1..] {
            shot.fields.insert("condition New".to_owned(), "True".to_owned());
        }
        assert_eq!(differences(&golden(), &seen), ["status also tells: condition New"]);
    }

    #[test]
    fn spans_are_held_to_the_tolerance() {
        let mut seen = golden();
        seen[2].at = 8.0;
        assert_eq!(differences(&golden(), &seen), [""; 0], "7 s for 4 s: 3 s more are tolerated");
        seen[2].at = 9.0;
        let wanted = "time later: 4 s recorded, klet 8 s until MODIFIED phase=Failed main=terminated:Error(1)/0";
        assert_eq!(differences(&golden(), &seen), [wanted]);
    }

    #[test]
    fn a_back_off_is_held_to_its_own_length() {
        let waits = "2 MODIFIED phase=Running | main=waiting:CrashLoopBackOff \
            msg=\"back-off 1m20s restarting failed container=main\" ready=False restarts=1";
        let runs = |at: f64| {
            shot(&format!("{at} MODIFIED phase=Running | main=running ready=True restarts=2"))
        };
        let golden = [shot(waits), runs(96.0)];
        let wanted = "time of a back-off as it says: 80 s, klet 80 s";
        assert_eq!(differences(&golden, &[shot(waits), runs(82.0)]), [wanted]);
        let wanted = "time of a back-off not as it says: 80 s, klet 94 s";
        assert_eq!(differences(&golden, &[shot(waits), runs(96.0)]), [wanted]);
    }

    #[test]
    fn differences_of_a_deleted_or_failed_pod_say_so() {
        let deleting = shot("1 MODIFIED phase=Running | deleting(grace=3) | conds[Ready=True]");
        let own = shot("1 MODIFIED phase=Failed | deleting(grace=3) | conds[Ready=True]");
        let wanted = "status phase when deleting: recorded \"Running\", klet \"Failed\"";
        assert_eq!(differences(&[deleting], &[own]), [wanted]);
        let wiped = shot("1 MODIFIED phase=Failed | reason=Evicted | conds[]");
        let own = shot("1 MODIFIED phase=Failed | reason=Evicted | conds[Ready=False]");
        let first = shot("0 ADDED phase=Pending | conds[Ready=False]");
        let wanted = "status conditions when Evicted: recorded none, klet some";
        assert_eq!(differences(&[first.clone(), wiped], &[first, own]), [wanted]);
    }

    #[test]
    fn the_last_status_is_reached_in_what_is_essential_and_as_often() {
        let golden = golden();
        assert_eq!(reached(&golden, &golden[..2]), None);
        assert_eq!(reached(&golden, &golden), Some(2));
        let mut other = golden.clone();
        other[2].fields.insert("main msg".to_owned(), "other".to_owned());
        assert_eq!(reached(&golden, &other), Some(2));
        let twice = [&golden[..], &golden[1..]].concat();
        assert_eq!(reached(&twice, &golden), None, "it failed twice");
        assert_eq!(reached(&twice, &twice), Some(4));
        let gone = [shot("9 DELETED phase=Running")];
        assert_eq!(reached(&gone, &[shot("9 DELETED phase=Failed")]), Some(0));
    }
}
