//! `queue show`: the records in the queue, each by itself.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, value_parser};
use kinesis_edge::arn::DeliveryStreamArn;
use kinesis_edge::queue::disk::{Loaded, Mend, Wanted};
use serde_json::json;

use super::super::text::{count, excerpt, insert_data, time, to_stdout};

/// Records that people are shown where they do not say how many.
const LIMIT: u64 = 20;

/// The most characters that people are shown of a record or an id.
const CHARACTERS: usize = 400;

/// Records read at a time.
const AT_A_TIME: Wanted = Wanted {
    records: 500,
    bytes: 4 * 1024 * 1024,
};

pub fn command() -> Command {
    Command::new("show")
        .about("Shows records, oldest first")
        .arg(super::arg_stream())
        .arg(
            Arg::new("limit")
                .long("limit")
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..))
                .help("How many of each stream at most [default: 20; with --json all]"),
        )
}

pub fn execute(matches: &ArgMatches, path: &Path) -> anyhow::Result<ExitCode> {
    let json = matches.get_flag("json");
    let queue = match super::open(path, Mend::No, json) {
        Ok(queue) => queue,
        Err(status) => return Ok(status),
    };
    let asked = matches.get_one::<u64>("limit").copied();
    let limit = asked.unwrap_or(if json { u64::MAX } else { LIMIT });
    let streams = super::streams(&queue, matches)?;
    to_stdout(|out| {
        for arn in &streams {
            let stream = queue.stream(arn);
            let mut shown = 0;
            while shown < limit {
                let load = queue.load(&stream, AT_A_TIME)?;
                if load.records.is_empty() {
                    break;
                }
                for record in load.records.iter().take((limit - shown) as usize) {
                    write(arn, record, json, out)?;
                    shown += 1;
                }
            }
            let more = (stream.depth().held() as u64).saturating_sub(shown);
            if more > 0 && !json {
                let more = count(more, "more record");
                writeln!(out, "{more} of {arn}; --limit shows them\n")?;
            }
        }
        super::write_damage(queue.recovery(), json, out)
    })?;
    Ok(ExitCode::SUCCESS)
}

fn write(
    arn: &DeliveryStreamArn,
    record: &Loaded,
    json: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let id = String::from_utf8_lossy(&record.id);
    if json {
        let mut object = json!({
            "received": time(record.received_unix_ms),
            "stream": arn.as_str(),
            "id": id,
            "bytes": record.data.len(),
        });
        if let Some(object) = object.as_object_mut() {
            insert_data(object, &record.data);
        }
        return writeln!(out, "{object}");
    }
    let id = match excerpt(&id, CHARACTERS) {
        id if id.is_empty() => "(none)".to_owned(),
        id => id,
    };
    // A character takes at most four bytes; the rest is not shown, so it need not be read.
    let beginning = &record.data[..record.data.len().min(4 * (CHARACTERS + 1))];
    let beginning = excerpt(&String::from_utf8_lossy(beginning), CHARACTERS);
    writeln!(out, "received  {}", time(record.received_unix_ms))?;
    writeln!(out, "stream    {arn}")?;
    writeln!(out, "id        {id}")?;
    writeln!(out, "size      {}", count(record.data.len() as u64, "byte"))?;
    writeln!(out, "record    {beginning}\n")
}
