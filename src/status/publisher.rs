//! The backlog of status documents between those who know outcomes and the MQTT session.
//!
//! It is bounded: while the broker does not take documents they wait here, and beyond the bound
//! the oldest go, counted and logged. Before that happens the backlog is *congested*, upon which
//! intake holds its acknowledgements back; and as long as the broker takes documents at all, calls whose
//! statuses would find no room wait. So a broker that merely reads slowly loses nothing, and one that is
//! gone, or stuck, does not keep records from their destination. Beyond its own bytes the backlog borrows memory
//! that records leave free, up to a half of it: above all where it cannot be heard for a while whether the broker
//! takes documents, since its answers stand behind messages that are not read yet.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use self::backlog::Backlog;
use super::{Document, DocumentBuilder, Shape, Verdict};
use crate::batch::BATCH_MAX_RECORDS;
use crate::queue::Share;

mod backlog;

/// How documents are written and how many may wait.
#[derive(Debug, Clone, Copy)]
pub struct PublisherSettings {
    /// Which shape the apps expect.
    pub shape: Shape,
    /// Longest document, in bytes (`STATUS_MAX_BYTES`). A quarter of the backlog bounds it too:
    /// a document must fit, with others.
    pub document_max_bytes: usize,
    /// Most bytes of documents that wait for the broker, without what is borrowed.
    pub backlog_max_bytes: usize,
    /// What is left free for records when memory is borrowed, in bytes.
    pub left_bytes: usize,
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
    /// Memory that the backlog may borrow.
    reserve: Share,
}

/// How much of the backlog is for the statuses of calls that are to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Three quarters of its own bytes, while the broker takes documents, if slowly.
    Usual,
    /// All of them and what can be borrowed, while calls have to make room for messages before it can be heard that
    /// the broker takes any.
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
    /// What they are reckoned to take.
    bytes: usize,
    /// The same for one of them.
    status_bytes: usize,
}

impl Expected {
    /// So many come after all.
    pub fn change_to(&mut self, statuses: usize) {
        let bytes = statuses.saturating_mul(self.status_bytes);
        let before = std::mem::replace(&mut self.bytes, bytes);
        let mut backlog = self.inner.backlog();
        backlog.expect_instead(before, bytes);
        self.inner.keep_room(&mut backlog);
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        let mut backlog = self.inner.backlog();
        backlog.expect_instead(self.bytes, 0);
        backlog.give_back();
    }
}

impl Inner {
    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Borrows until `bytes` have room. Whether they have.
    fn make_room(&self, backlog: &mut Backlog, bytes: usize) -> bool {
        let missing = bytes.saturating_sub(backlog.held_bytes());
        if missing == 0 {
            return true;
        }
        let Some(more) = self
            .reserve
            .charge_leaving(self.settings.left_bytes, missing)
        else {
            return false;
        };
        backlog.borrow(more);
        true
    }

    /// Borrows for what is expected too, while calls count on that.
    fn keep_room(&self, backlog: &mut Backlog) {
        if backlog.room == Room::Reserve {
            self.make_room(backlog, backlog.all_bytes());
        }
    }

    /// How many bytes calls may bring beside those that wait or are expected.
    fn free_bytes(&self, backlog: &Backlog, room: Room) -> usize {
        let all = match room {
            Room::Usual => self.settings.backlog_max_bytes / 4 * 3,
            Room::Reserve => {
                let borrowable = self.reserve.free_leaving(self.settings.left_bytes);
                backlog.held_bytes().saturating_add(borrowable)
            }
            Room::NoMatter => return usize::MAX,
        };
        all.saturating_sub(backlog.all_bytes())
    }
}

