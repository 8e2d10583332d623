//! Fed by something that has a message ready whenever the window has room: no broker limits the rate.

use std::io;
use std::time::Duration;

use super::{CONNECTOR, Context, FLOOR, ON_DISK, in_turn, start_connector, stop, with_log};
use crate::endpoint::{Endpoint, EndpointOptions};
use crate::feeder::Feeder;
use crate::floor::Floor;
use crate::packets::Version;
use crate::payload::Payload;
use crate::process;
use crate::results::{Results, Run};
use crate::statuses::Statuses;

/// What goes through before the measurement begins.
const WARM_UP: u64 = 100_000;

/// What is fed, and to whom.
pub struct Feed<'a> {
    /// What requests look like.
    pub payload: &'a Payload,
    /// What goes through before the measurement begins.
    pub warm_up: u64,
    /// What is measured. Full batches only, or the last records wait for the publish interval.
    pub records: u64,
    /// How long the endpoint thinks about a call.
    pub latency: Duration,
    /// Settings of the connector beyond the defaults.
    pub variables: &'a [(&'a str, &'a str)],
}

/// 200 bytes: the floor, and the connector with its queue in memory and on disk.
pub fn small(context: &Context, results: &mut Results) {
    let payload = Payload::new(200);
    let feed = |records| Feed::new(&payload, records);
    in_turn(
        context,
        results,
        "fed",
        &[
            (FLOOR, &|| floor(&feed(3_000_000))),
            (CONNECTOR, &|| connector(context, &feed(1_500_000))),
            (ON_DISK, &|| on_disk(context, &feed(500_000))),
        ],
    );
}

/// 1,000 bytes.
pub fn large(context: &Context, results: &mut Results) {
    let payload = Payload::new(1_000);
    let feed = |records| Feed::new(&payload, records);
    in_turn(
        context,
        results,
        "large",
        &[
            (FLOOR, &|| floor(&feed(1_000_000))),
            (CONNECTOR, &|| connector(context, &feed(600_000))),
        ],
    );
}

/// The settings of the runs that are compared for their latency: what is on its way for 50 ms has to
/// be held, which is more than the default queue size at these rates.
pub const ROOM: [(&str, &str); 2] = [
    ("DELIVERY_STREAM_QUEUE_SIZE", "80000"),
    ("MEMORY_SIZE", "393216"),
];

/// Who is measured with a slow endpoint.
pub const SLOW: &str = "kinesis-edge, 50 ms, queue size 80,000";
pub const NOT_SLOW: &str = "kinesis-edge, 0 ms, queue size 80,000";
pub const SLOW_DEFAULT: &str = "kinesis-edge, 50 ms, default queue size";

/// With 50 ms of endpoint latency, and without.
pub fn slow(context: &Context, results: &mut Results) {
    let payload = Payload::new(200);
    let feed = |records, milliseconds, variables| Feed {
        latency: Duration::from_millis(milliseconds),
        variables,
        ..Feed::new(&payload, records)
    };
    in_turn(
        context,
        results,
        "slow",
        &[
            (NOT_SLOW, &|| connector(context, &feed(6_000_000, 0, &ROOM))),
            (SLOW, &|| connector(context, &feed(6_000_000, 50, &ROOM))),
            (SLOW_DEFAULT, &|| {
                connector(context, &feed(200_000, 50, &[]))
            }),
        ],
    );
}

impl<'a> Feed<'a> {
    /// So many records, all else as usual.
    pub fn new(payload: &'a Payload, records: u64) -> Self {
        Feed {
            payload,
            warm_up: WARM_UP,
            records,
            latency: Duration::ZERO,
            variables: &[],
        }
    }
}

/// One run of the floor.
fn floor(feed: &Feed) -> io::Result<Run> {
    let feeder = Feeder::start()?;
    let floor = Floor::start(feeder.port()?, Version::V5, &[])?;
    let mut client = feeder.accept(None)?;
    let all = feed.warm_up + feed.records;
    client.feed(0..feed.warm_up, feed.payload)?;
    let before = process::cpu(floor.pid())?;
    let took = client.feed(feed.warm_up..all, feed.payload)?;
    let used = process::cpu(floor.pid())?.since(before);
    let peak_bytes = process::peak_bytes(floor.pid())?;
    Ok(Run::new(feed.records, took.as_secs_f64(), used, peak_bytes))
}

/// One run of the connector with its queue on disk.
fn on_disk(context: &Context, feed: &Feed) -> io::Result<Run> {
    // Not where temporary files go: that may be memory.
    let folder = tempfile::tempdir_in(context.folder)?;
    let queue = std::path::absolute(folder.path().join("queue"))?;
    let variables = [("QUEUE_DIR", &*queue.to_string_lossy())];
    let feed = Feed {
        variables: &variables,
        ..*feed
    };
    connector(context, &feed)
}

/// One run of the connector.
pub fn connector(context: &Context, feed: &Feed) -> io::Result<Run> {
    let all = feed.warm_up + feed.records;
    let endpoint = Endpoint::start(EndpointOptions {
        payload: feed.payload.clone(),
        records: all,
        latency: feed.latency,
        clock: None,
    })?;
    let feeder = Feeder::start()?;
    let url = format!("mqtt://127.0.0.1:{}", feeder.port()?);
    let mut connector = start_connector(context, &url, &endpoint, feed.variables);
    let pid = connector.pid();
    let measure = || {
        let mut client = feeder.accept(Some(Statuses::new(all)))?;
        client.feed(0..feed.warm_up, feed.payload)?;
        let before = process::cpu(pid)?;
        let took = client.feed(feed.warm_up..all, feed.payload)?;
        let used = process::cpu(pid)?.since(before);
        let peak_bytes = process::peak_bytes(pid)?;
        endpoint.check()?;
        client.check(all)?;
        let run = Run::new(feed.records, took.as_secs_f64(), used, peak_bytes);
        // The client stays until the connector has said goodbye.
        Ok((run, client))
    };
    let measured: io::Result<_> = measure();
    let (run, _client) = measured.map_err(|error| with_log(&connector, &error))?;
    stop(&mut connector)?;
    Ok(run)
}
