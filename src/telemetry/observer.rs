//! Looks at a running connector: takes a [`Snapshot`] of it, all counts of one moment. Metrics, page,
//! readiness, heartbeat and summary are made of these and nothing else.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::arn::DeliveryStreamArn;
use crate::dead_letters::{self, DeadLetters};
use crate::delivery::Deadline;
use crate::ledger::{DAMAGED_CODE, Distribution, Ledger, StreamTotals, Totals, Trouble};
use crate::mqtt::{SessionState, SessionView};
use crate::queue::disk::{DiskAccount, DiskQueue};
use crate::queue::{MemoryBudget, OpenStreams, Refusal, Stream};
use crate::status::Publisher;

/// What does not change while the connector runs.
#[derive(Debug, Clone)]
pub struct Facts {
    /// `MQTT_CLIENT_ID`.
    pub client_id: String,
    /// Host and port of the broker.
    pub broker: String,
    /// Records that the queue of one stream holds at most.
    pub queue_size: usize,
    /// `QUEUE_DIR`.
    pub queue_dir: Option<PathBuf>,
    /// `DEAD_LETTER_DIR`.
    pub dead_letter_dir: Option<PathBuf>,
    /// When the connector was made.
    pub started: Instant,
    /// Places of the queue on disk that were found damaged at the start.
    pub damaged_places: u64,
}

/// Tells when credentials end; `None` where they do not, or are not known yet.
pub type CredentialsExpire = Arc<dyn Fn() -> Option<SystemTime> + Send + Sync>;

/// Looks at a connector. Cheap to clone.
#[derive(Clone)]
pub struct Observer {
    /// What does not change.
    pub facts: Arc<Facts>,
    /// What became of records.
    pub ledger: Ledger,
    /// The streams in use.
    pub streams: OpenStreams,
    /// The bound on all queues.
    pub budget: MemoryBudget,
    /// The queue on disk.
    pub disk: Option<DiskQueue>,
    /// Statuses that wait.
    pub statuses: Publisher,
    /// The session with the broker.
    pub session: SessionView,
    /// The dead letters.
    pub dead_letters: Option<DeadLetters>,
    /// The destination's credentials.
    pub credentials_expire: CredentialsExpire,
    /// By when all has to be delivered, once the connector stops.
    pub deadline: watch::Receiver<Deadline>,
    /// When the connector was made, by the clock of the last look.
    pub started: Started,
}

/// When the connector was made, by a clock that may be set. Looks that follow each other are told the same: what is
/// reckoned anew differs by microseconds each time, and a start that changes reads like a restart. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Started {
    at: Arc<Mutex<Option<SystemTime>>>,
}

impl Started {
    /// It was this long ago.
    fn ago(&self, uptime: Duration, now: SystemTime) -> SystemTime {
        let reckoned = now - uptime;
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        match *at {
            Some(known) if distance(known, reckoned) < CLOCK_SET => known,
            _ => *at.insert(reckoned),
        }
    }
}

/// From which difference on a clock was set, and not just read a moment later.
const CLOCK_SET: Duration = Duration::from_secs(1);

/// How far two moments are apart.
pub(super) fn distance(a: SystemTime, b: SystemTime) -> Duration {
    a.duration_since(b).unwrap_or_else(|error| error.duration())
}

/// The connector at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// What does not change.
    pub facts: Arc<Facts>,
    /// That moment, by a clock that may be set.
    pub now: SystemTime,
    /// When the connector was made, by that clock.
    pub started: SystemTime,
    /// For how long the connector has been there, whatever was done to that clock.
    pub uptime: Duration,
    /// Whether it stops: it delivers what it holds, and takes nothing more.
    pub stopping: bool,
    /// What became of records.
    pub totals: Totals,
    /// Records that queues hold, waiting or in flight.
    pub held: u64,
    /// How long calls took.
    pub call_times: Distribution,
    /// What the queues' records cost of memory, in bytes.
    pub memory_used_bytes: usize,
    /// What they may cost.
    pub memory_limit_bytes: usize,
    /// The session with the broker.
    pub session: SessionState,
    /// The queue on disk.
    pub disk: Option<DiskAccount>,
    /// Dead letters.
    pub dead_letters: Option<dead_letters::Account>,
    /// Status documents that wait for the broker.
    pub status_documents_waiting: usize,
    /// Statuses that were dropped.
    pub statuses_dropped: usize,
    /// When the credentials end.
    pub credentials_expire: Option<SystemTime>,
    /// The streams in use, the default one first.
    pub streams: Vec<StreamSnapshot>,
}

