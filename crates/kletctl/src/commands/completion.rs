//! `completion` and `man`: what a package installs beside the program.

use std::path::PathBuf;

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::error::{Error, Result};
use crate::output;

/// The shells that scripts exist for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Known {
    Bash,
    Zsh,
    Fish,
}

/// Options of `completion`.
#[derive(Debug, Args)]
#[command(
    after_help = "Try it:\n  source <(kletctl completion bash)\n  kletctl completion fish | source"
)]
pub(crate) struct Completion {
    shell: Known,
}

impl Completion {
    pub(crate) fn run(self) -> Result {
        let shell = match self.shell {
            Known::Bash => Shell::Bash,
            Known::Zsh => Shell::Zsh,
            Known::Fish => Shell::Fish,
        };
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "kletctl", &mut script);
        output::print(&String::from_utf8_lossy(&script))
    }
}

/// Options of `man`.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Directory to write to; it is made if need be.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

impl Man {
    pub(crate) fn run(self) -> Result {
        let write = || {
            std::fs::create_dir_all(&self.dir)?;
            clap_mangen::generate_to(Cli::command(), &self.dir)
        };
        write().map_err(|cause| Error::File { path: self.dir.clone(), cause })
    }
}
