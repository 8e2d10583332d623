//! The command line of kinesis-edge: which subcommand, and the runtime it runs on.

#![forbid(unsafe_code)]

mod commands;

use std::process::ExitCode;

use kinesis_edge::telemetry::last_words;

fn main() -> ExitCode {
    let matches = commands::command_line().get_matches();
    // Two threads: one can receive while the other signs and sends. More would only wake up more.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(commands::dispatch(&matches));
            // A look-up of a host name cannot be interrupted, and nobody waits for its answer now.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(anyhow::Error::new(error).context("the runtime could not be started")),
    };
    result.unwrap_or_else(|error| {
        last_words(&format!("kinesis-edge: {error:#}"));
        ExitCode::FAILURE
    })
}
