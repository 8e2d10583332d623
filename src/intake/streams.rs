//! The streams in use: opened on first use, forgotten when idle, bounded in number.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::acceptance::{Acceptance, not_allowed};
use super::staging::Staging;
use crate::arn::DeliveryStreamArn;
use crate::code::Code;
use crate::queue::disk::DiskQueue;
use crate::queue::{MemoryBudget, OpenStreams, Stream};

/// Most streams in use at a time. Each has a worker and connections of its own.
pub const STREAMS_MAX: usize = 128;

/// After how long without records a stream is forgotten.
const IDLE: Duration = Duration::from_secs(300);

/// Where a stream stands among those in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SlotIndex(usize);

/// The default stream stands first and stays.
const DEFAULT: SlotIndex = SlotIndex(0);

/// A stream in use.
#[derive(Debug)]
pub(super) struct Slot {
    /// Shared with its worker.
    pub stream: Arc<Stream>,
    /// Records of this round on their way to the queue.
    pub staging: Staging,
    /// Records that wait for room.
    pub parked: usize,
    /// Whether memory had no place for one of them.
    pub parked_uncharged: bool,
    /// Whether requests may name it: it may be here for records of an earlier configuration only.
    is_allowed: bool,
    /// When a request last named it.
    last_used: Instant,
}

impl Slot {
    /// One record fewer waits for room.
    pub fn unpark(&mut self) {
        self.parked -= 1;
        self.parked_uncharged &= self.parked > 0;
        if self.parked == 0 {
            self.stream.account.waits_no_more();
        }
    }

    /// Whether another stream may have its place.
    fn gives_its_place(&self) -> bool {
        self.is_allowed && self.is_idle()
    }

    fn is_idle(&self) -> bool {
        self.staging.is_empty() && self.parked == 0 && self.stream.is_empty()
    }
}

/// The streams in use.
#[derive(Debug)]
pub(super) struct Streams {
    /// By [`SlotIndex`]; a hole where one was forgotten.
    slots: Vec<Option<Slot>>,
    /// By ARN, as requests name them.
    by_arn: HashMap<DeliveryStreamArn, SlotIndex>,
    /// Which streams requests may name.
    pub acceptance: Acceptance,
    /// Records per stream.
    queue_size: usize,
    /// Of which each stream gets a share.
    budget: MemoryBudget,
    /// Where records stand, unless that is memory.
    disk: Option<DiskQueue>,
    /// Opened and not handed out yet.
    opened: Vec<Arc<Stream>>,
    /// The same streams, for whoever only looks.
    pub all: OpenStreams,
}

impl Streams {
    pub fn new(
        acceptance: Acceptance,
        queue_size: usize,
        budget: MemoryBudget,
        disk: Option<DiskQueue>,
        now: Instant,
    ) -> Self {
        let with_records = disk.as_ref().map(DiskQueue::streams_with_records);
        let mut streams = Streams {
            slots: Vec::new(),
            by_arn: HashMap::new(),
            acceptance,
            queue_size,
            budget,
            disk,
            opened: Vec::new(),
            all: OpenStreams::default(),
        };
        streams.open(streams.acceptance.default_stream.clone(), now);
        // However many they are: their records are here already.
        for arn in with_records.into_iter().flatten() {
            if !streams.by_arn.contains_key(arn.as_str()) {
                streams.open(arn, now);
            }
        }
        streams
    }

    /// The stream that a request names, opened where it is new.
    ///
    /// # Errors
    /// Our code and what is wrong: no valid ARN, one that is not allowed, or too many streams in use.
    pub fn find_or_open(
        &mut self,
        arn: Option<&str>,
        now: Instant,
    ) -> Result<SlotIndex, (Code, String)> {
        let Some(arn) = arn else { return Ok(DEFAULT) };
        if let Some(&index) = self.by_arn.get(arn) {
            let slot = self.get_mut(index);
            if !slot.is_allowed {
                return Err((
                    Code::DeliveryStreamNotAllowed,
                    not_allowed(&slot.stream.arn),
                ));
            }
            slot.last_used = now;
            return Ok(index);
        }
        let arn = self.acceptance.accept(arn)?;
        if self.allowed() >= STREAMS_MAX && !self.forget_longest_idle() {
            return Err((
                Code::TooManyStreams,
                format!("{STREAMS_MAX} streams have records already; no more are served at a time"),
            ));
        }
        Ok(self.open(arn, now))
    }

    /// How many streams in use requests may name. Those of an earlier configuration, which only deliver what they have,
    /// take nobody's place.
    fn allowed(&self) -> usize {
        let slots = self.slots.iter().flatten();
        slots.filter(|slot| slot.is_allowed).count()
    }

    /// A stream that is in use. Indices are handed out for streams in use only, and a stream with
    /// anything staged or parked is not forgotten.
    pub fn get_mut(&mut self, index: SlotIndex) -> &mut Slot {
        match &mut self.slots[index.0] {
            Some(slot) => slot,
            None => unreachable!("a slot with records on their way is never forgotten"),
        }
    }

    /// Streams opened since the last call.
    pub fn take_opened(&mut self) -> Vec<Arc<Stream>> {
        std::mem::take(&mut self.opened)
    }

    /// Forgets every stream that had nothing to do for a while.
    pub fn forget_idle(&mut self, now: Instant) {
        self.forget_where(|slot| now.duration_since(slot.last_used) >= IDLE && slot.is_idle());
    }

    /// Makes room for another stream, where any of them has nothing to do.
    fn forget_longest_idle(&mut self) -> bool {
        let named = self.slots.iter().skip(1).flatten();
        let Some(oldest) = named
            .filter(|slot| slot.gives_its_place())
            .map(|slot| slot.last_used)
            .min()
        else {
            return false;
        };
        let mut one = true;
        self.forget_where(|slot| {
            slot.last_used == oldest && slot.gives_its_place() && std::mem::take(&mut one)
        });
        true
    }

    fn forget_where(&mut self, mut unused: impl FnMut(&Slot) -> bool) {
        for place in self.slots.iter_mut().skip(1) {
            if let Some(slot) = place.take_if(|slot| unused(slot)) {
                self.by_arn.remove(slot.stream.arn.as_str());
                self.all.remove(&slot.stream);
                slot.stream.forget();
            }
        }
    }

    fn open(&mut self, arn: DeliveryStreamArn, now: Instant) -> SlotIndex {
        let is_default = arn == self.acceptance.default_stream;
        let share = match is_default {
            true => self.budget.favoured_share(),
            false => self.budget.stream_share(),
        };
        if let Some(disk) = self.disk.as_ref().filter(|_| is_default) {
            disk.keep_room_for(&arn);
        }
        let stream = Arc::new(match &self.disk {
            Some(disk) => Stream::on_disk(arn.clone(), disk.stream(&arn), share),
            None => Stream::new(arn.clone(), self.queue_size, share),
        });
        self.opened.push(Arc::clone(&stream));
        self.all.add(Arc::clone(&stream));
        let slot = Slot {
            stream,
            staging: Staging::default(),
            parked: 0,
            parked_uncharged: false,
            is_allowed: self.acceptance.allows(&arn),
            last_used: now,
        };
        let index = match self.slots.iter().position(Option::is_none) {
            Some(hole) => {
                self.slots[hole] = Some(slot);
                SlotIndex(hole)
            }
            None => {
                self.slots.push(Some(slot));
                SlotIndex(self.slots.len() - 1)
            }
        };
        self.by_arn.insert(arn, index);
        index
    }
}
