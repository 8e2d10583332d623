//! Intake: each message becomes a record in its stream's queue, or a rejection.
//!
//! It works on what one read brought: the requests are decoded first, then each stream concerned
//! is locked once, and the rejections go out together. It does no I/O and has no clock.

mod acceptance;
mod admit;
mod keep;
mod parking;
mod staging;
mod streams;
#[cfg(test)]
mod tests;
mod too_large;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard};

use tokio::time::Instant;

use crate::code::{Code, DROPPED_MESSAGE};
use crate::delimiter::Delimiter;
use crate::envelope::Envelope;
use crate::ledger::{Entry, Ledger};
use crate::mqtt::{AckToken, Message};
use crate::parameters::WhenFull;
use crate::queue::disk::{DiskQueue, Ticket};
use crate::queue::{Id, MemoryBudget, OpenStreams, Refusal, Share, Stream, StreamQueue};
use crate::request::{Decoder, Rejection, Request};
use crate::status::{Publisher, Verdict};
pub use acceptance::Acceptance;
use parking::{Parked, Parking};
use staging::Staged;
use streams::{SlotIndex, Streams};
pub use too_large::TooLarge;

/// What intake goes by.
#[derive(Debug, Clone)]
pub struct IntakeSettings {
    /// Which streams requests may name, and where records go that name none.
    pub acceptance: Acceptance,
    /// Records per stream, waiting and in flight.
    pub queue_size: usize,
    /// What happens to a record that finds its queue full.
    pub when_full: WhenFull,
    /// Records that make a full batch: the worker is woken when so many wait.
    pub full_batch_records: usize,
    /// Bytes of records that may make one: likewise.
    pub full_batch_bytes: usize,
    /// Put behind each record; none leaves records as they are.
    pub delimiter: Option<Delimiter>,
    /// The largest record, its delimiter included.
    pub record_max_bytes: usize,
    /// Whether records that are too large are handed out to be kept elsewhere.
    pub keeps_too_large: bool,
}

/// Takes messages in.
pub struct Intake {
    /// Makes requests of messages.
    decoder: Decoder,
    /// As configured.
    settings: IntakeSettings,
    /// Put around each record; none leaves records as they are.
    envelope: Option<Envelope>,
    /// Where records are held, unless that is memory.
    disk: Option<DiskQueue>,
    /// What the messages are owed whose records are not synced yet, in the order of their tickets.
    unsynced: VecDeque<(Ticket, AckToken)>,
    /// Where rejections go.
    statuses: Publisher,
    /// Where what is taken in, and what is not, is noted.
    ledger: Ledger,
    /// The streams that have records or had some lately.
    streams: Streams,
    /// Streams with something staged in this round.
    touched: Vec<SlotIndex>,
    /// Rejections of this round.
    rejections: Vec<Rejection>,
    /// Records that wait for room.
    parking: Parking,
    /// Records that are too large, on their way to be kept elsewhere.
    too_large: VecDeque<TooLarge>,
    /// Whether a message on a topic that is not ours was logged.
    has_seen_foreign_topic: bool,
}

impl Intake {
    /// An intake with the default stream open.
    pub fn new(
        decoder: Decoder,
        settings: IntakeSettings,
        budget: MemoryBudget,
        disk: Option<DiskQueue>,
        statuses: Publisher,
        ledger: Ledger,
        now: Instant,
    ) -> Self {
        let streams = Streams::new(
            settings.acceptance.clone(),
            settings.queue_size,
            budget,
            disk.clone(),
            now,
        );
        let parking = Parking::new(disk.is_some());
        Intake {
            decoder,
            settings,
            envelope: None,
            disk,
            unsynced: VecDeque::new(),
            statuses,
            ledger,
            streams,
            touched: Vec::new(),
            rejections: Vec::new(),
            parking,
            too_large: VecDeque::new(),
            has_seen_foreign_topic: false,
        }
    }

    /// The same, putting each record into an envelope.
    pub fn with_envelope(mut self, envelope: Envelope) -> Self {
        self.envelope = Some(envelope);
        self
    }

    /// Takes in what one read brought. `acknowledge` is called for every message that is held by
    /// a queue, rejected or ignored; not for one that waits for room, or to be synced.
    pub fn receive(
        &mut self,
        messages: &[Message],
        now: Instant,
        mut acknowledge: impl FnMut(AckToken),
    ) {
        let ledger = self.ledger.clone();
        let entry = ledger.entry();
        for message in messages {
            if !self.stage(message, now)
                && let Some(token) = message.ack
            {
                acknowledge(token);
            }
        }
        for slot in std::mem::take(&mut self.touched) {
            self.admit_staged(slot, now, &entry, &mut acknowledge);
        }
        self.publish_rejections_in(&entry);
    }

