//! What becomes of messages, seen from the queue, the acknowledgements and the statuses.

use std::time::Duration;

use serde_json::Value;

use super::parking::{PARKED_MAX, UNCHARGED_MAX_BYTES};
use super::streams::STREAMS_MAX;
use super::*;
use crate::arn::{AllowedStreams, DeliveryStreamArn, Partitions};
use crate::memory::{LEFT_TO_RECORDS_BYTES, MemoryPlan};
use crate::request::{RECORD_MAX_BYTES, Topics};
use crate::status::{PublisherSettings, Shape};

const DEFAULT: &str = "arn:aws:firehose:us-east-1:123456789012:deliverystream/default";
const QUEUE_SIZE: usize = 3;

struct Bench {
    intake: Intake,
    ledger: Ledger,
    statuses: Publisher,
    budget: MemoryBudget,
    stream: Arc<Stream>,
    next_message: u64,
    acknowledged: Vec<AckToken>,
    now: Instant,
}

impl Bench {
    fn new(when_full: WhenFull, memory_bytes: usize) -> Self {
        Self::with(when_full, memory_bytes, |_| {})
    }

    fn with(
        when_full: WhenFull,
        memory_bytes: usize,
        set: impl FnOnce(&mut IntakeSettings),
    ) -> Self {
        let partitions = Partitions::default();
        let budget = MemoryBudget::new(memory_bytes);
        let settings = PublisherSettings {
            shape: Shape::List,
            document_max_bytes: 120_000,
            backlog_max_bytes: 10_000_000,
            left_bytes: 0,
        };
        let statuses = Publisher::new(settings, budget.share());
        let now = Instant::now();
        let mut settings = IntakeSettings {
            acceptance: Acceptance {
                default_stream: DeliveryStreamArn::parse(DEFAULT, &partitions).unwrap(),
                partitions,
                allowed: None,
            },
            queue_size: QUEUE_SIZE,
            when_full,
            full_batch_records: 500,
            full_batch_bytes: 2_900_000,
            delimiter: None,
            record_max_bytes: RECORD_MAX_BYTES,
            keeps_too_large: false,
        };
        set(&mut settings);
        let ledger = Ledger::default();
        let mut intake = Intake::new(
            Decoder::new(Topics::new("kinesisfirehose")),
            settings,
            budget.clone(),
            None,
            statuses.clone(),
            ledger.clone(),
            now,
        );
        let stream = intake.opened_streams().remove(0);
        Bench {
            intake,
            ledger,
            statuses,
            budget,
            stream,
            next_message: 0,
            acknowledged: Vec::new(),
            now,
        }
    }

    /// Publishes binary requests of these ids and this size in one read; gives their tokens.
    fn publish(&mut self, ids: &[&str], bytes: usize) -> Vec<AckToken> {
        let topic = |id: &&str| format!("kinesisfirehose/message/binary/{id}");
        self.receive(
            ids.iter()
                .map(|id| (topic(id), vec![b'x'; bytes]))
                .collect(),
        )
    }

    fn request(&mut self, stream: &str, id: &str) -> AckToken {
        let payload =
            format!(r#"{{"request":{{"data":"d","delivery_stream_arn":"{stream}"}},"id":"{id}"}}"#);
        self.receive(vec![(
            "kinesisfirehose/message".into(),
            payload.into_bytes(),
        )])[0]
    }

    fn receive(&mut self, messages: Vec<(String, Vec<u8>)>) -> Vec<AckToken> {
        let tokens: Vec<_> = messages.iter().map(|_| self.token()).collect();
        let messages: Vec<_> = messages
            .iter()
            .zip(&tokens)
            .map(|((topic, payload), token)| Message::published(topic, payload, Some(*token)))
            .collect();
        self.intake
            .receive(&messages, self.now, |token| self.acknowledged.push(token));
        self.assert_balanced();
        tokens
    }

    /// Received = delivered + failed + rejected + held.
    fn assert_balanced(&self) {
        let (totals, held) = self.ledger.balance(|| {
            let streams = self.intake.open_streams().all();
            let held = streams.iter().map(|stream| stream.queue().len() as u64);
            held.sum::<u64>()
        });
        let ended = totals.delivered + totals.failed_records() + totals.rejected_requests();
        assert_eq!(totals.received, ended + held, "{totals:?}");
    }

    /// The parameter that keeps records out.
    fn full_by(&self) -> Option<&'static str> {
        self.stream.account.full_by(self.now)
    }

