//! Faults of the destination, promises 1 and 3: whatever share of the records fails and whatever
//! happens to calls, each request gets exactly one final status, what has success was accepted,
//! and no record known to be accepted is sent again. Each fault of a call has a connector behind a
//! real broker, with a stream for each share of failing records; all of them run beside each other,
//! since most of what they do is wait.

#![cfg(feature = "local")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::{
    App, ConnectorProcess, Mosquitto, RunningConnector, STREAM, Status, endpoint, endpoint_at,
    eventually, free_port, parameters, stream_arn,
};
use kinesis_edge::destination::{Firehose, FirehoseSettings};
use kinesis_edge::local::{Accepted, CallFault, Endpoint, Faults};
use tokio::net::TcpListener;

/// The share of records that fail, and which calls the fault hits: every n-th.
const CELLS: [(f64, u32); 6] = [
    (0.0, 2),
    (0.01, 2),
    (0.5, 2),
    (1.0, 2),
    // Every call, as in an outage.
    (0.0, 1),
    (0.5, 1),
];

/// How many calls a fault lasts that lets nothing, or too little, through.
const LASTING_CALLS: u64 = 4;

/// How many calls a fault lasts that lets a quarter of them through, where a call has one record: a
/// run of failures that long is likely, and the wait doubles with each.
const UNLUCKY_CALLS: u64 = 8;

/// One cell of the matrix: a stream with its faults.
struct Cell {
    stream: String,
    faults: Faults,
    records: usize,
    /// Whether each call has one record.
    is_single: bool,
}

impl Cell {
    fn id(&self, number: usize) -> String {
        format!("{}/{number}", self.stream)
    }

    fn statuses(&self, app: &App) -> Vec<Status> {
        let prefix = format!("{}/", self.stream);
        let mut statuses = app.statuses();
        statuses.retain(|status| status.id().starts_with(&prefix));
        statuses
    }

    fn ids(&self) -> BTreeSet<String> {
        (0..self.records).map(|number| self.id(number)).collect()
    }

    /// Whether the stream would never come to an end with its faults.
    fn lasts(&self) -> bool {
        self.faults.failing_share == 1.0
            || (self.faults.every == 1 && self.faults.call != CallFault::None)
    }

    /// Whether the faults have done their work. Where most calls of the last few records fail, the
    /// waits between them would grow and prove nothing more. Nor would they where each record has
    /// calls of its own, once all were tried and some again, or most calls fail.
    fn is_over(&self, endpoint: &Endpoint, reported: usize) -> bool {
        let stats = endpoint.stats();
        let calls = stats.get(&self.stream).map_or(0, |stats| stats.calls);
        let is_unlucky = self.is_single && self.faults.failing_share >= 0.5;
        reported >= self.records * 3 / 4
            || (self.lasts() && calls >= LASTING_CALLS)
            || (is_unlucky && calls >= UNLUCKY_CALLS)
            || calls > self.records as u64
    }

    /// Whether nothing can have been accepted while the faults last.
    fn lets_nothing_through(&self) -> bool {
        let commits = [
            CallFault::None,
            CallFault::ShortAnswer,
            CallFault::ResetAfterCommit,
        ];
        self.faults.failing_share == 1.0
            || (self.faults.every == 1 && !commits.contains(&self.faults.call))
    }
}

/// What a run ended with.
struct Outcome {
    statuses: BTreeMap<String, Vec<Status>>,
    accepted: Vec<Accepted>,
}

/// Firehose with a time limit that a slow machine does not reach on a call that is answered.
async fn firehose(endpoint: &Endpoint, fault: CallFault) -> Firehose {
    let hangs = fault == CallFault::Hang;
    Firehose::new(FirehoseSettings {
        call_timeout: Duration::from_secs(if hangs { 2 } else { 30 }),
        stand_in: Some(endpoint.url()),
        ..FirehoseSettings::default()
    })
    .await
}

