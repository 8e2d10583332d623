//! The subcommands, one file each. They put the library together and talk to the person at the
//! terminal; what the connector does is in the library.

mod check;
#[cfg(feature = "pages")]
mod completions;
mod config;
#[cfg(feature = "pages")]
mod config_file;
mod dead_letters;
mod directory;
mod health;
#[cfg(feature = "local")]
mod local;
#[cfg(feature = "pages")]
mod man;
mod policy;
mod progress;
mod queue;
mod run;
mod send;
mod send_out;
mod signals;
mod text;

use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use kinesis_edge::connector::ConnectorError;
use kinesis_edge::parameters::Faults;
use kinesis_edge::telemetry::last_words;

/// Exit status of a faulty configuration; restarting does not help.
const EXIT_CONFIGURATION: u8 = 2;

/// The whole command line.
pub fn command_line() -> Command {
    let command = program();
    #[cfg(feature = "local")]
    let command = command.subcommand(local::command());
    let command = command.subcommands(installed_commands());
    #[cfg(feature = "pages")]
    let command = command
        .subcommand(completions::command())
        .subcommand(config_file::command())
        .subcommand(man::command());
    command
}

/// The command line of the program in a package: without the stand-ins, and without the commands that print what
/// the package installs beside it.
#[cfg(feature = "pages")]
fn installed_command_line() -> Command {
    program().subcommands(installed_commands())
}

fn program() -> Command {
    Command::new("kinesis-edge")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Sends data from local MQTT apps to Amazon Data Firehose")
        .long_about(
            "Sends data from local MQTT apps to Amazon Data Firehose, and tells each app what became of \
             its records. It takes the place of the AWS IoT Greengrass Kinesis Firehose connector: topics, \
             payloads and parameters are the same.",
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(run::command())
}

/// All but `run`.
fn installed_commands() -> [Command; 7] {
    [
        check::command(),
        send::command(),
        queue::command(),
        dead_letters::command(),
        config::command(),
        health::command(),
        policy::command(),
    ]
}

/// Runs the subcommand that was asked for.
pub async fn dispatch(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    match matches.subcommand() {
        Some(("run", matches)) => run::execute(matches).await,
        #[cfg(feature = "local")]
        Some(("local", matches)) => local::execute(matches).await,
        Some(("check", matches)) => check::execute(matches).await,
        Some(("send", matches)) => send::execute(matches).await,
        Some(("queue", matches)) => queue::execute(matches).await,
        Some(("dead-letters", matches)) => dead_letters::execute(matches).await,
        Some(("config", matches)) => config::execute(matches),
        Some(("health", matches)) => health::execute(matches).await,
        Some(("policy", matches)) => policy::execute(matches),
        #[cfg(feature = "pages")]
        Some(("completions", matches)) => completions::execute(matches),
        #[cfg(feature = "pages")]
        Some(("config-file", matches)) => config_file::execute(matches),
        #[cfg(feature = "pages")]
        Some(("man", matches)) => man::execute(matches),
        _ => Err(anyhow::anyhow!("no such command; see --help")),
    }
}

/// `--json`, of commands that show something.
fn arg_json() -> Arg {
    Arg::new("json")
        .long("json")
        .action(ArgAction::SetTrue)
        .help("For programs: one JSON object per line")
}

/// Tells every fault of a configuration.
fn report(faults: &Faults) -> ExitCode {
    eprintln!("{faults}");
    ExitCode::from(EXIT_CONFIGURATION)
}

/// Tells why the connector cannot be made. Whatever it is may be gone at the next start: who has a directory, what ails
/// a disk, a certificate whose key is not renewed yet.
fn unusable(error: &ConnectorError) -> ExitCode {
    last_words(&format!("kinesis-edge cannot start: {error}"));
    ExitCode::FAILURE
}

/// Exit status after a stop: 0 where nothing was lost.
fn exit_code(leftover: kinesis_edge::connector::Leftover) -> ExitCode {
    if leftover.is_nothing() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
