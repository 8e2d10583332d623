//! The worker of one stream: takes batches when they are due, calls the destination, and settles
//! each record by its outcome. Here is its loop; its steps are in the files beside it.

mod ending;
mod settling;
mod starting;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{Id as CallId, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::backoff::Backoff;
use super::letters::Burials;
use super::pace::{Pace, full_batch_records};
use super::packing::{Joining, Packing};
use super::parallel::Parallel;
use super::refill::{self, Refill};
use super::schedule::Schedule;
use super::trouble::TroubleLog;
use crate::aggregate::{Group, Plan};
use crate::batch::BatchLimits;
use crate::blocking::Blocking;
use crate::dead_letters::DeadLetters;
use crate::destination::{CallError, Destination, Outcome};
use crate::ledger::{Ledger, OpenCall};
use crate::parameters::RateLimits;
use crate::queue::{Record, Stream};
use crate::status::{Expected, Publisher};

/// Calls with batches that one stream has under way at a time, at most: at 50 ms for a call, a million
/// records a second need 100.
const PARALLEL_BATCHES: usize = 128;

/// Calls with single records that one stream has under way at a time, at most.
const PARALLEL_RECORDS: usize = 64;

/// Calls that all streams together have under way beside one for each. Each is a connection:
/// files and memory that a small device has few of.
pub const PARALLEL_CALLS: usize = 128;

/// Shortest time between two looks for expired records.
const EXPIRY_PAUSE: Duration = Duration::from_secs(1);

/// How long a stop waits for letters that are on their way to the disk.
const LAST_LETTERS: Duration = Duration::from_secs(2);

/// How delivery goes; the same for every stream.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// `PUBLISH_INTERVAL`; zero sends each record in a call of its own.
    pub publish_interval: Duration,
    /// `PUBLISH_WHEN_FULL`.
    pub publish_when_full: bool,
    /// `RECORD_MAX_AGE`.
    pub record_max_age: Option<Duration>,
    /// `MAX_…_PER_SECOND`.
    pub rate_limits: RateLimits,
    /// `RECORD_AGGREGATION`; `None` sends each record as it is. Without effect where each has a call of
    /// its own.
    pub joining: Option<Joining>,
    /// Version 1 wraps errors of the service in the words of its AWS library.
    pub version_1_messages: bool,
    /// [`PARALLEL_CALLS`] permits, shared by all streams.
    pub parallel_calls: Arc<Semaphore>,
}

/// When the time to stop is over; `None` while the connector runs.
pub type Deadline = Option<Instant>;

/// What every worker works with.
#[derive(Debug, Clone)]
pub struct WorkerContext<D> {
    /// Where the records go.
    pub destination: D,
    /// Where their outcomes go.
    pub statuses: Publisher,
    /// Where what becomes of records is noted.
    pub ledger: Ledger,
    /// Rung when a queue got room: intake may be waiting for it.
    pub room: Arc<Notify>,
    /// Set when the connector stops: send what there is until then.
    pub deadline: watch::Receiver<Deadline>,
    /// Where records go that failed; `None` where they are not kept.
    pub dead_letters: Option<DeadLetters>,
    /// Where files are read and written, and records compressed.
    pub blocking: Blocking,
    /// How delivery goes.
    pub settings: WorkerSettings,
}

/// Delivers the records of one stream.
pub struct Worker<D> {
    /// Where the records wait.
    stream: Arc<Stream>,
    /// What it works with.
    context: WorkerContext<D>,
    /// How records become calls of this stream.
    packing: Packing,
    /// When records are due.
    schedule: Schedule,
    /// How long failures make it wait.
    backoff: Backoff,
    /// When expired records are looked for next: not for each by itself.
    next_expiry: Option<Instant>,
    /// Records on their way from disk.
    refill: Refill,
    /// How many calls may be under way at a time.
    parallel: Parallel,
    /// The rate limits.
    pace: Pace,
    /// The wait for the rate limits before the next call.
    paying: Option<Payment>,
    /// What was paid for and not sent yet.
    paid: Option<Plan>,
    /// When to look again whether the statuses of a call that is due have room.
    statuses_due: Option<Instant>,
    /// Calls under way.
    calls: JoinSet<Result<Vec<Outcome>, CallError>>,
    /// Their records, in the order in which they left: kept here, so that not even a panic inside a call loses them.
    in_flight: Vec<Flight>,
    /// What waits for its letters to be on disk.
    burials: Burials,
    /// What the log says about the stream.
    trouble: TroubleLog,
}

/// Waiting for the rate limits; ends with what was paid for.
type Payment = Pin<Box<dyn Future<Output = Plan> + Send>>;

/// A call under way.
struct Flight {
    /// The task that makes it.
    id: CallId,
    /// Its records, in the order of the call.
    records: Vec<Record>,
    /// How they were joined into Firehose records, whose outcomes they share; `None` where each is one.
    groups: Option<Vec<Group>>,
    /// The back-off's generation at its start.
    generation: u64,
    /// Room for its statuses.
    expected: Expected,
    /// Counts it, and how long it takes.
    call: OpenCall,
    /// Held until it ends; the first call of a stream needs none, so no stream waits for another.
    _permit: Option<OwnedSemaphorePermit>,
}

