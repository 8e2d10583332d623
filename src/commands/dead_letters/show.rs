//! `dead-letters show`: each letter, with its record.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, value_parser};
use kinesis_edge::dead_letters::{Letter, Letters};
use serde_json::{Value, json};

use super::super::text::{count, excerpt, insert_data, time, to_stdout};
use super::{arg_stream, for_each_segment, is_wanted, unusable};

/// Letters that people are shown where they do not say how many.
const LIMIT: u64 = 20;

/// The most characters that people are shown of a record, and of a text about it.
const CHARACTERS: usize = 400;

pub fn command() -> Command {
    Command::new("show")
        .about("Shows letters, oldest first, each with its record")
        .arg(arg_stream())
        .arg(
            Arg::new("limit")
                .long("limit")
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..))
                .help("How many at most [default: 20; with --json all]"),
        )
}

pub fn execute(matches: &ArgMatches, path: &Path) -> anyhow::Result<ExitCode> {
    let letters = match Letters::look_into(path) {
        Ok(letters) => letters,
        Err(error) => return Ok(unusable(error)),
    };
    let json = matches.get_flag("json");
    let asked = matches.get_one::<u64>("limit").copied();
    let limit = asked.unwrap_or(if json { u64::MAX } else { LIMIT });
    let (mut shown, mut more) = (0, 0u64);
    to_stdout(|out| {
        for_each_segment(&letters, |_, segment| {
            for stored in segment.letters {
                let letter = &stored.letter;
                if stored.done || !is_wanted(matches, &letter.stream) {
                    continue;
                }
                if shown == limit {
                    more += 1;
                    continue;
                }
                shown += 1;
                write(letter, json, out)?;
            }
            Ok(shown < limit || !json)
        })?;
        if more > 0 && !json {
            writeln!(out, "{} more; --limit shows them", count(more, "letter"))?;
        }
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

fn write(letter: &Letter, json: bool, out: &mut dyn Write) -> io::Result<()> {
    if json {
        return writeln!(out, "{}", object(letter));
    }
    let one_line = |text: &str| excerpt(text, CHARACTERS);
    let id = match one_line(&letter.id) {
        id if id.is_empty() => "(none)".to_owned(),
        id => id,
    };
    // A character takes at most four bytes; the rest is not shown, so it need not be read.
    let beginning = &letter.data[..letter.data.len().min(4 * (CHARACTERS + 1))];
    writeln!(out, "failed    {}", time(letter.failed_unix_ms))?;
    writeln!(out, "received  {}", time(letter.received_unix_ms))?;
    writeln!(out, "stream    {}", letter.stream)?;
    writeln!(out, "id        {id}")?;
    writeln!(out, "code      {}", one_line(&letter.code))?;
    writeln!(out, "message   {}", one_line(&letter.message))?;
    writeln!(out, "size      {}", count(letter.data.len() as u64, "byte"))?;
    writeln!(
        out,
        "record    {}\n",
        one_line(&String::from_utf8_lossy(beginning))
    )
}

fn object(letter: &Letter) -> Value {
    let mut object = json!({
        "failed": time(letter.failed_unix_ms),
        "received": time(letter.received_unix_ms),
        "stream": letter.stream.as_str(),
        "id": letter.id,
        "code": letter.code,
        "message": letter.message,
        "bytes": letter.data.len(),
    });
    if let Some(object) = object.as_object_mut() {
        insert_data(object, &letter.data);
    }
    object
}
