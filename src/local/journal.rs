//! What the embedded Firehose endpoint remembers for whoever watches it: numbers per stream always,
//! every accepted record only if asked.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Mutex;
use std::time::Instant;

use bytes::Bytes;

use super::locked;
use super::protocol::{Call, Operation};

/// One record the endpoint accepted.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The id given to the client, or meant for it if the answer never left.
    pub record_id: String,
    /// The record as it came out of base64.
    pub data: Bytes,
    /// Whether the answer that told the client went out whole. It turns true when the operating
    /// system has taken the last byte, which can be an instant after a quick client has read it; it
    /// stays false after `ResetAfterCommit` or when the client had gone.
    pub known: bool,
    /// When it was accepted, to put records of several streams in order.
    pub at: Instant,
}

/// What one stream has seen since the endpoint started. Calls that were refused or failed count as
/// calls, not as records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamStats {
    /// Every readable call that named the stream, answered well or not: what the service would have
    /// counted.
    pub calls: u64,
    /// Those that were `PutRecordBatch`, to see whether records travel together.
    pub batch_calls: u64,
    /// Records accepted, repeats included.
    pub records: u64,
    /// Their size before base64, in bytes.
    pub bytes: u64,
    /// The most records in one call, to hold against the limit of 500.
    pub largest_call_records: usize,
    /// The largest HTTP body of one call in bytes, to hold against the limit of 4 MiB.
    pub largest_call_bytes: usize,
    /// Calls without any record, which the service refuses and a client should never send.
    pub empty_calls: u64,
}

/// Numbers and records per stream.
#[derive(Debug)]
pub(super) struct Journal {
    /// Without this only the numbers are kept, so that memory stays flat however long the endpoint
    /// runs.
    keep_records: bool,
    /// One lock for all: the work under it is counting and moving pointers.
    streams: Mutex<HashMap<String, Entry>>,
}

#[derive(Debug, Default)]
struct Entry {
    /// Always kept.
    stats: StreamStats,
    /// In the order of acceptance; empty unless records are kept.
    accepted: Vec<Accepted>,
}

/// Which records one call added to the journal, so that they can be marked as known to the client
/// later.
#[derive(Debug, Clone)]
pub(super) struct Commit {
    /// The stream they belong to.
    stream: String,
    /// Their places in its list, which only ever grows.
    places: Range<usize>,
}

impl Journal {
    pub(super) fn new(keep_records: bool) -> Self {
        Self {
            keep_records,
            streams: Mutex::default(),
        }
    }

    /// Counts a call as soon as it can be read, before anything is decided about it.
    pub(super) fn note_call(&self, call: &Call) {
        let mut streams = locked(&self.streams);
        let stats = &mut streams.entry(call.stream.clone()).or_default().stats;
        stats.calls += 1;
        stats.batch_calls += u64::from(call.operation == Operation::PutRecordBatch);
        stats.empty_calls += u64::from(call.records.is_empty());
        stats.largest_call_records = stats.largest_call_records.max(call.records.len());
        stats.largest_call_bytes = stats.largest_call_bytes.max(call.body_bytes);
    }

    /// Counts accepted records, and keeps them if asked to; then the answer's whereabouts are worth
    /// following.
    pub(super) fn commit(&self, stream: &str, records: Vec<(String, Bytes)>) -> Option<Commit> {
        let mut streams = locked(&self.streams);
        let entry = streams.entry(stream.to_owned()).or_default();
        entry.stats.records += records.len() as u64;
        entry.stats.bytes += records
            .iter()
            .map(|(_, data)| data.len() as u64)
            .sum::<u64>();
        if !self.keep_records {
            return None;
        }
        let at = Instant::now();
        let first = entry.accepted.len();
        entry
            .accepted
            .extend(records.into_iter().map(|(record_id, data)| Accepted {
                record_id,
                data,
                known: false,
                at,
            }));
        Some(Commit {
            stream: stream.to_owned(),
            places: first..entry.accepted.len(),
        })
    }

    /// The answer about these records has been sent whole.
    pub(super) fn mark_known(&self, commit: &Commit) {
        let mut streams = locked(&self.streams);
        let accepted = streams
            .get_mut(&commit.stream)
            .and_then(|entry| entry.accepted.get_mut(commit.places.clone()));
        for record in accepted.into_iter().flatten() {
            record.known = true;
        }
    }

    pub(super) fn stats(&self) -> BTreeMap<String, StreamStats> {
        locked(&self.streams)
            .iter()
            .map(|(stream, entry)| (stream.clone(), entry.stats))
            .collect()
    }

    pub(super) fn accepted(&self, stream: &str) -> Vec<Accepted> {
        locked(&self.streams)
            .get(stream)
            .map(|entry| entry.accepted.clone())
            .unwrap_or_default()
    }
}
