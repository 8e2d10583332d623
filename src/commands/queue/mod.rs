//! `kinesis-edge queue`: looking into the queue on disk of a connector that does not run, emptying it
//! and mending it.

mod drain;
mod ls;
mod repair;
mod show;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use kinesis_edge::arn::DeliveryStreamArn;
use kinesis_edge::files::DirectoryError;
use kinesis_edge::parameters;
use kinesis_edge::queue::disk::{Mend, OfflineError, OfflineQueue, Recovery};
use serde_json::{Value, json};

use super::text::count;
use super::{EXIT_CONFIGURATION, directory, progress, report};

pub fn command() -> Command {
    Command::new("queue")
        .about("Looks into the queue on disk of a stopped connector, empties it, mends it")
        .long_about(
            "Looks into the queue on disk (QUEUE_DIR) of a connector that does not run, sends what is in it, or \
             mends it after damage. A connector that runs has the directory to itself: stop it first.",
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(with_common(ls::command()))
        .subcommand(with_common(show::command()))
        .subcommand(with_common(drain::command()))
        .subcommand(with_common(repair::command()))
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
        "drain" => drain::execute(matches, &path).await,
        _ => repair::execute(matches, &path),
    }
}

/// What all take.
fn with_common(command: Command) -> Command {
    let help = "The directory of the queue [default: that of QUEUE_DIR]";
    directory::with_args(command, help, parameters::args_queue())
}

fn arg_stream() -> Arg {
    directory::arg_stream("Only records of this stream")
}

/// Where the queue is.
fn path_of(matches: &ArgMatches) -> Result<PathBuf, ExitCode> {
    if let Some(path) = matches.get_one::<PathBuf>("directory") {
        return Ok(path.clone());
    }
    match parameters::load_queue_dir(matches) {
        Ok(Some(path)) => Ok(path),
        Ok(None) => {
            eprintln!("kinesis-edge: no directory given; name it as an argument or set QUEUE_DIR");
            Err(ExitCode::from(EXIT_CONFIGURATION))
        }
        Err(faults) => Err(report(&faults)),
    }
}

/// Opens the queue, with a bar where it takes a while.
fn open(path: &Path, mend: Mend, json: bool) -> Result<OfflineQueue, ExitCode> {
    let bar = progress::bar(0, "reading the queue", json);
    let opened = OfflineQueue::open(path, mend, &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    opened.map_err(|error| {
        eprintln!("kinesis-edge: {error}");
        match error {
            // Whoever has it may be gone by and by.
            OfflineError::Directory(DirectoryError::InUse { .. }) | OfflineError::Read { .. } => {
                ExitCode::FAILURE
            }
            OfflineError::Directory(DirectoryError::Unusable { .. }) => {
                ExitCode::from(EXIT_CONFIGURATION)
            }
        }
    })
}

/// The streams that have records and are asked for.
fn streams(queue: &OfflineQueue, matches: &ArgMatches) -> io::Result<Vec<DeliveryStreamArn>> {
    let asked = matches.get_one::<DeliveryStreamArn>("stream");
    let streams = queue.overview()?.streams.into_iter();
    let wanted = streams.filter(|stream| asked.is_none_or(|asked| *asked == stream.arn));
    Ok(wanted.map(|stream| stream.arn).collect())
}

/// What was found damaged; nothing where nothing was.
fn write_damage(recovery: &Recovery, json: bool, out: &mut dyn Write) -> io::Result<()> {
    if !recovery.is_damaged() && recovery.damage.torn_bytes == 0 {
        return Ok(());
    }
    if json {
        return writeln!(out, "{}", damage_object(recovery));
    }
    let torn = recovery.damage.torn_bytes;
    if torn > 0 {
        let torn = count(torn, "byte");
        writeln!(
            out,
            "torn: {torn} at an end, of a write that a crash cut off; nothing of it was acknowledged."
        )?;
    }
    let Recovery {
        damage,
        nobodys_records,
        missing_segments,
        unusable_files,
        ..
    } = recovery;
    let parts = [
        (damage.places as u64, "damaged place"),
        (*nobodys_records as u64, "record without a stream"),
        (*missing_segments as u64, "missing file"),
        (*unusable_files as u64, "unusable file"),
    ];
    let found: Vec<String> = parts
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| match number {
            1 => format!("1 {what}"),
            _ => format!("{number} {}", what.replacen("record ", "records ", 1)),
        })
        .collect();
    if found.is_empty() {
        return Ok(());
    }
    let bytes = count(damage.bytes, "byte");
    writeln!(
        out,
        "damaged: {} ({bytes} unreadable). All that is whole is counted and can be sent; `queue repair` sets \
         damaged files aside.",
        found.join(", ")
    )
}

fn damage_object(recovery: &Recovery) -> Value {
    json!({"damage": {
        "places": recovery.damage.places,
        "bytes": recovery.damage.bytes,
        "torn_bytes": recovery.damage.torn_bytes,
        "records_without_stream": recovery.nobodys_records,
        "missing_files": recovery.missing_segments,
        "unusable_files": recovery.unusable_files,
    }})
}
