//! The worker of one stream: takes batches when they are due, calls the destination, and settles
//! each record by its outcome.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{Id as CallId, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::backoff::Backoff;
use super::letters::{Burials, Ended};
use super::pace::{Pace, full_batch_records};
use super::parallel::Parallel;
use super::refill::{self, Refill};
use super::schedule::Schedule;
use super::trouble::TroubleLog;
use crate::batch::{self, Batch, BatchLimits};
use crate::code::{Code, DROPPED_MESSAGE};
use crate::dead_letters::DeadLetters;
use crate::destination::{CallError, Destination, Outcome, ServiceError};
use crate::parameters::RateLimits;
use crate::queue::{Record, Stream};
use crate::status::{Publisher, Verdict};

/// Calls with batches that one stream has under way at a time, at most.
const PARALLEL_BATCHES: usize = 16;

/// Calls with single records that one stream has under way at a time, at most.
const PARALLEL_RECORDS: usize = 64;

/// Calls that all streams together have under way beside one for each. Each is a connection:
/// files and memory that a small device has few of.
pub const PARALLEL_CALLS: usize = 64;

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
    /// Rung when a queue got room: intake may be waiting for it.
    pub room: Arc<Notify>,
    /// Set when the connector stops: send what there is until then.
    pub deadline: watch::Receiver<Deadline>,
    /// Where records go that failed; `None` where they are not kept.
    pub dead_letters: Option<DeadLetters>,
    /// How delivery goes.
    pub settings: WorkerSettings,
}

/// Delivers the records of one stream.
pub struct Worker<D> {
    /// Where the records wait.
    stream: Arc<Stream>,
    /// What it works with.
    context: WorkerContext<D>,
    /// Limits of one call of this stream.
    limits: BatchLimits,
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
    paid: Option<Batch>,
    /// Calls under way.
    calls: JoinSet<Result<Vec<Outcome>, CallError>>,
    /// Their records: kept here, so that not even a panic inside a call loses them.
    in_flight: HashMap<CallId, Flight>,
    /// What waits for its letters to be on disk.
    burials: Burials,
    /// What the log says about the stream.
    trouble: TroubleLog,
}

/// Waiting for the rate limits; ends with what was paid for.
type Payment = Pin<Box<dyn Future<Output = Batch> + Send>>;

/// A call under way.
struct Flight {
    /// Its records, in the order of the call.
    records: Vec<Record>,
    /// The back-off's generation at its start.
    generation: u64,
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
            limits,
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
            calls: JoinSet::new(),
            in_flight: HashMap::new(),
            burials: Burials::new(context.dead_letters.clone(), stream.arn.clone()),
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
        tokio::select! {
            Some(ended) = self.calls.join_next_with_id(), if !self.calls.is_empty() => {
                self.settle(ended);
                // Whatever else has ended by now is settled in the same round.
                while let Some(ended) = self.calls.try_join_next_with_id() {
                    self.settle(ended);
                }
            }
            Some(all) = self.burials.next(), if !self.burials.is_empty() => {
                all.into_iter().for_each(|ended| self.conclude(ended));
            }
            batch = paid(&mut self.paying), if self.paying.is_some() => {
                self.paying = None;
                self.paid = Some(batch);
            }
            loaded = self.refill.loaded(), if self.refill.is_loading() => {
                if self.refill.settle(&self.stream, loaded) {
                    self.context.room.notify_one();
                }
            }
            () = self.stream.wake.notified() => {}
            () = sleep_until(next.unwrap_or(now)), if next.is_some() => {}
            Ok(()) = self.context.deadline.changed() => {}
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
        [self.schedule.ends(), backoff, expiry, refill, deadline]
            .into_iter()
            .flatten()
            .min()
    }