/// A stream at one moment.
#[derive(Debug, Clone)]
pub struct StreamSnapshot {
    /// Which one.
    pub arn: DeliveryStreamArn,
    /// Records in its queue, waiting or in flight.
    pub queued: usize,
    /// Those of them that calls under way carry.
    pub in_flight: usize,
    /// Bytes of those that wait.
    pub waiting_bytes: usize,
    /// How long the oldest of those that wait has been here at most.
    pub oldest_age: Option<Duration>,
    /// What was counted of it.
    pub totals: StreamTotals,
    /// What ails it.
    pub trouble: Option<Trouble>,
    /// The parameter whose bound keeps records out, if any does.
    pub full_by: Option<&'static str>,
}

impl Snapshot {
    /// The moment that was so long ago: the same in each look at what began then.
    pub fn ago(&self, passed: Duration) -> SystemTime {
        self.started + self.uptime - passed
    }

    /// How long the oldest record that waits has been here.
    pub fn oldest_age(&self) -> Option<Duration> {
        let ages = self.streams.iter().filter_map(|stream| stream.oldest_age);
        ages.max()
    }
}

impl Observer {
    /// Looks.
    pub fn look(&self) -> Snapshot {
        let (mut totals, (looked, streams, disk)) = self.ledger.balance(|| {
            let now = Instant::now();
            let streams = self.streams.all();
            let streams: Vec<_> = streams
                .iter()
                .map(|stream| look_at(stream, self.facts.queue_size, now))
                .collect();
            (now, streams, self.disk.as_ref().map(DiskQueue::account))
        });
        let (now, uptime) = (SystemTime::now(), looked - self.facts.started);
        let held = match &disk {
            None => streams.iter().map(|stream| stream.queued as u64).sum(),
            Some(disk) => {
                totals.received += disk.taken_in;
                totals.received_bytes += disk.taken_in_bytes;
                if disk.lost > 0 {
                    *totals.failed.entry(DAMAGED_CODE.to_owned()).or_default() += disk.lost;
                }
                disk.held as u64
            }
        };
        Snapshot {
            facts: Arc::clone(&self.facts),
            now,
            started: self.started.ago(uptime, now),
            uptime,
            stopping: self.deadline.borrow().is_some(),
            totals,
            held,
            call_times: self.ledger.call_times(),
            memory_used_bytes: self.budget.used_bytes(),
            memory_limit_bytes: self.budget.limit_bytes(),
            session: self.session.state(),
            disk,
            dead_letters: self.dead_letters.as_ref().map(DeadLetters::account),
            status_documents_waiting: self.statuses.waiting(),
            statuses_dropped: self.statuses.dropped(),
            credentials_expire: (self.credentials_expire)(),
            streams,
        }
    }
}

fn look_at(stream: &Stream, queue_size: usize, now: Instant) -> StreamSnapshot {
    let mut queue = stream.queue();
    let (waiting, waiting_bytes) = (queue.waiting(), queue.waiting_bytes());
    let in_memory = queue.len();
    let oldest = queue.oldest();
    drop(queue);
    let (queued, waiting_bytes, oldest) = match &stream.disk {
        None => (in_memory, waiting_bytes, oldest),
        Some(disk) => {
            let depth = disk.depth();
            let on_disk = depth.oldest_unix_ms().map(|ms| disk.clock().instant(ms));
            let oldest = [oldest, on_disk].into_iter().flatten().min();
            (depth.all(), waiting_bytes + depth.unread_bytes(), oldest)
        }
    };
    StreamSnapshot {
        arn: stream.arn.clone(),
        queued,
        in_flight: in_memory - waiting,
        waiting_bytes,
        oldest_age: oldest.map(|oldest| now.saturating_duration_since(oldest)),
        totals: stream.account.totals(),
        trouble: stream.account.trouble(queued == 0, now),
        full_by: match stream.account.full_by(now) {
            None if queued >= queue_size => Some(Refusal::QueueFull.bound()),
            full_by => full_by,
        },
    }
}