    fn token(&mut self) -> AckToken {
        self.next_message += 1;
        AckToken::numbered(self.next_message)
    }

    fn retry(&mut self) {
        self.intake
            .retry_parked(self.now, |token| self.acknowledged.push(token));
        self.assert_balanced();
    }

    /// Delivers the first waiting records.
    fn deliver(&self, count: usize) -> Vec<String> {
        self.deliver_from(&self.stream, count)
    }

    fn deliver_from(&self, stream: &Stream, count: usize) -> Vec<String> {
        let mut queue = stream.queue();
        let records = queue.take(count);
        queue.settle(records.len(), Vec::new());
        drop(queue);
        self.ledger.entry().delivered(records.len(), 0);
        records
            .iter()
            .map(|record| record.id.as_str().to_owned())
            .collect()
    }

    /// Statuses published so far, as (id, code).
    fn statuses(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        std::iter::from_fn(|| self.statuses.pop())
            .flat_map(|document| {
                let value: Value = serde_json::from_slice(&document.json).unwrap();
                value["response"].as_array().unwrap().clone()
            })
            .map(|entry| (text(&entry["id"]), text(&entry["ErrorCode"])))
            .collect()
    }
}

fn arn(number: usize) -> String {
    format!("arn:aws:firehose:us-east-1:123456789012:deliverystream/s{number}")
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected
        .iter()
        .map(|(id, code)| ((*id).to_owned(), (*code).to_owned()))
        .collect()
}

#[test]
fn held_and_rejected_are_acknowledged() {
    let mut bench = Bench::new(WhenFull::Reject, 1 << 20);
    let held = bench.publish(&["1", "2"], 10);
    let rejected = bench.receive(vec![(
        "kinesisfirehose/message".into(),
        b"rubbish".to_vec(),
    )]);
    assert_eq!(bench.acknowledged, [held, rejected].concat());
    assert_eq!(bench.statuses(), pairs(&[("", "InvalidRequest")]));
    assert_eq!(bench.deliver(9), ["1", "2"]);
}

#[test]
fn a_full_queue_rejects_exactly_what_does_not_fit() {
    let mut bench = Bench::new(WhenFull::Reject, 1 << 20);
    let tokens = bench.publish(&["1", "2", "3", "4", "5"], 10);
    assert_eq!(bench.acknowledged.len(), tokens.len());
    assert_eq!(
        bench.statuses(),
        pairs(&[("4", "QueueFull"), ("5", "QueueFull")])
    );
    assert_eq!(bench.deliver(9), ["1", "2", "3"]);
}

#[test]
fn memory_bounds_all_streams_together_and_comes_back() {
    let cost = MemoryBudget::record_bytes(1, 1) + MemoryBudget::STREAM_BYTES;
    let mut bench = Bench::new(WhenFull::Reject, 2 * cost);
    bench.request(&arn(1), "a");
    bench.request(&arn(2), "b");
    bench.request(&arn(3), "c");
    assert_eq!(bench.statuses(), pairs(&[("c", "MemoryLimitExceeded")]));
    for stream in bench.intake.opened_streams() {
        bench.deliver_from(&stream, 1);
    }
    assert_eq!(bench.budget.used_bytes(), 0);
    bench.request(&arn(3), "d");
    assert_eq!(bench.statuses(), pairs(&[]));
}

#[test]
fn drop_oldest_keeps_the_newest() {
    let mut bench = Bench::new(WhenFull::DropOldest, 1 << 20);
    bench.publish(&["1", "2", "3", "4", "5"], 10);
    assert_eq!(
        bench.statuses(),
        pairs(&[("1", "Dropped"), ("2", "Dropped")])
    );
    assert_eq!(bench.full_by(), Some("DELIVERY_STREAM_QUEUE_SIZE"));
    assert_eq!(bench.deliver(9), ["3", "4", "5"]);
    // What is in flight cannot be dropped: then the new one is rejected.
    bench.publish(&["6", "7", "8"], 10);
    let _in_flight = bench.stream.queue().take(3);
    bench.publish(&["9"], 10);
    assert_eq!(bench.statuses(), pairs(&[("9", "QueueFull")]));
}

