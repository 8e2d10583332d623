//! The backlog of status documents between those who know outcomes and the MQTT session.
//!
//! It is bounded: while the broker does not take documents they wait here, and beyond the bound
//! the oldest go, counted and logged. Before that happens the backlog is *congested*, upon which
//! intake holds its acknowledgements back; and as long as the broker takes documents at all, calls whose
//! statuses would find no room wait. So a broker that merely reads slowly loses nothing, and one that is
//! gone, or stuck, does not keep records from their destination. Beyond its own bytes the backlog borrows memory
//! that records leave free, up to a half of it: above all where it cannot be heard for a while whether the broker
//! takes documents, since its answers stand behind messages that are not read yet.

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
        backlog.give_back(self.inner.settings.backlog_max_bytes);
    }
}

impl Inner {
    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Borrows until `bytes` have room. Whether they have.
    fn make_room(&self, backlog: &mut Backlog, bytes: usize) -> bool {
        let here = self
            .settings
            .backlog_max_bytes
            .saturating_add(backlog.borrowed());
        let missing = bytes.saturating_sub(here);
        if missing == 0 {
            return true;
        }
        let Some(more) = self
            .reserve
            .charge_leaving(self.settings.left_bytes, missing)
        else {
            return false;
        };
        match &mut backlog.borrowed {
            Some(borrowed) => borrowed.join(more),
            None => backlog.borrowed = Some(more),
        }
        true
    }

    /// Borrows for what is expected too, while calls count on that.
    fn keep_room(&self, backlog: &mut Backlog) {
        if backlog.room == Room::Reserve {
            let all = backlog.bytes.saturating_add(backlog.expected_bytes);
            self.make_room(backlog, all);
        }
    }

    /// How many bytes calls may bring beside those that wait or are expected.
    fn free_bytes(&self, backlog: &Backlog, room: Room) -> usize {
        let own = self.settings.backlog_max_bytes;
        let all = match room {
            Room::Usual => own / 4 * 3,
            Room::Reserve => own
                .saturating_add(backlog.borrowed())
                .saturating_add(self.reserve.free_leaving(self.settings.left_bytes)),
            Room::NoMatter => return usize::MAX,
        };
        all.saturating_sub(backlog.bytes.saturating_add(backlog.expected_bytes))
    }
}

#[derive(Debug)]
struct Backlog {
    /// Oldest first.
    documents: VecDeque<Document>,
    /// Their bytes.
    bytes: usize,
    /// What calls under way are reckoned to bring.
    expected_bytes: usize,
    /// What is borrowed for both beyond the backlog's own bytes.
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
    fn borrowed(&self) -> usize {
        self.borrowed.as_ref().map_or(0, Charge::bytes)
    }

    /// What a status is reckoned to take. Those of the last document may have been shorter than what comes:
    /// failures are.
    fn status_bytes(&self) -> usize {
        self.status_bytes.max(USUAL_STATUS_BYTES)
    }

    fn expect_instead(&mut self, before: usize, bytes: usize) {
        self.expected_bytes = self
            .expected_bytes
            .saturating_add(bytes)
            .saturating_sub(before);
    }

    fn take_oldest(&mut self) -> Option<Document> {
        let oldest = self.documents.pop_front()?;
        self.bytes -= oldest.cost_bytes();
        Some(oldest)
    }

    /// Gives back what is borrowed and not needed beyond `own_bytes`.
    fn give_back(&mut self, own_bytes: usize) {
        let needed = self
            .bytes
            .saturating_add(self.expected_bytes)
            .saturating_sub(own_bytes);
        if let Some(borrowed) = &mut self.borrowed {
            drop(borrowed.split(borrowed.bytes().saturating_sub(needed)));
            self.borrowed.take_if(|borrowed| borrowed.bytes() == 0);
        }
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
                    expected_bytes: 0,
                    borrowed: None,
                    room: Room::NoMatter,
                    dropped: 0,
                    overflowing: false,
                    status_bytes: USUAL_STATUS_BYTES,
                }),
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
        let own_bytes = self.inner.settings.backlog_max_bytes;
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
        backlog.give_back(own_bytes);
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
        let mut backlog = self.inner.backlog();
        let oldest = backlog.take_oldest();
        backlog.give_back(self.inner.settings.backlog_max_bytes);
        oldest
    }

    /// Waits until a document came in since the last wait ended.
    pub async fn arrived(&self) {
        self.inner.arrived.notified().await;
    }

    /// Whether so much waits that new requests should be held back.
    pub fn is_congested(&self) -> bool {
        self.congests(&self.inner.backlog())
    }

    fn congests(&self, backlog: &Backlog) -> bool {
        backlog.bytes > self.inner.settings.backlog_max_bytes / 2
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
        let needs_none = first && statuses <= BATCH_MAX_RECORDS && !self.congests(&backlog);
        if !needs_none && bytes > inner.free_bytes(&backlog, backlog.room) {
            return None;
        }
        if backlog.room == Room::Reserve {
            // Borrowed now, so that nobody else does before the call ends.
            let all = backlog
                .bytes
                .saturating_add(backlog.expected_bytes)
                .saturating_add(bytes);
            if !inner.make_room(&mut backlog, all) && !needs_none {
                return None;
            }
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

    /// Statuses thrown away because the backlog was full, since the start.
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
