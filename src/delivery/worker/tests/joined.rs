//! Records that are joined: which go together, that each gets the outcome of what it was joined into, and
//! that exactly those of one that failed are sent again, whether they wait in memory or on disk.

use super::*;
use crate::aggregate::{Aggregation, Compression};
use crate::delimiter::Delimiter;
use crate::status::Room;

fn joined(interval_s: u64, compression: Option<Compression>) -> WorkerSettings {
    let rate_limits = RateLimits::default();
    let aggregation = Aggregation {
        delimiter: Delimiter::NEWLINE,
        max_bytes: 10_240,
        compression,
    };
    WorkerSettings {
        joining: Some(Joining::new(aggregation, 5000, &rate_limits)),
        ..settings(interval_s)
    }
}

/// The records of a call, as numbers, by Firehose record.
type Lines = Vec<Vec<usize>>;

/// What becomes of the Firehose records of a call, from its number and its lines.
type Answers = dyn Fn(usize, &Lines) -> Vec<Outcome> + Send + Sync;

/// A destination that notes what it is sent, and answers for each Firehose record as it is told.
#[derive(Clone)]
struct Lined {
    calls: Arc<Mutex<Vec<Lines>>>,
    answer: Arc<Answers>,
}

impl Destination for Lined {
    async fn put_batch(
        &self,
        _: &DeliveryStreamArn,
        records: Vec<Bytes>,
    ) -> Result<Vec<Outcome>, CallError> {
        let lines: Lines = records.iter().map(lines_of).collect();
        let mut calls = self.calls.lock().unwrap();
        calls.push(lines.clone());
        Ok((self.answer)(calls.len() - 1, &lines))
    }

    async fn put_record(&self, _: &DeliveryStreamArn, _: Bytes) -> Result<Outcome, CallError> {
        unreachable!("joined records go in batches")
    }
}

fn lines_of(record: &Bytes) -> Vec<usize> {
    use std::io::Read;
    let mut text = Vec::new();
    match &record[..4] {
        [0x1f, 0x8b, ..] => {
            drop(flate2::read::MultiGzDecoder::new(&record[..]).read_to_end(&mut text))
        }
        [0x28, 0xb5, 0x2f, 0xfd] => {
            drop(
                zstd::Decoder::new(&record[..])
                    .unwrap()
                    .read_to_end(&mut text),
            );
        }
        _ => text.extend_from_slice(record),
    }
    let text = String::from_utf8(text).unwrap();
    assert!(text.ends_with('\n'));
    let number = |line: &str| line[..8].parse().unwrap();
    text.lines().map(number).collect()
}

/// The id that tells which Firehose record of which call it was.
fn id(call: usize, place: usize) -> Outcome {
    Outcome::Delivered {
        record_id: format!("{call}-{place}").into(),
    }
}

fn all_delivered(call: usize, lines: &Lines) -> Vec<Outcome> {
    (0..lines.len()).map(|place| id(call, place)).collect()
}

impl Bench {
    fn start_joined(
        settings: WorkerSettings,
        answer: impl Fn(usize, &Lines) -> Vec<Outcome> + Send + Sync + 'static,
    ) -> (Self, Arc<Mutex<Vec<Lines>>>) {
        let calls = Arc::default();
        let lined = Lined {
            calls: Arc::clone(&calls),
            answer: Arc::new(answer),
        };
        let bench = Self::start_to(usize::MAX, settings, None, lined, Arc::default());
        (bench, calls)
    }

    /// The Firehose record id or the code of each record.
    fn told(&self) -> BTreeMap<usize, String> {
        let mut told = BTreeMap::new();
        while let Some(document) = self.statuses.pop() {
            let document: serde_json::Value = serde_json::from_slice(&document.json).unwrap();
            for entry in document["response"].as_array().unwrap() {
                let number = entry["id"].as_str().unwrap().parse().unwrap();
                let text = entry["firehose_record_id"].as_str();
                let text = text.or(entry["ErrorCode"].as_str()).unwrap().to_owned();
                assert_eq!(told.insert(number, text), None, "two statuses for {number}");
            }
        }
        told
    }
}

fn telling(ranges: &[(Range<usize>, &str)]) -> BTreeMap<usize, String> {
    let each = |(range, text): &(Range<usize>, &str)| every(range.clone(), text);
    ranges.iter().flat_map(each).collect()
}

