//! A snapshot as metrics: the one list of them, for whoever takes them. It is made anew for each look, so a stream
//! that is forgotten leaves no series behind, and all numbers are of one moment. Names and units follow
//! Prometheus' conventions; the README lists them.

mod family;
mod text;

use self::family::Families;
pub use self::family::{Family, Sample, Values};
pub use self::text::CONTENT_TYPE;
use super::observer::Snapshot;
use super::process::Process;
use crate::code::Code;
use crate::ledger::{DAMAGED_CODE, FAULT_CODE};
use crate::utc::unix_seconds;

/// Codes of ours that end records, and those that end requests before: counted from the start, with 0.
const FAILING: [&str; 5] = [
    Code::Expired.as_str(),
    Code::Dropped.as_str(),
    Code::ConnectorStopped.as_str(),
    DAMAGED_CODE,
    FAULT_CODE,
];
const REJECTING: [&str; 8] = [
    Code::InvalidRequest.as_str(),
    Code::InvalidDeliveryStreamArn.as_str(),
    Code::DeliveryStreamNotAllowed.as_str(),
    Code::RecordTooLarge.as_str(),
    Code::QueueFull.as_str(),
    Code::MemoryLimitExceeded.as_str(),
    Code::TooManyStreams.as_str(),
    Code::ConnectorStopped.as_str(),
];

/// All metrics of a snapshot, those too that have no values at the moment.
pub fn families(snapshot: &Snapshot, process: Option<Process>) -> Vec<Family> {
    let mut families = Families::default();
    records(&mut families, snapshot);
    queues(&mut families, snapshot);
    calls(&mut families, snapshot);
    mqtt(&mut families, snapshot);
    disk(&mut families, snapshot);
    ourselves(&mut families, snapshot, process);
    families.0
}

/// A snapshot in the text format of Prometheus.
pub fn render(snapshot: &Snapshot, process: Option<Process>) -> String {
    text::write(families(snapshot, process))
}

fn records(families: &mut Families, snapshot: &Snapshot) {
    let totals = &snapshot.totals;
    families.counter(
        "kinesis_edge_records_received_total",
        "Requests that became records of a queue or were rejected; with QUEUE_DIR, once synced, and those found at the start. Equals delivered + failed + rejected + held.",
        totals.received,
    );
    families.counter(
        "kinesis_edge_received_bytes_total",
        "Bytes of the records that queues took in.",
        totals.received_bytes,
    );
    families.counter(
        "kinesis_edge_records_delivered_total",
        "Records that the delivery streams have.",
        totals.delivered,
    );
    families.counter(
        "kinesis_edge_delivered_bytes_total",
        "Bytes of the records that the delivery streams have.",
        totals.delivered_bytes,
    );
    families.by_code(
        "kinesis_edge_records_failed_total",
        "Records that ended without being delivered, by the code of their status.",
        &totals.failed,
        &FAILING,
    );
    families.by_code(
        "kinesis_edge_requests_rejected_total",
        "Requests that never became records, by the code of their status.",
        &totals.rejected,
        &REJECTING,
    );
    families.counter(
        "kinesis_edge_records_retried_total",
        "Times that a record was put back to be sent again.",
        totals.retried,
    );
    families.gauge(
        "kinesis_edge_records_held",
        "Records that queues hold, waiting or in flight.",
        snapshot.held as f64,
    );
    families.counter(
        "kinesis_edge_billed_bytes_total",
        "Bytes that Firehose bills: each delivered record rounded up to 5 KB.",
        totals.billed_bytes,
    );
}

