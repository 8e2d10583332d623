//! The book of requests: what was published, what the broker handed over, what arrived and what was reported. It
//! says what must not be, as soon as that can be told.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::common::{STREAM, stream_arn};
use crate::plan::{Kind, Plan, RequestPlan};

/// A code with which the endpoint refuses for good.
pub const REFUSAL: &str = "AccessDeniedException";

/// What is there beside records in a request and its record: its number, which the endpoint finds again.
pub fn marker(number: usize) -> String {
    format!("<<{number}>>")
}

/// The numbers in what arrived.
pub fn numbers(data: &[u8]) -> Vec<usize> {
    let mut numbers = Vec::new();
    let mut rest = data;
    while let Some(start) = rest.windows(2).position(|pair| pair == b"<<") {
        rest = &rest[start + 2..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if rest[digits..].starts_with(b">>") {
            let text = std::str::from_utf8(&rest[..digits]).unwrap();
            numbers.extend(text.parse::<usize>());
        }
    }
    numbers
}

/// The name of a stream; the first is the default one.
pub fn arn(stream: usize) -> String {
    match stream {
        0 => STREAM.to_owned(),
        _ => stream_arn(&format!("stream-{stream}")),
    }
}

#[derive(Debug, Default)]
pub struct Request {
    /// Each time that the broker wrote all of it to a connection, and which.
    pub handed: Vec<(Duration, usize)>,
    /// Whether the connector was stopping when that was last: at QoS 0 it may have said goodbye already.
    pub is_late: bool,
    /// Whether the broker was told that it is held.
    pub acked: bool,
    /// Whether the broker forgot it.
    pub is_lost_by_broker: bool,
    /// Crashes before it was handed over for the last time.
    pub crashes_before: usize,
    /// Times that the endpoint took it.
    pub arrived: usize,
    /// Times that the connector was told so, and how often it had forgotten something before the first.
    pub known: usize,
    known_after: usize,
    /// When it arrived first.
    pub arrived_at: Option<Duration>,
    /// Times that the endpoint refused it for good.
    pub refused: usize,
    /// Its statuses: the code, empty where it was delivered, and the run that said so.
    pub statuses: Vec<(String, usize)>,
}

/// A status as it was published.
pub struct Status<'a> {
    pub id: &'a str,
    pub record_id: Option<&'a str>,
    /// Empty where it is a success.
    pub code: &'a str,
}

/// When that was.
pub struct Moment {
    pub now: Duration,
    pub life: usize,
    pub is_stopping: bool,
    /// How often the connector may have forgotten an outcome.
    pub repeats: usize,
}

pub struct Book {
    pub plan: Vec<RequestPlan>,
    pub requests: Vec<Request>,
    /// By id of the endpoint, what was in the record and whether the connector was told of it.
    pub records: BTreeMap<String, Vec<usize>>,
    /// Connections that did not end in order.
    pub broken: Vec<usize>,
    /// Statuses that could not be told, as the connector itself says.
    pub untold: usize,
    max_age: Option<Duration>,
    when_full: &'static str,
}

impl Book {
    pub fn new(plan: &Plan) -> Self {
        Book {
            plan: plan.requests.clone(),
            requests: plan.requests.iter().map(|_| Request::default()).collect(),
            records: BTreeMap::new(),
            broken: Vec::new(),
            untold: 0,
            max_age: plan.record_max_age,
            when_full: plan.when_full,
        }
    }