    /// Starts every call that is due and allowed.
    fn start_calls(&mut self, now: Instant) {
        // What is on its way from disk counts neither here nor there; it is here in a moment.
        while !self.refill.is_loading() {
            self.refill.give_back_when_due(&self.stream, now);
            let queue = self.stream.queue();
            let on_disk = self.stream.unread() + self.refill.held_back();
            self.schedule.observe(queue.waiting() + on_disk, now);
            let planned = batch::next(queue.waiting_sizes(), self.limits);
            let expected = refill::expected(&self.stream, &queue, planned, self.limits);
            drop(queue);
            let allowed = self.parallel.allowed(self.backoff.is_probing());
            let free = allowed.saturating_sub(self.in_flight.len());
            if expected.records == 0
                || !self.schedule.is_due(expected)
                || self.backoff.until(now).is_some()
                || free == 0
                || self.paying.is_some()
            {
                return;
            }
            if expected != planned && self.refill.not_before(now).is_none() {
                self.refill
                    .start(&self.stream, self.limits, free, planned.records);
                return;
            }
            if planned.records == 0 {
                return;
            }
            // None to be had: it is tried again when a call of this stream ends.
            let Some(permit) = self.permit() else { return };
            let batch = if !self.pace.is_limited() {
                planned
            } else if let Some(paid) = self.paid.take() {
                // Expiry or drop-oldest may have shortened the queue since.
                Batch {
                    records: paid.records.min(planned.records),
                    ..planned
                }
            } else {
                let pace = self.pace.clone();
                self.paying = Some(Box::pin(async move {
                    pace.pay(planned.records, planned.data_bytes).await;
                    planned
                }));
                return;
            };
            self.start_call(batch, permit);
        }
    }

    /// Leave for another call: the first of a stream has it always.
    fn permit(&self) -> Option<Option<OwnedSemaphorePermit>> {
        if self.in_flight.is_empty() {
            return Some(None);
        }
        let permits = Arc::clone(&self.context.settings.parallel_calls);
        permits.try_acquire_owned().ok().map(Some)
    }

    fn start_call(&mut self, batch: Batch, permit: Option<OwnedSemaphorePermit>) {
        let records = self.stream.queue().take(batch.records);
        self.schedule.sent(records.len());
        let data: Vec<_> = records.iter().map(|record| record.data.clone()).collect();
        let (destination, stream) = (self.context.destination.clone(), Arc::clone(&self.stream));
        let single = self.context.settings.publish_interval.is_zero();
        let call = self.calls.spawn(async move {
            if single && let [record] = data.as_slice() {
                let outcome = destination.put_record(&stream.arn, record.clone()).await?;
                return Ok(vec![outcome]);
            }
            destination.put_batch(&stream.arn, data).await
        });
        let generation = self.backoff.generation();
        self.in_flight.insert(
            call.id(),
            Flight {
                records,
                generation,
                _permit: permit,
            },
        );
    }

    /// Ends a call: statuses for what is final, the back of the queue for what is not.
    fn settle(&mut self, ended: Result<(CallId, Result<Vec<Outcome>, CallError>), JoinError>) {
        let (id, result) = match ended {
            Ok((id, result)) => (id, result),
            Err(error) => (error.id(), Err(panicked(&error))),
        };
        let Some(Flight {
            records,
            generation,
            _permit,
        }) = self.in_flight.remove(&id)
        else {
            return;
        };
        let outcomes = match result {
            Ok(mut outcomes) => {
                outcomes.resize_with(records.len(), unanswered);
                outcomes
            }
            Err(CallError { retryable, error }) => {
                let each = if retryable {
                    Outcome::Retry(error)
                } else {
                    Outcome::Failed(error)
                };
                vec![each; records.len()]
            }
        };
        self.note(&outcomes, generation);
        self.end(Ended {
            records,
            outcomes,
            expired: false,
        });
    }

    /// Ends records, those that failed once they are among the dead letters.
    fn end(&mut self, ended: Ended) {
        if let Some(ended) = self.burials.begin(ended) {
            self.conclude(ended);
        }
    }

    fn conclude(&mut self, ended: Ended) {
        if ended.expired {
            self.finish_expired(ended);
        } else {
            self.finish(ended.records, &ended.outcomes);
        }
    }

