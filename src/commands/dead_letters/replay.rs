//! `dead-letters replay`: sends letters again, straight to their streams, and marks those that arrived.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Arg, ArgAction, ArgMatches, Command};
use kinesis_edge::arn::DeliveryStreamArn;
use kinesis_edge::dead_letters::{Letters, Replay, Segment};
use kinesis_edge::destination::{Firehose, FirehoseSettings};
use kinesis_edge::parameters::{self, LogFormat, SendingParameters};
use kinesis_edge::telemetry;
use serde_json::json;

use super::super::send_out::{Group, Item, Report, Source, send_out};
use super::super::text::{count, to_stdout};
use super::super::{progress, report, signals};
use super::ls::Piles;
use super::{arg_stream, for_each_segment, is_wanted, unusable};

pub fn command() -> Command {
    Command::new("replay")
        .about("Sends letters again, straight to their streams")
        .long_about(
            "Sends letters again, straight to their streams, oldest first, and marks those that arrived: \
             they are not sent twice. It may be interrupted and run again at any time. Credentials and \
             endpoints of AWS come from where `run` looks for them, and so does how records are joined and \
             compressed (RECORD_AGGREGATION). What fails again stays.\n\n\
             Exit status: 0 when all arrived, 1 when something was left, 2 for a faulty configuration.",
        )
        .arg(arg_stream())
        .arg(
            Arg::new("dry-run")
                .long("dry-run")
                .action(ArgAction::SetTrue)
                .help("Only list what would be sent"),
        )
        .args(parameters::args_sending())
}

pub async fn execute(matches: &ArgMatches, path: &Path) -> anyhow::Result<ExitCode> {
    let json = matches.get_flag("json");
    let SendingParameters {
        aggregation,
        identity,
    } = match parameters::load_sending(matches) {
        Ok(sending) => sending,
        Err(faults) => return Ok(report(&faults)),
    };
    if matches.get_flag("dry-run") {
        let letters = match Letters::look_into(path) {
            Ok(letters) => letters,
            Err(error) => return Ok(unusable(error)),
        };
        let piles = wanted(&letters, matches)?.piles;
        to_stdout(|out| piles.write(json, out))?;
        return Ok(ExitCode::SUCCESS);
    }
    telemetry::init_logs(LogFormat::Text, &["kinesis_edge"]);
    let stop = signals::stop_requested()?;
    let replay = match Replay::start(path) {
        Ok(replay) => replay,
        Err(error) => return Ok(unusable(error)),
    };
    let Wanted { piles, first } = wanted(replay.letters(), matches)?;
    let total = piles.total().0;
    let mut source = Unsent {
        segments: replay.letters().segments()?.into(),
        replay,
        groups: VecDeque::new(),
        matches,
    };
    let report = match first {
        None => Report::default(),
        Some(stream) => {
            let destination = Firehose::new(FirehoseSettings {
                region: stream.region().to_owned(),
                identity,
                ..FirehoseSettings::default()
            })
            .await;
            let bar = progress::bar(total, "sending letters again", json);
            let report =
                send_out(&destination, &mut source, aggregation.as_ref(), &bar, stop).await;
            bar.finish_and_clear();
            report?
        }
    };
    if let Err(error) = source.replay.tidy() {
        eprintln!("kinesis-edge: letters that arrived could not be removed: {error}");
    }
    to_stdout(|out| write(&report, total, json, out))?;
    Ok(if report.left.is_empty() && !report.interrupted {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What is asked for.
struct Wanted {
    piles: Piles,
    /// The stream of the first letter.
    first: Option<DeliveryStreamArn>,
}

fn wanted(letters: &Letters, matches: &ArgMatches) -> anyhow::Result<Wanted> {
    let mut wanted = Wanted {
        piles: Piles::default(),
        first: None,
    };
    for_each_segment(letters, |_, segment| {
        for stored in segment.letters {
            if !stored.done && is_wanted(matches, &stored.letter.stream) {
                wanted.piles.add(&stored.letter);
                wanted.first.get_or_insert(stored.letter.stream);
            }
        }
        Ok(true)
    })?;
    Ok(wanted)
}

/// Where a letter stands: number of the segment, and its place there.
type Place = (u64, u32);

/// The letters that are asked for, a segment at a time.
struct Unsent<'a> {
    replay: Replay,
    /// Not read yet.
    segments: VecDeque<u64>,
    /// Of the segment that was read last.
    groups: VecDeque<Group<Place>>,
    /// Which are asked for.
    matches: &'a ArgMatches,
}

impl Unsent<'_> {
    fn group(&mut self, number: u64, segment: Segment) {
        let mut streams: BTreeMap<DeliveryStreamArn, Vec<Item<Place>>> = BTreeMap::new();
        for stored in segment.letters {
            if !stored.done && is_wanted(self.matches, &stored.letter.stream) {
                let item = Item {
                    key: (number, stored.ordinal),
                    data: stored.letter.data,
                };
                streams.entry(stored.letter.stream).or_default().push(item);
            }
        }
        let groups = streams.into_iter();
        self.groups
            .extend(groups.map(|(stream, records)| Group { stream, records }));
    }
}

impl Source for Unsent<'_> {
    type Key = Place;

    fn next(&mut self) -> anyhow::Result<Option<Group<Place>>> {
        while self.groups.is_empty() {
            let Some(number) = self.segments.pop_front() else {
                return Ok(None);
            };
            if let Some(segment) = self.replay.letters().read(number, true) {
                self.group(number, segment);
            }
        }
        Ok(self.groups.pop_front())
    }

    fn done(&mut self, places: Vec<Place>) -> anyhow::Result<()> {
        let mut segments: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for (number, ordinal) in places {
            segments.entry(number).or_default().push(ordinal);
        }
        for (number, ordinals) in segments {
            self.replay.mark(number, &ordinals).with_context(|| {
                let letters = count(ordinals.len() as u64, "letter");
                format!(
                    "{letters} arrived and could not be marked, so they would be sent again; ended here"
                )
            })?;
        }
        Ok(())
    }
}

fn write(report: &Report, total: u64, json: bool, out: &mut dyn Write) -> io::Result<()> {
    let left = report.left_records();
    // Letters that came meanwhile may have been sent too.
    let untried = if report.interrupted {
        total.saturating_sub(report.delivered + left)
    } else {
        0
    };
    if json {
        report.write_left_objects(out)?;
        let object = json!({
            "delivered": report.delivered,
            "left": left + untried,
            "interrupted": report.interrupted,
        });
        return writeln!(out, "{object}");
    }
    writeln!(out, "delivered  {}", count(report.delivered, "letter"))?;
    writeln!(out, "left       {}", count(left + untried, "letter"))?;
    if report.interrupted {
        let untried = count(untried, "letter");
        writeln!(
            out,
            "\nInterrupted, with {untried} not tried; run it again for the rest."
        )?;
    }
    report.write_left_table(out)
}
