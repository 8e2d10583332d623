//! Records that end without being delivered: expired, dropped for newer ones, or left at a stop.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::starting::STATUSES_PAUSE;
use super::{EXPIRY_PAUSE, LAST_LETTERS, Worker};
use crate::batch::BATCH_MAX_RECORDS;
use crate::code::{Code, DROPPED_MESSAGE};
use crate::delivery::letters::Ended;
use crate::delivery::refill;
use crate::destination::{Destination, Outcome, ServiceError};
use crate::ledger::Entry;
use crate::queue::Record;
use crate::status::Verdict;

/// How long a stop waits for room for the statuses of what it leaves.
const LAST_STATUSES: Duration = Duration::from_secs(2);

impl<D: Destination> Worker<D> {
    /// Ends what waits for too long. A look costs a pass over the queue, so there is one a second.
    pub(super) fn expire(&mut self, now: Instant) {
        let Some(max_age) = self.context.settings.record_max_age else {
            return;
        };
        if self.next_expiry.is_some_and(|next| next > now) {
            return;
        }
        // No more at once than their statuses have room.
        let statuses = &self.context.statuses;
        let is_first = self.burials.is_empty();
        let Some(mut expected) = statuses.room_for(BATCH_MAX_RECORDS, is_first) else {
            self.next_expiry = Some(now + STATUSES_PAUSE);
            return;
        };
        let most = statuses.most_at_once();
        let old = self.stream.queue().expire(now, max_age, most);
        let is_old = |oldest: Instant| now.saturating_duration_since(oldest) >= max_age;
        let more_on_disk = self.oldest_on_disk().is_some_and(is_old);
        if more_on_disk {
            self.load_anyway(now);
        }
        if old.is_empty() {
            return;
        }
        expected.change_to(old.len());
        let is_all = !more_on_disk && old.len() < most;
        self.next_expiry = is_all.then(|| now + EXPIRY_PAUSE);
        let message = format!(
            "not delivered within {} s (RECORD_MAX_AGE)",
            max_age.as_secs()
        );
        let error = ServiceError::new(Code::Expired.as_str(), message);
        self.trouble
            .note_expiry(&self.stream.arn, &error, old.len(), now);
        self.end(Ended {
            outcomes: vec![Outcome::Failed(error); old.len()],
            records: old,
            expired: true,
            _expected: expected,
        });
    }

    pub(super) fn finish_expired(&self, ended: Ended) {
        if let Some(Outcome::Failed(error)) = ended.outcomes.first() {
            self.fail_all(&ended.records, Code::Expired, &error.message);
        }
        let entry = self.context.ledger.entry();
        self.enter_failed(&entry, Code::Expired, ended.records.len());
        refill::finish(&self.stream, ended.records.iter());
        self.stream.queue().settle(ended.records.len(), Vec::new());
        drop(entry);
        // What the records were charged is free only once they are gone.
        drop(ended);
        self.context.room.notify_one();
    }

    /// When the oldest record that is on disk only was received, as far as is known.
    pub(super) fn oldest_on_disk(&self) -> Option<Instant> {
        let disk = self.stream.disk.as_ref()?;
        Some(disk.clock().instant(disk.depth().oldest_unix_ms()?))
    }

    /// Reads records though it is not their turn: not to be sent, but to end them.
    pub(super) fn load_anyway(&mut self, now: Instant) {
        if !self.refill.is_loading() && self.refill.not_before(now).is_none() {
            let blocking = &self.context.blocking;
            self.refill
                .start(&self.stream, blocking, BATCH_MAX_RECORDS, 0);
        }
    }

    /// With a queue on disk the oldest records are read to be dropped: their ids are in them.
    pub(super) fn drop_for_newer(&mut self, now: Instant) {
        let Some(disk) = &self.stream.disk else {
            return;
        };
        let to_drop = disk.depth().to_drop();
        if to_drop == 0 || self.refill.is_loading() {
            return;
        }
        self.refill.give_back(&self.stream);
        let entry = self.context.ledger.entry();
        let mut queue = self.stream.queue();
        let oldest: Vec<Record> = (0..to_drop).map_while(|_| queue.drop_oldest()).collect();
        drop(queue);
        if !oldest.is_empty() {
            self.fail_all(&oldest, Code::Dropped, DROPPED_MESSAGE);
            self.enter_failed(&entry, Code::Dropped, oldest.len());
            refill::finish(&self.stream, oldest.iter());
            disk.depth().dropped(oldest.len());
            self.context.room.notify_one();
        } else if disk.depth().unread() == 0 && !disk.has_unwritten() {
            // All are in flight: there is nothing left that could be dropped.
            disk.depth().dropped(to_drop);
            return;
        }
        drop(entry);
        if disk.depth().to_drop() > 0 {
            self.load_anyway(now);
        }
    }

    /// The time to stop is over: what has not been delivered by now is reported as such.
    pub(super) async fn give_up(mut self) -> usize {
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
            .drain(..)
            .flat_map(|flight| flight.records)
            .collect();
        let in_flight = left.len();
        {
            let entry = self.context.ledger.entry();
            let mut queue = self.stream.queue();
            queue.settle(in_flight, Vec::new());
            left.extend(queue.drain());
            self.enter_failed(&entry, Code::ConnectorStopped, left.len());
        }
        let limit = Instant::now() + LAST_STATUSES;
        for some in left.chunks(BATCH_MAX_RECORDS) {
            // A broker that takes statuses takes these too, given the time.
            while self.context.statuses.is_congested() && Instant::now() < limit {
                sleep(STATUSES_PAUSE).await;
            }
            self.fail_all(
                some,
                Code::ConnectorStopped,
                "the connector stopped before the record was known to be delivered",
            );
        }
        left.len()
    }

    /// What failed has failed, whether its letters get to the disk in time or not.
    pub(super) async fn end_burials(&mut self) {
        let limit = Instant::now() + LAST_LETTERS;
        let mut all = Vec::new();
        while let Ok(Some(ended)) = tokio::time::timeout_at(limit, self.burials.next()).await {
            all.extend(ended);
        }
        all.extend(self.burials.give_up());
        all.into_iter().for_each(|ended| self.conclude(ended));
    }

    /// Notes records that ended without a call.
    fn enter_failed(&self, entry: &Entry<'_>, code: Code, records: usize) {
        entry.failed(code.as_str(), records);
        self.stream.account.failed(records);
    }

    pub(super) fn fail_all(&self, records: &[Record], code: Code, message: &str) {
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
