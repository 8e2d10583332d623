//! `queue ls`: what is in the queue, by stream.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{ArgMatches, Command};
use kinesis_edge::queue::disk::{Mend, Overview, StreamOverview};
use serde_json::json;

use super::super::text::{Table, count, time, to_stdout};

pub fn command() -> Command {
    Command::new("ls").about("Lists how many records wait, by stream")
}

pub fn execute(matches: &ArgMatches, path: &Path) -> anyhow::Result<ExitCode> {
    let json = matches.get_flag("json");
    let queue = match super::open(path, Mend::No, json) {
        Ok(queue) => queue,
        Err(status) => return Ok(status),
    };
    let overview = queue.overview()?;
    to_stdout(|out| {
        write(&overview, json, out)?;
        super::write_damage(queue.recovery(), json, out)
    })?;
    Ok(ExitCode::SUCCESS)
}

fn write(overview: &Overview, json: bool, mut out: &mut dyn Write) -> io::Result<()> {
    if json {
        return write_json(overview, out);
    }
    let mut table = Table::new(&["STREAM", "RECORDS", "BYTES", "OLDEST"]);
    let (mut records, mut bytes) = (0, 0);
    for stream in &overview.streams {
        records += stream.records;
        bytes += stream.bytes;
        table.row([
            stream.arn.to_string(),
            stream.records.to_string(),
            stream.bytes.to_string(),
            oldest(stream).unwrap_or_default(),
        ]);
    }
    table.row(["total".to_owned(), records.to_string(), bytes.to_string()]);
    table.write(&mut out)?;
    let files = count(overview.files as u64, "file");
    let taken = count(overview.bytes, "byte");
    writeln!(out, "on disk: {taken} in {files}")?;
    for (name, bytes) in &overview.set_aside {
        let bytes = count(*bytes, "byte");
        writeln!(
            out,
            "set aside: {name}, {bytes}. Its whole records were kept; remove it when nobody wants to look at it."
        )?;
    }
    Ok(())
}

fn write_json(overview: &Overview, out: &mut dyn Write) -> io::Result<()> {
    for stream in &overview.streams {
        let object = json!({
            "stream": stream.arn.as_str(),
            "records": stream.records,
            "bytes": stream.bytes,
            "oldest": oldest(stream),
        });
        writeln!(out, "{object}")?;
    }
    let object = json!({"files": overview.files, "bytes_on_disk": overview.bytes});
    writeln!(out, "{object}")?;
    for (name, bytes) in &overview.set_aside {
        let object = json!({"set_aside": {"file": name, "bytes": bytes}});
        writeln!(out, "{object}")?;
    }
    Ok(())
}

fn oldest(stream: &StreamOverview) -> Option<String> {
    stream.oldest_unix_ms.map(time)
}