fn queues(families: &mut Families, snapshot: &Snapshot) {
    families.streams(
        "kinesis_edge_queue_records",
        "Records in the queue of a stream, waiting or in flight.",
        snapshot,
        |stream| Some(stream.queued as f64),
    );
    families.streams(
        "kinesis_edge_queue_waiting_bytes",
        "Bytes of the records that wait in the queue of a stream.",
        snapshot,
        |stream| Some(stream.waiting_bytes as f64),
    );
    families.streams(
        "kinesis_edge_queue_oldest_record_age_seconds",
        "How long the oldest record that waits in the queue of a stream has been there; 0 where none waits.",
        snapshot,
        |stream| Some(stream.oldest_age.unwrap_or_default().as_secs_f64()),
    );
    families.streams(
        "kinesis_edge_stream_failing_since_timestamp_seconds",
        "Since when calls of a stream have delivered nothing; no series where they deliver.",
        snapshot,
        |stream| {
            Some(unix_seconds(
                snapshot.ago(stream.trouble.as_ref()?.failing?),
            ))
        },
    );
    families.gauge(
        "kinesis_edge_queue_records_limit",
        "Records that the queue of one stream holds at most (DELIVERY_STREAM_QUEUE_SIZE).",
        snapshot.facts.queue_size as f64,
    );
    families.gauge(
        "kinesis_edge_memory_used_bytes",
        "Memory that records of all queues are reckoned to take.",
        snapshot.memory_used_bytes as f64,
    );
    families.gauge(
        "kinesis_edge_memory_limit_bytes",
        "Memory that records of all queues may take; a part of MEMORY_SIZE.",
        snapshot.memory_limit_bytes as f64,
    );
}

fn calls(families: &mut Families, snapshot: &Snapshot) {
    let totals = &snapshot.totals;
    let by_result = [
        ("complete", totals.calls_complete),
        ("partial", totals.calls_partial),
        ("failed", totals.calls_failed),
    ]
    .map(|(result, calls)| Sample::labelled("result", result, calls as f64));
    families.add(
        "kinesis_edge_calls_total",
        "Calls to Firehose that ended, by result: all records taken, some of them, none.",
        Values::Counter(by_result.into()),
    );
    families.gauge(
        "kinesis_edge_calls_in_flight",
        "Calls to Firehose under way.",
        totals.calls_in_flight as f64,
    );
    families.counter(
        "kinesis_edge_call_records_total",
        "Firehose records of all calls that ended, those sent again included. Divided by the calls, and by 500, it says how full batches are.",
        totals.batch_records,
    );
    families.histogram(
        "kinesis_edge_call_duration_seconds",
        "How long calls to Firehose took, however they ended, compression of their records included.",
        snapshot.call_times,
    );
    let expire = snapshot
        .credentials_expire
        .map(unix_seconds)
        .map(Sample::bare);
    families.add(
        "kinesis_edge_credentials_expiry_timestamp_seconds",
        "When the AWS credentials in use end.",
        Values::Gauge(expire.into_iter().collect()),
    );
}

fn mqtt(families: &mut Families, snapshot: &Snapshot) {
    let session = &snapshot.session;
    families.gauge(
        "kinesis_edge_mqtt_connected",
        "1 while connected to the MQTT broker and subscribed, else 0.",
        f64::from(u8::from(session.subscribed)),
    );
    families.counter(
        "kinesis_edge_mqtt_reconnects_total",
        "Connections to the MQTT broker after the first.",
        session.connections.saturating_sub(1),
    );
    families.gauge(
        "kinesis_edge_mqtt_acks_outstanding",
        "Messages received and not acknowledged to the broker yet.",
        session.acks_outstanding as f64,
    );
    families.gauge(
        "kinesis_edge_mqtt_reading_paused",
        "1 while nothing is read from the broker, since what was read waits for room.",
        f64::from(u8::from(session.reading_paused)),
    );
    families.counter(
        "kinesis_edge_statuses_published_total",
        "Statuses given to the MQTT broker.",
        snapshot.totals.statuses_published,
    );
    families.counter(
        "kinesis_edge_statuses_dropped_total",
        "Statuses dropped because the MQTT broker was away, or took none, for too long.",
        snapshot.statuses_dropped as u64,
    );
    families.gauge(
        "kinesis_edge_status_documents_waiting",
        "Status documents that wait for the MQTT broker.",
        snapshot.status_documents_waiting as f64,
    );
}

