//! The command line: every verb and the options all of them share.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::client::Client;
use crate::commands::{
    api_resources, apply, completion, create, delete, describe, edit, events, exec, get, image,
    label, logs, patch, replace, run, system, timeline, version, wait,
};
use crate::context::Context;
use crate::error::Result;

/// Heading of the options that every verb has.
const GLOBAL: &str = "Global options";

/// Runs Kubernetes Pods on this machine, without a cluster.
#[derive(Debug, Parser)]
#[command(name = "kletctl", version, propagate_version = false, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Global {
    /// kletd's socket.
    #[arg(long, global = true, env = "KLET_SOCKET", value_name = "PATH", help_heading = GLOBAL)]
    #[arg(default_value = "/run/klet/klet.sock", hide_env_values = true)]
    socket: PathBuf,
    /// Namespace to work in.
    #[arg(short, long, global = true, value_name = "NAME", help_heading = GLOBAL)]
    namespace: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the server's objects what the manifests say.
    Apply(apply::Apply),
    /// Create objects from manifests, or a configmap, secret or namespace from flags.
    Create(create::Create),
    /// Replace objects by manifests.
    Replace(replace::Replace),
    /// Delete objects by manifest, name or selector.
    Delete(delete::Delete),
    /// Show one or many objects.
    Get(get::Get),
    /// Show an object in detail, with its events.
    Describe(describe::Describe),
    /// Print the logs of a container.
    #[command(alias = "log")]
    Logs(logs::Logs),
    /// Run a command in a container.
    Exec(exec::Exec),
    /// Wait for a condition.
    Wait(wait::Wait),
    /// List events.
    #[command(alias = "event")]
    Events(events::Events),
    /// Show a pod's life as it happened.
    Timeline(timeline::Timeline),
    /// Run an image in a pod.
    Run(run::Run),
    /// Change an object in an editor.
    Edit(edit::Edit),
    /// Change fields of an object.
    Patch(patch::Patch),
    /// Set, change or remove labels.
    Label(label::Label),
    /// Set, change or remove annotations.
    Annotate(label::Annotate),
    /// Load, list, inspect and remove images.
    #[command(subcommand, alias = "images")]
    Image(image::Image),
    /// Facts, checks, disk usage.
    #[command(subcommand)]
    System(system::System),
    /// Show the versions of client and server.
    Version(version::Version),
    /// List the kinds of objects the server knows.
    ApiResources(api_resources::ApiResources),
    /// Write a shell's completion script to standard output.
    Completion(completion::Completion),
    /// Write the manual pages.
    #[command(hide = true)]
    Man(completion::Man),
}

/// Reads a command line. A switch may be given a value, as in `--all-containers=true`.
pub(crate) fn parse(words: Vec<OsString>) -> Result<Cli, clap::Error> {
    let read = Cli::try_parse_from(&words);
    let Err(refusal) = read else { return read };
    if !matches!(refusal.kind(), ErrorKind::TooManyValues | ErrorKind::UnknownArgument) {
        return Err(refusal);
    }
    match with_values(Cli::command()).try_get_matches_from(words) {
        Ok(matches) => Cli::from_arg_matches(&matches),
        Err(_) => Err(refusal),
    }
}

/// The same commands, where every switch takes an optional value. Their help would be ugly, so it
/// is not theirs that is shown.
fn with_values(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| match arg.get_action() {
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .value_parser(clap::value_parser!(bool))
            .num_args(0..=1)
            .require_equals(true)
            .default_value("false")
            .default_missing_value("true"),
        _ => arg,
    });
    command.mut_subcommands(with_values)
}

impl Cli {
    /// Carries out what the command line says.
    pub(crate) async fn run(self) -> Result {
        let client = Client::new(&self.global.socket);
        let context = Context { client, namespace: self.global.namespace };
        match self.command {
            Command::Apply(command) => command.run(&context).await,
            Command::Create(command) => command.run(&context).await,
            Command::Replace(command) => command.run(&context).await,
            Command::Delete(command) => command.run(&context).await,
            Command::Get(command) => command.run(&context).await,
            Command::Describe(command) => command.run(&context).await,
            Command::Logs(command) => command.run(&context).await,
            Command::Exec(command) => command.run(&context).await,
            Command::Wait(command) => command.run(&context).await,
            Command::Events(command) => command.run(&context).await,
            Command::Timeline(command) => command.run(&context).await,
            Command::Run(command) => command.run(&context).await,
            Command::Edit(command) => command.run(&context).await,
            Command::Patch(command) => command.run(&context).await,
            Command::Label(command) => command.run(&context).await,
            Command::Annotate(command) => command.run(&context).await,
            Command::Image(command) => command.run(&context).await,
            Command::System(command) => command.run(&context).await,
            Command::Version(command) => command.run(&context).await,
            Command::ApiResources(command) => command.run(&context).await,
            Command::Completion(command) => command.run(),
            Command::Man(command) => command.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::{Cli, Command, parse};

    fn read(line: &str) -> Result<Cli, clap::Error> {
        parse(line.split(' ').map(Into::into).collect())
    }

    #[test]
    fn switches_take_a_value_as_kubectls_do() {
        for line in ["kletctl get pods -A", "kletctl get pods -A=true --watch=false"] {
            let Ok(Cli { command: Command::Get(get), .. }) = read(line) else { panic!("{line}") };
            let get = format!("{get:?}");
            assert!(get.contains("all_namespaces: true") && get.contains("watch: false"), "{get}");
        }
        let exec = "kletctl exec --stdin=true -t x -- a --b=c";
        let Ok(Cli { command: Command::Exec(exec), .. }) = read(exec) else { panic!("{exec}") };
        let exec = format!("{exec:?}");
        assert!(exec.contains("stdin: true") && exec.contains("tty: true"), "{exec}");
        assert!(read("kletctl exec -it=true x -- sh").is_ok());
        assert!(read("kletctl get pods --watch=maybe").is_err());
        assert!(read("kletctl get pods --no-such=true").is_err());
    }

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