    /// Ends messages that arrive while the connector stops and that no broker keeps for us: those
    /// at QoS 0. Says how many.
    pub fn refuse(&mut self, messages: &[Message]) -> usize {
        let mut refused = 0;
        for message in messages
            .iter()
            .filter(|message| message.ack.is_none() && !message.retained)
        {
            let id = match self.decoder.decode(message.topic(), message.payload()) {
                None => continue,
                Some(Ok(request)) => request.id.into_owned(),
                Some(Err(rejection)) => rejection.id,
            };
            self.rejections.push(stopped(id));
            refused += 1;
        }
        self.publish_rejections();
        refused
    }

    /// Decodes one message and stages its record. `false`: there is no record, and the message is
    /// done with.
    fn stage(&mut self, message: &Message, now: Instant) -> bool {
        // A copy that the broker keeps for newcomers: its original came, or will come, as such.
        if message.retained {
            return false;
        }
        if let Some(bytes) = message.oversize {
            self.rejections
                .extend(self.decoder.reject_oversize(message.topic(), bytes));
            return false;
        }
        let request = match self.decoder.decode(message.topic(), message.payload()) {
            Some(Ok(request)) => request,
            Some(Err(rejection)) => {
                let payload = || message.share(message.payload());
                return self.reject_or_keep(rejection, message.ack, payload);
            }
            None => {
                self.note_foreign_topic(message.topic());
                return false;
            }
        };
        let Request { stream, id, data } = request;
        let data = match &mut self.envelope {
            None => data,
            Some(envelope) => match envelope.wrap(message.topic(), &id, &data, now) {
                Ok(wrapped) => Cow::Owned(wrapped),
                Err(too_large) => {
                    let rejection = Rejection {
                        id: id.into_owned(),
                        code: Code::RecordTooLarge,
                        message: too_large.to_string(),
                        stream: stream.map(Cow::into_owned),
                    };
                    let record = || match data {
                        Cow::Borrowed(data) => message.share(data),
                        Cow::Owned(data) => data.into(),
                    };
                    return self.reject_or_keep(rejection, message.ack, record);
                }
            },
        };
        let delimiter = self.settings.delimiter;
        let delimiter = delimiter.as_ref().map_or(&[][..], Delimiter::as_bytes);
        if data.len() + delimiter.len() > self.settings.record_max_bytes {
            let rejection = Rejection {
                id: id.into_owned(),
                code: Code::RecordTooLarge,
                message: too_large::message(data.len(), delimiter.len(), &self.settings),
                stream: stream.map(Cow::into_owned),
            };
            let record = || match data {
                Cow::Borrowed(data) => message.share(data),
                Cow::Owned(data) => data.into(),
            };
            return self.reject_or_keep(rejection, message.ack, record);
        }
        let slot = match self.streams.find_or_open(stream.as_deref(), now) {
            Ok(slot) => slot,
            Err((code, message)) => {
                self.rejections.push(Rejection {
                    id: id.into_owned(),
                    code,
                    message,
                    stream: None,
                });
                return false;
            }
        };
        let bytes = data.len() + delimiter.len();
        let cost_bytes = MemoryBudget::record_bytes(bytes, id.len());
        let share = &self.streams.get_mut(slot).stream.share;
        if !share.could_hold(cost_bytes) {
            self.rejections.push(admit::refusal(
                Refusal::MemoryLimitExceeded,
                &id,
                self.settings.queue_size,
            ));
            return false;
        }
        let share = |part: &[u8]| message.share(part);
        let staging = &mut self.streams.get_mut(slot).staging;
        if staging.is_empty() {
            self.touched.push(slot);
        }
        match data {
            Cow::Borrowed(data) => {
                staging.add_borrowed(data, delimiter, &id, message.ack, share);
            }
            Cow::Owned(data) => staging.add_owned(data, delimiter, &id, message.ack),
        }
        true
    }

    /// A session kept by the broker may have been made with another TOPIC_PREFIX.
    fn note_foreign_topic(&mut self, topic: &str) {
        if !std::mem::replace(&mut self.has_seen_foreign_topic, true) {
            tracing::warn!(
                topic,
                "messages on topics that are not ours are ignored; the broker still has subscriptions \
                 of an earlier TOPIC_PREFIX for this MQTT_CLIENT_ID"
            );
        }
    }

