//! `queue drain`: sends what is in the queue straight to its streams, for a device that is not to run a
//! connector any more.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{ArgMatches, Command};
use kinesis_edge::arn::DeliveryStreamArn;
use kinesis_edge::batch::{BATCH_MAX_BYTES, BATCH_MAX_RECORDS};
use kinesis_edge::destination::{Firehose, FirehoseSettings};
use kinesis_edge::parameters::{self, LogFormat, SendingParameters};
use kinesis_edge::queue::disk::{DiskStream, Mend, OfflineQueue, Place, Wanted};
use kinesis_edge::telemetry;
use serde_json::json;

use super::super::send_out::{Group, Item, Report, Source, send_out};
use super::super::text::{count, to_stdout};
use super::super::{progress, report, signals};

/// Records read at a time: those of one call, or where they are joined of a few full Firehose records.
fn at_a_time(is_joined: bool) -> Wanted {
    Wanted {
        records: BATCH_MAX_RECORDS * if is_joined { 10 } else { 1 },
        bytes: BATCH_MAX_BYTES,
    }
}

pub fn command() -> Command {
    Command::new("drain")
        .about("Sends what waits, straight to its streams")
        .long_about(
            "Sends what waits, straight to its streams, and takes out of the queue what arrived. It may be \
             interrupted and run again at any time. No statuses are published: no broker is needed. \
             Credentials and endpoints of AWS come from where `run` looks for them, and so does how records are joined and \
             compressed (RECORD_AGGREGATION). What fails stays.\n\n\
             Exit status: 0 when all arrived, 1 when something was left, 2 for a faulty configuration.",
        )
        .arg(super::arg_stream())
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
    telemetry::init_logs(LogFormat::Text, &["kinesis_edge"]);
    let stop = signals::stop_requested()?;
    let queue = match super::open(path, Mend::Yes, json) {
        Ok(queue) => queue,
        Err(status) => return Ok(status),
    };
    let streams = super::streams(&queue, matches)?;
    let open: VecDeque<_> = streams
        .into_iter()
        .map(|arn| (queue.stream(&arn), arn))
        .collect();
    let held = |(stream, _): &(DiskStream, DeliveryStreamArn)| stream.depth().held() as u64;
    let total = open.iter().map(held).sum();
    let region = open.front().map(|(_, arn)| arn.region().to_owned());
    let recovery = queue.recovery().clone();
    let mut source = Waiting {
        queue,
        open,
        at_a_time: at_a_time(aggregation.is_some()),
        lost: 0,
    };
    let report = match region {
        None => Report::default(),
        Some(region) => {
            let settings = FirehoseSettings {
                region,
                identity,
                ..FirehoseSettings::default()
            };
            let destination = Firehose::new(settings).await;
            let bar = progress::bar(total, "sending records", json);
            let report =
                send_out(&destination, &mut source, aggregation.as_ref(), &bar, stop).await;
            bar.finish_and_clear();
            report?
        }
    };
    let lost = source.lost;
    if let Err(error) = source.queue.close() {
        eprintln!("kinesis-edge: the directory could not be tidied up: {error}");
    }
    if lost > 0 {
        let lost = count(lost as u64, "record");
        eprintln!("kinesis-edge: {lost} could not be read any more");
    }
    to_stdout(|out| {
        write(&report, total, json, out)?;
        super::write_damage(&recovery, json, out)
    })?;
    Ok(
        if report.left.is_empty() && !report.interrupted && lost == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        },
    )
}

/// The records that wait, a stream at a time.
struct Waiting {
    queue: OfflineQueue,
    /// Streams that may have more.
    open: VecDeque<(DiskStream, DeliveryStreamArn)>,
    /// How many are read together.
    at_a_time: Wanted,
    /// Records that were damaged since they were written.
    lost: usize,
}

impl Source for Waiting {
    type Key = (DiskStream, Place);

    fn next(&mut self) -> anyhow::Result<Option<Group<Self::Key>>> {
        while let Some((stream, arn)) = self.open.front() {
            let load = self.queue.load(stream, self.at_a_time);
            let load = load.context("records cannot be read from the queue")?;
            self.lost += load.lost;
            if load.records.is_empty() {
                self.open.pop_front();
                continue;
            }
            let item = |record: kinesis_edge::queue::disk::Loaded| Item {
                key: (stream.clone(), record.place),
                data: record.data,
            };
            return Ok(Some(Group {
                stream: arn.clone(),
                records: load.records.into_iter().map(item).collect(),
            }));
        }
        Ok(None)
    }

    fn done(&mut self, keys: Vec<Self::Key>) -> anyhow::Result<()> {
        let Some((stream, _)) = keys.first() else {
            return Ok(());
        };
        // All of one call, so all of one stream.
        let places: Vec<Place> = keys.iter().map(|(_, place)| *place).collect();
        self.queue.finish(stream, &places).with_context(|| {
            let records = count(places.len() as u64, "record");
            format!(
                "{records} arrived and could not be noted, so they would be sent again; ended here"
            )
        })
    }
}

fn write(report: &Report, total: u64, json: bool, out: &mut dyn Write) -> io::Result<()> {
    let left = total.saturating_sub(report.delivered);
    if json {
        report.write_left_objects(out)?;
        let object =
            json!({"delivered": report.delivered, "left": left, "interrupted": report.interrupted});
        return writeln!(out, "{object}");
    }
    writeln!(out, "delivered  {}", count(report.delivered, "record"))?;
    writeln!(out, "left       {}", count(left, "record"))?;
    if report.interrupted {
        writeln!(out, "\nInterrupted; run it again for the rest.")?;
    }
    report.write_left_table(out)
}
