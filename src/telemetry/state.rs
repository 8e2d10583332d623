//! The state as JSON: what the page is drawn from, every second.

use serde::Serialize;

use super::advice::{ELSE, advice};
use super::health::Readiness;
use super::observer::{Snapshot, StreamSnapshot};
use super::rates::Rates;
use crate::ledger::ByCode;
use crate::utc::unix_seconds;

/// Everything the page shows.
#[derive(Debug, Serialize)]
pub struct State<'a> {
    version: &'static str,
    client_id: &'a str,
    now: f64,
    started: f64,
    ready: Readiness,
    broker: Broker<'a>,
    totals: Totals,
    rates: Rates,
    failed_by_code: Vec<CodeCount<'a>>,
    rejected_by_code: Vec<CodeCount<'a>>,
    calls: Calls,
    memory: Bounded,
    disk: Option<Disk<'a>>,
    dead_letters: Option<DeadLetters>,
    credentials: Credentials,
    streams: Vec<Stream<'a>>,
}

#[derive(Debug, Serialize)]
struct Broker<'a> {
    address: &'a str,
    connected: bool,
    since: f64,
    reason: Option<&'a str>,
    mqtt: Option<String>,
    reconnects: u64,
    acks_outstanding: usize,
    reading_paused: bool,
}

#[derive(Debug, Serialize)]
struct Totals {
    received: u64,
    received_bytes: u64,
    delivered: u64,
    delivered_bytes: u64,
    retried: u64,
    failed: u64,
    rejected: u64,
    held: u64,
    billed_bytes: u64,
    calls: u64,
    calls_failed: u64,
    statuses_published: u64,
    statuses_dropped: usize,
    dead_letters: u64,
}

#[derive(Debug, Serialize)]
struct CodeCount<'a> {
    code: &'a str,
    records: u64,
}

#[derive(Debug, Serialize)]
struct Calls {
    in_flight: u64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Bounded {
    used_bytes: usize,
    limit_bytes: usize,
}

#[derive(Debug, Serialize)]
struct Disk<'a> {
    path: String,
    bytes: u64,
    limit_bytes: u64,
    fault: Option<&'a str>,
    damaged_records: u64,
}

#[derive(Debug, Serialize)]
struct DeadLetters {
    path: String,
    bytes: u64,
    limit_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Credentials {
    expires: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Stream<'a> {
    arn: &'a str,
    name: &'a str,
    region: &'a str,
    default: bool,
    queued: usize,
    bound: usize,
    full_by: Option<&'static str>,
    queued_bytes: usize,
    oldest_age_s: Option<f64>,
    in_flight: usize,
    received: u64,
    delivered: u64,
    failed: u64,
    received_rate: f64,
    delivered_rate: f64,
    trouble: Option<Trouble<'a>>,
}

#[derive(Debug, Serialize)]
struct Trouble<'a> {
    code: &'a str,
    message: &'a str,
    advice: &'static str,
    since: f64,
    retry_in_s: Option<f64>,
}

impl<'a> State<'a> {
    /// What a snapshot says, beside what happened in the seconds before it.
    pub fn of(
        snapshot: &'a Snapshot,
        rates: Rates,
        (p50_ms, p99_ms): (Option<f64>, Option<f64>),
    ) -> Self {
        let totals = &snapshot.totals;
        let session = &snapshot.session;
        let path = |path: &Option<std::path::PathBuf>| {
            path.as_ref()
                .map(|path| path.display().to_string())
                .unwrap_or_default()
        };
        let streams = snapshot.streams.iter().enumerate();
        State {
            version: env!("CARGO_PKG_VERSION"),
            client_id: &snapshot.facts.client_id,
            now: unix_seconds(snapshot.now),
            started: unix_seconds(snapshot.started),
            ready: Readiness::of(snapshot),
            broker: Broker {
                address: &snapshot.facts.broker,
                connected: session.subscribed,
                since: unix_seconds(snapshot.ago(session.lasting)),
                reason: session.reason.as_deref(),
                mqtt: session.protocol.map(|protocol| protocol.to_string()),
                reconnects: session.connections.saturating_sub(1),
                acks_outstanding: session.acks_outstanding,
                reading_paused: session.reading_paused,
            },
            totals: Totals {
                received: totals.received,
                received_bytes: totals.received_bytes,
                delivered: totals.delivered,
                delivered_bytes: totals.delivered_bytes,
                retried: totals.retried,
                failed: totals.failed_records(),
                rejected: totals.rejected_requests(),
                held: snapshot.held,
                billed_bytes: totals.billed_bytes,
                calls: totals.calls(),
                calls_failed: totals.calls_failed,
                statuses_published: totals.statuses_published,
                statuses_dropped: snapshot.statuses_dropped,
                dead_letters: snapshot
                    .dead_letters
                    .map_or(0, |letters| letters.counts.buried),
            },
            failed_by_code: by_code(&totals.failed),
            rejected_by_code: by_code(&totals.rejected),
            calls: Calls {
                in_flight: totals.calls_in_flight,
                p50_ms,
                p99_ms,
            },
            memory: Bounded {
                used_bytes: snapshot.memory_used_bytes,
                limit_bytes: snapshot.memory_limit_bytes,
            },
            disk: snapshot.disk.as_ref().map(|disk| Disk {
                path: path(&snapshot.facts.queue_dir),
                bytes: disk.bytes,
                limit_bytes: disk.max_bytes,
                fault: disk.fault.as_deref(),
                damaged_records: disk.lost,
            }),
            dead_letters: snapshot.dead_letters.map(|letters| DeadLetters {
                path: path(&snapshot.facts.dead_letter_dir),
                bytes: letters.bytes,
                limit_bytes: letters.max_bytes,
            }),
            credentials: Credentials {
                expires: snapshot.credentials_expire.map(unix_seconds),
            },
            streams: streams
                .map(|(place, stream)| Stream::of(stream, place == 0, snapshot, &rates))
                .collect(),
            rates,
        }
    }
}

impl<'a> Stream<'a> {
    fn of(
        stream: &'a StreamSnapshot,
        is_default: bool,
        snapshot: &Snapshot,
        rates: &Rates,
    ) -> Self {
        let (received_rate, delivered_rate) = rates.of_stream(stream.arn.as_str());
        Stream {
            arn: stream.arn.as_str(),
            name: stream.arn.stream_name(),
            region: stream.arn.region(),
            default: is_default,
            queued: stream.queued,
            bound: snapshot.facts.queue_size,
            full_by: stream.full_by,
            queued_bytes: stream.waiting_bytes,
            oldest_age_s: stream.oldest_age.map(|age| age.as_secs_f64()),
            in_flight: stream.in_flight,
            received: stream.totals.received,
            delivered: stream.totals.delivered,
            failed: stream.totals.failed,
            received_rate,
            delivered_rate,
            trouble: stream.trouble.as_ref().map(|trouble| Trouble {
                code: &trouble.code,
                message: &trouble.message,
                advice: advice(&trouble.code).unwrap_or(ELSE),
                since: unix_seconds(snapshot.ago(trouble.lasting)),
                retry_in_s: trouble.retry_in.map(|wait| wait.as_secs_f64()),
            }),
        }
    }
}

fn by_code(by_code: &ByCode) -> Vec<CodeCount<'_>> {
    let pairs = by_code.iter();
    pairs
        .map(|(code, &records)| CodeCount { code, records })
        .collect()
}
