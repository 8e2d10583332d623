//! The worker against a destination that does as it is told, on a clock that stands still unless
//! somebody waits for it: when records go out, in which calls, and that each ends exactly once.

mod joined;
mod letters;
mod on_disk;
mod property;
mod statuses;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;
use crate::arn::{DeliveryStreamArn, Partitions};
use crate::batch;
use crate::destination::ServiceError;
use crate::ledger::ByCode;
use crate::queue::{Id, MemoryBudget};
use crate::status::{PublisherSettings, Shape};

const SECOND: Duration = Duration::from_secs(1);
const NEVER: Duration = Duration::MAX;

/// What the destination does with a call.
enum Reply {
    Is(Result<Vec<Outcome>, CallError>),
    Panics,
}

/// A call as the destination saw it.
#[derive(Debug, Clone)]
struct Call {
    /// Its place among all calls, from 0.
    number: usize,
    /// When it began.
    at: Instant,
    /// The numbers of its records, in its order.
    records: Vec<usize>,
    /// Whether it was a PutRecord.
    single: bool,
    /// Calls under way when it began, itself included.
    open: usize,
}

impl Call {
    fn all(&self, outcome: Outcome) -> Vec<Outcome> {
        vec![outcome; self.records.len()]
    }

    fn delivered(&self) -> Reply {
        Reply::Is(Ok(self.all(delivered())))
    }
}

type Script = dyn Fn(&Call) -> (Duration, Reply) + Send + Sync;

/// A destination that follows a script: for each call, how long it takes and what it answers.
#[derive(Clone)]
struct Fake {
    script: Arc<Script>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    calls: Vec<Call>,
    open: usize,
    /// Records that were answered as delivered.
    delivered: Vec<usize>,
}

impl Fake {
    fn new(script: impl Fn(&Call) -> (Duration, Reply) + Send + Sync + 'static) -> Self {
        Fake {
            script: Arc::new(script),
            seen: Arc::default(),
        }
    }

    async fn answer(&self, records: Vec<Bytes>, single: bool) -> Result<Vec<Outcome>, CallError> {
        let body: usize = records
            .iter()
            .map(|data| batch::body_bytes(data.len()))
            .sum();
        assert!(!records.is_empty() && records.len() <= batch::BATCH_MAX_RECORDS);
        assert!(body <= batch::BATCH_MAX_BYTES);
        let (call, _open) = {
            let mut seen = self.seen.lock().unwrap();
            seen.open += 1;
            let call = Call {
                number: seen.calls.len(),
                at: Instant::now(),
                records: records.iter().map(number_of).collect(),
                single,
                open: seen.open,
            };
            for record in &call.records {
                assert!(
                    !seen.delivered.contains(record),
                    "{record} was delivered before"
                );
            }
            seen.calls.push(call.clone());
            (call, Open(Arc::clone(&self.seen)))
        };
        let (after, reply) = (self.script)(&call);
        match after {
            Duration::ZERO => {}
            NEVER => std::future::pending().await,
            after => sleep(after).await,
        }
        let Reply::Is(result) = reply else {
            panic!("a fault of the destination, on command");
        };
        let answered = call.records.iter().zip(result.iter().flatten());
        let delivered =
            answered.filter(|(_, outcome)| matches!(outcome, Outcome::Delivered { .. }));
        let mut seen = self.seen.lock().unwrap();
        seen.delivered.extend(delivered.map(|(record, _)| record));
        drop(seen);
        result
    }
}

/// Counts a call as ended, however it ends.
struct Open(Arc<Mutex<Seen>>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.lock().unwrap().open -= 1;
    }
}

impl Destination for Fake {
    async fn put_batch(
        &self,
        _: &DeliveryStreamArn,
        records: Vec<Bytes>,
    ) -> Result<Vec<Outcome>, CallError> {
        self.answer(records, false).await
    }

    async fn put_record(&self, _: &DeliveryStreamArn, data: Bytes) -> Result<Outcome, CallError> {
        Ok(self.answer(vec![data], true).await?.remove(0))
    }
}

fn delivered() -> Outcome {
    Outcome::Delivered {
        record_id: "r".into(),
    }
}

fn throttled() -> ServiceError {
    ServiceError::new("ThrottlingException", "Rate exceeded")
}

fn refused(retryable: bool, code: &str) -> Reply {
    let error = ServiceError::new(code, "on command");
    Reply::Is(Err(CallError { retryable, error }))
}