    /// Publishes what is final and puts back what is not.
    fn finish(&mut self, records: Vec<Record>, outcomes: &[Outcome]) {
        let (mut finished, mut retry) = (Vec::with_capacity(records.len()), Vec::new());
        for (record, outcome) in records.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Retry(_) => retry.push(record),
                Outcome::Delivered { .. } | Outcome::Failed(_) => finished.push((record, outcome)),
            }
        }
        let version_1 = self.context.settings.version_1_messages;
        let messages: Vec<_> = finished
            .iter()
            .filter(|_| version_1)
            .map(|(_, outcome)| version_1_message(outcome))
            .collect();
        self.context
            .statuses
            .publish(
                finished
                    .iter()
                    .enumerate()
                    .map(|(place, (record, outcome))| {
                        let verdict = match outcome {
                            Outcome::Delivered { record_id } => Verdict::Success { record_id },
                            Outcome::Failed(error) | Outcome::Retry(error) => Verdict::Fail {
                                code: &error.code,
                                message: messages.get(place).unwrap_or(&error.message),
                            },
                        };
                        (record.id.as_str(), verdict)
                    }),
            );
        if finished.is_empty() && self.stream.disk.is_some() {
            self.leave_to_disk(retry);
        } else {
            refill::finish(&self.stream, finished.iter().map(|(record, _)| record));
            self.stream.queue().settle(finished.len(), retry);
        }
        // What the records were charged is free only once they are gone.
        drop(finished);
        self.context.room.notify_one();
    }

    /// A call came to nothing: its records, and what was read ahead of the next ones, are read again when
    /// there is hope. Until then memory is for streams that are well. What was tried comes behind what
    /// was not, as it does in memory; but what may expire must be found among the oldest.
    fn leave_to_disk(&mut self, records: Vec<Record>) {
        let mut queue = self.stream.queue();
        queue.settle(records.len(), Vec::new());
        let read_ahead = queue.drain();
        drop(queue);
        refill::unload(&self.stream, &read_ahead);
        if self.context.settings.record_max_age.is_some() {
            refill::unload(&self.stream, &records);
        } else {
            self.refill.hold_back(&records, Instant::now());
        }
    }

    /// Back-off and log from what a call brought.
    fn note(&mut self, outcomes: &[Outcome], generation: u64) {
        let now = Instant::now();
        let is_retry = |outcome: &&Outcome| matches!(outcome, Outcome::Retry(_));
        let retried = outcomes.iter().filter(is_retry).count();
        if retried == outcomes.len() && retried > 0 {
            if self.backoff.failed(generation, now, fastrand::f64()) {
                self.parallel.failed();
            }
        } else {
            if retried > 0 {
                self.backoff.partly_failed(now, fastrand::f64());
            } else {
                self.backoff.succeeded();
            }
            self.parallel.succeeded();
        }
        self.trouble.note_call(&self.stream.arn, outcomes, now);
    }

    /// Ends what waits for too long. A look costs a pass over the queue, so there is one a second.
    fn expire(&mut self, now: Instant) {
        let Some(max_age) = self.context.settings.record_max_age else {
            return;
        };
        if self.next_expiry.is_some_and(|next| next > now) {
            return;
        }
        let old = self.stream.queue().expire(now, max_age);
        let is_old = |oldest: Instant| now.saturating_duration_since(oldest) >= max_age;
        let more_on_disk = self.oldest_on_disk().is_some_and(is_old);
        if more_on_disk {
            self.load_anyway(now);
        }
        if old.is_empty() {
            return;
        }
        self.next_expiry = (!more_on_disk).then(|| now + EXPIRY_PAUSE);
        let message = format!(
            "not delivered within {} s (RECORD_MAX_AGE)",
            max_age.as_secs()
        );
        let error = ServiceError::new(Code::Expired.as_str(), message);
        self.trouble
            .note_trouble(&self.stream.arn, &error, old.len(), 0, now);
        self.end(Ended {
            outcomes: vec![Outcome::Failed(error); old.len()],
            records: old,
            expired: true,
        });
    }

    fn finish_expired(&self, ended: Ended) {
        if let Some(Outcome::Failed(error)) = ended.outcomes.first() {
            self.fail_all(&ended.records, Code::Expired, &error.message);
        }
        refill::finish(&self.stream, ended.records.iter());
        // What the records were charged is free only once they are gone.
        drop(ended);
        self.context.room.notify_one();
    }

    /// When the oldest record that is on disk only was received, as far as is known.
    fn oldest_on_disk(&self) -> Option<Instant> {
        let disk = self.stream.disk.as_ref()?;
        Some(disk.clock().instant(disk.depth().oldest_unix_ms()?))
    }

    /// Reads records though it is not their turn: not to be sent, but to end them.
    fn load_anyway(&mut self, now: Instant) {
        if !self.refill.is_loading() && self.refill.not_before(now).is_none() {
            self.refill
                .start(&self.stream, BatchLimits::of_service(0), 1, 0);
        }
    }

    /// With a queue on disk the oldest records are read to be dropped: their ids are in them.
    fn drop_for_newer(&mut self, now: Instant) {
        let Some(disk) = &self.stream.disk else {
            return;
        };
        let to_drop = disk.depth().to_drop();
        if to_drop == 0 || self.refill.is_loading() {
            return;
        }
        self.refill.give_back(&self.stream);
        let mut queue = self.stream.queue();
        let oldest: Vec<Record> = (0..to_drop).map_while(|_| queue.drop_oldest()).collect();
        drop(queue);
        if !oldest.is_empty() {
            self.fail_all(&oldest, Code::Dropped, DROPPED_MESSAGE);
            refill::finish(&self.stream, oldest.iter());
            disk.depth().dropped(oldest.len());
            self.context.room.notify_one();
        } else if disk.depth().unread() == 0 && !disk.has_unwritten() {
            // All are in flight: there is nothing left that could be dropped.
            disk.depth().dropped(to_drop);
            return;
        }
        if disk.depth().to_drop() > 0 {
            self.load_anyway(now);
        }
    }

    /// The time to stop is over: what has not been delivered by now is reported as such.
    async fn give_up(mut self) -> usize {
        self.calls.abort_all();
        // An answer that is here already counts, however late it is read.
        while let Some(ended) = self.calls.join_next_with_id().await {
            if ended.is_ok() {
                self.settle(ended);
            }
        }
        if self.stream.disk.is_some() {
            // What is not final, or not among the dead letters yet, stays where it is, and is sent after
            // the next start.
            return 0;
        }
        self.end_burials().await;
        let mut left: Vec<Record> = self
            .in_flight
            .drain()
            .flat_map(|(_, flight)| flight.records)
            .collect();
        let in_flight = left.len();
        let mut queue = self.stream.queue();
        queue.settle(in_flight, Vec::new());
        left.extend(queue.drain());
        drop(queue);
        self.fail_all(
            &left,
            Code::ConnectorStopped,
            "the connector stopped before the record was known to be delivered",
        );
        left.len()
    }

    /// What failed has failed, whether its letters get to the disk in time or not.
    async fn end_burials(&mut self) {
        let limit = Instant::now() + LAST_LETTERS;
        let mut all = Vec::new();
        while let Ok(Some(ended)) = tokio::time::timeout_at(limit, self.burials.next()).await {
            all.extend(ended);
        }
        all.extend(self.burials.give_up());
        all.into_iter().for_each(|ended| self.conclude(ended));
    }

    fn fail_all(&self, records: &[Record], code: Code, message: &str) {
        self.context.statuses.publish(records.iter().map(|record| {
            (
                record.id.as_str(),
                Verdict::Fail {
                    code: code.as_str(),
                    message,
                },
            )
        }));
    }
}

