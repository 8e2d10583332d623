//! Which segments hold unread records of a stream, and where in them. Pure. It costs a few bytes for
//! each stream and segment, whatever the number of records.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::segment::{Place, Segment};
use crate::arn::DeliveryStreamArn;

/// Names a stream of this queue as long as the process lives; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub(super) u64);

/// What is known of a stream without a lock. Changed under the lock of the queue only.
#[derive(Debug)]
pub struct Depth {
    /// Records not final: waiting to be written, on disk, in memory.
    held: AtomicUsize,
    /// What its records take on disk, those in memory too, in bytes.
    disk_bytes: AtomicU64,
    /// Records on disk and not in memory.
    unread: AtomicUsize,
    /// Their bytes of data and ids.
    unread_bytes: AtomicUsize,
    /// No unread record was received before this, in Unix milliseconds.
    oldest_unix_ms: AtomicU64,
    /// Records that are to be dropped for newer ones, oldest first, by the stream's worker.
    to_drop: AtomicUsize,
    /// Rung when records can be read.
    pub bell: Arc<Notify>,
}

impl Depth {
    fn new() -> Self {
        Depth {
            held: AtomicUsize::new(0),
            disk_bytes: AtomicU64::new(0),
            unread: AtomicUsize::new(0),
            unread_bytes: AtomicUsize::new(0),
            oldest_unix_ms: AtomicU64::new(u64::MAX),
            to_drop: AtomicUsize::new(0),
            bell: Arc::new(Notify::new()),
        }
    }

    /// Records not final, without those that are to be dropped.
    pub fn held(&self) -> usize {
        let held = self.held.load(Ordering::Relaxed);
        held.saturating_sub(self.to_drop.load(Ordering::Relaxed))
    }