impl Publisher {
    /// An empty backlog, which may borrow memory of `reserve`.
    pub fn new(settings: PublisherSettings, reserve: Share) -> Self {
        Publisher {
            inner: Arc::new(Inner {
                settings,
                broker_max_bytes: AtomicUsize::new(usize::MAX),
                backlog: Mutex::new(Backlog::new(settings.backlog_max_bytes)),
                arrived: Notify::new(),
                reserve,
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
        let mut backlog = self.inner.backlog();
        let mut dropped = 0;
        for document in documents {
            backlog.bytes += document.cost_bytes();
            backlog.status_bytes = document.cost_bytes() / document.statuses.max(1);
            backlog.documents.push_back(document);
            self.inner.keep_room(&mut backlog);
            let mut bytes = backlog.bytes;
            while !self.inner.make_room(&mut backlog, bytes)
                && let Some(oldest) = backlog.take_oldest()
            {
                dropped += oldest.statuses;
                bytes = backlog.bytes;
            }
        }
        backlog.give_back();
        backlog.dropped += dropped;
        if dropped > 0 && backlog.dropped_lately == 0 {
            tracing::warn!(
                bytes = backlog.bytes,
                "more statuses wait for the broker than memory holds; the oldest are dropped, and counted"
            );
        }
        backlog.dropped_lately += dropped;
    }

    /// The next document to publish.
    pub fn pop(&self) -> Option<Document> {
        let mut backlog = self.inner.backlog();
        let oldest = backlog.take_oldest();
        backlog.give_back();
        if backlog.documents.is_empty() && backlog.dropped_lately > 0 {
            let dropped_statuses = std::mem::take(&mut backlog.dropped_lately);
            tracing::info!(dropped_statuses, "statuses find room again");
        }
        oldest
    }

    /// Waits until a document came in since the last wait ended.
    pub async fn arrived(&self) {
        self.inner.arrived.notified().await;
    }

    /// Whether so much waits that new requests should be held back.
    pub fn is_congested(&self) -> bool {
        self.inner.backlog().is_congested()
    }

    /// Tells how much room calls may use. Until told, it does not matter.
    pub fn set_room(&self, room: Room) {
        self.inner.backlog().room = room;
    }

    /// Whether a call of the usual size finds room for its statuses where all may be used.
    pub fn has_reserve(&self) -> bool {
        let backlog = self.inner.backlog();
        let usual = BATCH_MAX_RECORDS * backlog.status_bytes();
        self.inner.free_bytes(&backlog, Room::Reserve) >= usual
    }

    /// Keeps room for the statuses of a call that is to begin; `None` where there is not enough beside those that wait or are
    /// expected. `first` says that its stream has no other under way: such a call, if it has no more
    /// records than one that joins none, does not wait for other streams' calls, and only while the backlog is congested.
    pub fn room_for(&self, statuses: usize, first: bool) -> Option<Expected> {
        let inner = &self.inner;
        let mut backlog = inner.backlog();
        let status_bytes = backlog.status_bytes();
        let bytes = statuses.saturating_mul(status_bytes);
        let needs_none = first && statuses <= BATCH_MAX_RECORDS && !backlog.is_congested();
        let has_room = if backlog.room == Room::Reserve {
            // Borrowed now, so that nobody else does before the call ends.
            let all = backlog.all_bytes().saturating_add(bytes);
            inner.make_room(&mut backlog, all)
        } else {
            bytes <= inner.free_bytes(&backlog, backlog.room)
        };
        if !has_room && !needs_none {
            return None;
        }
        backlog.expect_instead(0, bytes);
        drop(backlog);
        Some(Expected {
            inner: Arc::clone(inner),
            bytes,
            status_bytes,
        })
    }

    /// How many statuses may come at once: as many as have room, but no fewer than those of a call that joins none.
    pub fn most_at_once(&self) -> usize {
        let backlog = self.inner.backlog();
        let free = self.inner.free_bytes(&backlog, backlog.room);
        (free / backlog.status_bytes()).max(BATCH_MAX_RECORDS)
    }

    /// Whether no document waits.
    pub fn is_empty(&self) -> bool {
        self.inner.backlog().documents.is_empty()
    }

    /// Documents that wait for the broker.
    pub fn waiting(&self) -> usize {
        self.inner.backlog().documents.len()
    }

    /// These statuses were taken out, and nobody takes them.
    pub fn note_dropped(&self, statuses: usize) {
        self.inner.backlog().dropped += statuses;
    }

    /// Statuses thrown away because the backlog was full, or the broker takes none of their length, since the
    /// start.
    pub fn dropped(&self) -> usize {
        self.inner.backlog().dropped
    }

    /// Tells how long a message the broker takes, in bytes of payload.
    pub fn set_broker_max_bytes(&self, bytes: usize) {
        self.inner.broker_max_bytes.store(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