#[cfg(test)]
impl Snapshot {
    /// Time passes.
    pub fn pass(&mut self, time: Duration) {
        self.now += time;
        self.uptime += time;
    }

    /// A connector that is well: a default stream and another, nothing received yet.
    pub fn sample() -> Self {
        let stream = |name: &str| StreamSnapshot {
            arn: DeliveryStreamArn::parse(
                &format!("arn:aws:firehose:eu-west-1:123456789012:deliverystream/{name}"),
                &crate::arn::Partitions::ALL,
            )
            .expect("it is one"),
            queued: 0,
            in_flight: 0,
            waiting_bytes: 0,
            oldest_age: None,
            totals: StreamTotals::default(),
            trouble: None,
            full_by: None,
        };
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        Snapshot {
            facts: Arc::new(Facts {
                client_id: "edge-7".to_owned(),
                broker: "127.0.0.1:1883".to_owned(),
                queue_size: 5000,
                queue_dir: None,
                dead_letter_dir: None,
                started: Instant::now(),
                damaged_places: 0,
            }),
            now: start,
            started: start,
            uptime: Duration::ZERO,
            stopping: false,
            totals: Totals::default(),
            held: 0,
            call_times: Distribution::default(),
            memory_used_bytes: 0,
            memory_limit_bytes: 30_000_000,
            session: SessionState {
                subscribed: true,
                lasting: Duration::ZERO,
                reason: None,
                protocol: None,
                connections: 1,
                acks_outstanding: 0,
                reading_paused: false,
            },
            disk: None,
            dead_letters: None,
            status_documents_waiting: 0,
            statuses_dropped: 0,
            credentials_expire: None,
            streams: vec![stream("default"), stream("other")],
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::queue::{Id, Record};

    #[test]
    fn the_start_stays_where_it_is_until_the_clock_is_set() {
        let (started, second) = (Started::default(), Duration::from_secs(1));
        let start = SystemTime::UNIX_EPOCH + 1000 * second;
        assert_eq!(started.ago(second, start + second), start);
        // Read a moment later, and a moment earlier.
        let moment = Duration::from_micros(300);
        assert_eq!(started.ago(9 * second, start + 9 * second + moment), start);
        assert_eq!(
            started.ago(10 * second, start + 10 * second - moment),
            start
        );
        for set in [3600 * second, 60 * second] {
            assert_eq!(started.ago(second, start + set + second), start + set);
        }
    }

    #[test]
    fn the_oldest_is_the_oldest_that_waits_and_not_one_that_is_gone() {
        let budget = MemoryBudget::new(1 << 20);
        let arn = Snapshot::sample().streams[0].arn.clone();
        let stream = Stream::new(arn, 2, budget.share());
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        for seconds in 0..2 {
            let record = Record {
                data: Bytes::from_static(b"x"),
                id: Id::from("id"),
                received: start + seconds * second,
                charge: stream.share.charge(100).unwrap(),
                kept: None,
            };
            stream.queue().push(record).unwrap();
        }
        let now = start + 10 * second;
        assert_eq!(look_at(&stream, 2, now).oldest_age, Some(10 * second));
        let first = stream.queue().take(1);
        let look = look_at(&stream, 2, now);
        assert_eq!((look.queued, look.in_flight), (2, 1));
        assert_eq!(look.oldest_age, Some(9 * second));
        assert_eq!(look.full_by, Some("DELIVERY_STREAM_QUEUE_SIZE"));
        stream.queue().settle(first.len(), Vec::new());
        assert_eq!(look_at(&stream, 2, now).full_by, None);
    }
}
