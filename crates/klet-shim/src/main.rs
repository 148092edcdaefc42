//! `klet-shim`: the supervisor of one pod.
//!
//! One thread, one epoll loop, parent of everything in the pod. It starts, signals and waits for
//! processes as it is told over its control socket, writes their output to log files and each end
//! to a record before announcing it, and needs nobody: kletd may come and go.
//!
//! * [`pod`]: the state and what requests do to it;
//! * [`container`], [`session`]: one container attempt, one exec session;
//! * [`output`]: pipes and terminals into CRI log files;
//! * [`clients`]: connections and their framing;
//! * [`poll`]: epoll with typed tokens;
//! * [`record`]: the files through which a later kletd finds everything again.
#![forbid(unsafe_code)]

mod clients;
mod container;
mod output;
mod pod;
mod poll;
mod record;
mod session;

use std::path::PathBuf;
use std::process::ExitCode;

/// What the command line says.
struct Arguments {
    run: PathBuf,
    pod: String,
    cgroup: String,
}

fn main() -> ExitCode {
    let Some(arguments) = parse(std::env::args().skip(1)) else {
        eprintln!("usage: klet-shim --run DIR --pod UID --cgroup PATH (started by kletd)");
        return ExitCode::from(2);
    };
    match pod::supervise(&arguments.run, &arguments.pod, &arguments.cgroup) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("klet-shim: pod {}: {}", arguments.pod, chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error with all its causes, in one line: kletd shows it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn parse(mut words: impl Iterator<Item = String>) -> Option<Arguments> {
    let (mut run, mut pod, mut cgroup) = (None, None, None);
    while let Some(word) = words.next() {
        let value = words.next()?;
        match word.as_str() {
            "--run" => run = Some(PathBuf::from(value)),
            "--pod" => pod = Some(value),
            "--cgroup" => cgroup = Some(value),
            _ => return None,
        }
    }
    Some(Arguments { run: run?, pod: pod?, cgroup: cgroup? })
}
