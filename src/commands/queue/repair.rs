//! `queue repair`: moves whole records out of damaged files and sets those aside.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{ArgMatches, Command};
use kinesis_edge::queue::disk::{Mend, Recovery, Repaired};
use serde_json::json;

use super::super::progress;
use super::super::text::{count, to_stdout};

pub fn command() -> Command {
    Command::new("repair")
        .about("Moves whole records out of damaged files, and sets those files aside")
        .long_about(
            "Reads the whole queue, says what is damaged, moves the whole records of damaged files into a new \
             one, and gives the damaged files the ending .damaged: nothing is deleted. It may be interrupted and \
             run again at any time. The connector does the same by and by while it runs.",
        )
}

pub fn execute(matches: &ArgMatches, path: &Path) -> anyhow::Result<ExitCode> {
    let json = matches.get_flag("json");
    let mut queue = match super::open(path, Mend::Yes, json) {
        Ok(queue) => queue,
        Err(status) => return Ok(status),
    };
    let bar = progress::bar(0, "moving records out of damaged files", json);
    let repaired = queue.repair(&mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let repaired = repaired.context("the queue could not be repaired; what was done stays done")?;
    let recovery = queue.recovery().clone();
    queue
        .close()
        .context("the directory could not be tidied up")?;
    to_stdout(|out| write(&recovery, repaired, json, out))?;
    Ok(ExitCode::SUCCESS)
}

fn write(
    recovery: &Recovery,
    repaired: Repaired,
    json: bool,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let records = recovery.records as u64;
    let set_aside = (repaired.set_aside + recovery.unusable_files) as u64;
    super::write_damage(recovery, json, out)?;
    if json {
        let object = json!({"records": records, "moved": repaired.records, "set_aside": set_aside});
        return writeln!(out, "{object}");
    }
    let records = count(records, "record");
    if set_aside == 0 {
        return writeln!(out, "nothing to repair; {records} in the queue");
    }
    writeln!(
        out,
        "set aside {}, {} moved out of them; {records} in the queue",
        count(set_aside, "file"),
        count(repaired.records as u64, "record"),
    )
}