#[test]
fn drop_oldest_makes_room_in_memory_too() {
    // Room for two and a half: a stream alone leaves a fifth to others.
    let room = 5 * MemoryBudget::record_bytes(100, 1) / 2;
    let mut bench = Bench::new(WhenFull::DropOldest, room);
    bench.publish(&["1", "2", "3"], 100);
    assert_eq!(bench.statuses(), pairs(&[("1", "Dropped")]));
    assert_eq!(bench.full_by(), Some("MEMORY_SIZE"));
    assert_eq!(bench.deliver(9), ["2", "3"]);
}

#[test]
fn wait_acknowledges_only_what_is_held_and_keeps_order() {
    let mut bench = Bench::new(WhenFull::Wait, 1 << 20);
    let tokens = bench.publish(&["1", "2", "3", "4", "5"], 10);
    assert_eq!(bench.acknowledged, tokens[..3]);
    assert!(bench.intake.has_parked() && !bench.intake.is_choked());
    bench.now += Duration::from_secs(3600);
    assert_eq!(bench.full_by(), Some("DELIVERY_STREAM_QUEUE_SIZE"));
    assert_eq!(bench.deliver(1), ["1"]);
    // There is room for one now, but it is the one's that waits longest.
    let late = bench.publish(&["6"], 10)[0];
    assert!(!bench.acknowledged.contains(&late));
    bench.retry();
    assert_eq!(bench.acknowledged, tokens[..4]);
    let mut rest = bench.deliver(9);
    bench.retry();
    rest.extend(bench.deliver(9));
    assert_eq!(rest, ["2", "3", "4", "5", "6"]);
    assert!(!bench.intake.has_parked());
    assert_eq!(bench.full_by(), None);
    assert_eq!(bench.statuses(), pairs(&[]));
}

#[test]
fn wait_of_one_stream_leaves_the_others_alone() {
    let mut bench = Bench::new(WhenFull::Wait, 1 << 20);
    bench.publish(&["1", "2", "3", "4"], 10);
    let other = bench.request(&arn(1), "other");
    assert!(bench.acknowledged.contains(&other));
}

#[test]
fn wait_is_bounded() {
    let mut bench = Bench::new(WhenFull::Wait, 1 << 20);
    for number in 0..QUEUE_SIZE + PARKED_MAX {
        assert!(!bench.intake.is_choked());
        bench.publish(&[&number.to_string()], 10);
    }
    assert!(bench.intake.is_choked());
    // Where memory has no place for what waits, little of it is enough.
    let cost = MemoryBudget::record_bytes(UNCHARGED_MAX_BYTES, 1);
    let mut bench = Bench::new(WhenFull::Wait, cost + cost / 2);
    bench.publish(&["1", "2"], UNCHARGED_MAX_BYTES);
    assert!(bench.intake.is_choked());
}

#[test]
fn what_can_never_fit_is_rejected_under_every_policy() {
    for policy in [WhenFull::Reject, WhenFull::Wait, WhenFull::DropOldest] {
        let mut bench = Bench::new(policy, 1000);
        bench.publish(&["small"], 10);
        bench.publish(&["large"], 1000);
        assert_eq!(bench.statuses(), pairs(&[("large", "MemoryLimitExceeded")]));
        assert_eq!(bench.acknowledged.len(), 2);
        assert_eq!(bench.deliver(9), ["small"]);
    }
}

#[test]
fn dropping_for_memory_that_another_stream_holds_would_help_nobody() {
    let (small, large) = (
        MemoryBudget::record_bytes(1, 1),
        MemoryBudget::record_bytes(1000, 5),
    );
    let mut bench = Bench::new(
        WhenFull::DropOldest,
        large + MemoryBudget::STREAM_BYTES + small,
    );
    bench.publish(&["1"], 1);
    bench.request(&arn(1), "large");
    // What waits here would not make enough room, so it stays.
    bench.publish(&["large"], 1000);
    assert_eq!(bench.statuses(), pairs(&[("large", "MemoryLimitExceeded")]));
    assert_eq!(bench.deliver(9), ["1"]);
}