    /// Records not final, those that are to be dropped too.
    pub fn all(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Whether there is no record at all, to be dropped or not.
    pub fn is_empty(&self) -> bool {
        self.all() == 0
    }

    /// Records on disk and not in memory.
    pub fn unread(&self) -> usize {
        self.unread.load(Ordering::Relaxed)
    }

    /// Their bytes, ids included.
    pub fn unread_bytes(&self) -> usize {
        self.unread_bytes.load(Ordering::Relaxed)
    }

    /// No unread record was received before this; `None` where there is none.
    pub fn oldest_unix_ms(&self) -> Option<u64> {
        Some(self.oldest_unix_ms.load(Ordering::Relaxed)).filter(|&oldest| oldest != u64::MAX)
    }

    /// Records that are to be dropped for newer ones.
    pub fn to_drop(&self) -> usize {
        self.to_drop.load(Ordering::Relaxed)
    }

    /// So many more are to be dropped, as far as there are so many. Whether there are any.
    pub fn drop_more(&self, records: usize) -> bool {
        let records = records.min(self.held());
        if records > 0 {
            self.to_drop.fetch_add(records, Ordering::Relaxed);
            self.bell.notify_one();
        }
        records > 0
    }

    /// So many of those that were to be dropped are.
    pub fn dropped(&self, records: usize) {
        let less = |to_drop: usize| Some(to_drop.saturating_sub(records));
        let _ = self
            .to_drop
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// What its records take on disk, in bytes.
    pub fn disk_bytes(&self) -> u64 {
        self.disk_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn add_disk_bytes(&self, bytes: u32) {
        self.disk_bytes.fetch_add(bytes.into(), Ordering::Relaxed);
    }

    pub(super) fn remove_disk_bytes(&self, bytes: u64) {
        let less = |now: u64| Some(now.saturating_sub(bytes));
        let _ = self
            .disk_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    pub(super) fn hold(&self, records: usize) {
        self.held.fetch_add(records, Ordering::Relaxed);
    }

    pub(super) fn release(&self, records: usize) {
        let less = |held: usize| Some(held.saturating_sub(records));
        let before = self
            .held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        // What was lost on disk takes bytes that nobody counts.
        if before.is_ok_and(|before| before <= records) {
            self.disk_bytes.store(0, Ordering::Relaxed);
        }
    }
}

/// A segment's share of a stream's unread records.
#[derive(Debug)]
pub(super) struct Part {
    /// Number of the segment.
    pub segment: u64,
    /// The stream's number in it.
    pub stream: u32,
    /// Blocks of the segment in which unread records begin, a bit for each.
    blocks: u64,
    /// Unread records.
    pub unread: usize,
    /// All before this was looked at.
    next: u32,
    /// None of them was received before this.
    oldest_unix_ms: u64,
    /// How often a record was put back that had been read: who is reading meanwhile may have passed it.
    put_back: u64,
    /// After a fault in reading, when it is tried again: the others are read meanwhile.
    not_before: Option<Instant>,
}

impl Part {
    /// Where to read on: at the next block that has any.
    pub fn read_from(&self, segment: &Segment) -> u32 {
        let block = segment.block(self.next);
        if self.blocks >> block & 1 == 1 {
            return self.next;
        }
        let later = self.blocks >> block;
        if later == 0 {
            return self.next;
        }
        self.next
            .max(segment.block_start(block + later.trailing_zeros()))
    }

    /// How often a record was put back.
    pub fn put_back(&self) -> u64 {
        self.put_back
    }

    /// It could not be read. Whether that is new.
    pub fn failed(&mut self, again: Instant) -> bool {
        self.not_before.replace(again).is_none()
    }

    /// Whether it may be read, as far as is known.
    pub fn is_readable(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|again| again <= now)
    }

    /// All before `offset` was looked at; the last of it was received then. What follows is taken
    /// to be younger, which moved records need not be: they expire a little late.
    pub fn looked_at(&mut self, offset: u32, received_unix_ms: u64) {
        self.next = offset;
        self.oldest_unix_ms = self.oldest_unix_ms.max(received_unix_ms);
    }
}

/// The unread records of a stream.
#[derive(Debug)]
pub(super) struct StreamIndex {
    /// Which stream this is.
    pub arn: DeliveryStreamArn,
    /// What others see of it.
    pub depth: Arc<Depth>,
    /// Ascending by segment.
    pub parts: VecDeque<Part>,
    /// Whether its records are taken in no more.
    pub closed: bool,
}

impl StreamIndex {
    pub fn new(arn: DeliveryStreamArn) -> Self {
        StreamIndex {
            arn,
            depth: Arc::new(Depth::new()),
            parts: VecDeque::new(),
            closed: false,
        }
    }

    /// Adds an unread record; its entry is known to the segment already.
    pub fn add_unread(
        &mut self,
        segment: &Segment,
        place: &Place,
        payload_bytes: usize,
        received_unix_ms: u64,
    ) {
        let part = self.part(place);
        part.unread += 1;
        part.blocks |= 1 << segment.block(place.offset);
        part.next = part.next.min(place.offset);
        part.oldest_unix_ms = part.oldest_unix_ms.min(received_unix_ms);
        self.depth.unread.fetch_add(1, Ordering::Relaxed);
        self.depth
            .unread_bytes
            .fetch_add(payload_bytes, Ordering::Relaxed);
        self.refresh_oldest();
    }

    /// Adds a record that was read before.
    pub fn put_back(
        &mut self,
        segment: &Segment,
        place: &Place,
        payload_bytes: usize,
        received_unix_ms: u64,
    ) {
        self.add_unread(segment, place, payload_bytes, received_unix_ms);
        self.part(place).put_back += 1;
    }

    /// One record less is unread. An empty part goes.
    pub fn remove_unread(&mut self, segment: u64, payload_bytes: usize) {
        let Ok(index) = self
            .parts
            .binary_search_by_key(&segment, |part| part.segment)
        else {
            return;
        };
        self.parts[index].unread -= 1;
        if self.parts[index].unread == 0 {
            self.parts.remove(index);
        }
        self.depth.unread.fetch_sub(1, Ordering::Relaxed);
        // Of records that were given up the bytes are not known.
        let is_last = self.parts.is_empty();
        let less = |bytes: usize| {
            Some(if is_last {
                0
            } else {
                bytes.saturating_sub(payload_bytes)
            })
        };
        let _ = self
            .depth
            .unread_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        self.refresh_oldest();
    }

    /// Gives up what is left unread of a segment that cannot be read. Says how many records.
    pub fn give_up_part(&mut self, segment: u64) -> usize {
        let Some(index) = self.parts.iter().position(|part| part.segment == segment) else {
            return 0;
        };
        let lost = self.parts.remove(index).map_or(0, |part| part.unread);
        self.depth.unread.fetch_sub(lost, Ordering::Relaxed);
        if self.parts.is_empty() {
            self.depth.unread_bytes.store(0, Ordering::Relaxed);
        }
        self.refresh_oldest();
        lost
    }

    /// The part of the place's segment, made where there is none.
    fn part(&mut self, place: &Place) -> &mut Part {
        let found = self
            .parts
            .binary_search_by_key(&place.segment, |part| part.segment);
        let index = found.unwrap_or_else(|index| {
            let part = Part {
                segment: place.segment,
                stream: place.stream,
                blocks: 0,
                unread: 0,
                next: place.offset,
                oldest_unix_ms: u64::MAX,
                put_back: 0,
                not_before: None,
            };
            self.parts.insert(index, part);
            index
        });
        &mut self.parts[index]
    }

    /// The first part decides: later ones are younger, but for records that were moved or put back.
    pub fn refresh_oldest(&self) {
        let oldest = self
            .parts
            .front()
            .map_or(u64::MAX, |part| part.oldest_unix_ms);
        self.depth.oldest_unix_ms.store(oldest, Ordering::Relaxed);
    }
}
