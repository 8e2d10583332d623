//! What Firehose bills for small messages: 200 bytes of telemetry, published through a real broker with
//! each setting, and what the endpoint took, record by record, rounded up to 5 KB.
//!
//! `make cost` prints the table of the README; `COST_MESSAGES` says how many messages (default 10,000).

#![cfg(feature = "local")]

mod common;

use std::collections::BTreeMap;

use common::{
    App, Mosquitto, MosquittoOptions, Publisher, RunningConnector, decompressed, endpoint,
    parameters, quick_firehose, telemetry,
};
use kinesis_edge::aggregate::billed_bytes;

/// Dollars for a GB (2^30 bytes) of direct put, in the US East (N. Virginia) region, for the first 500 TB of
/// a month.
const DOLLARS_PER_GB: f64 = 0.029;

/// Messages that are published together.
const AT_A_TIME: u32 = 5_000;

/// A row of the table.
struct Setting {
    name: &'static str,
    compression: &'static str,
    set: &'static [(&'static str, &'static str)],
}

const SETTINGS: [Setting; 5] = [
    Setting {
        name: "as it is",
        compression: "none",
        set: &[],
    },
    Setting {
        name: r"RECORD_DELIMITER=\n",
        compression: "none",
        set: &[("RECORD_DELIMITER", r"\n")],
    },
    Setting {
        name: "RECORD_AGGREGATION=delimited",
        compression: "none",
        set: &[("RECORD_AGGREGATION", "delimited")],
    },
    Setting {
        name: "… and RECORD_COMPRESSION=gzip",
        compression: "gzip",
        set: &[
            ("RECORD_AGGREGATION", "delimited"),
            ("RECORD_COMPRESSION", "gzip"),
        ],
    },
    Setting {
        name: "… and RECORD_COMPRESSION=zstd",
        compression: "zstd",
        set: &[
            ("RECORD_AGGREGATION", "delimited"),
            ("RECORD_COMPRESSION", "zstd"),
        ],
    },
];

/// What came of a setting.
struct Run {
    records: usize,
    bytes: usize,
    billed: usize,
}

async fn run(setting: &Setting, messages: u32) -> Run {
    let broker = Mosquitto::start_with(MosquittoOptions {
        lines: vec!["max_queued_messages 10000000".into()],
        ..MosquittoOptions::default()
    });
    let endpoint = endpoint().await;
    let url = broker.url();
    let mut set = vec![("MQTT_URL", &*url), ("WHEN_FULL", "wait")];
    set.extend_from_slice(setting.set);
    let destination = quick_firehose(&endpoint.url()).await;
    let connector = RunningConnector::start(&parameters(&set), destination);
    let app = App::connect(broker.port).await;
    app.until_answered().await;
    let mut publisher = Publisher::connect(broker.port).await.unwrap();
    // Not far ahead of the statuses: an app that does not keep up with them misses some.
    for first in (0..messages).step_by(AT_A_TIME as usize) {
        let message = |number: u32| {
            let number = first + number;
            let topic = format!("kinesisfirehose/message/binary/{number}");
            (topic, telemetry(number))
        };
        let count = AT_A_TIME.min(messages - first);
        publisher.publish_all(count, message).await.unwrap();
        let ahead = 3 * AT_A_TIME;
        app.wait_for((first + count).saturating_sub(ahead) as usize)
            .await;
    }
    let statuses = app.wait_for(messages as usize).await;
    assert!(connector.stop().await.is_nothing());

    let accepted = endpoint.accepted("test");
    // One status each, and those of one Firehose record share its id.
    let mut by_record: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for status in &statuses {
        assert!(status.is_success(), "{status:?}");
        let record = status.entry["firehose_record_id"].as_str().unwrap();
        let number = status.id().parse().unwrap();
        by_record.entry(record).or_default().push(number);
    }
    assert_eq!(by_record.len(), accepted.len());
    // Each record is its requests, one behind the other, and so is an object of all of them.
    let delimiter: &[u8] = if setting.set.is_empty() { b"" } else { b"\n" };
    let (mut object, mut expected) = (Vec::new(), Vec::new());
    for record in &accepted {
        for &number in &by_record[&*record.record_id] {
            expected.extend(telemetry(number));
            expected.extend(delimiter);
        }
        object.extend_from_slice(&record.data);
    }
    assert!(decompressed(setting.compression, &object) == expected);
    let mut numbers: Vec<u32> = by_record.into_values().flatten().collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..messages));
    let sizes = accepted.iter().map(|record| record.data.len());
    Run {
        records: accepted.len(),
        bytes: sizes.clone().sum(),
        billed: sizes.map(billed_bytes).sum(),
    }
}

/// Dollars for a million messages, of which so many were billed so many bytes.
fn dollars(billed: usize, messages: u32) -> f64 {
    billed as f64 / f64::from(messages) * 1e6 / f64::from(1 << 30) * DOLLARS_PER_GB
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_messages_cost_a_fraction_where_they_are_joined() {
    let messages = std::env::var("COST_MESSAGES");
    let messages = messages.map_or(10_000, |count| count.parse().expect("a number"));
    let mut runs = Vec::new();
    println!("{messages} messages of 200 bytes, at ${DOLLARS_PER_GB} per GB");
    println!(
        "| setting | Firehose records | bytes sent | bytes billed | $ per million | cheaper by |"
    );
    println!("|---|---|---|---|---|---|");
    for setting in &SETTINGS {
        let run = run(setting, messages).await;
        let first = runs.first().map_or(run.billed, |first: &Run| first.billed);
        println!(
            "| {} | {} | {} | {} | {:.4} | {:.1} × |",
            setting.name,
            run.records,
            run.bytes,
            run.billed,
            dollars(run.billed, messages),
            first as f64 / run.billed as f64
        );
        runs.push(run);
    }
    let [single, delimiter, joined, gzip, zstd] = &runs[..] else {
        unreachable!("five settings")
    };
    assert_eq!(single.billed, messages as usize * 5120);
    assert_eq!(delimiter.billed, single.billed);
    assert_eq!(delimiter.bytes, messages as usize * 201);
    // The bar: at least 20 times cheaper, without compression.
    assert!(joined.billed * 20 <= single.billed, "{}", joined.billed);
    // What was compressed is smaller still, and by more than half.
    assert!(gzip.billed * 2 < joined.billed, "{}", gzip.billed);
    assert!(zstd.billed * 2 < joined.billed, "{}", zstd.billed);
}
