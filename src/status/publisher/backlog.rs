//! The documents that wait, and the memory that is theirs: bookkeeping only.

use std::collections::VecDeque;

use super::Room;
use crate::queue::Charge;
use crate::status::Document;

/// What a status is reckoned to take at the least, in bytes: an id, a record id of Amazon's, and the JSON around.
pub(super) const USUAL_STATUS_BYTES: usize = 350;

/// What waits, and what it takes.
#[derive(Debug)]
pub(super) struct Backlog {
    /// What it may hold without borrowing, in bytes.
    own_bytes: usize,
    /// Oldest first.
    pub documents: VecDeque<Document>,
    /// Their bytes.
    pub bytes: usize,
    /// What calls under way are reckoned to bring.
    pub expected_bytes: usize,
    /// What is borrowed for both beyond the backlog's own bytes.
    borrowed: Option<Charge>,
    /// Up to where calls find room for their statuses.
    pub room: Room,
    /// Statuses thrown away because the backlog was full, since the start.
    pub dropped: usize,
    /// How many of them since nothing waited last: that some are is logged once, and so is the end of it.
    pub dropped_lately: usize,
    /// What a status took in the last document, in bytes.
    pub status_bytes: usize,
}

impl Backlog {
    /// An empty one, which may hold this many bytes without borrowing.
    pub fn new(own_bytes: usize) -> Self {
        Backlog {
            own_bytes,
            documents: VecDeque::new(),
            bytes: 0,
            expected_bytes: 0,
            borrowed: None,
            room: Room::NoMatter,
            dropped: 0,
            dropped_lately: 0,
            status_bytes: USUAL_STATUS_BYTES,
        }
    }

    /// What waits and what is expected, in bytes.
    pub fn all_bytes(&self) -> usize {
        self.bytes.saturating_add(self.expected_bytes)
    }

    /// Notes memory that was borrowed.
    pub fn borrow(&mut self, more: Charge) {
        match &mut self.borrowed {
            Some(borrowed) => borrowed.join(more),
            None => self.borrowed = Some(more),
        }
    }

    /// How many bytes it may hold: its own, and what is borrowed.
    pub fn held_bytes(&self) -> usize {
        let borrowed = self.borrowed.as_ref().map_or(0, Charge::bytes);
        self.own_bytes.saturating_add(borrowed)
    }

    /// Whether so much waits that new requests should be held back.
    pub fn is_congested(&self) -> bool {
        self.bytes > self.own_bytes / 2
    }

    /// What a status is reckoned to take. Those of the last document may have been shorter than what comes:
    /// failures are.
    pub fn status_bytes(&self) -> usize {
        self.status_bytes.max(USUAL_STATUS_BYTES)
    }

    /// So much is expected of a call instead of what was before.
    pub fn expect_instead(&mut self, before: usize, bytes: usize) {
        self.expected_bytes = self
            .expected_bytes
            .saturating_add(bytes)
            .saturating_sub(before);
    }

    /// Takes the oldest document out.
    pub fn take_oldest(&mut self) -> Option<Document> {
        let oldest = self.documents.pop_front()?;
        self.bytes -= oldest.cost_bytes();
        Some(oldest)
    }

    /// Gives back what is borrowed and not needed.
    pub fn give_back(&mut self) {
        let needed = self.all_bytes().saturating_sub(self.own_bytes);
        if let Some(borrowed) = &mut self.borrowed {
            drop(borrowed.split(borrowed.bytes().saturating_sub(needed)));
            self.borrowed.take_if(|borrowed| borrowed.bytes() == 0);
        }
    }
}