impl<D: Destination> Worker<D> {
    /// A worker for `stream`.
    pub fn new(stream: Arc<Stream>, context: WorkerContext<D>) -> Self {
        let settings = &context.settings;
        let pace = Pace::new(&settings.rate_limits);
        let single = settings.publish_interval.is_zero();
        let limits = BatchLimits::of_service(stream.arn.stream_name().len())
            .with_records(if single {
                1
            } else {
                full_batch_records(&settings.rate_limits)
            })
            .with_data_bytes(pace.batch_bytes());
        Worker {
            schedule: Schedule::new(settings.publish_interval, settings.publish_when_full),
            packing: Packing::new(limits, settings.joining.clone().filter(|_| !single)),
            backoff: Backoff::default(),
            next_expiry: None,
            refill: Refill::default(),
            parallel: Parallel::new(if single {
                PARALLEL_RECORDS
            } else {
                PARALLEL_BATCHES
            }),
            pace,
            paying: None,
            paid: None,
            statuses_due: None,
            calls: JoinSet::new(),
            in_flight: Vec::new(),
            burials: Burials::new(
                context.dead_letters.clone(),
                context.blocking.clone(),
                stream.arn.clone(),
            ),
            trouble: TroubleLog::default(),
            stream,
            context,
        }
    }

    /// Delivers until told to end; returns how many records were left undelivered then.
    pub async fn run(mut self) -> usize {
        loop {
            let now = Instant::now();
            let deadline = *self.context.deadline.borrow_and_update();
            if let Some(deadline) = deadline {
                self.rush();
                if deadline <= now {
                    return self.give_up().await;
                }
            }
            self.drop_for_newer(now);
            self.expire(now);
            self.start_calls(now);
            let ends = deadline.is_some() || self.stream.is_forgotten();
            if ends && self.stream.is_empty() && self.burials.is_empty() {
                return 0;
            }
            if deadline.is_some() && self.is_stuck_on_disk(now) {
                return self.give_up().await;
            }
            self.wait(now, deadline).await;
        }
    }

    /// The connector stops: everything is due, and trouble is given one more chance at once.
    fn rush(&mut self) {
        if self.schedule.rush() {
            self.backoff.try_now();
        }
    }

    /// While stopping: whether calls fail, and the records are on disk. There they are safe, so the stop
    /// need not wait for them.
    fn is_stuck_on_disk(&self, now: Instant) -> bool {
        let Some(disk) = &self.stream.disk else {
            return false;
        };
        let can_send = disk.depth().unread() + self.stream.queue().waiting() > 0;
        let is_waiting = self.backoff.until(now).is_some() || !can_send;
        self.in_flight.is_empty()
            && self.burials.is_empty()
            && !self.refill.is_loading()
            && is_waiting
    }

    /// Waits for whatever may change what there is to do.
    async fn wait(&mut self, now: Instant, deadline: Deadline) {
        let next = self.next_instant(now, deadline);
        // What calls wait for comes before the calls that end: these may be many, one after the other.
        tokio::select! {
            biased;
            Ok(()) = self.context.deadline.changed() => {}
            Some(all) = self.burials.next(), if !self.burials.is_empty() => {
                all.into_iter().for_each(|ended| self.conclude(ended));
            }
            loaded = self.refill.loaded(), if self.refill.is_loading() => {
                if self.refill.settle(&self.stream, loaded) {
                    self.context.room.notify_one();
                }
            }
            plan = paid(&mut self.paying), if self.paying.is_some() => {
                self.paying = None;
                self.paid = Some(plan);
            }
            Some(ended) = self.calls.join_next_with_id(), if !self.calls.is_empty() => {
                self.settle(ended);
                // Whatever else has ended by now is settled in the same round.
                while let Some(ended) = self.calls.try_join_next_with_id() {
                    self.settle(ended);
                }
            }
            () = self.stream.wake.notified() => {}
            () = sleep_until(next.unwrap_or(now)), if next.is_some() => {}
        }
    }

    /// The next instant at which something is to be done without anything else happening.
    fn next_instant(&self, now: Instant, deadline: Deadline) -> Option<Instant> {
        if self.refill.is_loading() {
            // Nothing begins before it is done, whatever is due meanwhile.
            return deadline;
        }
        let refill = self.refill.not_before(now);
        let queue = self.stream.queue();
        let expiry = self.context.settings.record_max_age.and_then(|age| {
            // What is on disk can be ended once it can be read.
            let on_disk = self.oldest_on_disk();
            let on_disk = on_disk.map(|oldest| (oldest + age).max(refill.unwrap_or(now)));
            let in_memory = queue.oldest_bound().map(|oldest| oldest + age);
            let next = [on_disk, in_memory].into_iter().flatten().min()?;
            Some(next.max(self.next_expiry.unwrap_or(now)))
        });
        let on_disk = self.stream.unread() + self.refill.held_back();
        let backoff = if queue.waiting() + on_disk > 0 {
            self.backoff.until(now)
        } else {
            None
        };
        drop(queue);
        let schedule = self.schedule.ends();
        [
            schedule,
            backoff,
            expiry,
            refill,
            self.statuses_due,
            deadline,
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

/// A worker that ends in a fault leaves its records to the one that takes its place.
impl<D> Drop for Worker<D> {
    fn drop(&mut self) {
        if self.stream.disk.is_none() {
            return;
        }
        for flight in self.in_flight.drain(..) {
            refill::unload(&self.stream, &flight.records);
        }
        for ended in self.burials.give_up() {
            refill::unload(&self.stream, &ended.records);
        }
        self.refill.give_back(&self.stream);
    }
}

async fn paid(paying: &mut Option<Payment>) -> Plan {
    match paying {
        Some(payment) => payment.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
