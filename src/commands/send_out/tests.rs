//! Sending against a destination that does as it is told: each record is sent until its outcome is
//! final, what arrived is noted call by call, and an end comes between calls.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use kinesis_edge::arn::Partitions;
use kinesis_edge::delimiter::Delimiter;
use tokio::sync::Notify;

use super::*;

fn stream(name: &str) -> DeliveryStreamArn {
    let arn = format!("arn:aws:firehose:us-east-1:123456789012:deliverystream/{name}");
    DeliveryStreamArn::parse(&arn, &Partitions::ALL).unwrap()
}

/// What a call brings, from its number and the texts of its records.
type Script = dyn Fn(usize, &[String]) -> Result<Vec<Outcome>, CallError> + Send + Sync;

#[derive(Clone)]
struct Fake {
    script: Arc<Script>,
    calls: Arc<Mutex<Vec<Vec<String>>>>,
    /// Rung when a call begins.
    bell: Arc<Notify>,
}

impl Fake {
    fn new(
        script: impl Fn(usize, &[String]) -> Result<Vec<Outcome>, CallError> + Send + Sync + 'static,
    ) -> Self {
        Fake {
            script: Arc::new(script),
            calls: Arc::default(),
            bell: Arc::default(),
        }
    }

    fn calls(&self) -> Vec<Vec<String>> {
        self.calls.lock().unwrap().clone()
    }
}

impl Destination for Fake {
    async fn put_batch(
        &self,
        _: &DeliveryStreamArn,
        records: Vec<Bytes>,
    ) -> Result<Vec<Outcome>, CallError> {
        let text = |data: &Bytes| String::from_utf8_lossy(data).into_owned();
        let records: Vec<String> = records.iter().map(text).collect();
        let number = {
            let mut calls = self.calls.lock().unwrap();
            calls.push(records.clone());
            calls.len() - 1
        };
        self.bell.notify_one();
        // Long enough for whoever waits for the bell.
        tokio::time::sleep(Duration::from_millis(1)).await;
        (self.script)(number, &records)
    }

    async fn put_record(&self, _: &DeliveryStreamArn, _: Bytes) -> Result<Outcome, CallError> {
        unreachable!("batches only")
    }
}

#[derive(Default)]
struct List {
    groups: VecDeque<Group<String>>,
    done: Vec<String>,
    /// Fails from then on.
    fails_after: Option<usize>,
}

impl List {
    fn of(groups: &[(&str, &[&str])]) -> Self {
        let item = |text: &&str| Item {
            key: (*text).to_owned(),
            data: Bytes::copy_from_slice(text.as_bytes()),
        };
        let groups = groups.iter().map(|(name, records)| Group {
            stream: stream(name),
            records: records.iter().map(item).collect(),
        });
        List {
            groups: groups.collect(),
            ..List::default()
        }
    }
}

impl Source for List {
    type Key = String;
    fn next(&mut self) -> anyhow::Result<Option<Group<String>>> {
        Ok(self.groups.pop_front())
    }
    fn done(&mut self, keys: Vec<String>) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.fails_after != Some(self.done.len()),
            "the disk is full"
        );
        self.done.extend(keys);
        Ok(())
    }
}

fn delivered() -> Outcome {
    Outcome::Delivered {
        record_id: "r".into(),
    }
}

fn error(code: &str) -> ServiceError {
    ServiceError::new(code, "as told")
}

fn call_error(code: &str, retryable: bool) -> CallError {
    CallError {
        retryable,
        error: error(code),
    }
}

async fn send(fake: &Fake, list: &mut List) -> Report {
    let never = std::future::pending();
    send_out(fake, list, None, &ProgressBar::hidden(), never)
        .await
        .unwrap()
}