    /// Moves what is staged for one stream into its queue, under one lock.
    fn admit_staged(
        &mut self,
        index: SlotIndex,
        now: Instant,
        entry: &Entry<'_>,
        acknowledge: &mut impl FnMut(AckToken),
    ) {
        let slot = self.streams.get_mut(index);
        let stream = Arc::clone(&slot.stream);
        let mut staged = slot.staging.finish();
        if let Some(disk) = &stream.disk {
            return self.keep_staged(index, &stream, disk, staged, now);
        }
        charge_together(&stream.share, &mut staged);
        let when_full = self.settings.when_full;
        // Records of one stream keep their order: who comes later waits behind who waits already.
        let mut wait = slot.parked > 0;
        let mut dropped = Vec::new();
        let (mut records, mut bytes) = (0, 0);
        let mut queue = stream.queue();
        let before = queue.waiting();
        for staged in staged {
            let ack = staged.ack;
            let data_bytes = staged.data.len();
            let refused = if wait {
                Some((Refusal::QueueFull, staged))
            } else {
                admit::admit(
                    &mut queue,
                    &stream.share,
                    staged,
                    when_full,
                    now,
                    &mut dropped,
                )
                .err()
            };
            match refused {
                None => {
                    records += 1;
                    bytes += data_bytes;
                }
                Some((refusal, staged)) if when_full == WhenFull::Wait => {
                    stream.account.waits(refusal.bound());
                    wait = true;
                    self.park(index, &stream, staged);
                    continue;
                }
                Some((refusal, staged)) => {
                    stream.account.refuses(refusal.bound(), now);
                    let id = staged.id.as_str();
                    let rejection = admit::refusal(refusal, id, self.settings.queue_size);
                    self.rejections.push(rejection);
                }
            }
            if let Some(token) = ack {
                acknowledge(token);
            }
        }
        entry.received(records, bytes);
        stream.account.received(records);
        if !dropped.is_empty() {
            // A queue that was full of records is so again.
            let refusal = match queue.has_room() {
                true => Refusal::MemoryLimitExceeded,
                false => Refusal::QueueFull,
            };
            stream.account.refuses(refusal.bound(), now);
        }
        self.wake(&stream, before, queue);
        self.publish_dropped(&stream, dropped, entry);
    }

    fn park(&mut self, slot: SlotIndex, stream: &Stream, mut staged: Staged) {
        staged.detach();
        let waits = self.streams.get_mut(slot);
        waits.parked += 1;
        if waits.parked_uncharged {
            // The place of what comes later could be what keeps the one before it out.
            staged.charge = None;
        } else if stream.disk.is_none() && staged.charge.is_none() {
            // Where memory has a place for it, the place is kept: only what has none stops reading.
            staged.charge = stream.share.charge(staged.cost_bytes());
            waits.parked_uncharged = staged.charge.is_none();
        }
        self.parking.push(Parked { slot, staged });
    }

    /// Tries again what waits for room. `acknowledge` is called for what found some.
    pub fn retry_parked(&mut self, now: Instant, mut acknowledge: impl FnMut(AckToken)) {
        let ledger = self.ledger.clone();
        let entry = ledger.entry();
        let mut still_full = Vec::new();
        for Parked { slot, staged } in self.parking.take_all() {
            if still_full.contains(&slot) {
                self.parking.push(Parked { slot, staged });
                continue;
            }
            let stream = Arc::clone(&self.streams.get_mut(slot).stream);
            if let Some(disk) = &stream.disk {
                if let Err(staged) = self.keep_parked(slot, &stream, disk, staged, now) {
                    still_full.push(slot);
                    self.parking.push(Parked { slot, staged });
                }
                continue;
            }
            let ack = staged.ack;
            let bytes = staged.data.len();
            let mut queue = stream.queue();
            let before = queue.waiting();
            let admitted = admit::admit(
                &mut queue,
                &stream.share,
                staged,
                WhenFull::Wait,
                now,
                &mut Vec::new(),
            );
            self.wake(&stream, before, queue);
            match admitted {
                Ok(()) => {
                    entry.received(1, bytes);
                    stream.account.received(1);
                    self.streams.get_mut(slot).unpark();
                    if let Some(token) = ack {
                        acknowledge(token);
                    }
                }
                Err((_, staged)) => {
                    still_full.push(slot);
                    self.parking.push(Parked { slot, staged });
                }
            }
        }
        self.publish_rejections_in(&entry);
    }