#[tokio::test(start_paused = true)]
pub(super) async fn all_that_is_due_goes_in_few_records_and_each_request_has_its_status() {
    for compression in [None, Some(Compression::Gzip), Some(Compression::Zstd)] {
        let (mut bench, calls) = Bench::start_joined(joined(10, compression), all_delivered);
        bench.push(0..40, 204);
        bench.until(9 * SECOND).await;
        assert_eq!(calls.lock().unwrap().len(), 0);
        bench.until(11 * SECOND).await;
        assert_eq!(*calls.lock().unwrap(), [[list(0..40)]]);
        assert_eq!(bench.told(), every(0..40, "0-0"));
        assert_eq!(bench.stop(SECOND).await, 0);
        assert_eq!(bench.budget.used_bytes(), 0);
    }
}

/// A call of joined records may carry tens of thousands of requests: no more at once than statuses have room.
#[tokio::test(start_paused = true)]
pub(super) async fn all_get_their_statuses_however_many_go_together() {
    const RECORDS: usize = 20_000;
    const BACKLOG_BYTES: usize = 600_000;
    for compression in [None, Some(Compression::Gzip)] {
        let lined = Lined {
            calls: Arc::default(),
            answer: Arc::new(all_delivered),
        };
        let calls = Arc::clone(&lined.calls);
        let settings = joined(1, compression);
        let (statuses, seen) = (publisher(BACKLOG_BYTES), Arc::default());
        let mut bench = Bench::start_all(usize::MAX, settings, None, statuses, lined, seen);
        bench.statuses.set_room(Room::Usual);
        bench.push(0..RECORDS, 20);
        let mut told = BTreeMap::new();
        while told.len() < RECORDS {
            bench.until(bench.start.elapsed() + SECOND).await;
            let these = bench.told();
            assert!(!these.is_empty(), "stuck at {}", told.len());
            told.extend(these);
        }
        assert_eq!(bench.statuses.dropped(), 0);
        let requests = |call: &Lines| call.iter().map(Vec::len).sum::<usize>();
        let most = calls.lock().unwrap().iter().map(requests).max();
        assert!(
            most > Some(1000),
            "{most:?}: more than calls that join none have"
        );
        assert_eq!(bench.stop(SECOND).await, 0);
    }
}

#[tokio::test(start_paused = true)]
pub(super) async fn one_full_record_goes_early_and_the_rest_waits_for_its_interval() {
    // 49 lines of 205 bytes take 10,045 of 10,240 bytes; 24 of them 4,920 of 5,120, which is worse.
    let (mut bench, calls) = Bench::start_joined(joined(10, None), all_delivered);
    bench.push(0..49, 204);
    bench.until(SECOND).await;
    assert_eq!(calls.lock().unwrap().len(), 0, "one more may join them");
    bench.push(49..110, 204);
    bench.until(2 * SECOND).await;
    let full = [vec![list(0..49), list(49..98)]];
    assert_eq!(*calls.lock().unwrap(), full);
    bench.until(11 * SECOND).await;
    assert_eq!(calls.lock().unwrap()[1..], [[list(98..110)]]);
    let expected = telling(&[(0..49, "0-0"), (49..98, "0-1"), (98..110, "1-0")]);
    assert_eq!(bench.told(), expected);
    assert_eq!(bench.stop(SECOND).await, 0);
}

#[tokio::test(start_paused = true)]
pub(super) async fn an_outcome_is_that_of_exactly_the_requests_it_was_joined_from() {
    let (mut bench, calls) = Bench::start_joined(joined(10, None), |call, lines| {
        let mut outcomes = all_delivered(call, lines);
        if call == 0 {
            outcomes[1] = Outcome::Retry(throttled());
            outcomes[2] = Outcome::Failed(ServiceError::new("InvalidArgumentException", "no"));
            // The answer does not name the last.
            outcomes.truncate(3);
        }
        outcomes
    });
    // Four full records, and four requests that wait for the next.
    bench.push(0..200, 204);
    bench.until(30 * SECOND).await;
    let groups = (0..4).map(|group| list(49 * group..49 * (group + 1)));
    let calls = calls.lock().unwrap().clone();
    assert_eq!(calls[0], groups.collect::<Lines>());
    // Those that failed in passing may be joined in another way; they are these, in their order.
    let again = calls[1..].concat().concat();
    let expected = [list(196..200), list(49..98), list(147..196)];
    assert_eq!(again, expected.concat());
    let told = bench.told();
    let delivered_at_once = told
        .iter()
        .filter(|(_, id)| *id == "0-0")
        .map(|(number, _)| *number);
    assert_eq!(delivered_at_once.collect::<Vec<_>>(), list(0..49));
    let refused = told
        .iter()
        .filter(|(_, id)| *id == "InvalidArgumentException");
    assert_eq!(
        refused.map(|(number, _)| *number).collect::<Vec<_>>(),
        list(98..147)
    );
    assert_eq!(told.len(), 200);
    assert_eq!(bench.stop(SECOND).await, 0);
    assert_eq!(bench.budget.used_bytes(), 0);
}