fn disk(families: &mut Families, snapshot: &Snapshot) {
    if let Some(disk) = &snapshot.disk {
        families.gauge(
            "kinesis_edge_queue_dir_bytes",
            "What the files of the queue on disk take.",
            disk.bytes as f64,
        );
        families.gauge(
            "kinesis_edge_queue_dir_limit_bytes",
            "What the files of the queue on disk may take (QUEUE_DIR_MAX_BYTES).",
            disk.max_bytes as f64,
        );
        families.gauge(
            "kinesis_edge_queue_dir_writable",
            "1 while the queue on disk can be written, 0 while it cannot.",
            f64::from(u8::from(disk.fault.is_none())),
        );
        families.histogram(
            "kinesis_edge_queue_dir_sync_duration_seconds",
            "How long it took to write and sync a group of records.",
            disk.syncs,
        );
        families.counter(
            "kinesis_edge_queue_dir_damaged_records_total",
            "Records on disk that were damaged since they were written, and are lost.",
            disk.lost,
        );
        families.gauge(
            "kinesis_edge_queue_dir_damaged_places",
            "Places of the queue on disk that were found damaged at the start.",
            snapshot.facts.damaged_places as f64,
        );
    }
    if let Some(letters) = snapshot.dead_letters {
        families.counter(
            "kinesis_edge_dead_letters_written_total",
            "Records that failed and were written to the dead letters.",
            letters.counts.buried,
        );
        families.counter(
            "kinesis_edge_dead_letters_removed_total",
            "Dead letters removed unsent to make room for newer ones.",
            letters.counts.dropped,
        );
        families.counter(
            "kinesis_edge_dead_letters_lost_total",
            "Dead letters that could not be written.",
            letters.counts.lost,
        );
        families.gauge(
            "kinesis_edge_dead_letter_dir_bytes",
            "What the files of the dead letters take.",
            letters.bytes as f64,
        );
        families.gauge(
            "kinesis_edge_dead_letter_dir_limit_bytes",
            "What the files of the dead letters may take (DEAD_LETTER_MAX_BYTES).",
            letters.max_bytes as f64,
        );
    }
}

fn ourselves(families: &mut Families, snapshot: &Snapshot, process: Option<Process>) {
    families.add(
        "kinesis_edge_build_info",
        "Always 1; its labels say what runs.",
        Values::Gauge(vec![Sample::labelled(
            "version",
            env!("CARGO_PKG_VERSION"),
            1.0,
        )]),
    );
    families.gauge(
        "process_start_time_seconds",
        "When the connector was started, in Unix seconds.",
        unix_seconds(snapshot.started),
    );
    if let Some(process) = process {
        families.add(
            "process_cpu_seconds_total",
            "CPU time that the process used, in user and system mode.",
            Values::Counter(vec![Sample::bare(process.cpu_seconds)]),
        );
        families.gauge(
            "process_resident_memory_bytes",
            "Memory of the process that is resident.",
            process.resident_bytes as f64,
        );
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ledger::Trouble;

    #[test]
    fn only_a_stream_that_delivers_nothing_is_failing_and_always_since_the_same_moment() {
        let mut snapshot = Snapshot::sample();
        let mut trouble = Trouble {
            code: "Timeout".to_owned(),
            message: String::new(),
            lasting: Duration::from_secs(60),
            failing: None,
            retry_in: None,
        };
        let name = "kinesis_edge_stream_failing_since_timestamp_seconds{";
        let failing = |snapshot: &Snapshot| {
            let text = render(snapshot, None);
            let lines = text.lines().filter(|line| line.starts_with(name));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        snapshot.pass(Duration::from_secs(100));
        snapshot.streams[1].trouble = Some(trouble.clone());
        assert!(failing(&snapshot).is_empty(), "some is delivered");
        trouble.failing = Some(Duration::from_secs(10));
        snapshot.streams[1].trouble = Some(trouble.clone());
        let first = failing(&snapshot);
        assert_eq!(first.len(), 1);
        assert!(first[0].ends_with(" 1790000090"), "{first:?}");
        snapshot.pass(Duration::from_secs(7));
        // The clock is read a moment later than the stream.
        snapshot.now += Duration::from_micros(300);
        trouble.failing = Some(Duration::from_secs(17));
        snapshot.streams[1].trouble = Some(trouble);
        assert_eq!(failing(&snapshot), first);
    }
}
