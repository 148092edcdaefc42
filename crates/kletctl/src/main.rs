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
mod timeline;
mod waiting;

fn main() {
    let cli = cli::parse(std::env::args_os().collect()).unwrap_or_else(|refusal| {
        // Nothing can be done if standard error is gone.
        let _gone = refusal.print();
        // Help that was asked for is a success; all else is 1, as kubectl has it.
        std::process::exit(i32::from(refusal.use_stderr()));
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.unwrap_or_else(|cause| {
        output::note(&format!("error: {cause}"));
        std::process::exit(1);
    });
    let code = runtime.block_on(run(cli));
    // Without dropping the runtime: that would wait for a thread that reads standard input.
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