/// As with records that are not joined: the real clock, and a lower bound.
#[tokio::test]
pub(super) async fn limits_per_second_count_the_records_that_are_sent() {
    let limited = WorkerSettings {
        rate_limits: RateLimits {
            records_per_second: NonZeroU32::new(2),
            ..RateLimits::default()
        },
        ..joined(1, None)
    };
    let (mut bench, calls) = Bench::start_joined(limited, all_delivered);
    // Five records of 49: two at once, and half a second for each of the others.
    bench.push(0..245, 204);
    assert_eq!(bench.stop(60 * SECOND).await, 0);
    assert!(bench.start.elapsed() >= Duration::from_millis(1450));
    let calls = calls.lock().unwrap();
    assert!(calls.iter().all(|call| call.len() <= 2), "{calls:?}");
    // All the same it is five that were counted, not 245 requests: those would take two minutes.
    assert_eq!(calls.concat().len(), 5);
    assert_eq!(bench.told().len(), 245);
}

#[tokio::test(start_paused = true)]
pub(super) async fn a_backlog_leaves_in_full_records_and_one_more() {
    // As soon as one is full, and all of it at the end of the interval.
    for publish_when_full in [true, false] {
        let settings = WorkerSettings {
            publish_when_full,
            ..joined(1, None)
        };
        let (mut bench, calls) = Bench::start_joined(settings, all_delivered);
        bench.push(0..20_000, 204);
        bench.until(30 * SECOND).await;
        let sent: Vec<_> = calls.lock().unwrap().concat();
        let partial = sent.iter().filter(|lines| lines.len() != 49).count();
        assert!(partial <= 1, "{partial} of {} are not full", sent.len());
        let mut all = sent.concat();
        all.sort_unstable();
        assert_eq!(all, list(0..20_000));
        assert_eq!(bench.told().len(), 20_000);
        assert_eq!(bench.stop(SECOND).await, 0);
        assert_eq!(bench.budget.used_bytes(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn joined_records_are_in_memory_once() {
    let aggregation = Aggregation {
        delimiter: Delimiter::NEWLINE,
        max_bytes: 10_240,
        compression: None,
    };
    let joining = Joining::new(aggregation, 5000, &RateLimits::default());
    let packing = Packing::new(BatchLimits::of_service(1), Some(joining));
    let share = MemoryBudget::new(usize::MAX).share();
    // One has its delimiter, one was kept from before there was one.
    let mut records: Vec<_> = ["first\n", "second", "third\n"]
        .map(|text| Record {
            data: Bytes::from(text),
            id: Id::from(&text[..2]),
            received: Instant::now(),
            charge: share.charge(1).unwrap(),
            kept: None,
        })
        .into();
    let plan = packing.plan(records.iter().map(|record| &record.data));
    let data = packing
        .load(&mut records, plan.groups.as_deref())
        .into_data(&Blocking::at_once())
        .await
        .unwrap();
    assert_eq!(data, ["first\nsecond\nthird\n"]);
    let place = |bytes: &[u8]| bytes.as_ptr() as usize - data[0].as_ptr() as usize;
    let places: Vec<_> = records
        .iter()
        .map(|record| (place(&record.data), record.data.len()))
        .collect();
    // As they were, so that what is charged for them stays right.
    assert_eq!(places, [(0, 6), (6, 6), (13, 6)]);
    let ids: Vec<_> = records.iter().map(|record| record.id.as_str()).collect();
    assert_eq!(ids, ["fi", "se", "th"]);
    assert_eq!(place(records[0].id.as_str().as_bytes()), data[0].len());
}