/// The data of a record: its number, padded to a size.
fn data(number: usize, bytes: usize) -> Bytes {
    let mut data = format!("{number:08}").into_bytes();
    data.resize(bytes.max(8), b' ');
    data.into()
}

fn number_of(data: &Bytes) -> usize {
    std::str::from_utf8(&data[..8]).unwrap().parse().unwrap()
}

fn settings(interval_s: u64) -> WorkerSettings {
    WorkerSettings {
        publish_interval: interval_s as u32 * SECOND,
        publish_when_full: true,
        record_max_age: None,
        rate_limits: RateLimits::default(),
        joining: None,
        version_1_messages: false,
        parallel_calls: Arc::new(Semaphore::new(PARALLEL_CALLS)),
    }
}

fn publisher(backlog_max_bytes: usize) -> Publisher {
    let settings = PublisherSettings {
        shape: Shape::List,
        document_max_bytes: 120_000,
        backlog_max_bytes,
        left_bytes: 0,
    };
    Publisher::new(settings, MemoryBudget::new(0).share())
}

/// A worker at work, its queue and its statuses.
struct Bench {
    stream: Arc<Stream>,
    ledger: Ledger,
    /// Where the queue is on disk.
    disk: Option<on_disk::Disk>,
    budget: MemoryBudget,
    statuses: Publisher,
    deadline: watch::Sender<Deadline>,
    seen: Arc<Mutex<Seen>>,
    worker: JoinHandle<usize>,
    start: Instant,
}

impl Bench {
    fn start(
        settings: WorkerSettings,
        script: impl Fn(&Call) -> (Duration, Reply) + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(usize::MAX, settings, None, script)
    }

    /// The same with this much memory for records, and a place for those that fail.
    fn start_with(
        memory_bytes: usize,
        settings: WorkerSettings,
        dead_letters: Option<DeadLetters>,
        script: impl Fn(&Call) -> (Duration, Reply) + Send + Sync + 'static,
    ) -> Self {
        let fake = Fake::new(script);
        let seen = Arc::clone(&fake.seen);
        Self::start_to(memory_bytes, settings, dead_letters, fake, seen)
    }

    /// The same with this much room for statuses that wait.
    fn start_reporting(
        backlog_max_bytes: usize,
        settings: WorkerSettings,
        script: impl Fn(&Call) -> (Duration, Reply) + Send + Sync + 'static,
    ) -> Self {
        let fake = Fake::new(script);
        let seen = Arc::clone(&fake.seen);
        let statuses = publisher(backlog_max_bytes);
        Self::start_all(usize::MAX, settings, None, statuses, fake, seen)
    }

    fn start_to(
        memory_bytes: usize,
        settings: WorkerSettings,
        dead_letters: Option<DeadLetters>,
        destination: impl Destination,
        seen: Arc<Mutex<Seen>>,
    ) -> Self {
        let statuses = publisher(usize::MAX);
        Self::start_all(
            memory_bytes,
            settings,
            dead_letters,
            statuses,
            destination,
            seen,
        )
    }

    fn start_all(
        memory_bytes: usize,
        settings: WorkerSettings,
        dead_letters: Option<DeadLetters>,
        statuses: Publisher,
        destination: impl Destination,
        seen: Arc<Mutex<Seen>>,
    ) -> Self {
        let arn = "arn:aws:firehose:us-east-1:123456789012:deliverystream/s";
        let partitions = Partitions::default();
        let arn = DeliveryStreamArn::parse(arn, &partitions).unwrap();
        let budget = MemoryBudget::new(memory_bytes);
        let disk = on_disk::queue();
        let stream = Arc::new(match &disk {
            None => Stream::new(arn, 100_000, budget.share()),
            Some(disk) => Stream::on_disk(arn.clone(), disk.queue.stream(&arn), budget.share()),
        });
        let (deadline, told) = watch::channel(None);
        let ledger = Ledger::default();
        let context = WorkerContext {
            ledger: ledger.clone(),
            destination,
            statuses: statuses.clone(),
            room: Arc::default(),
            deadline: told,
            dead_letters,
            // The clock of most tests stands still, and must not jump ahead while a thread works.
            blocking: Blocking::at_once(),
            settings,
        };
        let worker = Worker::new(Arc::clone(&stream), context);
        Bench {
            stream,
            ledger,
            disk,
            budget,
            statuses,
            deadline,
            seen,
            worker: tokio::spawn(worker.run()),
            start: Instant::now(),
        }
    }

