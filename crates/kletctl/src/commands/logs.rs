//! `logs`: what containers wrote, printed and followed.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use futures_util::stream::{FuturesUnordered, StreamExt};
use http_body_util::BodyExt;
use jiff::Timestamp;
use serde_json::Value;

use super::selector_query;
use crate::client::{Lines, with_query};
use crate::containers;
use crate::context::{Context, items, name_of, pod_name};
use crate::error::{Error, Result, all_or_first, plain};
use crate::kinds;
use crate::output;

/// Lines of each container when pods are chosen by a selector and no number was given.
const SELECTED_TAIL: i64 = 10;

/// Options of `logs`.
#[derive(Debug, Args)]
#[command(override_usage = "kletctl logs [OPTIONS] POD [-c CONTAINER]")]
#[command(after_help = "Examples:
  kletctl logs web
  kletctl logs -f --tail=20 web -c sidecar
  kletctl logs -p web                          # before the last restart
  kletctl logs -l app=web --all-containers --prefix")]
pub(crate) struct Logs {
    /// POD or pod/POD; a container may follow.
    #[arg(value_name = "POD")]
    args: Vec<String>,
    /// The container; without it the pod's default container.
    #[arg(short, long)]
    container: Option<String>,
    /// Go on as the log grows.
    #[arg(short, long)]
    follow: bool,
    /// The instance before the last restart.
    #[arg(short, long)]
    previous: bool,
    /// Only lines newer than this, for example 5s, 2m or 3h.
    #[arg(long, value_parser = super::wait::duration, conflicts_with = "since_time")]
    since: Option<Duration>,
    /// Only lines after this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    since_time: Option<Timestamp>,
    /// Only the last lines; -1 for all, which is the default but for -l: 10.
    #[arg(long, value_name = "LINES", allow_negative_numbers = true)]
    tail: Option<i64>,
    /// Put the time before each line.
    #[arg(long)]
    timestamps: bool,
    /// Stop after so many bytes.
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    limit_bytes: Option<i64>,
    /// All containers of the pod.
    #[arg(long)]
    all_containers: bool,
    /// Pods with these labels.
    #[arg(short = 'l', long)]
    selector: Option<String>,
    /// Put pod and container before each line.
    #[arg(long)]
    prefix: bool,
    /// Go on with the other logs when one fails.
    #[arg(long)]
    ignore_errors: bool,
    /// How many logs may be followed at once.
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    max_log_requests: usize,
    #[command(flatten)]
    _ignored: Ignored,
    /// Only stdout or stderr.
    #[arg(long, value_parser = ["All", "Stdout", "Stderr"])]
    stream: Option<String>,
}

// Taken because scripts give them; with pods that are named and a unix socket they mean nothing,
// for kubectl as for us.
#[derive(Debug, Args)]
struct Ignored {
    #[arg(long, hide = true, value_parser = super::wait::duration)]
    pod_running_timeout: Option<Duration>,
    #[arg(long, hide = true)]
    insecure_skip_tls_verify_backend: bool,
}

/// One container's log.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    pod: String,
    container: String,
}

impl Logs {
    pub(crate) async fn run(self, context: &Context) -> Result {
        self.check()?;
        let sources = self.sources(context).await?;
        if !self.follow {
            for source in &sources {
                self.forgive(self.print(context, source).await)?;
            }
            return Ok(());
        }
        if sources.len() > self.max_log_requests {
            return plain(format!(
                "you are attempting to follow {} log streams, but maximum allowed concurrency is \
                 {}, use --max-log-requests to increase the limit",
                sources.len(),
                self.max_log_requests
            ));
        }
        let mut following: FuturesUnordered<_> =
            sources.iter().map(|source| self.print(context, source)).collect();
        let mut errors = Vec::new();
        while let Some(ended) = following.next().await {
            match self.forgive(ended) {
                Ok(()) => {}
                // Nobody reads us any more.
                Err(error @ Error::Stdio(_)) => return Err(error),
                Err(error) => errors.push(error),
            }
        }
        all_or_first(errors)
    }