/// Runs all cells of one fault with `records` each, and checks what holds for every fault.
async fn matrix(fault: CallFault, records: usize, given: &[(&str, &str)]) -> Vec<(Cell, Outcome)> {
    let (broker, endpoint) = (Mosquitto::start(), endpoint().await);
    let url = broker.url();
    let parameters = parameters(&[&[("MQTT_URL", &*url)], given].concat());
    let connector = RunningConnector::start(&parameters, firehose(&endpoint, fault).await);
    let app = App::connect(broker.port).await;
    app.until_answered().await;

    let cells: Vec<Cell> = CELLS
        .iter()
        .filter(|(_, every)| *every == 2 || fault != CallFault::None)
        .map(|&(failing_share, every)| Cell {
            stream: format!("{fault:?}-share-{failing_share}-every-{every}"),
            faults: Faults {
                failing_share,
                call: fault,
                every,
                ..Faults::default()
            },
            records,
            is_single: given == SINGLE,
        })
        .collect();
    for cell in &cells {
        endpoint.faults().set(&cell.stream, cell.faults);
    }
    for number in 0..records {
        for cell in &cells {
            let id = cell.id(number);
            app.request_to(&stream_arn(&cell.stream), &id, &id).await;
        }
    }
    let mut last: Vec<&Cell> = cells.iter().collect();
    eventually(&format!("{fault:?} has done its work"), || {
        last.retain(|cell| {
            let reported = cell.statuses(&app);
            if !cell.is_over(&endpoint, reported.len()) {
                return true;
            }
            if cell.lets_nothing_through() {
                assert!(endpoint.accepted(&cell.stream).is_empty());
                assert!(!reported.iter().any(Status::is_success), "{}", cell.stream);
            }
            endpoint.faults().set(&cell.stream, Faults::default());
            false
        });
        last.is_empty()
    })
    .await;
    app.wait_for(cells.len() * records).await;
    assert!(connector.stop().await.is_nothing());
    let statuses = all_statuses(&app).await;

    let outcomes = cells.into_iter().map(|cell| {
        let outcome = Outcome {
            statuses: statuses
                .iter()
                .filter(|(id, _)| id.starts_with(&format!("{}/", cell.stream)))
                .map(|(id, statuses)| (id.clone(), statuses.clone()))
                .collect(),
            accepted: endpoint.accepted(&cell.stream),
        };
        check(&cell, &outcome);
        (cell, outcome)
    });
    outcomes.collect()
}

/// All statuses, once no more can come: the connector has stopped, and the broker keeps their
/// order with a last one of our own.
async fn all_statuses(app: &App) -> BTreeMap<String, Vec<Status>> {
    let last = r#"{"response":[{"id":"the last one","status":"success"}]}"#;
    app.publish("kinesisfirehose/message/status", last).await;
    app.status_of("the last one").await;
    let mut statuses = app.by_id();
    statuses.remove("the last one");
    statuses
}

/// What holds for every cell: one status each, accepted exactly where it says success, nothing
/// made up, and nothing sent again after its acceptance was known.
fn check(cell: &Cell, outcome: &Outcome) {
    let stream = &cell.stream;
    let ids: BTreeSet<String> = outcome.statuses.keys().cloned().collect();
    assert_eq!(ids, cell.ids(), "{stream}: a status for every id");
    for (id, statuses) in &outcome.statuses {
        assert_eq!(statuses.len(), 1, "{stream}: {statuses:?} for {id}");
    }
    let mut places: BTreeMap<String, Vec<&Accepted>> = BTreeMap::new();
    for record in &outcome.accepted {
        let id = String::from_utf8(record.data.to_vec()).expect("data is the id");
        let earlier = places.entry(id.clone()).or_default();
        let known = earlier.iter().any(|record| record.known);
        assert!(
            !known,
            "{stream}: {id} was known to be accepted and came again"
        );
        earlier.push(record);
    }
    let succeeded = of(outcome, |status| status.is_success());
    let accepted: BTreeSet<String> = places.keys().cloned().collect();
    assert_eq!(
        accepted, succeeded,
        "{stream}: success is what was accepted"
    );
    for (id, records) in &places {
        let told = &outcome.statuses[id][0].entry;
        let told = [
            &told["firehose_record_id"],
            &told["response"]["firehose_record_id"],
        ];
        let last = records.last().expect("no empty list").record_id.as_str();
        assert!(
            told.iter().any(|told| *told == last),
            "{stream}: {told:?}, not {last}"
        );
        let repeats = cell.faults.call == CallFault::ResetAfterCommit;
        assert!(repeats || records.len() == 1, "{stream}: {id} came twice");
    }
}

