use super::*;
use crate::arn::Partitions;
use crate::logged;

const SECOND: Duration = Duration::from_secs(1);

/// A stream, its log, and a clock that the test sets.
struct Bench {
    stream: DeliveryStreamArn,
    log: TroubleLog,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let arn = "arn:aws:firehose:us-east-1:123456789012:deliverystream/s";
        Bench {
            stream: DeliveryStreamArn::parse(arn, &Partitions::default()).unwrap(),
            log: TroubleLog::default(),
            now: Instant::now(),
        }
    }

    fn call(&mut self, outcome: Outcome) {
        let retry_at = self.now + Duration::from_millis(212);
        let retry_at = matches!(outcome, Outcome::Retry(_)).then_some(retry_at);
        self.log
            .note_call(&self.stream, &[outcome], retry_at, self.now);
    }

    fn retries(&mut self, code: &str) {
        self.call(Outcome::Retry(ServiceError::new(code.to_owned(), "m")));
    }

    fn fails(&mut self, code: &str) {
        self.call(Outcome::Failed(ServiceError::new(code.to_owned(), "m")));
    }

    fn succeeds(&mut self) {
        let record_id = "r".into();
        self.call(Outcome::Delivered { record_id });
    }

    fn expires(&mut self, records: usize) {
        let error = ServiceError::new("Expired", "not delivered in time");
        self.log
            .note_expiry(&self.stream, &error, records, self.now);
    }
}

/// What a line is about: the code of an error, or the text.
fn told(run: impl FnOnce(&mut Bench)) -> Vec<String> {
    let lines = logged::lines(|| run(&mut Bench::new()));
    let about = lines.iter().map(|line| {
        let code = line["error.code"].as_str();
        code.or(line["message"].as_str()).unwrap().to_owned()
    });
    about.collect()
}

#[test]
fn an_outage_in_which_records_expire_is_told_once_of_each() {
    let told = told(|bench| {
        for _ in 0..100 {
            bench.retries("ConnectionError");
            bench.now += 6 * SECOND;
            bench.expires(10);
            bench.now += 6 * SECOND;
        }
    });
    assert_eq!(told, ["ConnectionError", "Expired"]);
}

#[test]
fn errors_that_take_turns_are_told_once_each_until_it_works_again() {
    let told = told(|bench| {
        for _ in 0..2 {
            for code in ["Timeout", "ConnectionError"].repeat(50) {
                bench.retries(code);
                bench.now += 11 * SECOND;
            }
            bench.succeeds();
            bench.now += 11 * SECOND;
        }
    });
    let once = ["Timeout", "ConnectionError", "delivery works again"];
    assert_eq!(told, once.repeat(2));
}

#[test]
fn a_call_that_brings_both_is_told_of_what_is_sent_again_and_of_what_is_not() {
    let error = |code| ServiceError::new(code, "m");
    let delivered = Outcome::Delivered {
        record_id: "r".into(),
    };
    let outcomes = [
        delivered,
        Outcome::Retry(error("ServiceUnavailableException")),
        Outcome::Failed(error("InvalidArgumentException")),
        Outcome::Retry(error("InternalFailure")),
    ];
    let lines = logged::lines(|| {
        let Bench {
            stream,
            mut log,
            now,
        } = Bench::new();
        for _ in 0..2 {
            log.note_call(&stream, &outcomes, Some(now + SECOND), now);
        }
    });
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            let number = |field: &str| line[field].as_u64().unwrap();
            let code = line["error.code"].as_str().unwrap();
            (code, number("records"), number("retried"))
        })
        .collect();
    let expected = [
        ("ServiceUnavailableException", 4, 2),
        ("InvalidArgumentException", 1, 0),
    ];
    assert_eq!(told, expected);
    assert_eq!(lines[0]["retry_in_ms"], 1000);
    assert_eq!(lines[1].get("retry_in_ms"), None, "nobody tries again");
}

#[test]
fn codes_without_end_do_not_fill_the_log() {
    let told = told(|bench| {
        for number in 0..1000 {
            bench.fails(&format!("Code{number}"));
            bench.now += 11 * SECOND;
        }
        assert!(bench.log.told.len() <= CODES_MAX);
        bench.succeeds();
        bench.now += 11 * SECOND;
        bench.fails("Code999");
    });
    assert_eq!(told.len(), CODES_MAX + 2);
    assert_eq!(told.last().unwrap(), "Code999", "told after all was well");
}

#[test]
fn what_fails_for_good_right_after_it_works_again_is_told() {
    let told = told(|bench| {
        bench.retries("Timeout");
        bench.now += SECOND;
        bench.succeeds();
        bench.now += SECOND;
        bench.fails("AccessDeniedException");
        bench.now += SECOND;
        bench.succeeds();
    });
    let works = "delivery works again";
    assert_eq!(told, ["Timeout", works, "AccessDeniedException", works]);
}

#[test]
fn what_comes_and_goes_is_told_now_and_then_and_all_of_it_is_counted() {
    let lines = logged::lines(|| {
        let mut bench = Bench::new();
        for _ in 0..12 {
            bench.fails("AccessDeniedException");
            bench.now += SECOND / 2;
            bench.succeeds();
            bench.now += SECOND / 2;
        }
    });
    let calls: Vec<_> = lines
        .iter()
        .filter_map(|line| line["failed_calls"].as_u64())
        .collect();
    // The eleventh second is the first that is ten after the line.
    assert_eq!((lines.len(), calls), (4, vec![1, 10]));
}

#[test]
fn the_end_of_expiry_is_told_once_it_has_lasted() {
    let lines = logged::lines(|| {
        let mut bench = Bench::new();
        // Calls that go well, and too few of them.
        for _ in 0..10 {
            bench.expires(7);
            bench.now += QUIET - SECOND;
            bench.succeeds();
        }
        bench.now += SECOND;
        bench.succeeds();
        bench.succeeds();
    });
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0]["error.code"], "Expired");
    assert_eq!(lines[1]["message"], "records no longer expire");
    assert_eq!(lines[1]["expired"], 70);
}

#[test]
fn the_wait_before_the_next_try_is_a_number() {
    let lines = logged::lines(|| Bench::new().retries("Timeout"));
    assert_eq!(lines[0]["retry_in_ms"], 212, "{lines:?}");
    let lines = logged::lines(|| Bench::new().fails("AccessDeniedException"));
    assert_eq!(lines[0].get("retry_in_ms"), None, "nothing waits");
}
