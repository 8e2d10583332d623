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
    /// Rung when a document came in.
    arrived: Notify,
    /// Up to which bytes calls find room for their statuses.
    room_bytes: AtomicUsize,
    /// Statuses that calls under way will bring.
    expected: AtomicUsize,
}

/// How much of the backlog is for the statuses of calls that are to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Three quarters, while the broker takes documents, if slowly.
    Usual,
    /// All of it, while calls have to make room in memory before it can be heard that the broker takes any.
    Reserve,
    /// Calls begin whatever becomes of their statuses: the broker is away or takes none.
    NoMatter,
}

/// Statuses that a call will bring: room is kept for them until this goes.
#[derive(Debug)]
pub struct Expected {
    /// Where they will go.
    inner: Arc<Inner>,
    /// How many.
    statuses: usize,
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.inner
            .expected
            .fetch_sub(self.statuses, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Backlog {
    /// Oldest first.
    documents: VecDeque<Document>,
    /// Their bytes.
    bytes: usize,
    /// Statuses thrown away because the backlog was full, since the start.
    dropped: usize,
    /// Whether the last document that came in pushed another out: a change is logged once.
    overflowing: bool,
    /// What a status took in the last document, in bytes.
    status_bytes: usize,
}

impl Publisher {
    /// An empty backlog.
    pub fn new(settings: PublisherSettings) -> Self {
        Publisher {
            inner: Arc::new(Inner {
                settings,
                broker_max_bytes: AtomicUsize::new(usize::MAX),
                backlog: Mutex::new(Backlog {
                    documents: VecDeque::new(),
                    bytes: 0,
                    dropped: 0,
                    overflowing: false,
                    status_bytes: USUAL_STATUS_BYTES,
                }),
                arrived: Notify::new(),
                room_bytes: AtomicUsize::new(usize::MAX),
                expected: AtomicUsize::new(0),
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
        let mut backlog = self.backlog();
        let mut dropped = 0;
        for document in documents {
            backlog.bytes += document.cost_bytes();
            backlog.status_bytes = document.cost_bytes() / document.statuses.max(1);
            backlog.documents.push_back(document);
            while backlog.bytes > self.inner.settings.backlog_max_bytes {
                let Some(oldest) = backlog.documents.pop_front() else {
                    break;
                };
                backlog.bytes -= oldest.cost_bytes();
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
        let mut backlog = self.backlog();
        let document = backlog.documents.pop_front()?;
        backlog.bytes -= document.cost_bytes();
        Some(document)
    }

    /// Waits until a document came in since the last wait ended.
    pub async fn arrived(&self) {
        self.inner.arrived.notified().await;
    }

    /// Whether so much waits that new requests should be held back.
    pub fn is_congested(&self) -> bool {
        self.backlog().bytes > self.inner.settings.backlog_max_bytes / 2
    }

    /// Tells how much room calls may use. Until told, it does not matter.
    pub fn set_room(&self, room: Room) {
        let most = self.inner.settings.backlog_max_bytes;
        let bytes = match room {
            Room::Usual => most / 4 * 3,
            Room::Reserve => most,
            Room::NoMatter => usize::MAX,
        };
        self.inner.room_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Keeps room for the statuses of a call.
    pub fn expect(&self, statuses: usize) -> Expected {
        self.inner.expected.fetch_add(statuses, Ordering::Relaxed);
        Expected {
            inner: Arc::clone(&self.inner),
            statuses,
        }
    }

    /// Whether a call with this many records may begin: there is room for its statuses beside those that
    /// wait or are expected. `first` says that its stream has no other under way: such a call, if it has no more
    /// records than one that joins none, does not wait for other streams' calls, and only while the backlog is congested.
    pub fn has_room_for(&self, statuses: usize, first: bool) -> bool {
        (first && statuses <= BATCH_MAX_RECORDS && !self.is_congested()) || statuses <= self.room()
    }

    /// How many statuses may come at once: as many as have room, but no fewer than those of a call that joins none.
    pub fn most_at_once(&self) -> usize {
        self.room().max(BATCH_MAX_RECORDS)
    }

    /// How many statuses have room beside those that wait or are expected.
    fn room(&self) -> usize {
        let room = self.inner.room_bytes.load(Ordering::Relaxed);
        if room == usize::MAX {
            return usize::MAX;
        }
        let backlog = self.backlog();
        // Those of the last document may have been shorter than what comes: failures are.
        let status_bytes = backlog.status_bytes.max(USUAL_STATUS_BYTES);
        let expected = self.inner.expected.load(Ordering::Relaxed);
        (room.saturating_sub(backlog.bytes) / status_bytes).saturating_sub(expected)
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

    fn publisher(backlog_max_bytes: usize) -> Publisher {
        Publisher::new(PublisherSettings {
            shape: Shape::List,
            document_max_bytes: 4096,
            backlog_max_bytes,
        })
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
        assert!(publisher.has_room_for(all + 1, false), "nobody to wait for");
        publisher.set_room(Room::Usual);
        assert!(publisher.has_room_for(usual, false) && !publisher.has_room_for(all, false));
        let expected = publisher.expect(usual);
        assert!(!publisher.has_room_for(1, false));
        assert!(publisher.has_room_for(500, true), "another stream's first");
        assert!(
            !publisher.has_room_for(501, true),
            "of records that are joined"
        );
        publisher.set_room(Room::Reserve);
        assert!(publisher.has_room_for(all - usual, false));
        drop(expected);
        assert!(publisher.has_room_for(all, false));
        while publisher.backlog().bytes < 9_000 {
            publisher.publish([success("1")]);
        }
        assert_eq!(publisher.dropped(), 0);
        assert!(!publisher.has_room_for(500, true) && !publisher.has_room_for(500, false));
        publisher.set_room(Room::NoMatter);
        assert!(publisher.has_room_for(1000, true));
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
        while publisher.has_room_for(500, false) {
            calls.push(publisher.expect(500));
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
