//! Joined records through the whole connector: a Firehose record that fails makes exactly its own requests be
//! sent again, each request has one status whatever happens, a queue on disk loses nothing to SIGKILL,
//! and what a drain or a replay sends is joined and compressed as well.

#![cfg(feature = "local")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use common::{
    App, ConnectorProcess, Mosquitto, Publisher, RunningConnector, STREAM, endpoint, endpoint_with,
    eventually, finish, lines, parameters, program, quick_firehose, stderr, telemetry,
};
use kinesis_edge::local::{CallFault, Endpoint, Faults};

const MESSAGES: u32 = 3000;

fn message(number: u32) -> (String, Vec<u8>) {
    let topic = format!("kinesisfirehose/message/binary/{number}");
    (topic, telemetry(number))
}

async fn publish_all(port: u16) {
    let mut publisher = Publisher::connect(port).await.unwrap();
    publisher.publish_all(MESSAGES, message).await.unwrap();
}

/// How often each message arrived.
fn arrived(endpoint: &Endpoint, compression: &str) -> BTreeMap<Vec<u8>, usize> {
    let mut counts = BTreeMap::new();
    for record in endpoint.accepted("test") {
        for line in lines(compression, &record.data) {
            *counts.entry(line).or_default() += 1;
        }
    }
    counts
}

fn all_messages() -> BTreeSet<Vec<u8>> {
    (0..MESSAGES).map(telemetry).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_fails_takes_exactly_its_own_requests_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let queue_dir = ("QUEUE_DIR", directory.path().to_str().unwrap());
    for (compression, on_disk) in [("none", false), ("zstd", false), ("gzip", true)] {
        let broker = Mosquitto::start();
        let endpoint = endpoint().await;
        endpoint.faults().set_all(Faults {
            failing_share: 0.3,
            call: CallFault::ShortAnswer,
            every: 4,
            ..Faults::default()
        });
        let url = broker.url();
        let mut set = vec![
            ("MQTT_URL", &*url),
            ("PUBLISH_INTERVAL", "1"),
            ("RECORD_AGGREGATION", "delimited"),
            // Many groups in few calls.
            ("AGGREGATION_MAX_BYTES", "10240"),
            ("RECORD_COMPRESSION", compression),
        ];
        set.extend(on_disk.then_some(queue_dir));
        let destination = quick_firehose(&endpoint.url()).await;
        let connector = RunningConnector::start(&parameters(&set), destination);
        let app = App::connect(broker.port).await;
        app.until_answered().await;
        publish_all(broker.port).await;
        let statuses = app.wait_for(MESSAGES as usize).await;
        assert!(connector.stop().await.is_nothing());
        // The endpoint takes nothing of what it fails, so whatever came twice was sent for nothing.
        let counts = arrived(&endpoint, compression);
        assert!(counts.values().all(|count| *count == 1));
        assert!(counts.into_keys().collect::<BTreeSet<_>>() == all_messages());
        // Each status names the Firehose record that its request is in.
        let accepted = endpoint.accepted("test");
        let records: BTreeMap<&str, Vec<Vec<u8>>> = accepted
            .iter()
            .map(|record| (&*record.record_id, lines(compression, &record.data)))
            .collect();
        let mut told = BTreeSet::new();
        for status in &statuses {
            let number: u32 = status.id().parse().unwrap();
            assert!(told.insert(number), "two statuses for {number}");
            let record = status.entry["firehose_record_id"].as_str().unwrap();
            assert!(records[record].contains(&telemetry(number)), "{number}");
        }
        let calls = endpoint.stats()["test"].calls;
        println!("{compression}: {} records in {calls} calls", accepted.len());
    }
}

