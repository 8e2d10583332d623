//! The backlog of status documents between those who know outcomes and the MQTT session.
//!
//! It is bounded: while the broker does not take documents they wait here, and beyond the bound
//! the oldest go, counted and logged. Before that happens the backlog is *congested*, upon which
//! intake holds its acknowledgements back; and as long as the broker takes documents at all, calls whose
//! statuses would find no room wait. So a broker that merely reads slowly loses nothing, and one that is
//! gone, or stuck, does not keep records from their destination.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::{Document, DocumentBuilder, Shape, Verdict};
use crate::batch::BATCH_MAX_RECORDS;
use crate::queue::{Charge, Share};

/// What a status is reckoned to take at the least, in bytes: an id, a record id of Amazon's, and the JSON around.
const USUAL_STATUS_BYTES: usize = 350;

/// How documents are written and how many may wait.
#[derive(Debug, Clone, Copy)]
pub struct PublisherSettings {
    /// Which shape the apps expect.
    pub shape: Shape,
    /// Longest document, in bytes (`STATUS_MAX_BYTES`). A quarter of the backlog bounds it too:
    /// a document must fit, with others.
    pub document_max_bytes: usize,
    /// Most bytes of documents that wait for the broker.
    pub backlog_max_bytes: usize,
}

/// Takes statuses in and hands documents out. Cheap to clone; clones share the backlog.
#[derive(Debug, Clone)]
pub struct Publisher {
    /// Shared by all clones.
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// As configured.
    settings: PublisherSettings,
    /// What the broker takes at most, in bytes: it may be less than configured.
    broker_max_bytes: AtomicUsize,
    /// Documents that wait.
    backlog: Mutex<Backlog>,
    /// Memory that the backlog may borrow.
    reserve: Share,
    /// Rung when a document came in.
    arrived: Notify,
    /// Statuses that calls under way will bring.
    expected: AtomicUsize,
    /// Those among them for which there was room in the reserve.
    promised: AtomicUsize,
}

/// How much of the backlog is for the statuses of calls that are to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Three quarters, while the broker takes documents, if slowly.
    Usual,
    /// All of it, and of the memory that is free otherwise, while calls have to make room for messages before it can
    /// be heard that the broker takes any.
    Reserve,
    /// Calls begin whatever becomes of their statuses: the broker is away or takes none.
    NoMatter,
}

/// Statuses that a call will bring: room is kept for them until this goes.
#[derive(Debug)]
#[must_use]
pub struct Expected {
    /// Where they will go.
    inner: Arc<Inner>,
    /// How many.
    statuses: usize,
    /// Whether the reserve was counted upon.
    promised: bool,
}

impl Drop for Expected {
    fn drop(&mut self) {
        let inner = &self.inner;
        inner.expected.fetch_sub(self.statuses, Ordering::Relaxed);
        if self.promised {
            inner.promised.fetch_sub(self.statuses, Ordering::Relaxed);
        }
    }
}

#[derive(Debug)]
struct Backlog {
    /// Oldest first.
    documents: VecDeque<Document>,
    /// Their bytes.
    bytes: usize,
    /// What is borrowed for those beyond the backlog's own bytes.
    borrowed: Option<Charge>,
    /// Up to where calls find room for their statuses.
    room: Room,
    /// Statuses thrown away because the backlog was full, since the start.
    dropped: usize,
    /// Whether the last document that came in pushed another out: a change is logged once.
    overflowing: bool,
    /// What a status took in the last document, in bytes.
    status_bytes: usize,
}

impl Backlog {
    /// Takes the oldest document out; what was borrowed for it goes back. `own_bytes` are not borrowed.
    fn take_oldest(&mut self, own_bytes: usize) -> Option<Document> {
        let oldest = self.documents.pop_front()?;
        self.bytes -= oldest.cost_bytes();
        if let Some(borrowed) = &mut self.borrowed {
            let needed = self.bytes.saturating_sub(own_bytes);
            drop(borrowed.split(borrowed.bytes().saturating_sub(needed)));
            self.borrowed.take_if(|borrowed| borrowed.bytes() == 0);
        }
        Some(oldest)
    }

