//! Promise 4: one stream that is slow, throttled or gone never delays another. Shown by the order
//! of events, not by the clock: while not one call of the streams in trouble has ended, everything
//! sent to the working one beside them, before and after, arrives and is reported.

#![cfg(feature = "local")]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{
    App, Mosquitto, RunningConnector, Status, endpoint_with, eventually, parameters, stream_arn,
};
use kinesis_edge::connector::Leftover;
use kinesis_edge::destination::{Firehose, FirehoseSettings};
use kinesis_edge::local::{CallFault, Endpoint, Faults};
use kinesis_edge::memory::MemoryPlan;
use kinesis_edge::queue::MemoryBudget;

/// A connector with its broker, its endpoint and an app.
struct Setup {
    endpoint: Endpoint,
    connector: RunningConnector,
    app: App,
    _broker: Mosquitto,
}

/// Only streams of these names exist.
async fn setup(streams: &[&str], given: &[(&str, &str)]) -> Setup {
    let broker = Mosquitto::start();
    let endpoint = endpoint_with(streams).await;
    let url = broker.url();
    let own = [("MQTT_URL", &*url), ("SHUTDOWN_TIMEOUT", "1")];
    let parameters = parameters(&[&own, given].concat());
    // No call that hangs ends by itself while a test runs.
    let firehose = Firehose::new(FirehoseSettings {
        call_timeout: Duration::from_secs(3600),
        stand_in: Some(endpoint.url()),
        ..FirehoseSettings::default()
    });
    let connector = RunningConnector::start(&parameters, firehose.await);
    let app = App::connect(broker.port).await;
    app.until_answered().await;
    Setup {
        endpoint,
        connector,
        app,
        _broker: broker,
    }
}

impl Setup {
    fn break_stream(&self, stream: &str, call: CallFault) {
        let faults = Faults {
            call,
            ..Faults::default()
        };
        self.endpoint.faults().set(stream, faults);
    }

    async fn send(&self, stream: &str, number: usize) {
        let id = format!("{stream}/{number}");
        self.app.request_to(&stream_arn(stream), &id, &id).await;
    }

    fn calls(&self, stream: &str) -> u64 {
        self.endpoint
            .stats()
            .get(stream)
            .map_or(0, |stats| stats.calls)
    }

    fn statuses(&self, stream: &str) -> Vec<Status> {
        let prefix = format!("{stream}/");
        let mut statuses = self.app.statuses();
        statuses.retain(|status| status.id().starts_with(&prefix));
        statuses
    }

    /// Waits until this many requests to a stream have their status, and gives them.
    async fn reported(&self, stream: &str, count: usize) -> Vec<Status> {
        eventually(&format!("{count} statuses of {stream}"), || {
            self.statuses(stream).len() >= count
        })
        .await;
        self.statuses(stream)
    }
}

fn ids(statuses: &[Status]) -> BTreeSet<&str> {
    statuses.iter().map(Status::id).collect()
}

