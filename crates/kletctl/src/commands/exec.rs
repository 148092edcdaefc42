//! `exec`: a command in a running container, its exit code ours.

use clap::Args;
use serde_json::Value;
use tokio::io::AsyncRead;

use crate::client::exec::{Ends, Session};
use crate::client::with_query;
use crate::containers;
use crate::context::{Context, name_of, pod_name};
use crate::error::{Error, Result, plain};
use crate::kinds;
use crate::output;
use crate::terminal::{self, RawMode};

/// Options of `exec`.
#[derive(Debug, Args)]
#[command(override_usage = "kletctl exec [-i] [-t] [-c CONTAINER] POD -- COMMAND [ARG...]")]
#[command(after_help = "Examples:
  kletctl exec web -- date
  kletctl exec -it web -c sidecar -- sh
  echo hello | kletctl exec -i web -- cat")]
pub(crate) struct Exec {
    /// POD or pod/POD.
    pod: String,
    /// The container; without it the pod's default container.
    #[arg(short, long)]
    container: Option<String>,
    /// Pass standard input to the command.
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Give the command a terminal; needs -i.
    #[arg(short, long)]
    tty: bool,
    /// Print only what the command prints.
    #[arg(short, long)]
    quiet: bool,
    /// A command without the two dashes, as kubectl once took it.
    #[arg(hide = true)]
    misplaced: Vec<String>,
    /// The command and its arguments.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Exec {
    pub(crate) async fn run(self, context: &Context) -> Result {
        if !self.misplaced.is_empty() {
            return plain(
                "exec [POD] [COMMAND] is not supported anymore. Use exec [POD] -- [COMMAND] instead",
            );
        }
        if self.command.is_empty() {
            return plain("you must specify at least one command for the container");
        }
        let pod = context.get(kinds::pod(), &pod_name(&self.pod)?).await?;
        let phase = pod["status"]["phase"].as_str().unwrap_or_default();
        if matches!(phase, "Succeeded" | "Failed") {
            return plain(format!(
                "cannot exec into a container in a completed pod; current phase is {phase}"
            ));
        }
        let container = self.container(&pod)?;
        // As with kubectl there is no terminal without standard input, nor without one on our side.
        let wants_terminal = self.tty && self.stdin;
        let raw = wants_terminal.then(RawMode::enter).flatten();
        if wants_terminal && raw.is_none() && !self.quiet {
            output::note("Unable to use a TTY - input is not a terminal or the right kind of file");
        }
        let path = self.path(context, &pod, container, raw.is_some());
        let session = async {
            let session = context.client.exec(&path).await?;
            self.talk(session, raw.is_some()).await
        };
        let ended = tokio::select! {
            ended = session => ended,
            signal = terminal::asked_to_stop() => Err(Error::Stopped(signal)),
        };
        // The terminal is given back before anything is said.
        drop(raw);
        ended
    }

    fn container<'a>(&'a self, pod: &'a Value) -> Result<&'a str> {
        match self.container.as_deref() {
            Some(wanted) if containers::has(pod, wanted) => Ok(wanted),
            Some(wanted) => plain(format!("container {wanted} not found in pod {}", name_of(pod))),
            None => containers::choose(pod, self.quiet)
                .map_or_else(|| plain(format!("pod {} has no container", name_of(pod))), Ok),
        }
    }

    fn path(&self, context: &Context, pod: &Value, container: &str, terminal: bool) -> String {
        let mut query: Vec<(&str, &str)> =
            self.command.iter().map(|arg| ("command", arg.as_str())).collect();
        query.extend([("container", container), ("stdout", "true")]);
        // A terminal has one stream for both.
        query.push(if terminal { ("tty", "true") } else { ("stderr", "true") });
        if self.stdin {
            query.push(("stdin", "true"));
        }
        with_query(&format!("{}/exec", context.path(kinds::pod(), name_of(pod))), &query)
    }

    async fn talk(&self, session: Session, terminal: bool) -> Result {
        let (mut stdin, mut stdout, mut stderr) =
            (tokio::io::stdin(), tokio::io::stdout(), tokio::io::stderr());
        let stdin = self.stdin.then_some(&mut stdin as &mut (dyn AsyncRead + Unpin));
        let sizes = if terminal { terminal::sizes() } else { None };
        session.run(Ends { stdin, stdout: &mut stdout, stderr: &mut stderr, sizes }).await
    }
}