fn of(outcome: &Outcome, is: impl Fn(&Status) -> bool) -> BTreeSet<String> {
    let those = outcome
        .statuses
        .iter()
        .filter(|(_, statuses)| is(&statuses[0]));
    those.map(|(id, _)| id.clone()).collect()
}

/// For the faults that pass: all is delivered in the end.
async fn all_is_delivered(fault: CallFault, records: usize, given: &[(&str, &str)]) {
    for (cell, outcome) in matrix(fault, records, given).await {
        let succeeded = of(&outcome, |status| status.is_success());
        assert_eq!(succeeded.len(), cell.records, "{}", cell.stream);
    }
}

const BATCHES: &[(&str, &str)] = &[("PUBLISH_INTERVAL", "1")];
const SINGLE: &[(&str, &str)] = &[("PUBLISH_INTERVAL", "0")];
const VERSION_1: &[(&str, &str)] = &[("CONNECTOR_VERSION", "1")];

/// A reset after the commit loses the answer: what was accepted, unknown to us, comes again.
async fn all_is_delivered_with_repeats(records: usize, given: &[(&str, &str)]) {
    for (cell, outcome) in matrix(CallFault::ResetAfterCommit, records, given).await {
        let succeeded = of(&outcome, |status| status.is_success());
        assert_eq!(succeeded.len(), cell.records, "{}", cell.stream);
        if cell.faults.failing_share < 1.0 {
            assert!(outcome.accepted.len() > cell.records, "{}", cell.stream);
        }
    }
}

