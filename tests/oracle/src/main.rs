//! `klet-oracle DIR`: runs every case of a folder against a kletd of its own, and tells what differs
//! from what the real node did.

mod case;
mod compare;
mod deviations;
mod drive;
mod http;
mod normal;
mod notes;
mod posted;
mod recorder;
mod report;
mod shot;
mod stand_in;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, ensure};
use case::{Case, Cases};
use clap::Parser;
use klet_e2e::World;
use recorder::Recorder;
use serde_json::json;

/// The namespaces of the recorded cases.
const NAMESPACE: &str = "oracle";
const INVALID: &str = "oracle-invalid";
/// Where the recorded node's cluster had its DNS server.
const CLUSTER_DNS: &str = "10.96.0.10";
/// `--fast` leaves out cases that were looked at for longer than this, in seconds.
const FAST: f64 = 30.0;

/// Holds klet against what a real Kubernetes node did.
#[derive(Debug, Parser)]
struct Arguments {
    /// Folder of cases.
    directory: PathBuf,
    /// Run only the cases with this in their name.
    #[arg(long)]
    only: Vec<String>,
    /// Run only cases that end soon.
    #[arg(long)]
    fast: bool,
    /// Cases that run at the same time.
    #[arg(long, default_value_t = 32)]
    parallel: usize,
    /// Print every difference, known or not.
    #[arg(long)]
    verbose: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("klet-oracle: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Did every case pass?
fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let table = klet_e2e::workspace().join("docs/compatibility.md");
    let text = std::fs::read_to_string(&table).with_context(|| table.display().to_string())?;
    let table = deviations::Table::parse(&text).context("docs/compatibility.md")?;
    let mut cases = Cases::read(&arguments.directory)?;
    let wanted = |name: &str| {
        arguments.only.is_empty() || arguments.only.iter().any(|part| name.contains(part.as_str()))
    };
    cases
        .cases
        .retain(|case| wanted(&case.name) && !(arguments.fast && case.golden.notes.ended > FAST));
    cases.posted.retain(|posted| wanted(&posted.name));
    let count = cases.cases.len() + cases.posted.len();
    ensure!(count > 0, "no case to run in {}", arguments.directory.display());
    let outcomes = play(arguments, &cases)?;
    let passed = report::print(&table, &outcomes, arguments.verbose);
    Ok(passed == count)
}

/// Runs all cases in one world.
fn play(arguments: &Arguments, cases: &Cases) -> anyhow::Result<Vec<report::Outcome>> {
    let world = World::with_arguments(&[], &["--cluster-dns", CLUSTER_DNS])?;
    let socket = world.path("run/klet.sock");
    for namespace in [NAMESPACE, INVALID] {
        let object =
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
        create(&socket, "/api/v1/namespaces", &object)?;
    }
    for object in &cases.prerequisites {
        let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
        create(&socket, &format!("/api/v1/namespaces/{NAMESPACE}/{kind}s"), object)?;
    }
    stand_in::load(&socket, &stand_in::wanted(&cases.cases))?;
    let mut outcomes = Vec::new();
    for posted in &cases.posted {
        let result = posted::run(&socket, INVALID, posted);
        let (case, trace) = (posted.name.clone(), Vec::new());
        outcomes.push(report::Outcome { case, result, trace });
    }
    let recorder = Recorder::start(&socket, NAMESPACE)?;
    let place = drive::Place {
        socket: &socket,
        namespace: NAMESPACE,
        recorder: &recorder,
        linger: if arguments.fast { 5.0 } else { f64::MAX },
    };
    outcomes.extend(parallel(arguments.parallel, &place, &cases.cases));
    world.end()?;
    Ok(outcomes)
}

fn create(socket: &Path, path: &str, object: &serde_json::Value) -> anyhow::Result<()> {
    let (code, answer) = http::json(socket, "POST", path, object)?;
    ensure!(code == 201, "create {path}: {code} {answer}");
    Ok(())
}

/// The longest cases begin first, so that they do not stand alone at the end.
fn parallel(width: usize, place: &drive::Place<'_>, cases: &[Case]) -> Vec<report::Outcome> {
    let mut order: Vec<&Case> = cases.iter().collect();
    order.sort_by(|a, b| a.golden.notes.ended.total_cmp(&b.golden.notes.ended));
    let queue = Mutex::new(order);
    let (results, outcomes) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..width {
            let (queue, results) = (&queue, results.clone());
            scope.spawn(move || {
                let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
                while let Some(case) = next() {
                    let _ = results.send(outcome(place, case));
                }
            });
        }
    });
    drop(results);
    let mut outcomes: Vec<_> = outcomes.into_iter().collect();
    outcomes.sort_by(|a, b| a.case.cmp(&b.case));
    outcomes
}

fn outcome(place: &drive::Place<'_>, case: &Case) -> report::Outcome {
    let seen = drive::run(place, case);
    let shots = seen.iter().flat_map(|seen| &seen.shots);
    let trace = shots.map(|shot| format!("{:7.2} {}", shot.at, shot.line())).collect();
    let result = seen.map(|seen| compare::differences(&case.golden, &seen));
    report::Outcome { case: case.name.clone(), result, trace }
}
