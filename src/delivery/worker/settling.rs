//! What becomes of the records of a call that ended: statuses, the queue, the ledger, and what the worker learns.

use tokio::task::{Id as CallId, JoinError};
use tokio::time::Instant;

use super::{Flight, Worker};
use crate::delivery::letters::Ended;
use crate::delivery::packing::spread;
use crate::delivery::refill;
use crate::destination::{CallError, Destination, Outcome, ServiceError};
use crate::ledger::{Ailment, CallEnd, Entry};
use crate::queue::{Charge, Record};
use crate::status::Verdict;

impl<D: Destination> Worker<D> {
    /// Ends a call: statuses for what is final, the back of the queue for what is not.
    pub(super) fn settle(
        &mut self,
        ended: Result<(CallId, Result<Vec<Outcome>, CallError>), JoinError>,
    ) {
        let (id, result) = match ended {
            Ok((id, result)) => (id, result),
            Err(error) => (error.id(), Err(panicked(&error))),
        };
        // They are few: as many as there are calls at a time.
        let Some(place) = self.in_flight.iter().position(|flight| flight.id == id) else {
            return;
        };
        let Flight {
            id: _,
            records,
            groups,
            generation,
            expected,
            call,
            _permit,
        } = self.in_flight.remove(place);
        let sent = groups.as_ref().map_or(records.len(), Vec::len);
        let outcomes = match result {
            Ok(mut outcomes) => {
                outcomes.resize_with(sent, unanswered);
                spread(outcomes, groups.as_deref())
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
        let end = how_it_ended(&outcomes);
        call.end(end, sent);
        self.note(&outcomes, end, generation);
        self.end(Ended {
            records,
            outcomes,
            expired: false,
            _expected: expected,
        });
    }

    /// Ends records, those that failed once they are among the dead letters.
    pub(super) fn end(&mut self, ended: Ended) {
        if let Some(ended) = self.burials.begin(ended) {
            self.conclude(ended);
        }
    }

    pub(super) fn conclude(&mut self, ended: Ended) {
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
        let ledger = self.context.ledger.clone();
        let entry = ledger.entry();
        let retried = retry.len();
        if finished.is_empty() && self.stream.disk.is_some() {
            self.leave_to_disk(retry);
        } else {
            refill::finish(&self.stream, finished.iter().map(|(record, _)| record));
            self.stream.queue().settle(finished.len(), retry);
        }
        // Behind the queue: a fault of ours in between costs a count, and counts nothing twice.
        self.enter(&entry, &finished, retried);
        drop(entry);
        // What the records were charged is free only once they are gone.
        Charge::give_back(finished.into_iter().map(|(record, _)| record.charge));
        self.context.room.notify_one();
    }

    /// Notes what became of the records of a call.
    fn enter(&self, entry: &Entry<'_>, finished: &[(Record, &Outcome)], retried: usize) {
        let (mut delivered, mut bytes) = (0, 0);
        for (record, outcome) in finished {
            match outcome {
                Outcome::Delivered { .. } => {
                    delivered += 1;
                    bytes += record.data.len();
                }
                Outcome::Failed(error) | Outcome::Retry(error) => entry.failed(&error.code, 1),
            }
        }
        entry.delivered(delivered, bytes);
        entry.retried(retried);
        let account = &self.stream.account;
        account.delivered(delivered);
        account.failed(finished.len() - delivered);
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
    fn note(&mut self, outcomes: &[Outcome], end: CallEnd, generation: u64) {
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
        let retry_at = self.backoff.until(now);
        self.trouble
            .note_call(&self.stream.arn, outcomes, retry_at, now);
        // The same for whoever looks at the stream.
        let account = &self.stream.account;
        match outcomes.iter().find_map(Outcome::error) {
            None => account.recovers(),
            Some(error) => {
                let ailment = Ailment {
                    code: &error.code,
                    message: &error.message,
                    delivers: end == CallEnd::Partial,
                    retry_at,
                };
                account.ails(ailment, now);
            }
        }
    }
}

fn how_it_ended(outcomes: &[Outcome]) -> CallEnd {
    let is_error = |outcome: &&Outcome| outcome.error().is_some();
    match outcomes.iter().filter(is_error).count() {
        0 => CallEnd::Complete,
        errors if errors == outcomes.len() => CallEnd::Failed,
        _ => CallEnd::Partial,
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