    /// Whether what waits has room in `own_bytes` and what is borrowed; more is, where there is a `reserve`.
    fn fits(&mut self, own_bytes: usize, reserve: Option<&Share>) -> bool {
        let borrowed = self.borrowed.as_ref().map_or(0, Charge::bytes);
        let missing = self.bytes.saturating_sub(own_bytes + borrowed);
        if missing == 0 {
            return true;
        }
        let Some(more) = reserve.and_then(|reserve| reserve.charge(missing)) else {
            return false;
        };
        match &mut self.borrowed {
            Some(borrowed) => borrowed.join(more),
            None => self.borrowed = Some(more),
        }
        true
    }
}

impl Publisher {
    /// An empty backlog, which may borrow memory of `reserve`.
    pub fn new(settings: PublisherSettings, reserve: Share) -> Self {
        Publisher {
            inner: Arc::new(Inner {
                settings,
                broker_max_bytes: AtomicUsize::new(usize::MAX),
                backlog: Mutex::new(Backlog {
                    documents: VecDeque::new(),
                    bytes: 0,
                    borrowed: None,
                    room: Room::NoMatter,
                    dropped: 0,
                    overflowing: false,
                    status_bytes: USUAL_STATUS_BYTES,
                }),
                reserve,
                arrived: Notify::new(),
                expected: AtomicUsize::new(0),
                promised: AtomicUsize::new(0),
            }),
        }
    }