fn left(report: &Report) -> Vec<(String, String, u64)> {
    let left = report.left.iter();
    left.map(|((stream, code), left)| (stream.stream_name().to_owned(), code.clone(), left.records))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn records_that_fail_in_passing_are_sent_again_and_no_others() {
    let fake = Fake::new(|number, records| {
        let outcome = |text: &String| match text.as_str() {
            "bad" => Outcome::Failed(error("Bad")),
            "late" if number < 3 => Outcome::Retry(error("ServiceUnavailableException")),
            _ => delivered(),
        };
        Ok(records.iter().map(outcome).collect())
    });
    let mut list = List::of(&[("a", &["1", "late", "bad", "2"]), ("b", &["3"])]);
    let report = send(&fake, &mut list).await;
    let calls = fake.calls();
    assert_eq!(calls[0], ["1", "late", "bad", "2"]);
    assert_eq!(calls[1..], [["late"], ["late"], ["late"], ["3"]]);
    assert_eq!(list.done, ["1", "2", "late", "3"]);
    assert_eq!((report.delivered, report.interrupted), (4, false));
    assert_eq!(left(&report), [("a".to_owned(), "Bad".to_owned(), 1)]);
}

#[tokio::test(start_paused = true)]
async fn tries_end_and_a_stream_in_trouble_is_not_tried_record_by_record() {
    let fake = Fake::new(|_, records| match records[0].as_str() {
        "down" => Err(call_error("Timeout", true)),
        "gone" => Err(call_error("ResourceNotFoundException", false)),
        "never" => Ok(vec![Outcome::Retry(error("InternalFailure"))]),
        _ => Ok(vec![delivered(); records.len()]),
    });
    let mut list = List::of(&[
        ("a", &["down"]),
        ("a", &["x"]),
        ("b", &["gone", "y"]),
        ("b", &["z"]),
        ("c", &["never"]),
        ("c", &["fine"]),
    ]);
    let report = send(&fake, &mut list).await;
    assert_eq!(fake.calls().len(), 5 + 1 + 5 + 1);
    assert_eq!(list.done, ["fine"]);
    let expected = [
        ("a", "Timeout", 2),
        ("b", "ResourceNotFoundException", 3),
        ("c", "InternalFailure", 1),
    ];
    let expected =
        expected.map(|(stream, code, count)| (stream.to_owned(), code.to_owned(), count));
    assert_eq!(left(&report), expected);
    assert_eq!(report.left_records(), 6);
    let message = &report.left[&(stream("a"), "Timeout".to_owned())].message;
    assert!(message.contains("5 tries"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn half_of_each_call_gets_through_in_the_end() {
    let fake = Fake::new(|_, records| {
        let half = records.len() / 2;
        let outcome = |place| {
            if place < half || half == 0 {
                delivered()
            } else {
                Outcome::Retry(error("ServiceUnavailableException"))
            }
        };
        Ok((0..records.len()).map(outcome).collect())
    });
    let texts: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let mut list = List::of(&[("a", &texts)]);
    assert_eq!(send(&fake, &mut list).await.delivered, 500);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_spoils_its_call_is_found_and_the_others_arrive() {
    let fake = Fake::new(|_, records| {
        if records.iter().any(|text| text == "bad") {
            return Err(call_error(INVALID_ARGUMENT, false));
        }
        Ok(vec![delivered(); records.len()])
    });
    let mut list = List::of(&[("a", &["1", "2", "bad", "3", "4", "5"]), ("a", &["6"])]);
    let report = send(&fake, &mut list).await;
    assert_eq!(list.done, ["1", "2", "3", "4", "5", "6"]);
    assert_eq!(
        left(&report),
        [("a".to_owned(), INVALID_ARGUMENT.to_owned(), 1)]
    );
}

#[tokio::test(start_paused = true)]
async fn calls_are_within_the_limits_and_what_is_too_large_is_left() {
    let fake = Fake::new(|_, records| Ok(vec![delivered(); records.len()]));
    let item = |number: u32, bytes: usize| Item {
        key: number.to_string(),
        data: vec![b'x'; bytes].into(),
    };
    let records = vec![
        item(0, RECORD_MAX_BYTES),
        item(1, RECORD_MAX_BYTES + 1),
        item(2, RECORD_MAX_BYTES),
        item(3, RECORD_MAX_BYTES),
        item(4, RECORD_MAX_BYTES),
    ];
    let small = (0..501).map(|number| item(100 + number, 1)).collect();
    let mut list = List::default();
    for records in [records, small] {
        let stream = stream("a");
        list.groups.push_back(Group { stream, records });
    }
    let report = send(&fake, &mut list).await;
    let sizes: Vec<usize> = fake.calls().iter().map(Vec::len).collect();
    assert_eq!(sizes, [3, 1, 500, 1]);
    assert_eq!(report.delivered, 505);
    assert_eq!(
        left(&report),
        [("a".to_owned(), "RecordTooLarge".to_owned(), 1)]
    );
}

#[tokio::test(start_paused = true)]
async fn an_end_comes_after_the_call_under_way_and_what_it_brought_is_noted() {
    let fake = Fake::new(|_, records| Ok(vec![delivered(); records.len()]));
    let texts: Vec<String> = (0..700).map(|number| number.to_string()).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let mut list = List::of(&[("a", &texts), ("a", &["3"]), ("b", &["4"])]);
    let stop = fake.bell.notified();
    let report = send_out(&fake, &mut list, None, &ProgressBar::hidden(), stop)
        .await
        .unwrap();
    assert_eq!(list.done, texts[..500]);
    assert_eq!((report.delivered, report.interrupted), (500, true));
    assert_eq!(fake.calls().len(), 1);
    // And the rest another time.
    assert_eq!(send(&fake, &mut list).await.delivered, 2);
}

#[tokio::test(start_paused = true)]
async fn an_end_does_not_wait_for_another_try() {
    let fake = Fake::new(|_, _| Err(call_error("Timeout", true)));
    let mut list = List::of(&[("a", &["1"])]);
    let stop = tokio::time::sleep(Duration::from_millis(1));
    let report = send_out(&fake, &mut list, None, &ProgressBar::hidden(), stop)
        .await
        .unwrap();
    assert_eq!((fake.calls().len(), report.interrupted), (1, true));
}

#[tokio::test(start_paused = true)]
async fn nothing_more_is_sent_once_arrivals_cannot_be_noted() {
    let fake = Fake::new(|_, records| Ok(vec![delivered(); records.len()]));
    let mut list = List::of(&[("a", &["1"]), ("a", &["2"]), ("a", &["3"])]);
    list.fails_after = Some(1);
    let never = std::future::pending();
    let result = send_out(&fake, &mut list, None, &ProgressBar::hidden(), never).await;
    assert!(result.is_err());
    assert_eq!(fake.calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn joined_records_are_noted_together_and_sent_again_together() {
    let aggregation = Aggregation {
        delimiter: Delimiter::NEWLINE,
        max_bytes: 5120,
        compression: None,
    };
    let fake = Fake::new(|number, records| {
        let mut outcomes = vec![delivered(); records.len()];
        if number == 0 {
            outcomes[0] = Outcome::Retry(error("ServiceUnavailableException"));
            outcomes[2] = Outcome::Failed(error("Bad"));
        }
        Ok(outcomes)
    });
    // Five of 1,024 bytes with their delimiter fill a Firehose record; some have it already.
    let texts: Vec<String> = (0..17)
        .map(|number| format!("{number:01023}{}", if number % 2 == 0 { "\n" } else { "" }))
        .collect();
    let too_large = "x".repeat(RECORD_MAX_BYTES + 1);
    let all: Vec<&str> = texts
        .iter()
        .map(String::as_str)
        .chain([&*too_large])
        .collect();
    let mut list = List::of(&[("a", &all)]);
    let never = std::future::pending();
    let hidden = ProgressBar::hidden();
    let report = send_out(&fake, &mut list, Some(&aggregation), &hidden, never).await;
    let report = report.unwrap();
    let calls = fake.calls();
    let lines = |record: &String| record.lines().count();
    assert_eq!(calls[0].iter().map(lines).collect::<Vec<_>>(), [5, 5, 5, 2]);
    assert!(
        calls[0]
            .iter()
            .all(|record| record.ends_with('\n') && !record.contains("\n\n"))
    );
    assert_eq!(calls[1..], [[calls[0][0].clone()]]);
    let expected = [&texts[5..10], &texts[15..], &texts[..5]].concat();
    assert_eq!(list.done, expected);
    let codes = [
        ("a".to_owned(), "Bad".to_owned(), 5),
        ("a".to_owned(), "RecordTooLarge".to_owned(), 1),
    ];
    assert_eq!(left(&report), codes);
}