    /// There is a new connection. What waits un-acknowledged comes again where the broker kept the
    /// session; where it did not, ours is the only copy left.
    pub fn reconnected(&mut self, resumed: bool) {
        self.unsynced.clear();
        self.reconnected_too_large(resumed);
        if let Some(disk) = &self.disk {
            disk.reconnected(resumed);
        }
        for Parked { slot, mut staged } in self.parking.take_all() {
            if resumed && staged.ack.is_some() {
                self.streams.get_mut(slot).unpark();
            } else {
                staged.ack = None;
                self.parking.push(Parked { slot, staged });
            }
        }
    }

    /// Ends what waits for room and is kept by no broker. Says how many records that were.
    pub fn give_up_parked(&mut self) -> usize {
        let parked = self.parking.take_all();
        let lost = parked.iter().filter(|parked| parked.staged.ack.is_none());
        let count = lost.clone().count();
        self.rejections
            .extend(lost.map(|parked| stopped(parked.staged.id.as_str().to_owned())));
        self.publish_rejections();
        count
    }

    /// Whether records wait for room.
    pub fn has_parked(&self) -> bool {
        !self.parking.is_empty()
    }

    /// Whether so much waits for room that nothing more should be read.
    pub fn is_choked(&self) -> bool {
        self.parking.is_full()
            || !self.too_large.is_empty()
            || self.disk.as_ref().is_some_and(DiskQueue::is_choked)
    }

    /// Streams opened since the last call: each needs a worker.
    pub fn opened_streams(&mut self) -> Vec<Arc<Stream>> {
        self.streams.take_opened()
    }

    /// The streams in use, to look at.
    pub fn open_streams(&self) -> OpenStreams {
        self.streams.all.clone()
    }

    /// Forgets streams that had nothing to do for a while.
    pub fn forget_idle(&mut self, now: Instant) {
        self.streams.forget_idle(now);
    }

    /// Lets go of the queue and wakes the worker where it has something new to consider: a first
    /// record, a full batch.
    fn wake(&self, stream: &Stream, before: usize, queue: MutexGuard<'_, StreamQueue>) {
        let (after, bytes) = (queue.waiting(), queue.waiting_bytes());
        drop(queue);
        let full = self.settings.full_batch_records;
        let first = before == 0 && after > 0;
        if first
            || (before < full && after >= full)
            || bytes >= self.settings.full_batch_bytes
            || stream.share.is_pressed()
        {
            stream.wake.notify_one();
        }
    }

    fn publish_rejections(&mut self) {
        let ledger = self.ledger.clone();
        self.publish_rejections_in(&ledger.entry());
    }

    fn publish_rejections_in(&mut self, entry: &Entry<'_>) {
        let rejections = std::mem::take(&mut self.rejections);
        for rejection in &rejections {
            entry.rejected(rejection.code.as_str());
        }
        self.statuses.publish(rejections.iter().map(|rejection| {
            let verdict = Verdict::Fail {
                code: rejection.code.as_str(),
                message: &rejection.message,
            };
            (rejection.id.as_str(), verdict)
        }));
    }

    fn publish_dropped(&self, stream: &Stream, dropped: Vec<Id>, entry: &Entry<'_>) {
        if dropped.is_empty() {
            return;
        }
        entry.failed(Code::Dropped.as_str(), dropped.len());
        stream.account.failed(dropped.len());
        tracing::debug!(stream = %stream.arn, records = dropped.len(), "dropped the oldest records for newer ones");
        let verdict = Verdict::Fail {
            code: Code::Dropped.as_str(),
            message: DROPPED_MESSAGE,
        };
        self.statuses
            .publish(dropped.iter().map(|id| (id.as_str(), verdict)));
    }
}

/// Charges for all records of a round at once where all fit; else each is charged for by itself.
fn charge_together(share: &Share, staged: &mut [Staged]) {
    let bytes = staged.iter().map(Staged::cost_bytes).sum();
    let Some(mut whole) = share.charge(bytes) else {
        return;
    };
    for staged in staged {
        staged.charge = whole.split(staged.cost_bytes());
    }
}

fn stopped(id: String) -> Rejection {
    Rejection {
        id,
        code: Code::ConnectorStopped,
        message: "the connector stopped before it could take the record in".to_owned(),
        stream: None,
    }
}
