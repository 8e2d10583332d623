//! `kinesis-edge dead-letters`: looking at records that failed for good, and sending them again. Works
//! beside a running connector.

mod ls;
mod replay;
mod show;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use kinesis_edge::arn::DeliveryStreamArn;
use kinesis_edge::dead_letters::{Letters, Segment};
use kinesis_edge::parameters;

use super::{EXIT_CONFIGURATION, directory, report};

pub fn command() -> Command {
    Command::new("dead-letters")
        .about("Looks at records that failed for good, and sends them again")
        .long_about(
            "Looks at records that failed for a reason an operator can mend, which the connector keeps in \
             DEAD_LETTER_DIR, and sends them again once it is mended. The connector may run meanwhile.",
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(with_common(ls::command()))
        .subcommand(with_common(show::command()))
        .subcommand(with_common(replay::command()))
}

pub async fn execute(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let Some((name, matches)) = matches.subcommand() else {
        anyhow::bail!("no such command; see --help");
    };
    let path = match path_of(matches) {
        Ok(path) => path,
        Err(status) => return Ok(status),
    };
    match name {
        "ls" => ls::execute(matches, &path),
        "show" => show::execute(matches, &path),
        _ => replay::execute(matches, &path).await,
    }
}

/// What all three take.
fn with_common(command: Command) -> Command {
    let help = "The directory of the dead letters [default: that of DEAD_LETTER_DIR]";
    directory::with_args(command, help, parameters::args_dead_letters())
}

fn arg_stream() -> Arg {
    directory::arg_stream("Only letters of this stream")
}

/// Whether a letter is of the stream asked for.
fn is_wanted(matches: &ArgMatches, stream: &DeliveryStreamArn) -> bool {
    let asked = matches.get_one::<DeliveryStreamArn>("stream");
    asked.is_none_or(|asked| asked == stream)
}

/// Where the letters are.
fn path_of(matches: &ArgMatches) -> Result<PathBuf, ExitCode> {
    if let Some(path) = matches.get_one::<PathBuf>("directory") {
        return Ok(path.clone());
    }
    match parameters::load_dead_letter_dir(matches) {
        Ok(Some(path)) => Ok(path),
        Ok(None) => Err(unusable(
            "no directory given; name it as an argument or set DEAD_LETTER_DIR",
        )),
        Err(faults) => Err(report(&faults)),
    }
}

/// Says why there is nothing to work with.
fn unusable(why: impl std::fmt::Display) -> ExitCode {
    eprintln!("kinesis-edge: {why}");
    ExitCode::from(EXIT_CONFIGURATION)
}

/// Hands out each segment with its number, oldest first, until told to stop (`false`).
fn for_each_segment(
    letters: &Letters,
    mut take: impl FnMut(u64, Segment) -> io::Result<bool>,
) -> io::Result<()> {
    let numbers = letters.segments()?;
    for &number in &numbers {
        if let Some(segment) = letters.read(number, Some(&number) == numbers.last())
            && !take(number, segment)?
        {
            break;
        }
    }
    Ok(())
}
