//! Whether a record finds a place: the queue size, the memory budget, and the policy when either
//! is full. Pure bookkeeping under the lock of one stream.

use tokio::time::Instant;

use super::staging::Staged;
use crate::code::Code;
use crate::parameters::WhenFull;
use crate::queue::{Id, MemoryBudget, Record, Refusal, Share, StreamQueue};
use crate::request::Rejection;

/// Records dropped for newer ones; only their ids are kept, for the statuses.
pub(super) type Dropped = Vec<Id>;

/// Puts a record into the queue where it fits, making room first under `drop-oldest`.
///
/// # Errors
/// Gives the record back, and says what is full.
pub(super) fn admit(
    queue: &mut StreamQueue,
    share: &Share,
    mut staged: Staged,
    when_full: WhenFull,
    now: Instant,
    dropped: &mut Dropped,
) -> Result<(), (Refusal, Staged)> {
    let drops = when_full == WhenFull::DropOldest;
    while !queue.has_room() {
        if !(drops && drop_oldest(queue, dropped)) {
            return Err((Refusal::QueueFull, staged));
        }
    }
    let bytes = staged.cost_bytes();
    // Dropping is of use only if it frees enough: another stream may hold the memory.
    let drops = drops && waiting_cost_bytes(queue) >= bytes;
    let charge = loop {
        if let Some(charge) = staged.charge.take().or_else(|| share.charge(bytes)) {
            break charge;
        }
        if !(drops && drop_oldest(queue, dropped)) {
            return Err((Refusal::MemoryLimitExceeded, staged));
        }
    };
    let Staged { data, id, .. } = staged;
    // There is room: that was seen under the lock that is still held.
    let pushed = queue.push(Record {
        data,
        id,
        received: now,
        charge,
        kept: None,
    });
    debug_assert!(pushed.is_ok());
    Ok(())
}

fn drop_oldest(queue: &mut StreamQueue, dropped: &mut Dropped) -> bool {
    let oldest = queue.drop_oldest();
    dropped.extend(oldest.as_ref().map(|record| record.id.clone()));
    oldest.is_some()
}

/// What the waiting records are charged, their ids left out.
fn waiting_cost_bytes(queue: &StreamQueue) -> usize {
    MemoryBudget::record_bytes(queue.waiting_bytes(), 0)
        + queue.waiting().saturating_sub(1) * MemoryBudget::RECORD_OVERHEAD_BYTES
}

/// The rejection for a record that was refused.
pub(super) fn refusal(refusal: Refusal, id: &str, queue_size: usize) -> Rejection {
    let (code, message) = match refusal {
        Refusal::QueueFull => (
            Code::QueueFull,
            format!(
                "the queue of this stream holds {queue_size} records, as many as \
                 DELIVERY_STREAM_QUEUE_SIZE allows"
            ),
        ),
        Refusal::QueueDirFull => (
            Code::QueueFull,
            "the queue on disk holds as many bytes as QUEUE_DIR_MAX_BYTES allows".to_owned(),
        ),
        Refusal::MemoryLimitExceeded => (
            Code::MemoryLimitExceeded,
            "the queues hold as much as MEMORY_SIZE allows".to_owned(),
        ),
    };
    Rejection {
        id: id.to_owned(),
        code,
        message,
        stream: None,
    }
}
