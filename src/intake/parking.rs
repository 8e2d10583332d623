//! Records that wait for room under `WHEN_FULL=wait`, their messages not acknowledged: the broker's
//! window fills, and the broker holds the rest.

use std::collections::VecDeque;

use super::staging::Staged;
use super::streams::SlotIndex;

/// Most messages that wait before reading stops. Brokers stop before, at a window of their own (20
/// to 100 messages) or at our Receive Maximum (1000); this is for those that have none.
pub(super) const PARKED_MAX: usize = 2000;

/// Most bytes of them that the memory budget had no place for.
pub(super) const UNCHARGED_MAX_BYTES: usize = 256 * 1024;

/// A record that waits for room in its queue.
pub(super) struct Parked {
    /// Its stream.
    pub slot: SlotIndex,
    /// The record.
    pub staged: Staged,
}

/// The records that wait, oldest first.
#[derive(Default)]
pub(super) struct Parking {
    parked: VecDeque<Parked>,
    /// Bytes of those without a charge.
    uncharged_bytes: usize,
}

impl Parking {
    /// Adds one, behind the others.
    pub fn push(&mut self, parked: Parked) {
        self.uncharged_bytes += uncharged_bytes(&parked);
        self.parked.push_back(parked);
    }

    /// Takes all out; those that still wait are pushed back.
    pub fn take_all(&mut self) -> VecDeque<Parked> {
        self.uncharged_bytes = 0;
        std::mem::take(&mut self.parked)
    }

    pub fn is_empty(&self) -> bool {
        self.parked.is_empty()
    }

    /// Whether so much waits that nothing more should be read.
    pub fn is_full(&self) -> bool {
        self.parked.len() >= PARKED_MAX || self.uncharged_bytes >= UNCHARGED_MAX_BYTES
    }
}

fn uncharged_bytes(parked: &Parked) -> usize {
    if parked.staged.charge.is_some() {
        0
    } else {
        parked.staged.cost_bytes()
    }
}