/// What a call was refused with for good is final: a fail with the code of AWS, never accepted.
async fn what_is_refused_fails(records: usize, given: &[(&str, &str)]) {
    for (cell, outcome) in matrix(CallFault::NotRetryable, records, given).await {
        let failed = of(&outcome, |status| {
            status.code() == "InvalidArgumentException"
        });
        let succeeded = of(&outcome, |status| status.is_success());
        let both = failed.len() + succeeded.len();
        assert_eq!(both, cell.records, "{}", cell.stream);
        assert!(!failed.is_empty(), "{}", cell.stream);
        assert!(cell.lasts() || !succeeded.is_empty(), "{}", cell.stream);
        for id in &failed {
            let message = outcome.statuses[id][0].message();
            assert!(
                message.contains("An invalid argument, on command."),
                "{message}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_answered() {
    tokio::join!(
        all_is_delivered(CallFault::None, 1000, BATCHES),
        all_is_delivered(CallFault::ServerError, 1000, BATCHES),
        all_is_delivered(CallFault::Throttled, 1000, BATCHES),
        all_is_delivered(CallFault::ShortAnswer, 1000, BATCHES),
        what_is_refused_fails(1000, BATCHES),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_not_answered() {
    tokio::join!(
        all_is_delivered(CallFault::Hang, 600, BATCHES),
        all_is_delivered(CallFault::ResetBeforeCommit, 1000, BATCHES),
        all_is_delivered_with_repeats(1000, BATCHES),
        all_is_delivered(CallFault::Garbage, 1000, BATCHES),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_with_single_records() {
    tokio::join!(
        all_is_delivered(CallFault::ServerError, 40, SINGLE),
        all_is_delivered(CallFault::ShortAnswer, 40, SINGLE),
        all_is_delivered_with_repeats(40, SINGLE),
        all_is_delivered(CallFault::Throttled, 40, VERSION_1),
        what_is_refused_fails(40, VERSION_1),
    );
}

/// While nothing can be delivered the queue fills up. What finds it full is told so, and what it
/// holds stays held.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_keeps_what_it_holds() {
    const QUEUE: usize = 2000;
    const TOO_MANY: usize = 300;
    let (broker, endpoint) = (Mosquitto::start(), endpoint().await);
    let parameters = parameters(&[
        ("MQTT_URL", &broker.url()),
        ("PUBLISH_INTERVAL", "1"),
        ("DELIVERY_STREAM_QUEUE_SIZE", &QUEUE.to_string()),
    ]);
    let throttled = Faults {
        call: CallFault::Throttled,
        ..Faults::default()
    };
    endpoint.faults().set("test", throttled);
    let destination = firehose(&endpoint, CallFault::Throttled).await;
    let connector = RunningConnector::start(&parameters, destination);
    let app = App::connect(broker.port).await;
    app.until_answered().await;
    for number in 0..QUEUE + TOO_MANY {
        let id = number.to_string();
        app.request(&id, &id).await;
    }
    let refused = app.wait_for(TOO_MANY).await;
    assert!(refused.iter().all(|status| status.code() == "QueueFull"));
    endpoint.faults().set("test", Faults::default());
    app.wait_for(QUEUE + TOO_MANY).await;
    assert!(connector.stop().await.is_nothing());
    let statuses = all_statuses(&app).await;
    assert_eq!(statuses.len(), QUEUE + TOO_MANY);
    assert!(statuses.values().all(|statuses| statuses.len() == 1));
    let mut accepted = endpoint.accepted("test");
    accepted.sort_by_key(|record| record.data.clone());
    accepted.dedup_by_key(|record| record.data.clone());
    assert_eq!(accepted.len(), QUEUE);
}

/// How often the program says what.
fn lines(process: &ConnectorProcess, words: &str) -> usize {
    let log = process.stderr();
    log.lines().filter(|line| line.contains(words)).count()
}

const TROUBLE: &str = "delivery is in trouble";
const WORKS_AGAIN: &str = "delivery works again";

/// No endpoint at start, then one that hangs up, then a working one: tried all the time, said
/// once, delivered in the end.
async fn no_endpoint_at_start(variable: &str) {
    let broker = Mosquitto::start();
    let port = free_port();
    let process = ConnectorProcess::start(&[
        ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
        ("PUBLISH_INTERVAL", "0"),
        ("MQTT_URL", &broker.url()),
        (variable, &format!("http://127.0.0.1:{port}")),
        ("AWS_ACCESS_KEY_ID", "made-up"),
        ("AWS_SECRET_ACCESS_KEY", "made-up"),
    ]);
    let app = App::connect(broker.port).await;
    app.until_answered().await;
    app.request("1", "first").await;
    eventually("the trouble is told", || lines(&process, TROUBLE) == 1).await;

    let listener = TcpListener::bind(("127.0.0.1", port))
        .await
        .expect("the port is free");
    for _ in 0..4 {
        let patience = tokio::time::timeout(common::PATIENCE, listener.accept());
        drop(patience.await.expect("it is tried again"));
    }
    drop(listener);
    assert_eq!(lines(&process, TROUBLE), 1, "{}", process.stderr());
    assert_eq!(app.count(), 0, "nothing is final yet");

    let endpoint = endpoint_at(port).await;
    assert!(app.status_of("1").await.is_success());
    // A change is told when the last one was some seconds ago; deliveries go on meanwhile.
    for number in 2.. {
        let id = number.to_string();
        app.request(&id, "further").await;
        assert!(app.status_of(&id).await.is_success());
        if lines(&process, WORKS_AGAIN) > 0 {
            break;
        }
        assert!(number < 1000, "never told:\n{}", process.stderr());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let told = [TROUBLE, WORKS_AGAIN].map(|words| lines(&process, words));
    assert_eq!(told, [1, 1], "{}", process.stderr());
    // What happens next, and how often it was.
    assert_eq!(lines(&process, "retry_in_ms="), 1, "{}", process.stderr());
    let log = process.stderr();
    let (_, after) = log.split_once("failed_calls=").expect("it is counted");
    let calls = after.split_whitespace().next();
    let calls: Option<u64> = calls.and_then(|calls| calls.parse().ok());
    assert!(
        calls >= Some(5),
        "one without an endpoint, four hung up on: {log}"
    );
    assert_eq!(endpoint.accepted("test").len(), app.count());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_endpoint_at_start_for_firehose() {
    no_endpoint_at_start("AWS_ENDPOINT_URL_FIREHOSE").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_endpoint_at_start_for_all_services() {
    no_endpoint_at_start("AWS_ENDPOINT_URL").await;
}
