//! Records between being taken in and their final outcome.
//!
//! A [`StreamQueue`] holds the records of one stream, waiting or in flight, within the queue
//! size; a [`MemoryBudget`] bounds what all queues together may cost. Bookkeeping only: no I/O
//! and no clock, the time comes in as an argument. With a queue on disk ([`disk`]) the records stand
//! there, and a [`StreamQueue`] holds those that were read back to be sent. [`Stream`] is what intake and
//! delivery share.

mod budget;
pub mod disk;
mod memory;
mod open_streams;
mod record;
mod stream;

pub use budget::{Charge, MemoryBudget, Share};
pub use memory::StreamQueue;
pub use open_streams::OpenStreams;
pub use record::{Id, Kept, Record};
pub use stream::Stream;

/// Why a queue does not take a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The stream holds as many records, waiting or in flight, as the queue size allows.
    QueueFull,
    /// The queue on disk holds as many bytes as it may.
    QueueDirFull,
    /// The queues together hold as much as the memory size allows.
    MemoryLimitExceeded,
}

impl Refusal {
    /// The parameter that sets the bound.
    pub fn bound(self) -> &'static str {
        match self {
            Refusal::QueueFull => "DELIVERY_STREAM_QUEUE_SIZE",
            Refusal::QueueDirFull => "QUEUE_DIR_MAX_BYTES",
            Refusal::MemoryLimitExceeded => "MEMORY_SIZE",
        }
    }
}