    /// Records come in, as intake brings them.
    fn push(&self, numbers: Range<usize>, bytes: usize) {
        if let Some(disk) = &self.disk {
            return on_disk::push(&disk.queue, &self.stream, numbers, bytes);
        }
        let mut queue = self.stream.queue();
        for number in numbers {
            let data = data(number, bytes);
            let cost = MemoryBudget::record_bytes(data.len(), 8);
            let charge = self.stream.share.charge(cost).unwrap();
            let id = Id::from(number.to_string().as_str());
            queue
                .push(Record {
                    data,
                    id,
                    received: Instant::now(),
                    charge,
                    kept: None,
                })
                .unwrap();
        }
        drop(queue);
        self.stream.wake.notify_one();
    }

    /// Waits until this long after the start.
    async fn until(&self, since_start: Duration) {
        tokio::time::sleep_until(self.start + since_start).await;
    }

    fn calls(&self) -> Vec<Call> {
        self.seen.lock().unwrap().calls.clone()
    }

    /// When each call began, from the start on, and its records.
    fn plan(&self) -> Vec<(Duration, Vec<usize>)> {
        let calls = self.calls().into_iter();
        calls
            .map(|call| (call.at - self.start, call.records))
            .collect()
    }

    /// What became of each record so far: `success` or a code. None has two statuses.
    fn verdicts(&self) -> BTreeMap<usize, String> {
        let mut verdicts = BTreeMap::new();
        while let Some(document) = self.statuses.pop() {
            let document: serde_json::Value = serde_json::from_slice(&document.json).unwrap();
            for entry in document["response"].as_array().unwrap() {
                let number: usize = entry["id"].as_str().unwrap().parse().unwrap();
                let code = entry["ErrorCode"].as_str().unwrap_or("success");
                let earlier = verdicts.insert(number, code.to_owned());
                assert_eq!(earlier, None, "two statuses for {number}");
            }
        }
        verdicts
    }

    /// Lets the worker end when its queue is empty, or at the deadline.
    async fn stop(&mut self, after: Duration) -> usize {
        self.deadline.send_replace(Some(Instant::now() + after));
        (&mut self.worker).await.unwrap()
    }

    /// Lets all be delivered, and checks that each record was counted and reported so.
    async fn finish(mut self, records: usize) {
        assert_eq!(self.stop(3600 * SECOND).await, 0);
        let (totals, ()) = self.ledger.balance(|| ());
        assert_eq!(
            (totals.delivered, totals.failed),
            (records as u64, ByCode::new())
        );
        assert_eq!(self.verdicts(), every(0..records, "success"));
        assert_eq!(self.budget.used_bytes(), 0);
    }
}

fn every(numbers: Range<usize>, verdict: &str) -> BTreeMap<usize, String> {
    numbers.map(|number| (number, verdict.to_owned())).collect()
}

fn list(numbers: Range<usize>) -> Vec<usize> {
    numbers.collect()
}

