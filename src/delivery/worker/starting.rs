//! The beginning of calls: which are due and allowed, and what they carry.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryFutureExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use super::{Flight, Worker};
use crate::aggregate::Plan;
use crate::delivery::refill;
use crate::destination::{CallError, Destination};
use crate::status::Expected;

/// How long calls, and whatever else brings statuses, wait before they look again whether these have room.
pub(super) const STATUSES_PAUSE: Duration = Duration::from_millis(5);

impl<D: Destination> Worker<D> {
    /// Starts every call that is due and allowed.
    pub(super) fn start_calls(&mut self, now: Instant) {
        self.statuses_due = None;
        // What is on its way from disk counts neither here nor there; it is here in a moment.
        while !self.refill.is_loading() {
            self.refill.give_back_when_due(&self.stream, now);
            let queue = self.stream.queue();
            let on_disk = self.stream.unread() + self.refill.held_back();
            self.schedule.observe(queue.waiting() + on_disk, now);
            let planned = self.packing.plan(queue.waiting_data());
            let expected = refill::expected(&self.stream, &queue, planned.batch, &self.packing);
            drop(queue);
            let allowed = self.parallel.allowed(self.backoff.is_probing());
            let free = allowed.saturating_sub(self.in_flight.len());
            if expected.records == 0
                || !self
                    .schedule
                    .is_due(expected, self.stream.share.is_pressed())
                || self.backoff.until(now).is_some()
                || free == 0
                || self.paying.is_some()
            {
                return;
            }
            if expected != planned.batch && self.refill.not_before(now).is_none() {
                let records = self.packing.records_of(free);
                let blocking = &self.context.blocking;
                self.refill
                    .start(&self.stream, blocking, records, planned.batch.records);
                return;
            }
            let planned = if self.schedule.is_all_due() && self.stream.unread() == 0 {
                planned
            } else {
                planned.without_rest()
            };
            if planned.batch.records == 0 {
                return;
            }
            let planned = self.within_room(planned);
            let is_first = self.in_flight.is_empty();
            let statuses = &self.context.statuses;
            let Some(room) = statuses.room_for(planned.batch.records, is_first) else {
                self.statuses_due = Some(now + STATUSES_PAUSE);
                return;
            };
            // None to be had: it is tried again when a call of this stream ends.
            let Some(permit) = self.permit() else { return };
            let plan = if !self.pace.is_limited() {
                planned
            } else if let Some(paid) = self.paid.take() {
                paid
            } else {
                let pace = self.pace.clone();
                self.paying = Some(Box::pin(async move {
                    pace.pay(planned.firehose_records(), planned.batch.data_bytes)
                        .await;
                    planned
                }));
                return;
            };
            self.start_call(&plan, permit, room);
        }
    }

    /// Where requests are joined, a call may bring more statuses than there is room for: it carries fewer then, but
    /// never fewer than a call that joins none.
    fn within_room(&self, planned: Plan) -> Plan {
        let most = self.context.statuses.most_at_once();
        if planned.batch.records <= most {
            return planned;
        }
        self.packing
            .plan(self.stream.queue().waiting_data().take(most))
    }

    /// Leave for another call: the first of a stream has it always.
    fn permit(&self) -> Option<Option<OwnedSemaphorePermit>> {
        if self.in_flight.is_empty() {
            return Some(None);
        }
        let permits = Arc::clone(&self.context.settings.parallel_calls);
        permits.try_acquire_owned().ok().map(Some)
    }

    fn start_call(
        &mut self,
        plan: &Plan,
        permit: Option<OwnedSemaphorePermit>,
        mut room: Expected,
    ) {
        let mut queue = self.stream.queue();
        // Expiry or drop-oldest may have shortened the queue since.
        let Plan { batch, groups } = self.packing.plan_within(queue.waiting_data(), plan);
        let mut records = queue.take(batch.records);
        drop(queue);
        self.schedule.sent(records.len());
        room.change_to(records.len());
        let cargo = self.packing.load(&mut records, groups.as_deref());
        let (destination, stream) = (self.context.destination.clone(), Arc::clone(&self.stream));
        let single = self.context.settings.publish_interval.is_zero();
        let (ledger, blocking) = (self.context.ledger.clone(), self.context.blocking.clone());
        let open_call = ledger.begin_call();
        // The last two are set where the call fails; `otel.status_code` is how a span says that it is of one.
        let span = tracing::debug_span!(
            "call", stream = %stream.arn, records = records.len(),
            error.code = Empty, otel.status_code = Empty,
        );
        let call = async move {
            let data = cargo.into_data(&blocking).await?;
            tracing::debug!(firehose_records = data.len(), "calling");
            let sizes: Vec<usize> = data.iter().map(Bytes::len).collect();
            let outcomes = if single && let [record] = data.as_slice() {
                vec![destination.put_record(&stream.arn, record.clone()).await?]
            } else {
                destination.put_batch(&stream.arn, data).await?
            };
            let taken = sizes.iter().zip(&outcomes);
            let taken = taken.filter(|(_, outcome)| outcome.error().is_none());
            taken.for_each(|(&bytes, _)| ledger.billed(bytes));
            Ok(outcomes)
        };
        let call = call.inspect_err(|failure: &CallError| {
            Span::current()
                .record("error.code", failure.error.code.as_str())
                .record("otel.status_code", "ERROR");
        });
        let call = self.calls.spawn(call.instrument(span));
        let generation = self.backoff.generation();
        self.in_flight.push(Flight {
            id: call.id(),
            records,
            groups,
            generation,
            expected: room,
            call: open_call,
            _permit: permit,
        });
    }
}