#[test]
fn what_waits_comes_again_with_a_kept_session_and_is_kept_without_one() {
    for resumed in [true, false] {
        let mut bench = Bench::new(WhenFull::Wait, 1 << 20);
        bench.publish(&["1", "2", "3", "4"], 10);
        bench.intake.reconnected(resumed);
        assert_eq!(bench.intake.has_parked(), !resumed);
        bench.deliver(3);
        let before = bench.acknowledged.len();
        bench.retry();
        // Its acknowledgement went with the connection.
        assert_eq!(bench.acknowledged.len(), before);
        assert_eq!(bench.deliver(9).is_empty(), resumed);
    }
}

#[test]
fn retained_copies_are_acknowledged_and_ignored() {
    let mut bench = Bench::new(WhenFull::Reject, 1 << 20);
    let token = bench.token();
    let mut copy = Message::published("kinesisfirehose/message/binary/1", b"x", Some(token));
    copy.retained = true;
    bench
        .intake
        .receive(&[copy], bench.now, |token| bench.acknowledged.push(token));
    assert_eq!(
        (
            bench.acknowledged.len(),
            bench.statuses().len(),
            bench.stream.queue().len()
        ),
        (1, 0, 0)
    );
}

#[test]
fn streams_are_bounded_and_idle_ones_make_room() {
    let mut bench = Bench::new(WhenFull::Reject, 1 << 24);
    for number in 1..STREAMS_MAX {
        bench.request(&arn(number), &number.to_string());
    }
    assert_eq!(bench.statuses(), pairs(&[]));
    bench.request(&arn(900), "too many");
    assert_eq!(bench.statuses(), pairs(&[("too many", "TooManyStreams")]));
    bench.request("arn:aws:nonsense", "bad");
    assert_eq!(
        bench.statuses(),
        pairs(&[("bad", "InvalidDeliveryStreamArn")])
    );
    let opened = bench.intake.opened_streams();
    assert_eq!(opened.len(), STREAMS_MAX - 1);
    bench.deliver_from(&opened[4], 1);
    bench.request(&arn(900), "now");
    assert_eq!(bench.statuses(), pairs(&[]));
    assert!(opened[4].is_forgotten() && !opened[5].is_forgotten());
}

