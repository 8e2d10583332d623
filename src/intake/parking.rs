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

/// Most bytes of them with a queue on disk. None is charged to the budget then: what was charged to a
/// stream for records that wait for room could not be used to send those that would make some.
pub(super) const ON_DISK_MAX_BYTES: usize = 1024 * 1024;

/// A record that waits for room in its queue.
pub(super) struct Parked {
    /// Its stream.
    pub slot: SlotIndex,
    /// The record.
    pub staged: Staged,
}

/// The records that wait, oldest first.
pub(super) struct Parking {
    parked: VecDeque<Parked>,
    /// Bytes of those without a charge.
    uncharged_bytes: usize,
    /// Most of them.
    uncharged_max_bytes: usize,
}

impl Parking {
    /// Room for records that no charge of the memory budget covers: for more with a queue on disk.
    pub fn new(on_disk: bool) -> Self {
        Parking {
            parked: VecDeque::new(),
            uncharged_bytes: 0,
            uncharged_max_bytes: if on_disk {
                ON_DISK_MAX_BYTES
            } else {
                UNCHARGED_MAX_BYTES
            },
        }
    }

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
        self.parked.len() >= PARKED_MAX || self.uncharged_bytes >= self.uncharged_max_bytes
    }
}

fn uncharged_bytes(parked: &Parked) -> usize {
    if parked.staged.charge.is_some() {
        0
    } else {
        parked.staged.cost_bytes()
    }
}
