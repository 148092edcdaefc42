//! `kletctl`: kubectl's verbs for the pods of this machine, and klet's own.
//!
//! A command reads its flags ([`cli`]), asks kletd over its socket ([`client`]), and prints
//! ([`output`]). Nothing is kept between invocations.
#![forbid(unsafe_code)]

mod cli;
mod client;
mod commands;
mod containers;
mod context;
mod describe;
mod error;
mod kinds;
mod manifest;
mod output;
mod terminal;
mod waiting;

use clap::Parser;

fn main() {
    let cli = cli::Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let code = match runtime {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(cause) => {
            output::note(&format!("error: {cause}"));
            1
        }
    };
    // A thread may still be blocked reading standard input; it must not keep us.
    std::process::exit(code);
}

async fn run(cli: cli::Cli) -> i32 {
    match cli.run().await {
        Ok(()) => 0,
        Err(error) => {
            if !error.is_silent() {
                output::note(&error.to_string());
            }
            error.exit_code()
        }
    }
}