/// A worker that ends in a fault leaves its records to the one that takes its place.
impl<D> Drop for Worker<D> {
    fn drop(&mut self) {
        if self.stream.disk.is_none() {
            return;
        }
        for (_, flight) in self.in_flight.drain() {
            refill::unload(&self.stream, &flight.records);
        }
        for ended in self.burials.give_up() {
            refill::unload(&self.stream, &ended.records);
        }
        self.refill.give_back(&self.stream);
    }
}

async fn paid(paying: &mut Option<Payment>) -> Batch {
    match paying {
        Some(payment) => payment.await,
        None => std::future::pending().await,
    }
}

/// An error in the words of boto3, which version 1 passed on (contract, "Output: Failure").
fn version_1_message(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Delivered { .. } => String::new(),
        Outcome::Failed(error) | Outcome::Retry(error) => format!(
            "An error occurred ({}) when calling the PutRecord operation: {}",
            error.code, error.message
        ),
    }
}

/// A record that the destination says nothing about is in the unknown, as after a lost answer.
fn unanswered() -> Outcome {
    Outcome::Retry(ServiceError::new(
        "MissingResponseEntry",
        "the destination named no outcome for this record",
    ))
}

/// A panic inside a call leaves its records in the unknown, as a lost answer does.
fn panicked(error: &JoinError) -> CallError {
    CallError {
        retryable: true,
        error: ServiceError::new("InternalError", error.to_string()),
    }
}

#[cfg(test)]
mod tests;
