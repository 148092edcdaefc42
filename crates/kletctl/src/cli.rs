//! The command line: every verb and the options all of them share.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

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

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