async fn beside_streams_in_trouble(interval: &str, records: usize) {
    let setup = setup(
        &["hanging", "throttled", "working"],
        &[("PUBLISH_INTERVAL", interval)],
    )
    .await;
    setup.break_stream("hanging", CallFault::Hang);
    setup.break_stream("throttled", CallFault::Throttled);
    for number in 0..records {
        for stream in ["hanging", "absent", "throttled", "working"] {
            setup.send(stream, number).await;
        }
    }
    // The trouble is there before the rest of the working stream's records come.
    eventually("the others are in trouble", || {
        setup.calls("hanging") > 0 && setup.calls("throttled") > 1 && setup.calls("absent") > 0
    })
    .await;
    for number in records..2 * records {
        setup.send("working", number).await;
    }
    let working = setup.reported("working", 2 * records).await;
    assert!(working.iter().all(Status::is_success));
    assert_eq!(ids(&working).len(), 2 * records);
    // One at a time too: each waits for nothing but itself.
    for number in 2 * records..2 * records + 3 {
        setup.send("working", number).await;
        setup.app.status_of(&format!("working/{number}")).await;
    }
    assert_eq!(setup.endpoint.accepted("working").len(), 2 * records + 3);

    // None of it was helped by an end of the others' trouble.
    for stream in ["hanging", "throttled"] {
        assert_eq!(setup.statuses(stream).len(), 0, "{stream}");
        assert!(setup.endpoint.accepted(stream).is_empty());
    }
    // What has no stream is told so, in spite of the others.
    let absent = setup.reported("absent", records).await;
    assert!(
        absent
            .iter()
            .all(|status| status.code() == "ResourceNotFoundException")
    );
    assert_eq!(ids(&absent).len(), records);

    // One trouble ends: its records arrive, and the other's still hang, until the stop.
    setup.endpoint.faults().set("throttled", Faults::default());
    let throttled = setup.reported("throttled", records).await;
    assert!(throttled.iter().all(Status::is_success));
    let leftover = setup.connector.stop().await;
    let expected = Leftover {
        records,
        kept: 0,
        fault: false,
        dropped_statuses: 0,
        documents: 0,
    };
    assert_eq!(leftover, expected);
    eventually("the rest is reported", || {
        setup.app.count() >= 5 * records + 3
    })
    .await;
    let by_id = setup.app.by_id();
    assert!(by_id.values().all(|statuses| statuses.len() == 1));
    let stopped = by_id
        .values()
        .filter(|statuses| statuses[0].code() == "ConnectorStopped");
    assert_eq!(stopped.count(), records);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_works_beside_some_that_do_not_in_batches() {
    beside_streams_in_trouble("1", 700).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_works_beside_some_that_do_not_record_by_record() {
    beside_streams_in_trouble("0", 300).await;
}

const LARGE_BYTES: usize = 1_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_works_beside_twenty_that_hang_with_large_records() {
    const HANGING: usize = 20;
    const SMALL: usize = 500;
    let names: Vec<String> = (0..HANGING)
        .map(|number| format!("hanging-{number}"))
        .collect();
    let mut streams: Vec<&str> = names.iter().map(String::as_str).collect();
    streams.push("working");
    let setup = setup(&streams, &[("PUBLISH_INTERVAL", "0")]).await;
    for name in &names {
        setup.break_stream(name, CallFault::Hang);
    }
    let large = "x".repeat(LARGE_BYTES);
    for name in &names {
        let id = format!("{name}/large");
        setup.app.request_to(&stream_arn(name), &id, &large).await;
    }
    // More than the memory size holds: as many hang as fit, the others are refused at once.
    let refused = |statuses: Vec<Status>| {
        statuses
            .iter()
            .filter(|status| status.code() == "MemoryLimitExceeded")
            .count()
    };
    let hanging = || names.iter().filter(|name| setup.calls(name) > 0).count();
    eventually("the memory is full of records that hang", || {
        hanging() + refused(setup.app.statuses()) == HANGING
    })
    .await;
    let cost = MemoryBudget::record_bytes(LARGE_BYTES, "hanging-00/large".len());
    // They leave the default stream what is kept for it.
    let plan = MemoryPlan::of(65_535 * 1024, false);
    let theirs = plan.queues_bytes - plan.default_stream_bytes();
    assert_eq!(hanging(), theirs / cost);
    assert!(hanging() < HANGING);

    for number in 0..SMALL {
        setup.send("working", number).await;
    }
    let working = setup.reported("working", SMALL).await;
    assert!(working.iter().all(Status::is_success), "{:?}", working[0]);
    assert_eq!(setup.endpoint.accepted("working").len(), SMALL);
    let under_way = hanging();
    assert_eq!(
        setup.app.count(),
        SMALL + HANGING - under_way,
        "the large ones still hang"
    );
    let leftover = setup.connector.stop().await;
    assert_eq!(leftover.records, under_way);
}

/// A stream that is gone holds on to its records. Well before its queue is full they could take all
/// memory, and then every other stream's records would be refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_hangs_leaves_memory_to_others() {
    let setup = setup(&["hanging", "working"], &[("PUBLISH_INTERVAL", "1")]).await;
    setup.break_stream("hanging", CallFault::Hang);
    let (stream, large) = (stream_arn("hanging"), "x".repeat(8000));
    for number in 0..2500 {
        let id = format!("hanging/{number}");
        setup.app.request_to(&stream, &id, &large).await;
    }
    eventually("the hanging stream has all the memory it gets", || {
        let refused = setup.statuses("hanging");
        refused
            .iter()
            .any(|status| status.code() == "MemoryLimitExceeded")
    })
    .await;
    for number in 0..50 {
        setup.send("working", number).await;
    }
    let working = setup.reported("working", 50).await;
    assert!(working.iter().all(Status::is_success), "{working:?}");
    let others = setup.statuses("hanging");
    assert!(
        others
            .iter()
            .all(|status| status.code() == "MemoryLimitExceeded")
    );
}
