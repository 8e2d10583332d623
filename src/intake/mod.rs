//! Intake: each message becomes a record in its stream's queue, or a rejection.
//!
//! It works on what one read brought: the requests are decoded first, then each stream concerned
//! is locked once, and the rejections go out together. It does no I/O and has no clock.

mod staging;
mod streams;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::Instant;

use crate::arn::{DeliveryStreamArn, Partitions};
use crate::code::Code;
use crate::mqtt::{AckToken, Message};
use crate::parameters::WhenFull;
use crate::queue::{MemoryBudget, Record, Refusal, Stream, StreamQueue};
use crate::request::{Decoder, Rejection, Request};
use crate::status::{Publisher, Verdict};
use staging::Staged;
use streams::{SlotIndex, Streams};

/// Most messages that wait un-acknowledged under `WHEN_FULL=wait` before reading stops. Brokers
/// with a window of their own (20 to 100 messages) stop before.
const PARKED_MAX: usize = 1000;

/// Most bytes of them.
const PARKED_MAX_BYTES: usize = 256 * 1024;

/// What intake goes by.
#[derive(Debug, Clone)]
pub struct IntakeSettings {
    /// Where records go whose request names no stream.
    pub default_stream: DeliveryStreamArn,
    /// Which ARNs are accepted.
    pub partitions: Partitions,
    /// Records per stream, waiting and in flight.
    pub queue_size: usize,
    /// What happens to a record that finds its queue full.
    pub when_full: WhenFull,
    /// Records that make a full batch: the worker is woken when so many wait.
    pub full_batch_records: usize,
}

/// A record that waits for room in its queue, its message not acknowledged.
struct Parked {
    slot: SlotIndex,
    staged: Staged,
}

/// Takes messages in.
pub struct Intake {
    /// Makes requests of messages.
    decoder: Decoder,
    /// As configured.
    settings: IntakeSettings,
    /// Bounds all queues together.
    budget: MemoryBudget,
    /// Where rejections go.
    statuses: Publisher,
    /// The streams that have records or had some lately.
    streams: Streams,
    /// Streams with something staged in this round.
    touched: Vec<SlotIndex>,
    /// Rejections of this round.
    rejections: Vec<Rejection>,
    /// Records that wait for room, oldest first.
    parked: VecDeque<Parked>,
    /// Their bytes.
    parked_bytes: usize,
}

impl Intake {
    /// An intake with the default stream open.
    pub fn new(
        decoder: Decoder,
        settings: IntakeSettings,
        budget: MemoryBudget,
        statuses: Publisher,
        now: Instant,
    ) -> Self {
        let streams = Streams::new(
            settings.default_stream.clone(),
            settings.partitions,
            settings.queue_size,
            now,
        );
        Intake {
            decoder,
            settings,
            budget,
            statuses,
            streams,
            touched: Vec::new(),
            rejections: Vec::new(),
            parked: VecDeque::new(),
            parked_bytes: 0,
        }
    }

