//! The command line: every verb and the options all of them share.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::client::Client;
use crate::commands::{
    apply, create, delete, describe, events, exec, get, label, logs, replace, wait,
};
use crate::context::Context;
use crate::error::Result;

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
    #[arg(long, global = true, env = "KLET_SOCKET", value_name = "PATH")]
    #[arg(default_value = "/run/klet/klet.sock", hide_env_values = true)]
    socket: PathBuf,
    /// Namespace to work in.
    #[arg(short, long, global = true, value_name = "NAME")]
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
    /// Set, change or remove labels.
    Label(label::Label),
    /// Set, change or remove annotations.
    Annotate(label::Annotate),
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
            Command::Label(command) => command.run(&context).await,
            Command::Annotate(command) => command.run(&context).await,
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