#[test]
fn streams_that_are_not_allowed_are_not_sent_to() {
    let mut bench = Bench::with(WhenFull::Reject, 1 << 24, |settings| {
        let list = format!("{},{}", arn(1), arn(2).replace('2', "2*"));
        let partitions = settings.acceptance.partitions;
        settings.acceptance.allowed = AllowedStreams::parse(&list, &partitions).ok();
        settings.keeps_too_large = true;
    });
    for stream in [&*arn(1), &arn(2), &arn(27), DEFAULT] {
        bench.request(stream, "allowed");
    }
    assert_eq!(bench.statuses(), pairs(&[]));
    let opened = bench.intake.opened_streams();
    let opened: Vec<_> = opened.iter().map(|stream| stream.arn.as_str()).collect();
    assert_eq!(opened, [arn(1), arn(2), arn(27)]);
    bench.request(&arn(3), "not allowed");
    bench.request("arn:aws:nonsense", "no stream");
    let refused = [
        ("not allowed", "DeliveryStreamNotAllowed"),
        ("no stream", "InvalidDeliveryStreamArn"),
    ];
    assert_eq!(bench.statuses(), pairs(&refused));
    assert!(bench.intake.opened_streams().is_empty());
    // Nor is it kept among the dead letters for a stream that is not allowed.
    let too_large = |stream: &str| {
        let data = "x".repeat(RECORD_MAX_BYTES + 1);
        let request =
            format!(r#"{{"request":{{"data":"{data}","delivery_stream_arn":"{stream}"}}}}"#);
        vec![("kinesisfirehose/message".to_owned(), request.into_bytes())]
    };
    bench.receive(too_large(&arn(3)));
    assert_eq!(bench.statuses(), pairs(&[("", "RecordTooLarge")]));
    bench.receive(too_large(&arn(1)));
    assert_eq!(bench.statuses(), pairs(&[]));
    assert!(bench.intake.next_too_large().is_some());
}

#[test]
fn idle_streams_are_forgotten_but_not_the_default_nor_one_with_records() {
    let mut bench = Bench::new(WhenFull::Reject, 1 << 20);
    bench.request(&arn(1), "delivered");
    bench.request(&arn(2), "waiting");
    let opened = bench.intake.opened_streams();
    bench.deliver_from(&opened[0], 1);
    bench
        .intake
        .forget_idle(bench.now + Duration::from_secs(299));
    assert!(!opened[0].is_forgotten());
    bench
        .intake
        .forget_idle(bench.now + Duration::from_secs(300));
    assert!(opened[0].is_forgotten() && !opened[1].is_forgotten() && !bench.stream.is_forgotten());
    // A new request opens it anew.
    bench.request(&arn(1), "again");
    assert_eq!(bench.intake.opened_streams()[0].arn.as_str(), arn(1));
}

#[test]
fn the_default_stream_by_its_name_is_the_same_stream() {
    let mut bench = Bench::new(WhenFull::Reject, 1 << 20);
    bench.request(DEFAULT, "named");
    bench.publish(&["unnamed"], 1);
    assert_eq!(bench.deliver(9), ["named", "unnamed"]);
}

#[test]
fn while_stopping_only_what_no_broker_keeps_is_refused() {
    let mut bench = Bench::new(WhenFull::Reject, 1 << 20);
    let kept = Message::published(
        "kinesisfirehose/message/binary/kept",
        b"x",
        Some(bench.token()),
    );
    let lost = Message::published("kinesisfirehose/message/binary/lost", b"x", None);
    assert_eq!(bench.intake.refuse(&[kept, lost]), 1);
    assert_eq!(bench.statuses(), pairs(&[("lost", "ConnectorStopped")]));
}

#[test]
fn a_record_that_waits_for_room_keeps_its_envelope() {
    let mut bench = Bench::new(WhenFull::Wait, 1 << 20);
    let envelope = Envelope::new("c", 0, std::time::SystemTime::now(), bench.now);
    bench.intake.envelope = Some(envelope);
    bench.publish(&["1", "2", "3", "waits"], 1);
    bench.deliver(3);
    bench.now += Duration::from_secs(9);
    bench.retry();
    bench.publish(&["5"], 1);
    let records = bench.stream.queue().take(9);
    let numbers: Vec<_> = records
        .iter()
        .map(|record| {
            let envelope: Value = serde_json::from_slice(&record.data).unwrap();
            let sequence = envelope["sequence"].as_str().unwrap().to_owned();
            sequence.rsplit('-').next().unwrap().parse::<u64>().unwrap()
        })
        .collect();
    assert_eq!(numbers, [3, 4]);
    assert!(records[0].data != records[1].data);
}

#[test]
fn what_does_not_fit_in_its_envelope_is_rejected_and_acknowledged() {
    let mut bench = Bench::new(WhenFull::Wait, 10 << 20);
    let envelope = Envelope::new("c", 0, std::time::SystemTime::now(), bench.now);
    bench.intake.envelope = Some(envelope);
    let token = bench.publish(&["large"], crate::request::RECORD_MAX_BYTES)[0];
    assert_eq!(bench.acknowledged, [token]);
    assert_eq!(bench.statuses(), pairs(&[("large", "RecordTooLarge")]));
    assert_eq!(bench.stream.queue().waiting(), 0);
}

#[test]
fn the_limit_of_a_record_counts_its_delimiter() {
    for (record_max_bytes, name) in [
        (RECORD_MAX_BYTES, "RECORD_DELIMITER"),
        (1_020_000, "RECORD_COMPRESSION"),
    ] {
        let mut bench = Bench::with(WhenFull::Reject, 1 << 24, |settings| {
            settings.delimiter = Some(Delimiter::parse(r"\r\n").unwrap());
            settings.record_max_bytes = record_max_bytes;
            settings.keeps_too_large = true;
        });
        bench.publish(&["fits"], record_max_bytes - 2);
        bench.publish(&["too-large"], record_max_bytes - 1);
        assert_eq!(bench.stream.queue().waiting_bytes(), record_max_bytes);
        let too_large = bench.intake.next_too_large().unwrap();
        // It is kept as it was published, and can be sent by whoever sets no delimiter.
        assert_eq!(too_large.data.len(), record_max_bytes - 1);
        assert_eq!(too_large.rejection.id, "too-large");
        let message = too_large.rejection.message;
        let (has, most) = (record_max_bytes + 1, record_max_bytes);
        for part in [name, &has.to_string(), &most.to_string()] {
            assert!(message.contains(part), "{message}");
        }
    }
}

#[test]
fn a_delimiter_is_behind_each_record_in_the_queue() {
    let mut bench = Bench::with(WhenFull::Reject, 1 << 20, |settings| {
        settings.delimiter = Some(Delimiter::NEWLINE);
    });
    // Taken from its packet as it is, and unescaped.
    bench.receive(vec![
        ("kinesisfirehose/message/binary/1".into(), b"one".to_vec()),
        (
            "kinesisfirehose/message".into(),
            br#"{"request":{"data":"t\u0077o"},"id":"2"}"#.to_vec(),
        ),
        // One that ends with it already is no exception: it may be two lines.
        (
            "kinesisfirehose/message/binary/3".into(),
            b"three\n".to_vec(),
        ),
    ]);
    let records = bench.stream.queue().take(3);
    let data: Vec<_> = records.iter().map(|record| &record.data[..]).collect();
    assert_eq!(data, [&b"one\n"[..], b"two\n", b"three\n\n"]);
    bench.stream.queue().settle(3, Vec::new());
}

#[test]
fn the_worker_is_woken_where_memory_is_scarce() {
    use std::task::{Context, Poll, Waker};

    let woken = |stream: &Stream| {
        let notified = std::pin::pin!(stream.wake.notified());
        notified.poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    };
    let memory = 30 * MemoryBudget::record_bytes(1000, 1);
    let mut bench = Bench::with(WhenFull::Reject, memory, |settings| {
        settings.queue_size = 500
    });
    bench.publish(&["1"], 1000);
    assert!(woken(&bench.stream), "the interval begins");
    bench.publish(&["2"; 15], 1000);
    assert!(!woken(&bench.stream), "there is room for more");
    bench.publish(&["3"; 6], 1000);
    assert!(woken(&bench.stream));
    assert_eq!(bench.stream.queue().waiting(), 22, "none was refused yet");
}

#[test]
fn a_large_record_that_waits_is_not_kept_out_by_what_came_behind_it() {
    let memory = MemoryPlan::of(28_672 * 1024, false).queues_bytes;
    let mut bench = Bench::new(WhenFull::Wait, memory);
    bench.publish(&["1", "2", "3"], 200);
    bench.publish(&["large"], 1_000_000);
    bench.publish(&["small"], 200);
    assert_eq!(bench.deliver(9), ["1", "2", "3"]);
    bench.retry();
    assert_eq!(bench.deliver(9), ["large"]);
    bench.retry();
    assert_eq!(bench.deliver(9), ["small"]);
    // What waits later keeps its place again.
    let default = bench.intake.streams.find_or_open(None, bench.now).unwrap();
    assert!(!bench.intake.streams.get_mut(default).parked_uncharged);
}

#[test]
fn what_statuses_borrow_keeps_no_large_record_out() {
    for memory_size_kb in [28_672, 32_768, 65_535] {
        let memory = MemoryPlan::of(memory_size_kb * 1024, false).queues_bytes;
        let mut bench = Bench::new(WhenFull::Wait, memory);
        let settings = PublisherSettings {
            shape: Shape::List,
            document_max_bytes: 120_000,
            backlog_max_bytes: 1_000_000,
            left_bytes: LEFT_TO_RECORDS_BYTES,
        };
        let statuses = Publisher::new(settings, bench.budget.share());
        while statuses.dropped() == 0 {
            let verdict = Verdict::Success { record_id: "r" };
            statuses.publish((0..500).map(|_| ("id", verdict)));
        }
        bench.publish(&["1"], 200);
        bench.publish(&["large"], RECORD_MAX_BYTES);
        bench.publish(&["2"], 200);
        let borrowed = bench.budget.used_bytes();
        let mut delivered = Vec::new();
        for _ in 0..3 {
            delivered.extend(bench.deliver(9));
            bench.retry();
        }
        assert_eq!(delivered, ["1", "large", "2"], "{borrowed} of {memory}");
    }
}