    /// Takes in what one read brought. `acknowledge` is called for every message that is held by
    /// a queue, rejected or ignored; not for one that waits for room.
    pub fn receive(
        &mut self,
        messages: &[Message],
        now: Instant,
        mut acknowledge: impl FnMut(AckToken),
    ) {
        for message in messages {
            if !self.stage(message, now)
                && let Some(token) = message.ack
            {
                acknowledge(token);
            }
        }
        for slot in std::mem::take(&mut self.touched) {
            self.admit_staged(slot, now, &mut acknowledge);
        }
        self.publish_rejections();
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
                self.rejections.push(rejection);
                return false;
            }
            None => {
                tracing::debug!(
                    topic = message.topic(),
                    "ignored a message on a topic that is not ours"
                );
                return false;
            }
        };
        let Request { stream, id, data } = request;
        let slot = match self.streams.find_or_open(stream.as_deref(), now) {
            Ok(slot) => slot,
            Err((code, message)) => {
                self.rejections.push(Rejection {
                    id: id.into_owned(),
                    code,
                    message,
                });
                return false;
            }
        };
        let share = |part: &[u8]| message.share(part);
        let staging = &mut self.streams.get_mut(slot).staging;
        if staging.is_empty() {
            self.touched.push(slot);
        }
        match data {
            Cow::Borrowed(data) => staging.add_borrowed(data, &id, message.ack, share),
            Cow::Owned(data) => staging.add_owned(data, &id, message.ack),
        }
        true
    }

    /// Moves what is staged for one stream into its queue, under one lock.
    fn admit_staged(
        &mut self,
        index: SlotIndex,
        now: Instant,
        acknowledge: &mut impl FnMut(AckToken),
    ) {
        let slot = self.streams.get_mut(index);
        let stream = Arc::clone(&slot.stream);
        let staged = slot.staging.finish();
        // Records of one stream keep their order: who comes later waits behind who waits already.
        let mut wait = slot.parked > 0;
        let mut dropped = Vec::new();
        let mut queue = stream.queue();
        let before = queue.waiting();
        for staged in staged {
            let ack = staged.ack;
            let refused = if wait {
                Some((Refusal::QueueFull, staged))
            } else {
                self.admit(&mut queue, staged, now, &mut dropped).err()
            };
            match refused {
                None => {}
                Some((_, staged)) if self.settings.when_full == WhenFull::Wait => {
                    wait = true;
                    self.park(index, staged);
                    continue;
                }
                Some((refusal, staged)) => self
                    .rejections
                    .push(self.refusal(refusal, staged.id.as_str())),
            }
            if let Some(token) = ack {
                acknowledge(token);
            }
        }
        let (after, bytes) = (queue.waiting(), queue.waiting_bytes());
        drop(queue);
        self.wake(&stream, before, after, bytes);
        self.publish_dropped(&stream, dropped);
    }

    /// Puts a record into the queue where it fits, making room first under `drop-oldest`.
    fn admit(
        &self,
        queue: &mut StreamQueue,
        staged: Staged,
        now: Instant,
        dropped: &mut Vec<Record>,
    ) -> Result<(), (Refusal, Staged)> {
        let bytes = MemoryBudget::record_bytes(staged.data.len(), staged.id.as_str().len());
        let drops = self.settings.when_full == WhenFull::DropOldest;
        let drop_one = |queue: &mut StreamQueue| drops.then(|| queue.drop_oldest()).flatten();
        while !queue.has_room() {
            match drop_one(queue) {
                Some(oldest) => dropped.push(oldest),
                None => return Err((Refusal::QueueFull, staged)),
            }
        }
        let charge = loop {
            if let Some(charge) = self.budget.charge(bytes) {
                break charge;
            }
            match drop_one(queue) {
                Some(oldest) => dropped.push(oldest),
                None => return Err((Refusal::MemoryLimitExceeded, staged)),
            }
        };
        let Staged { data, id, .. } = staged;
        // There is room: that was seen under the lock that is still held.
        let pushed = queue.push(Record {
            data,
            id,
            received: now,
            charge,
        });
        debug_assert!(pushed.is_ok());
        Ok(())
    }

    /// Tries again what waits for room. `acknowledge` is called for what found some.
    pub fn retry_parked(&mut self, now: Instant, mut acknowledge: impl FnMut(AckToken)) {
        let mut still_full = Vec::new();
        for Parked { slot, staged } in std::mem::take(&mut self.parked) {
            if still_full.contains(&slot) {
                self.parked.push_back(Parked { slot, staged });
                continue;
            }
            let stream = Arc::clone(&self.streams.get_mut(slot).stream);
            let (ack, bytes) = (staged.ack, staged.bytes());
            let mut queue = stream.queue();
            let before = queue.waiting();
            let admitted = self.admit(&mut queue, staged, now, &mut Vec::new());
            let (after, waiting_bytes) = (queue.waiting(), queue.waiting_bytes());
            drop(queue);
            match admitted {
                Ok(()) => {
                    self.unpark(slot, bytes);
                    self.wake(&stream, before, after, waiting_bytes);
                    if let Some(token) = ack {
                        acknowledge(token);
                    }
                }
                Err((_, staged)) => {
                    still_full.push(slot);
                    self.parked.push_back(Parked { slot, staged });
                }
            }
        }
    }

    /// The connection was lost and found again. What waits un-acknowledged comes again where the
    /// broker kept the session; where it did not, ours is the only copy left.
    pub fn reconnected(&mut self, resumed: bool) {
        for mut parked in std::mem::take(&mut self.parked) {
            if resumed && parked.staged.ack.is_some() {
                self.unpark(parked.slot, parked.staged.bytes());
            } else {
                parked.staged.ack = None;
                self.parked.push_back(parked);
            }
        }
    }

    /// Ends what waits for room and is kept by no broker. Says how many records that were.
    pub fn give_up_parked(&mut self) -> usize {
        let lost: Vec<Parked> = self
            .parked
            .drain(..)
            .filter(|parked| parked.staged.ack.is_none())
            .collect();
        self.rejections.extend(
            lost.iter()
                .map(|parked| stopped(parked.staged.id.as_str().to_owned())),
        );
        self.publish_rejections();
        lost.len()
    }

    /// Whether records wait for room.
    pub fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    /// Whether so much waits for room that nothing more should be read.
    pub fn is_choked(&self) -> bool {
        self.parked.len() >= PARKED_MAX || self.parked_bytes >= PARKED_MAX_BYTES
    }

    /// Streams opened since the last call: each needs a worker.
    pub fn opened_streams(&mut self) -> Vec<Arc<Stream>> {
        self.streams.take_opened()
    }

    /// Forgets streams that had nothing to do for a while.
    pub fn forget_idle(&mut self, now: Instant) {
        self.streams.forget_idle(now);
    }

    fn park(&mut self, slot: SlotIndex, mut staged: Staged) {
        staged.detach();
        self.parked_bytes += staged.bytes();
        self.streams.get_mut(slot).parked += 1;
        self.parked.push_back(Parked { slot, staged });
    }

    fn unpark(&mut self, slot: SlotIndex, bytes: usize) {
        self.parked_bytes -= bytes;
        self.streams.get_mut(slot).parked -= 1;
    }

    /// Wakes the worker where it has something new to consider: a first record, a full batch.
    fn wake(&self, stream: &Stream, before: usize, after: usize, waiting_bytes: usize) {
        let full = self.settings.full_batch_records;
        let first = before == 0 && after > 0;
        if first || (before < full && after >= full) || waiting_bytes >= NEARLY_FULL_BATCH_BYTES {
            stream.wake.notify_one();
        }
    }

    fn refusal(&self, refusal: Refusal, id: &str) -> Rejection {
        let (code, message) = match refusal {
            Refusal::QueueFull => (
                Code::QueueFull,
                format!(
                    "the queue of this stream holds {} records, as many as DELIVERY_STREAM_QUEUE_SIZE allows",
                    self.settings.queue_size
                ),
            ),
            Refusal::MemoryLimitExceeded => (
                Code::MemoryLimitExceeded,
                "the queues hold as much as MEMORY_SIZE allows".to_owned(),
            ),
        };
        Rejection {
            id: id.to_owned(),
            code,
            message,
        }
    }

    fn publish_rejections(&mut self) {
        let rejections = std::mem::take(&mut self.rejections);
        self.statuses.publish(rejections.iter().map(|rejection| {
            let verdict = Verdict::Fail {
                code: rejection.code.as_str(),
                message: &rejection.message,
            };
            (rejection.id.as_str(), verdict)
        }));
    }

    fn publish_dropped(&self, stream: &Stream, dropped: Vec<Record>) {
        if dropped.is_empty() {
            return;
        }
        tracing::debug!(stream = %stream.arn, records = dropped.len(), "dropped the oldest records for newer ones");
        let verdict = Verdict::Fail {
            code: Code::Dropped.as_str(),
            message: "dropped for a newer record, as the queue was full (WHEN_FULL=drop-oldest)",
        };
        self.statuses
            .publish(dropped.iter().map(|record| (record.id.as_str(), verdict)));
    }
}

/// From here on the bytes that wait may make a full batch.
const NEARLY_FULL_BATCH_BYTES: usize = 2_900_000;

fn stopped(id: String) -> Rejection {
    Rejection {
        id,
        code: Code::ConnectorStopped,
        message: "the connector stopped before it could take the record in".to_owned(),
    }
}