    fn check(&self) -> Result {
        if self.tail.is_some_and(|tail| tail < -1) {
            return plain("--tail must be greater than or equal to -1");
        }
        if self.limit_bytes.is_some_and(|limit| limit < 0) {
            return plain("--limit-bytes must be greater than 0");
        }
        if self.since.is_some_and(|since| since.is_zero()) {
            return plain("--since must be greater than 0");
        }
        match (&self.selector, self.args.len()) {
            (Some(_), 1..) => plain("only a selector (-l) or a POD name is allowed"),
            (None, 0) => plain(
                "POD is a required argument for the logs command: \
                 kletctl logs [-f] [-p] POD [-c CONTAINER]",
            ),
            (None, 3..) => plain("only one pod, and at most one container, may be named"),
            _ if self.all_containers && self.container().is_some() => plain(format!(
                "--all-containers=true should not be specified with container name {}",
                self.container().unwrap_or_default()
            )),
            _ => Ok(()),
        }
    }

    fn container(&self) -> Option<&str> {
        self.container.as_deref().or(self.args.get(1).map(String::as_str))
    }

    /// The logs that were asked for, in the order in which they are printed.
    async fn sources(&self, context: &Context) -> Result<Vec<Source>> {
        let pods = match (&self.selector, self.args.first()) {
            (None, Some(arg)) => vec![context.get(kinds::pod(), &pod_name(arg)?).await?],
            (selector, _) => {
                let query = selector_query(selector.as_deref(), None);
                let mut list = context.list(kinds::pod(), false, &query).await?;
                items(&mut list, kinds::pod())
            }
        };
        if pods.is_empty() {
            output::note(&format!("No resources found in {} namespace.", context.namespace()));
        }
        let chosen: Vec<Vec<Source>> =
            pods.iter().map(|pod| self.of_pod(pod)).collect::<Result<_>>()?;
        Ok(chosen.into_iter().flatten().collect())
    }

    fn of_pod(&self, pod: &Value) -> Result<Vec<Source>> {
        let name = name_of(pod);
        let source =
            |container: &str| Source { pod: name.to_owned(), container: container.to_owned() };
        if self.all_containers {
            return Ok(containers::all(pod).into_iter().map(source).collect());
        }
        match self.container() {
            Some(wanted) if containers::has(pod, wanted) => Ok(vec![source(wanted)]),
            Some(wanted) => plain(format!("container {wanted} is not valid for pod {name}")),
            None => Ok(containers::choose(pod, false).map(source).into_iter().collect()),
        }
    }

    fn path(&self, context: &Context, source: &Source) -> String {
        let tail = match self.tail {
            Some(-1) => None,
            None if self.selector.is_some() => Some(SELECTED_TAIL),
            given => given,
        };
        let since = self.since.map(|since| since.as_secs_f64().ceil().to_string());
        let texts = [
            ("tailLines", tail.map(|lines| lines.to_string())),
            ("limitBytes", self.limit_bytes.filter(|limit| *limit > 0).map(|l| l.to_string())),
            ("sinceSeconds", since),
            ("sinceTime", self.since_time.map(|time| time.to_string())),
            ("stream", self.stream.clone()),
        ];
        let flags =
            [("follow", self.follow), ("previous", self.previous), ("timestamps", self.timestamps)];
        let mut query = vec![("container", source.container.as_str())];
        query.extend(flags.iter().filter(|(_, set)| *set).map(|(name, _)| (*name, "true")));
        query.extend(texts.iter().filter_map(|(name, text)| Some((*name, text.as_deref()?))));
        with_query(&format!("{}/log", context.path(kinds::pod(), &source.pod)), &query)
    }

    async fn print(&self, context: &Context, source: &Source) -> Result {
        let response = context.client.stream(&self.path(context, source)).await?;
        if self.prefix {
            let prefix = format!("[pod/{}/{}] ", source.pod, source.container);
            let mut lines = Lines::new(response);
            while let Some(line) = lines.next().await? {
                write(&[prefix.as_bytes(), &line])?;
            }
            return Ok(());
        }
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|cause| Error::Connection(cause.to_string()))?;
            if let Ok(data) = frame.into_data() {
                write(&[&data])?;
            }
        }
        Ok(())
    }

    /// With `--ignore-errors` a refusal is only told.
    fn forgive(&self, outcome: Result) -> Result {
        match outcome {
            Err(error @ (Error::Status(_) | Error::Connection(_))) if self.ignore_errors => {
                output::note(&error.to_string());
                Ok(())
            }
            other => other,
        }
    }
}

/// Writes the parts to standard output as one.
fn write(parts: &[&[u8]]) -> Result {
    let mut out = std::io::stdout().lock();
    for part in parts {
        out.write_all(part)?;
    }
    Ok(out.flush()?)
}