    /// The topic and the payload of a request.
    pub fn message(&self, number: usize) -> (String, Vec<u8>) {
        let plan = &self.plan[number];
        let filler = "x".repeat(plan.bytes);
        let data = format!("{}{filler}", marker(number));
        let id = format!("id-{number}");
        let named = match plan.kind {
            Kind::BadArn => r#","delivery_stream_arn":"arn:aws:nothing""#.to_owned(),
            _ => plan.stream.map_or(String::new(), |stream| {
                format!(r#","delivery_stream_arn":"{}""#, arn(stream))
            }),
        };
        let json = |data: String| {
            let text = format!(r#"{{"request":{{{data}{named}}},"id":"{id}"}}"#);
            ("kinesisfirehose/message".to_owned(), text.into_bytes())
        };
        match plan.kind {
            Kind::Binary => {
                let topic = format!("kinesisfirehose/message/binary/{id}");
                (topic, data.into_bytes())
            }
            Kind::Text | Kind::BadArn => json(format!(r#""data":"{data}""#)),
            Kind::Object => json(format!(r#""data":{{"it":"{data}"}}"#)),
            Kind::TooLarge => json(format!(r#""data":"{data}{}""#, "y".repeat(1_024_001))),
            Kind::NoData => json(r#""other":1"#.to_owned()),
        }
    }

    /// The broker has handed a request over.
    pub fn handed(&mut self, number: usize, now: Duration, connection: usize, crashes: usize) {
        let request = &mut self.requests[number];
        request.handed.push((now, connection));
        request.crashes_before = crashes;
    }

    /// The endpoint takes a record.
    pub fn arrives(
        &mut self,
        record_id: &str,
        inside: &[usize],
        stream: &str,
        now: Duration,
        repeats: usize,
    ) -> Result<(), String> {
        self.records.insert(record_id.to_owned(), inside.to_vec());
        for &number in inside {
            let Some(request) = self.requests.get_mut(number) else {
                return Err(format!("{number} arrived and was never published"));
            };
            let named = arn(self.plan[number].stream.unwrap_or(0));
            if named != stream {
                return Err(format!("{number} is for {named} and arrived at {stream}"));
            }
            request.arrived += 1;
            request.arrived_at.get_or_insert(now);
            let excused = repeats - request.known_after.min(repeats);
            if request.known > 0 && request.known >= request.handed.len() * (1 + excused) {
                return Err(format!(
                    "{number} was sent again after it was known to have arrived"
                ));
            }
            if request.arrived > 0 && request.handed.is_empty() {
                return Err(format!("{number} arrived before it was handed over"));
            }
        }
        Ok(())
    }

    /// The connector was told that the endpoint has a record.
    pub fn is_known(&mut self, inside: &[usize], repeats: usize) {
        for &number in inside {
            let request = &mut self.requests[number];
            if request.known == 0 {
                request.known_after = repeats;
            }
            request.known += 1;
        }
    }

    /// A status was published: of which request.
    pub fn reported(&mut self, status: &Status<'_>, moment: &Moment) -> Result<usize, String> {
        let &Status {
            id,
            record_id,
            code,
        } = status;
        let number = id.strip_prefix("id-").and_then(|text| text.parse().ok());
        let Some(number) = number.filter(|&number: &usize| number < self.requests.len()) else {
            return Err(format!("a status for {id:?}, which was never published"));
        };
        let (plan, request) = (&self.plan[number], &mut self.requests[number]);
        let Some(&(handed_at, _)) = request.handed.first() else {
            return Err(format!("{number} has a status before it was handed over"));
        };
        request.statuses.push((code.to_owned(), moment.life));
        let most = request.handed.len() * (1 + moment.repeats);
        if request.statuses.len() > most {
            return Err(format!(
                "{number} has {} statuses: {:?}",
                request.statuses.len(),
                request.statuses
            ));
        }
        let is_ill = matches!(plan.kind, Kind::NoData | Kind::BadArn | Kind::TooLarge);
        let may_be = match (code, plan.kind) {
            ("", _) => {
                let record = record_id.and_then(|id| self.records.get(id));
                !is_ill && record.is_some_and(|inside| inside.contains(&number))
            }
            ("InvalidRequest", kind) => kind == Kind::NoData,
            ("InvalidDeliveryStreamArn", kind) => kind == Kind::BadArn,
            ("RecordTooLarge", kind) => kind == Kind::TooLarge,
            (REFUSAL, _) => !is_ill && request.refused > 0,
            ("Expired", _) => {
                // What is on disk has the time of its receipt in whole milliseconds.
                let late = moment.now + Duration::from_millis(2);
                !is_ill && self.max_age.is_some_and(|age| late >= handed_at + age)
            }
            ("QueueFull" | "MemoryLimitExceeded", _) => !is_ill && self.when_full != "wait",
            ("Dropped", _) => !is_ill && self.when_full == "drop-oldest",
            ("ConnectorStopped", _) => moment.is_stopping,
            _ => false,
        };
        if !may_be {
            return Err(format!(
                "{number} ({:?}) was reported as {code:?} with record {record_id:?}, which cannot be",
                plan.kind
            ));
        }
        Ok(number)
    }

    /// What became of requests, in words that can be counted.
    pub fn count(&self, counts: &mut BTreeMap<String, usize>) {
        let mut add = |what: &str, times: usize| {
            *counts.entry(what.to_owned()).or_default() += times;
        };
        for request in &self.requests {
            add("requests", 1);
            add("requests handed over", request.handed.len());
            add("records arrived", request.arrived);
            add(
                "requests that the broker lost",
                usize::from(request.is_lost_by_broker),
            );
            add(
                "requests without a status",
                usize::from(request.statuses.is_empty()),
            );
            for (code, _) in &request.statuses {
                let code = if code.is_empty() { "success" } else { code };
                add(&format!("status {code}"), 1);
            }
        }
    }

    /// What must hold in the end.
    pub fn close(&self, plan: &Plan, crashes: usize) -> Result<(), String> {
        for (number, request) in self.requests.iter().enumerate() {
            self.check(number, request, plan, crashes)
                .map_err(|wrong| {
                    format!("{number} {wrong}: {:?} {request:?}", self.plan[number])
                })?;
        }
        Ok(())
    }

    fn check(
        &self,
        number: usize,
        request: &Request,
        plan: &Plan,
        crashes: usize,
    ) -> Result<(), &'static str> {
        let asked = &self.plan[number];
        let Some(&(_, connection)) = request.handed.last() else {
            return match request.is_lost_by_broker {
                true => Ok(()),
                false => Err("was never handed over"),
            };
        };
        let crashed_since = crashes > request.crashes_before;
        let is_ill = matches!(asked.kind, Kind::NoData | Kind::BadArn | Kind::TooLarge);
        let is_final = request.arrived > 0 || request.refused > 0 || !request.statuses.is_empty();
        // A failure that nobody is told of leaves no trace.
        let may_fail = is_ill || plan.record_max_age.is_some() || plan.queue_size.is_some();
        let may_be_refused = plan.is_tight || !plan.disk.is_empty();
        let may_be_forgotten = crashed_since && (!plan.on_disk || may_fail)
            || self.untold > 0 && (!plan.on_disk || may_fail || may_be_refused);
        if request.acked && !is_final && !may_be_forgotten {
            return Err("was acknowledged and is lost");
        }
        let may_have_been_on_the_line =
            !request.acked && (!asked.at_least_once || request.is_lost_by_broker);
        let may_be_untold = crashed_since
            || self.untold > 0
            || may_have_been_on_the_line
                && (self.broken.contains(&connection)
                    || request.is_lost_by_broker
                    || request.is_late);
        if request.statuses.is_empty() && !may_be_untold {
            return Err("has no status");
        }
        if asked.at_least_once && !request.acked && !request.is_lost_by_broker {
            return Err("was never acknowledged");
        }
        Ok(())
    }
}