    /// Takes the statuses of one batch: published in one document, or several where one would be
    /// too long.
    pub fn publish<'a>(&self, statuses: impl IntoIterator<Item = (&'a str, Verdict<'a>)>) {
        let max_bytes = self
            .inner
            .settings
            .document_max_bytes
            .min(self.inner.settings.backlog_max_bytes / 4)
            .min(self.inner.broker_max_bytes.load(Ordering::Relaxed));
        let statuses = statuses.into_iter();
        let expected = statuses.size_hint().0;
        let mut builder = DocumentBuilder::new(self.inner.settings.shape, max_bytes, expected);
        for (id, verdict) in statuses {
            builder.add(id, verdict);
        }
        let documents = builder.finish();
        if documents.is_empty() {
            return;
        }
        self.enqueue(documents);
        self.inner.arrived.notify_one();
    }

    fn enqueue(&self, documents: Vec<Document>) {
        let own_bytes = self.inner.settings.backlog_max_bytes;
        let mut backlog = self.backlog();
        let is_promised = self.inner.promised.load(Ordering::Relaxed) > 0;
        let may_borrow = is_promised || backlog.room == Room::Reserve;
        let reserve = may_borrow.then_some(&self.inner.reserve);
        let mut dropped = 0;
        for document in documents {
            backlog.bytes += document.cost_bytes();
            backlog.status_bytes = document.cost_bytes() / document.statuses.max(1);
            backlog.documents.push_back(document);
            while !backlog.fits(own_bytes, reserve)
                && let Some(oldest) = backlog.take_oldest(own_bytes)
            {
                dropped += oldest.statuses;
            }
        }
        backlog.dropped += dropped;
        let overflowing = dropped > 0;
        if overflowing && !backlog.overflowing {
            tracing::warn!(
                bytes = backlog.bytes,
                dropped_statuses = dropped,
                "more statuses wait for the broker than memory holds; the oldest are dropped, and counted when the connector stops"
            );
        }
        backlog.overflowing = overflowing;
    }

    /// The next document to publish.
    pub fn pop(&self) -> Option<Document> {
        let own_bytes = self.inner.settings.backlog_max_bytes;
        self.backlog().take_oldest(own_bytes)
    }

    /// Waits until a document came in since the last wait ended.
    pub async fn arrived(&self) {
        self.inner.arrived.notified().await;
    }

    /// Whether so much waits that new requests should be held back.
    pub fn is_congested(&self) -> bool {
        self.congests(&self.backlog())
    }

    fn congests(&self, backlog: &Backlog) -> bool {
        backlog.bytes > self.inner.settings.backlog_max_bytes / 2
    }

    /// Tells how much room calls may use. Until told, it does not matter.
    pub fn set_room(&self, room: Room) {
        self.backlog().room = room;
    }

    /// Whether a call of the usual size finds room where all may be used.
    pub fn has_reserve(&self) -> bool {
        self.free_for_statuses(&self.backlog(), Room::Reserve) >= BATCH_MAX_RECORDS
    }

    /// Keeps room for the statuses of a call that is to begin: there has to be some beside those that wait or are
    /// expected. `first` says that its stream has no other under way: such a call, if it has no more
    /// records than one that joins none, does not wait for other streams' calls, and only while the backlog is congested.
    pub fn room_for(&self, statuses: usize, first: bool) -> Option<Expected> {
        let backlog = self.backlog();
        let needs_none = first && statuses <= BATCH_MAX_RECORDS && !self.congests(&backlog);
        if !needs_none && statuses > self.free_for_statuses(&backlog, backlog.room) {
            return None;
        }
        let inner = &self.inner;
        inner.expected.fetch_add(statuses, Ordering::Relaxed);
        let promised = backlog.room == Room::Reserve;
        if promised {
            inner.promised.fetch_add(statuses, Ordering::Relaxed);
        }
        Some(Expected {
            inner: Arc::clone(inner),
            statuses,
            promised,
        })
    }

    /// How many statuses may come at once: as many as have room, but no fewer than those of a call that joins none.
    pub fn most_at_once(&self) -> usize {
        let backlog = self.backlog();
        self.free_for_statuses(&backlog, backlog.room)
            .max(BATCH_MAX_RECORDS)
    }

    /// How many statuses have room beside those that wait or are expected.
    fn free_for_statuses(&self, backlog: &Backlog, room: Room) -> usize {
        let own = self.inner.settings.backlog_max_bytes;
        let bytes = match room {
            Room::Usual => own / 4 * 3,
            Room::Reserve => {
                let borrowed = backlog.borrowed.as_ref().map_or(0, Charge::bytes);
                own + borrowed + self.inner.reserve.free_bytes()
            }
            Room::NoMatter => return usize::MAX,
        };
        // Those of the last document may have been shorter than what comes: failures are.
        let status_bytes = backlog.status_bytes.max(USUAL_STATUS_BYTES);
        let expected = self.inner.expected.load(Ordering::Relaxed);
        (bytes.saturating_sub(backlog.bytes) / status_bytes).saturating_sub(expected)
    }

    /// Whether no document waits.
    pub fn is_empty(&self) -> bool {
        self.backlog().documents.is_empty()
    }

    /// Documents that wait for the broker.
    pub fn waiting(&self) -> usize {
        self.backlog().documents.len()
    }

    /// Statuses thrown away because the backlog was full, since the start.
    pub fn dropped(&self) -> usize {
        self.backlog().dropped
    }

    /// Tells how long a message the broker takes, in bytes of payload.
    pub fn set_broker_max_bytes(&self, bytes: usize) {
        self.inner.broker_max_bytes.store(bytes, Ordering::Relaxed);
    }

    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.inner
            .backlog
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::MemoryBudget;

    fn publisher(backlog_max_bytes: usize) -> Publisher {
        publisher_beside(backlog_max_bytes, &MemoryBudget::new(0))
    }

    fn publisher_beside(backlog_max_bytes: usize, memory: &MemoryBudget) -> Publisher {
        let settings = PublisherSettings {
            shape: Shape::List,
            document_max_bytes: 4096,
            backlog_max_bytes,
        };
        Publisher::new(settings, memory.share())
    }

    fn has_room_for(publisher: &Publisher, statuses: usize) -> bool {
        publisher.room_for(statuses, false).is_some()
    }

    fn success(id: &str) -> (&str, Verdict<'_>) {
        (id, Verdict::Success { record_id: "r" })
    }

    #[test]
    fn hands_out_in_order() {
        let publisher = publisher(100_000);
        publisher.publish([success("1"), success("2")]);
        publisher.publish([success("3")]);
        publisher.publish([]);
        assert_eq!(publisher.waiting(), 2);
        assert_eq!(publisher.pop().unwrap().statuses, 2);
        assert_eq!(publisher.pop().unwrap().statuses, 1);
        assert!(publisher.pop().is_none() && publisher.is_empty());
    }

    #[test]
    fn a_broker_that_does_not_read_cannot_make_statuses_pile_up() {
        let publisher = publisher(10_000);
        let mut congested_before_any_drop = false;
        for number in 0..10_000 {
            publisher.publish([success(&number.to_string())]);
            assert!(publisher.backlog().bytes <= 10_000);
            congested_before_any_drop |= publisher.is_congested() && publisher.dropped() == 0;
        }
        assert!(congested_before_any_drop);
        assert_eq!(publisher.waiting() + publisher.dropped(), 10_000);
        let first = publisher.pop().unwrap();
        assert!(!first.json.windows(7).any(|part| part == b"\"id\":\"0\""));
    }

    #[test]
    fn calls_wait_for_room_as_long_as_the_broker_takes_anything() {
        let publisher = publisher(10_000);
        let all = 10_000 / USUAL_STATUS_BYTES;
        let usual = all / 4 * 3;
        assert!(has_room_for(&publisher, all + 1), "nobody to wait for");
        publisher.set_room(Room::Usual);
        assert!(has_room_for(&publisher, usual) && !has_room_for(&publisher, all));
        let expected = publisher.room_for(usual, false);
        assert!(!has_room_for(&publisher, 1));
        assert!(
            publisher.room_for(500, true).is_some(),
            "another stream's first"
        );
        assert!(
            publisher.room_for(501, true).is_none(),
            "of records that are joined"
        );
        publisher.set_room(Room::Reserve);
        assert!(has_room_for(&publisher, all - usual));
        drop(expected);
        assert!(has_room_for(&publisher, all));
        while publisher.backlog().bytes < 9_000 {
            publisher.publish([success("1")]);
        }
        assert_eq!(publisher.dropped(), 0);
        assert!(publisher.room_for(500, true).is_none() && !has_room_for(&publisher, 500));
        publisher.set_room(Room::NoMatter);
        assert!(publisher.room_for(1000, true).is_some());
    }

    #[test]
    fn borrows_free_memory_while_the_broker_cannot_be_heard() {
        let memory = MemoryBudget::new(100_000);
        let publisher = publisher_beside(10_000, &memory);
        publisher.set_room(Room::Reserve);
        // Four fifths of the memory may be borrowed.
        assert!(has_room_for(&publisher, 90_000 / USUAL_STATUS_BYTES));
        assert!(!has_room_for(&publisher, 90_000 / USUAL_STATUS_BYTES + 1));
        let mut waiting = 0;
        while has_room_for(&publisher, 1) {
            publisher.publish([success("1")]);
            waiting += 1;
            let bytes = publisher.backlog().bytes;
            assert_eq!(memory.used_bytes(), bytes.saturating_sub(10_000));
        }
        assert!(waiting > 200 && publisher.dropped() == 0);
        // Nothing more is borrowed once it can be heard, unless it was promised, and what was is given back.
        publisher.set_room(Room::Usual);
        publisher.publish([success("1")]);
        assert_eq!((publisher.dropped(), publisher.waiting()), (1, waiting));
        while publisher.pop().is_some() {
            let bytes = publisher.backlog().bytes;
            assert_eq!(memory.used_bytes(), bytes.saturating_sub(10_000));
        }
    }

    #[test]
    fn room_that_was_promised_is_there_when_the_broker_can_be_heard_again() {
        let publisher = publisher_beside(1000, &MemoryBudget::new(100_000));
        publisher.set_room(Room::Reserve);
        let promised = publisher.room_for(20, false);
        publisher.set_room(Room::Usual);
        (0..20).for_each(|_| publisher.publish([success("1")]));
        assert_eq!(publisher.dropped(), 0);
        drop(promised);
        publisher.publish([success("1")]);
        assert_eq!(publisher.dropped(), 1);
    }

    #[test]
    fn has_a_reserve_until_a_call_finds_no_room_in_it() {
        let memory = MemoryBudget::new(1_000_000);
        let publisher = publisher_beside(10_000, &memory);
        assert!(publisher.has_reserve());
        let _taken = memory.share().charge(900_000).unwrap();
        assert!(!publisher.has_reserve());
    }

    #[test]
    fn short_statuses_leave_room_for_longer_ones() {
        let publisher = publisher(1_000_000);
        publisher.set_room(Room::Usual);
        let ids: Vec<String> = (0..500).map(|n| format!("device-{n}")).collect();
        let refused = Verdict::Fail {
            code: "QueueFull",
            message: "full",
        };
        publisher.publish(ids.iter().map(|id| (id.as_str(), refused)));
        let mut calls = Vec::new();
        while let Some(call) = publisher.room_for(500, false) {
            calls.push(call);
        }
        assert!(!calls.is_empty());
        let record_id = "A".repeat(220);
        let delivered = Verdict::Success {
            record_id: &record_id,
        };
        for _ in &calls {
            publisher.publish(ids.iter().map(|id| (id.as_str(), delivered)));
        }
        assert_eq!(publisher.dropped(), 0);
    }

    #[test]
    fn a_broker_may_take_less_than_configured() {
        let publisher = publisher(1_000_000);
        publisher.set_broker_max_bytes(1000);
        let ids: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        publisher.publish(ids.iter().map(|id| success(id)));
        while let Some(document) = publisher.pop() {
            assert!(document.json.len() <= 1000);
        }
    }
}
