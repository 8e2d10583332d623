//! Records between being taken in and their final outcome.
//!
//! A [`StreamQueue`] holds the records of one stream, waiting or in flight, within the queue
//! size; a [`MemoryBudget`] bounds what all queues together may cost. Bookkeeping only: no I/O
//! and no clock, the time comes in as an argument. [`Stream`] is what intake and delivery share.

mod budget;
mod memory;
mod record;
mod stream;

pub use budget::{Charge, MemoryBudget, Share};
pub use memory::StreamQueue;
pub use record::{Id, Record};
pub use stream::Stream;

/// Why a queue does not take a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The stream holds as many records, waiting or in flight, as the queue size allows.
    QueueFull,
    /// The queues together hold as much as the memory size allows.
    MemoryLimitExceeded,
}