#[tokio::test(start_paused = true)]
async fn all_that_waits_at_the_end_of_the_interval_goes_in_arrival_order() {
    let bench = Bench::start(settings(10), |call| (SECOND / 10, call.delivered()));
    bench.push(0..3, 8);
    bench.until(9 * SECOND).await;
    bench.push(3..5, 8);
    bench.until(11 * SECOND).await;
    bench.push(5..6, 8);
    bench.until(100 * SECOND).await;
    let expected = [(10 * SECOND, list(0..5)), (21 * SECOND, list(5..6))];
    assert_eq!(bench.plan(), expected);
    assert!(bench.calls().iter().all(|call| !call.single));
    bench.finish(6).await;
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_goes_early() {
    for (size, fits) in [(8, 500), (1_024_000, 3)] {
        let bench = Bench::start(settings(10), |call| (Duration::ZERO, call.delivered()));
        bench.push(0..fits - 1, size);
        bench.until(SECOND).await;
        assert_eq!(bench.plan(), []);
        bench.push(fits - 1..fits + 1, size);
        bench.until(20 * SECOND).await;
        let expected = [(SECOND, list(0..fits)), (10 * SECOND, list(fits..fits + 1))];
        assert_eq!(bench.plan(), expected, "records of {size} bytes");
        bench.finish(fits + 1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_goes_early_where_memory_is_scarce() {
    let memory = 30 * MemoryBudget::record_bytes(1000, 8);
    let bench = Bench::start_with(memory, settings(10), None, |call| {
        (Duration::ZERO, call.delivered())
    });
    bench.push(0..15, 1000);
    bench.until(SECOND).await;
    assert_eq!(bench.plan(), []);
    bench.push(15..22, 1000);
    bench.until(9 * SECOND).await;
    assert_eq!(bench.plan(), [(SECOND, list(0..22))]);
    bench.finish(22).await;
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_waits_for_the_interval_where_told_to() {
    for (size, fits) in [(8, 500), (1_024_000, 3)] {
        let patient = WorkerSettings {
            publish_when_full: false,
            ..settings(10)
        };
        let bench = Bench::start(patient, |call| (Duration::ZERO, call.delivered()));
        bench.push(0..fits + 1, size);
        bench.until(20 * SECOND).await;
        let expected = [
            (10 * SECOND, list(0..fits)),
            (10 * SECOND, list(fits..fits + 1)),
        ];
        assert_eq!(bench.plan(), expected, "records of {size} bytes");
        bench.finish(fits + 1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_an_interval_each_record_goes_at_once_in_a_call_of_its_own() {
    let bench = Bench::start(settings(0), |call| (SECOND, call.delivered()));
    bench.push(0..200, 8);
    bench.until(10 * SECOND).await;
    let calls = bench.calls();
    assert!(
        calls
            .iter()
            .all(|call| call.single && call.records.len() == 1)
    );
    let records: Vec<_> = calls.iter().flat_map(|call| call.records.clone()).collect();
    assert_eq!(records, list(0..200));
    assert_eq!(
        calls[PARALLEL_RECORDS - 1].at,
        bench.start,
        "many are in flight"
    );
    assert_eq!(
        calls[PARALLEL_RECORDS].at,
        bench.start + SECOND,
        "but no more than that"
    );
    bench.finish(200).await;
}

#[tokio::test(start_paused = true)]
async fn a_backlog_goes_in_parallel_calls_up_to_a_bound() {
    let bench = Bench::start(settings(1), |call| (SECOND, call.delivered()));
    let batches = PARALLEL_BATCHES + 4;
    bench.push(0..batches * 500, 8);
    bench.until(10 * SECOND).await;
    let calls = bench.calls();
    assert_eq!(calls.len(), batches);
    assert_eq!(
        calls.iter().map(|call| call.open).max(),
        Some(PARALLEL_BATCHES)
    );
    assert_eq!(calls[PARALLEL_BATCHES - 1].at, bench.start);
    bench.finish(batches * 500).await;
}

#[tokio::test(start_paused = true)]
async fn what_failed_goes_behind_what_waits_and_out_with_the_next_batch() {
    let bench = Bench::start(settings(10), |call| {
        let mut outcomes = call.all(delivered());
        if call.number == 0 {
            outcomes[1] = Outcome::Retry(throttled());
        }
        (2 * SECOND, Reply::Is(Ok(outcomes)))
    });
    bench.push(0..3, 8);
    bench.until(11 * SECOND).await;
    bench.push(3..5, 8);
    bench.until(60 * SECOND).await;
    let expected = [(10 * SECOND, list(0..3)), (21 * SECOND, vec![3, 4, 1])];
    assert_eq!(bench.plan(), expected);
    bench.finish(5).await;
}

#[tokio::test(start_paused = true)]
async fn each_outcome_of_a_call_decides_about_its_own_record() {
    let mut bench = Bench::start(settings(1), |call| {
        let outcome = |record: &usize| match (record, call.number) {
            (1, _) => Outcome::Failed(ServiceError::new("InvalidArgumentException", "no")),
            (2, 0) => Outcome::Retry(throttled()),
            _ => delivered(),
        };
        let outcomes = call.records.iter().map(outcome).collect();
        (Duration::ZERO, Reply::Is(Ok(outcomes)))
    });
    bench.push(0..4, 8);
    bench.until(10 * SECOND).await;
    assert_eq!(bench.stop(SECOND).await, 0);
    let mut expected = every(0..4, "success");
    expected.insert(1, "InvalidArgumentException".into());
    assert_eq!(bench.verdicts(), expected);
    let records: Vec<_> = bench
        .plan()
        .into_iter()
        .map(|(_, records)| records)
        .collect();
    assert_eq!(records, [vec![0, 1, 2, 3], vec![2]]);
}

#[tokio::test(start_paused = true)]
async fn a_call_refused_for_good_fails_its_records_and_delays_nothing() {
    let mut bench = Bench::start(settings(0), |call| {
        let fails = call.records[0] < 5;
        let reply = if fails {
            refused(false, "AccessDeniedException")
        } else {
            call.delivered()
        };
        (Duration::ZERO, reply)
    });
    bench.push(0..10, 8);
    bench.until(SECOND / 1000).await;
    let mut expected = every(0..10, "success");
    expected.extend(every(0..5, "AccessDeniedException"));
    assert_eq!(bench.verdicts(), expected);
    assert_eq!(bench.stop(SECOND).await, 0);
}

#[tokio::test(start_paused = true)]
async fn waits_grow_to_a_bound_with_jitter_and_end_with_a_success() {
    const FAILURES: usize = 14;
    let bench = Bench::start(settings(0), |call| {
        let fails = call.number < FAILURES;
        let reply = if fails {
            refused(true, "ThrottlingException")
        } else {
            call.delivered()
        };
        (Duration::ZERO, reply)
    });
    bench.push(0..1, 8);
    bench.until(1000 * SECOND).await;
    let at: Vec<Instant> = bench.calls().iter().map(|call| call.at).collect();
    assert_eq!(at.len(), FAILURES + 1);
    let mut shares = Vec::new();
    for (failures, pair) in at.windows(2).enumerate() {
        let full = (0.2 * 2f64.powi(failures as i32)).min(30.0);
        let share = (pair[1] - pair[0]).as_secs_f64() / full;
        // The clock ticks in milliseconds.
        assert!(
            (0.49..=1.02).contains(&share),
            "wait {failures} is {share} of {full} s"
        );
        shares.push(share);
    }
    let (least, most) = (
        shares.iter().copied().fold(1.0, f64::min),
        shares.iter().copied().fold(0.0, f64::max),
    );
    assert!(most - least > 0.01, "no jitter: {shares:?}");
    // The wait was over with the success: what comes now goes now.
    bench.push(1..3, 8);
    bench.until(1001 * SECOND).await;
    let after: Vec<_> = bench.plan().split_off(FAILURES + 1);
    let now = 1000 * SECOND;
    assert_eq!(after, [(now, vec![1]), (now, vec![2])]);
    bench.finish(3).await;
}

#[tokio::test(start_paused = true)]
async fn a_success_ends_the_wait_that_another_call_began() {
    let soon = Duration::from_millis(50);
    let bench = Bench::start(settings(0), move |call| match call.number {
        0 => (Duration::ZERO, refused(true, "InternalFailure")),
        _ => (soon, call.delivered()),
    });
    bench.push(0..2, 8);
    bench.until(SECOND).await;
    let plan = bench.plan();
    // Without the success the wait would be of 100 ms at least.
    assert_eq!(plan[2..], [(soon, vec![0])]);
    bench.finish(2).await;
}

#[tokio::test(start_paused = true)]
async fn one_call_at_a_time_tries_until_one_succeeds() {
    const RECORDS: usize = 300;
    let mended = 40 * SECOND;
    let start = Instant::now();
    let bench = Bench::start(settings(0), move |call| {
        let fails = call.at < start + mended;
        let reply = if fails {
            refused(true, "InternalFailure")
        } else {
            call.delivered()
        };
        (SECOND, reply)
    });
    bench.push(0..RECORDS, 8);
    bench.until(100 * SECOND).await;
    let calls = bench.calls();
    let (first, later) = calls.split_at(PARALLEL_RECORDS);
    assert!(first.iter().all(|call| call.at == start));
    let probes = later
        .iter()
        .position(|call| call.at >= start + mended)
        .unwrap();
    assert!(probes >= 3);
    // The last of them is the one that succeeded.
    assert!(later[..=probes].iter().all(|call| call.open == 1));
    // Nothing waits from then on, and calls at a time grow with each that goes well.
    let success_at = later[probes].at + SECOND;
    let started = |at| later.iter().filter(|call| call.at == at).count();
    let rounds: Vec<_> = (0..6u32)
        .map(|round| started(success_at + round * SECOND))
        .collect();
    assert_eq!(rounds, [2, 4, 8, 16, 32, 64]);
    bench.finish(RECORDS).await;
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_does_not_go_around_the_wait_after_a_failure() {
    let bench = Bench::start(settings(1), |call| {
        let fails = call.number < 6;
        let reply = if fails {
            refused(true, "InternalFailure")
        } else {
            call.delivered()
        };
        (Duration::ZERO, reply)
    });
    bench.push(0..500, 8);
    bench.until(100 * SECOND).await;
    let at: Vec<_> = bench.plan().into_iter().map(|(at, _)| at).collect();
    assert_eq!(at.len(), 7);
    for (failures, pair) in at.windows(2).enumerate() {
        let least = SECOND / 10 * 2u32.pow(failures as u32);
        assert!(pair[1] - pair[0] >= least, "{at:?}");
    }
    bench.finish(500).await;
}

#[tokio::test(start_paused = true)]
async fn records_expire_while_the_stream_is_in_trouble_and_not_while_they_are_under_way() {
    let limited = WorkerSettings {
        record_max_age: Some(50 * SECOND),
        ..settings(0)
    };
    let mut bench = Bench::start(limited, |call| match call.records[0] {
        0 => (80 * SECOND, call.delivered()),
        1 => (80 * SECOND, refused(true, "InternalFailure")),
        _ => (Duration::ZERO, refused(true, "InternalFailure")),
    });
    bench.push(0..4, 8);
    bench.until(Duration::from_millis(49_900)).await;
    assert_eq!(bench.verdicts(), BTreeMap::new());
    // A moment later, while no call is due and nothing else happens.
    bench.until(Duration::from_millis(50_100)).await;
    assert_eq!(bench.verdicts(), every(2..4, "Expired"));
    bench.until(79 * SECOND).await;
    assert_eq!(bench.verdicts(), BTreeMap::new());
    bench.until(Duration::from_millis(80_100)).await;
    let mut expected = every(0..1, "success");
    expected.extend(every(1..2, "Expired"));
    assert_eq!(bench.verdicts(), expected);
    assert_eq!(bench.stop(SECOND).await, 0);
    assert_eq!(bench.budget.used_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stop_sends_what_waits_without_its_interval() {
    let bench = Bench::start(settings(900), |call| (SECOND, call.delivered()));
    bench.push(0..600, 8);
    sleep(SECOND).await;
    assert_eq!(bench.plan(), [(Duration::ZERO, list(0..500))]);
    let calls = Arc::clone(&bench.seen);
    let (start, stopped_at) = (bench.start, Instant::now());
    bench.finish(600).await;
    let last = calls.lock().unwrap().calls[1].clone();
    assert_eq!((last.at, last.records), (stopped_at, list(500..600)));
    assert_eq!(stopped_at - start, SECOND);
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_the_rest_is_reported_once_wherever_it_is() {
    // Of three calls one succeeds in time, one comes back to wait, one hangs.
    let mut bench = Bench::start(settings(1), |call| match call.number {
        0 => (SECOND, call.delivered()),
        1 => (2 * SECOND, refused(true, "InternalFailure")),
        _ => (NEVER, call.delivered()),
    });
    bench.push(0..1500, 8);
    sleep(SECOND / 2).await;
    assert_eq!(bench.stop(9 * SECOND).await, 1000);
    assert_eq!(bench.start.elapsed().as_secs(), 9);
    let mut expected = every(0..500, "success");
    expected.extend(every(500..1500, "ConnectorStopped"));
    assert_eq!(bench.verdicts(), expected);
    assert_eq!(bench.budget.used_bytes(), 0);
    assert!(bench.stream.queue().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_here_at_the_deadline_counts() {
    // Which of the two the worker looks at first is random: both ways are gone many times.
    for _ in 0..30 {
        let deadline: Arc<Mutex<Option<watch::Sender<Deadline>>>> = Arc::default();
        let teller = Arc::clone(&deadline);
        let mut bench = Bench::start(settings(1), move |call| {
            let teller = teller.lock().unwrap();
            // The time is over in the very moment of the answer.
            teller.as_ref().unwrap().send_replace(Some(call.at));
            (Duration::ZERO, call.delivered())
        });
        *deadline.lock().unwrap() = Some(bench.deadline.clone());
        bench.push(0..500, 8);
        assert_eq!((&mut bench.worker).await.unwrap(), 0);
        assert_eq!(bench.verdicts(), every(0..500, "success"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_panics_loses_no_record() {
    for interval in [0, 1] {
        let bench = Bench::start(settings(interval), |call| {
            let reply = if call.number < 3 {
                Reply::Panics
            } else {
                call.delivered()
            };
            (SECOND / 10, reply)
        });
        bench.push(0..40, 8);
        bench.until(100 * SECOND).await;
        bench.finish(40).await;
    }
}

#[tokio::test(start_paused = true)]
async fn records_without_an_outcome_are_sent_again() {
    let bench = Bench::start(settings(1), |call| {
        let mut outcomes = call.all(delivered());
        match call.number {
            0 => outcomes.truncate(7),
            1 => outcomes.clear(),
            2 => outcomes.push(delivered()),
            _ => {}
        }
        (Duration::ZERO, Reply::Is(Ok(outcomes)))
    });
    bench.push(0..10, 8);
    bench.until(100 * SECOND).await;
    let records: Vec<_> = bench
        .plan()
        .into_iter()
        .map(|(_, records)| records)
        .collect();
    assert_eq!(records, [list(0..10), list(7..10), list(7..10)]);
    bench.finish(10).await;
}

#[tokio::test(start_paused = true)]
async fn version_1_wraps_messages_of_the_service() {
    let version_1 = WorkerSettings {
        version_1_messages: true,
        ..settings(0)
    };
    let bench = Bench::start(version_1, |_| {
        (Duration::ZERO, refused(false, "AccessDenied"))
    });
    bench.push(0..1, 8);
    bench.until(SECOND).await;
    let document = bench.statuses.pop().unwrap().json;
    let text = std::str::from_utf8(&document).unwrap();
    let words = "An error occurred (AccessDenied) when calling the PutRecord operation: on command";
    assert!(text.contains(words), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_stream_ends_its_worker_once_it_is_empty() {
    let mut bench = Bench::start(settings(1), |call| (5 * SECOND, call.delivered()));
    bench.push(0..2, 8);
    bench.stream.forget();
    assert_eq!((&mut bench.worker).await.unwrap(), 0);
    assert_eq!(bench.verdicts(), every(0..2, "success"));
}

/// Governor goes by the real clock, so this test does too. Only lower bounds are asserted: a slow
/// machine makes calls later, never earlier.
#[tokio::test]
async fn limits_per_second_hold() {
    let limit = NonZeroU32::new;
    let none = RateLimits::default();
    let paced = |rate_limits, interval| WorkerSettings {
        rate_limits,
        ..settings(interval)
    };
    let run = |settings, records, bytes| async move {
        let bench = Bench::start(settings, |call| (Duration::ZERO, call.delivered()));
        bench.push(0..records, bytes);
        let seen = Arc::clone(&bench.seen);
        let start = bench.start;
        bench.finish(records).await;
        let calls = seen.lock().unwrap().calls.clone();
        let last = calls.last().unwrap().at - start;
        (last, calls)
    };
    // A second's worth may go at once; each further half of it takes half a second.
    let least = Duration::from_millis(1450);
    let ((by_records, record_calls), (by_bytes, _), (by_requests, _), (by_large, _)) = tokio::join!(
        run(
            paced(
                RateLimits {
                    records_per_second: limit(100),
                    ..none
                },
                1
            ),
            250,
            8
        ),
        run(
            paced(
                RateLimits {
                    bytes_per_second: limit(1000),
                    ..none
                },
                0
            ),
            10,
            250
        ),
        run(
            paced(
                RateLimits {
                    requests_per_second: limit(2),
                    ..none
                },
                0
            ),
            5,
            8
        ),
        // A record of more than a second's worth goes too, in its time.
        run(
            paced(
                RateLimits {
                    bytes_per_second: limit(400),
                    ..none
                },
                1
            ),
            1,
            1000
        ),
    );
    for (limit, took) in [
        ("records", by_records),
        ("bytes", by_bytes),
        ("requests", by_requests),
        ("large", by_large),
    ] {
        assert!(took >= least, "{limit}: the last call came after {took:?}");
    }
    let sizes: Vec<_> = record_calls.iter().map(|call| call.records.len()).collect();
    assert_eq!(sizes, [100, 100, 50]);
}
