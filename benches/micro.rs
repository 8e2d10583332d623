//! The steps that every record goes through, one by one, without I/O: `cargo bench --bench micro`.
//! They tell which step a change made faster; what it brought as a whole, `make bench` tells.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kinesis_edge::batch::{self, BATCH_MAX_RECORDS, BatchLimits};
use kinesis_edge::destination::request_body;
use kinesis_edge::request::{Decoder, Topics};
use kinesis_edge::status::{DocumentBuilder, Shape, Verdict};

/// `STATUS_MAX_BYTES` by default.
const STATUS_MAX_BYTES: usize = 120_000;

/// As long as a record id of the service.
const RECORD_ID_CHARACTERS: usize = 220;

/// Bytes of a record.
const SIZES: [usize; 3] = [200, 1_000, 100_000];

fn decode(criterion: &mut Criterion) {
    let topics = Topics::new("kinesisfirehose");
    let (json_topic, binary_topic) = (topics.message().to_owned(), topics.binary("000000000042"));
    let decoder = Decoder::new(topics);
    let mut group = criterion.benchmark_group("decode");
    for bytes in SIZES {
        let plain = "x".repeat(bytes);
        // One character in twenty.
        let escaped = r"xxxxxxxxxxxxxxxxxx\n".repeat(bytes / 19);
        group.throughput(Throughput::Bytes(bytes as u64));
        for (name, data) in [("json", &plain), ("json, escapes", &escaped)] {
            let payload = format!(r#"{{"request":{{"data":"{data}"}},"id":"000000000042"}}"#);
            group.bench_with_input(
                BenchmarkId::new(name, bytes),
                &payload,
                |bencher, payload| {
                    bencher.iter(|| decoder.decode(black_box(&json_topic), payload.as_bytes()));
                },
            );
        }
        group.bench_with_input(
            BenchmarkId::new("binary", bytes),
            &plain,
            |bencher, data| {
                bencher.iter(|| decoder.decode(black_box(&binary_topic), data.as_bytes()));
            },
        );
    }
    group.finish();
}

fn cut_batch(criterion: &mut Criterion) {
    let limits = BatchLimits::of_service("telemetry".len());
    let mut group = criterion.benchmark_group("batch");
    group.throughput(Throughput::Elements(BATCH_MAX_RECORDS as u64));
    let sizes = vec![200; 2 * BATCH_MAX_RECORDS];
    group.bench_function("500 records", |bencher| {
        bencher.iter(|| batch::next(black_box(&sizes).iter().copied(), limits));
    });
    group.finish();
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for bytes in SIZES {
        // A full call: of records, or of bytes.
        let sizes = vec![bytes; BATCH_MAX_RECORDS];
        let limits = BatchLimits::of_service("telemetry".len());
        let batch = batch::next(sizes.into_iter(), limits);
        let records = vec![Bytes::from(vec![b'x'; bytes]); batch.records];
        group.throughput(Throughput::Bytes((batch.records * bytes) as u64));
        group.bench_function(BenchmarkId::new("request body", bytes), |bencher| {
            bencher.iter_batched(
                || records.clone(),
                |records| request_body(black_box("telemetry"), records),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn status(criterion: &mut Criterion) {
    let ids: Vec<String> = (0..BATCH_MAX_RECORDS)
        .map(|number| format!("{number:012}"))
        .collect();
    let record_id = "A".repeat(RECORD_ID_CHARACTERS);
    let mut group = criterion.benchmark_group("status");
    group.throughput(Throughput::Elements(BATCH_MAX_RECORDS as u64));
    for (name, verdict) in [
        (
            "500 successes",
            Verdict::Success {
                record_id: &record_id,
            },
        ),
        (
            "500 fails",
            Verdict::Fail {
                code: "ServiceUnavailableException",
                message: "Slow down.",
            },
        ),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut builder = DocumentBuilder::new(Shape::List, STATUS_MAX_BYTES, ids.len());
                for id in &ids {
                    builder.add(black_box(id), verdict);
                }
                builder.finish()
            });
        });
    }
    group.finish();
}

criterion_group!(steps, decode, cut_batch, encode, status);
criterion_main!(steps);