fn connector(broker: &Mosquitto, endpoint: &Endpoint, set: &[(&str, &str)]) -> ConnectorProcess {
    let (broker_url, endpoint_url) = (broker.url(), endpoint.url());
    let mut all = vec![
        ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
        ("MQTT_URL", &*broker_url),
        ("MQTT_CLIENT_ID", "kinesis"),
        ("PUBLISH_INTERVAL", "1"),
        ("AWS_ENDPOINT_URL", &endpoint_url),
        ("AWS_ACCESS_KEY_ID", "made-up"),
        ("AWS_SECRET_ACCESS_KEY", "made-up"),
        ("RECORD_AGGREGATION", "delimited"),
    ];
    all.extend_from_slice(set);
    ConnectorProcess::start(&all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_loses_nothing_that_was_acknowledged() {
    for compression in ["none", "gzip"] {
        let directory = tempfile::tempdir().unwrap();
        let broker = Mosquitto::start();
        let endpoint = endpoint().await;
        // Some of it is under way at the kill, some has failed, some waits.
        endpoint.faults().set_all(Faults {
            failing_share: 0.5,
            latency: Duration::from_millis(50),
            ..Faults::default()
        });
        let set = [
            ("QUEUE_DIR", directory.path().to_str().unwrap()),
            ("RECORD_COMPRESSION", compression),
            ("AGGREGATION_MAX_BYTES", "10240"),
        ];
        let mut first = connector(&broker, &endpoint, &set);
        let app = App::connect(broker.port).await;
        app.until_answered().await;
        publish_all(broker.port).await;
        eventually("some arrived", || !endpoint.accepted("test").is_empty()).await;
        first.kill();
        endpoint.faults().clear();
        let _second = connector(&broker, &endpoint, &set);
        eventually("all arrived", || {
            arrived(&endpoint, compression).len() >= MESSAGES as usize
        })
        .await;
        let messages: BTreeSet<_> = arrived(&endpoint, compression).into_keys().collect();
        assert!(messages == all_messages());
    }
}

/// Runs `kinesis-edge` with a stand-in for Firehose.
async fn command(endpoint: &Endpoint, arguments: &[&str]) {
    let mut command = tokio::process::Command::new(program());
    command
        .args(arguments)
        .env_clear()
        .env("AWS_ENDPOINT_URL_FIREHOSE", endpoint.url())
        .env("AWS_ACCESS_KEY_ID", "made-up")
        .env("AWS_SECRET_ACCESS_KEY", "made-up")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        // Both are the connector's own parameters, from where it has them.
        .env("RECORD_AGGREGATION", "delimited");
    let output = finish(&mut command).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

/// All arrived once, in few records, which are compressed.
fn check_sent(endpoint: &Endpoint) {
    let counts = arrived(endpoint, "zstd");
    assert!(counts.values().all(|count| *count == 1));
    assert_eq!(counts.len(), MESSAGES as usize);
    assert!(counts.into_keys().collect::<BTreeSet<_>>() == all_messages());
    let records = endpoint.stats()["test"].records;
    assert!(records < 10, "{records} records");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_and_a_replay_join_and_compress_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (queue, letters) = (path("queue"), path("letters"));
    let broker = Mosquitto::start();

    // A queue, kept from before there was a delimiter.
    let busy = endpoint().await;
    busy.faults().set_all(Faults {
        call: CallFault::Throttled,
        ..Faults::default()
    });
    let set = [("RECORD_AGGREGATION", "none"), ("QUEUE_DIR", &*queue)];
    let mut stopped = connector(&broker, &busy, &set);
    let app = App::connect(broker.port).await;
    app.until_answered().await;
    publish_all(broker.port).await;
    // What is answered came behind all that was published.
    app.until_answered().await;
    stopped.signal("TERM");
    stopped.wait();
    assert!(Path::new(&queue).exists());
    let drained = endpoint().await;
    command(
        &drained,
        &["queue", "drain", &queue, "--record-compression=zstd"],
    )
    .await;
    check_sent(&drained);

    // Dead letters: there is no such stream. They hold single requests, with the delimiter.
    let nowhere = endpoint_with(&[]).await;
    let mut refused = connector(&broker, &nowhere, &[("DEAD_LETTER_DIR", &*letters)]);
    app.until_answered().await;
    publish_all(broker.port).await;
    let statuses = app.wait_for(MESSAGES as usize).await;
    let is_refused = |status: &common::Status| status.code() == "ResourceNotFoundException";
    assert!(statuses.iter().all(is_refused));
    refused.signal("TERM");
    refused.wait();
    let replayed = endpoint().await;
    let arguments = [
        "dead-letters",
        "replay",
        &letters,
        "--record-compression=zstd",
    ];
    command(&replayed, &arguments).await;
    check_sent(&replayed);
}
