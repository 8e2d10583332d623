//! How fast records go through: the queue in memory against the queue on disk, in turn, through
//! mosquitto with MQTT 5, 200 bytes each, default settings otherwise. `make rate` runs it with the
//! program as it is packaged. The bar: the disk has at least half of the memory's rate.
//!
//! The rate is that of the endpoint, from the first tenth of the records to the last: what comes
//! before is start-up, what is left behind waits for the publish interval.
//!
//! `RATE_PROGRAM` names the program to measure, `RATE_RECORDS` how many records go through it in a
//! run (default 200,000), `RATE_RUNS` how often each queue has its turn (default 5), and
//! `RATE_COMMIT_INTERVAL_MS` gives the disk another commit interval.

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::{Duration, Instant};

use common::{App, ConnectorProcess, Mosquitto, MosquittoOptions, PATIENCE, Publisher, STREAM};
use kinesis_edge::local::{Endpoint, EndpointConfig};

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let (records, runs) = (number("RATE_RECORDS", 200_000), number("RATE_RUNS", 5));
        let (mut memory, mut disk) = (Vec::new(), Vec::new());
        for run in 1..=runs {
            memory.push(rate(records, false).await);
            disk.push(rate(records, true).await);
            println!(
                "run {run}: memory {:>7.0} records/s, disk {:>7.0} records/s",
                memory[memory.len() - 1],
                disk[disk.len() - 1]
            );
        }
        let (memory, disk) = (median(memory), median(disk));
        println!(
            "median: memory {memory:.0} records/s, disk {disk:.0} records/s, ratio {:.2} (bar 0.50)",
            disk / memory
        );
    });
}

fn number(name: &str, default: u32) -> u32 {
    std::env::var(name).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a whole number"))
    })
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Records per second of one run.
async fn rate(records: u32, on_disk: bool) -> f64 {
    let broker = Mosquitto::start_with(MosquittoOptions {
        lines: vec!["max_queued_messages 10000000".into()],
        ..MosquittoOptions::default()
    });
    let endpoint = Endpoint::start(EndpointConfig {
        addr: ([127, 0, 0, 1], 0).into(),
        storage: None,
        // It should cost as little as it can.
        journal: false,
        streams: None,
    });
    let endpoint = endpoint.await.expect("the endpoint starts");
    let folder = tempfile::tempdir().expect("a folder for the queue");
    let (broker_url, endpoint_url) = (broker.url(), endpoint.url());
    let queue = folder.path().join("queue").display().to_string();
    let mut variables = vec![
        ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
        ("MQTT_URL", &broker_url),
        ("MQTT_VERSION", "5"),
        ("MQTT_CLIENT_ID", "connector"),
        // Faster than it can be delivered: what is too much waits at the broker.
        ("WHEN_FULL", "wait"),
        ("AWS_ENDPOINT_URL_FIREHOSE", &endpoint_url),
        ("AWS_ACCESS_KEY_ID", "none"),
        ("AWS_SECRET_ACCESS_KEY", "none"),
    ];
    let interval = std::env::var("RATE_COMMIT_INTERVAL_MS").unwrap_or_default();
    if on_disk {
        variables.extend([("QUEUE_DIR", &*queue), ("COMMIT_INTERVAL_MS", &interval)]);
    }
    let process = match std::env::var("RATE_PROGRAM") {
        Ok(program) => ConnectorProcess::start_program(&program, &variables),
        Err(_) => ConnectorProcess::start(&variables),
    };
    let app = App::connect(broker.port).await;
    app.until_answered().await;
    drop(app);
    let port = broker.port;
    let publisher = tokio::spawn(async move {
        let mut publisher = Publisher::connect(port).await.expect("it connects");
        let published = publisher.publish_all(records, |number| {
            let topic = format!("kinesisfirehose/message/binary/{number}");
            (topic, vec![b'x'; 200])
        });
        published.await.expect("the broker takes them");
    });
    let (first, last) = (u64::from(records) / 10, u64::from(records) * 99 / 100);
    let (from, begun) = arrived(&endpoint, first, &process).await;
    let (to, ended) = arrived(&endpoint, last, &process).await;
    publisher.await.expect("the publisher ends");
    (to - from) as f64 / (ended - begun).as_secs_f64()
}

/// Waits until at least this many records have arrived: how many, and when.
async fn arrived(endpoint: &Endpoint, count: u64, process: &ConnectorProcess) -> (u64, Instant) {
    let (mut last, mut last_change) = (0, Instant::now());
    loop {
        let now = endpoint
            .stats()
            .get("test")
            .map_or(0, |stats| stats.records);
        if now >= count {
            return (now, Instant::now());
        }
        if now != last {
            (last, last_change) = (now, Instant::now());
        }
        assert!(
            last_change.elapsed() < PATIENCE,
            "{now} of {count} records arrive, and none for {PATIENCE:?}:\n{}",
            process.stderr()
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
