//! How the memory size is divided. The parts are chosen so that the process as a whole stays
//! below it, whatever is published; a test measures that.

use crate::aggregate::compress::COMPRESSION_MEMORY_BYTES;
use crate::queue::MemoryBudget;
use crate::request::{ID_MAX_BYTES, RECORD_MAX_BYTES};

const MIB: usize = 1024 * 1024;

/// The process itself: code, runtime, TLS, connections, the allocator's reserve. Measured, with
/// room to spare.
const PROCESS_BYTES: usize = 12 * MIB;

/// One message of the largest size on its way in: its packet (6.4 MB), the record unescaped from it,
/// the copy of that which the parser makes, and the record in its envelope.
const INCOMING_BYTES: usize = 10 * MIB;

/// Statuses on their way to the broker: under way un-acknowledged, and written to be sent.
const OUTGOING_BYTES: usize = 2 * MIB;

/// One part in so many of the rest is left alone: request bodies grow in steps, and the allocator
/// keeps holes between large records. Measured with 1 MB records that are sent again.
const RESERVE_PART: usize = 8;

/// One part in so many of what is left then is for waiting statuses.
const STATUS_PART: usize = 10;

/// The least that must be left for waiting statuses.
const LEAST_STATUS_BYTES: usize = MIB;

/// Records on their way to the disk: one group that is being written and synced, one that gathers
/// behind it, and what waits for room, each bounded by its bytes. With a queue on disk only.
const COMMIT_BYTES: usize = 3 * MIB;

/// The record that one compression writes, and what it works with. One runs at a time.
const COMPRESSING_BYTES: usize = COMPRESSION_MEMORY_BYTES + MIB;

/// What a record costs where it is compressed and cannot become smaller, in parts of what it is charged:
/// itself, its compressed form, and the request that carries that, 10/3 of its size instead of 7/3.
const COMPRESSED_COST: (usize, usize) = (10, 7);

/// One part in so many of the queues' memory is kept for the default stream: others, which anybody who may publish can
/// name, never take it.
const DEFAULT_STREAM_PART: usize = 4;

/// What statuses that borrow of the queues' part leave free of it: a record of the largest size finds room there, beside
/// smaller ones of its stream.
pub const LEFT_TO_RECORDS_BYTES: usize = 2 * MemoryBudget::record_bytes(RECORD_MAX_BYTES, 0);

/// The smallest memory size that works, in KB: one record of the largest size can be held.
pub const LEAST_MEMORY_SIZE_KB: u64 = 28_672;

/// The same with a queue on disk, which needs memory for records that are being written as well.
pub const LEAST_MEMORY_SIZE_ON_DISK_KB: u64 = 32_768;

/// What compression adds to either of them.
const COMPRESSION_KB: u64 = 6_144;

/// The smallest memory size that works, in KB, with a queue on disk and with compression.
pub fn least_memory_size_kb(on_disk: bool, compresses: bool) -> u64 {
    let least = if on_disk {
        LEAST_MEMORY_SIZE_ON_DISK_KB
    } else {
        LEAST_MEMORY_SIZE_KB
    };
    least + if compresses { COMPRESSION_KB } else { 0 }
}

/// What each user of memory may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPlan {
    /// All queues together, in the currency of [`MemoryBudget`].
    pub queues_bytes: usize,
    /// Status documents that wait for the broker, without what they borrow of the queues' part.
    pub statuses_bytes: usize,
}

impl MemoryPlan {
    /// Divides a memory size of at least [`LEAST_MEMORY_SIZE_KB`]; where the queue is `on_disk`, of
    /// at least [`LEAST_MEMORY_SIZE_ON_DISK_KB`].
    pub fn of(memory_size_bytes: usize, on_disk: bool) -> Self {
        let rest =
            memory_size_bytes.saturating_sub(PROCESS_BYTES + INCOMING_BYTES + OUTGOING_BYTES);
        let rest = rest - rest / RESERVE_PART;
        let statuses_bytes = (rest / STATUS_PART).max(LEAST_STATUS_BYTES);
        let commit_bytes = if on_disk { COMMIT_BYTES } else { 0 };
        MemoryPlan {
            queues_bytes: rest
                .saturating_sub(statuses_bytes + commit_bytes)
                .max(MemoryBudget::record_bytes(RECORD_MAX_BYTES, 0)),
            statuses_bytes,
        }
    }

    /// What is kept for the default stream of the queues' part, as far as another one has room for a record of the
    /// largest size beside it.
    pub fn default_stream_bytes(self) -> usize {
        let record = MemoryBudget::record_bytes(RECORD_MAX_BYTES, ID_MAX_BYTES);
        let largest = record + MemoryBudget::STREAM_BYTES;
        let rest = self.queues_bytes.saturating_sub(largest);
        rest.min(self.queues_bytes / DEFAULT_STREAM_PART)
    }

    /// The same where records are compressed: their compressed form is beside them while it is sent.
    pub fn with_compression(self) -> Self {
        let (cost, charged) = COMPRESSED_COST;
        let queues_bytes = self.queues_bytes.saturating_sub(COMPRESSING_BYTES);
        MemoryPlan {
            queues_bytes: queues_bytes / cost * charged,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::compress::COMPRESSED_FROM_MAX_BYTES;

    #[test]
    fn the_least_holds_a_record_of_the_largest_size() {
        for (least_kb, on_disk) in [
            (LEAST_MEMORY_SIZE_KB, false),
            (LEAST_MEMORY_SIZE_ON_DISK_KB, true),
        ] {
            let least = least_kb as usize * 1024;
            let plan = MemoryPlan::of(least, on_disk);
            assert!(plan.queues_bytes >= MemoryBudget::record_bytes(RECORD_MAX_BYTES, 65_535));
            let commit_bytes = if on_disk { COMMIT_BYTES } else { 0 };
            assert!(
                plan.queues_bytes
                    + plan.statuses_bytes
                    + commit_bytes
                    + PROCESS_BYTES
                    + INCOMING_BYTES
                    + OUTGOING_BYTES
                    <= least,
                "on disk: {on_disk}"
            );
        }
    }

    #[test]
    fn beside_what_is_kept_for_the_default_stream_others_have_room_for_the_largest_record() {
        let record = MemoryBudget::record_bytes(RECORD_MAX_BYTES, ID_MAX_BYTES);
        let largest = record + MemoryBudget::STREAM_BYTES;
        for kb in [LEAST_MEMORY_SIZE_KB, 30_000, 35_000, 65_535, 1_000_000] {
            let plan = MemoryPlan::of(kb as usize * 1024, false);
            let kept = plan.default_stream_bytes();
            assert!(plan.queues_bytes - kept >= largest, "{kb}: {kept}");
        }
        let plan = MemoryPlan::of(65_535 * 1024, false);
        assert_eq!(plan.default_stream_bytes(), plan.queues_bytes / 4);
    }

    #[test]
    fn with_compression_the_least_is_more_and_holds_such_a_record() {
        for on_disk in [false, true] {
            let least = least_memory_size_kb(on_disk, true) as usize * 1024;
            let plan = MemoryPlan::of(least, on_disk).with_compression();
            let largest = MemoryBudget::record_bytes(COMPRESSED_FROM_MAX_BYTES, 65_535);
            assert!(plan.queues_bytes >= largest, "on disk: {on_disk}, {plan:?}");
        }
    }

    #[test]
    fn records_on_their_way_to_the_disk_are_taken_from_the_queues() {
        for memory_size_bytes in [
            LEAST_MEMORY_SIZE_ON_DISK_KB as usize * 1024,
            64 * MIB,
            1024 * MIB,
        ] {
            let in_memory = MemoryPlan::of(memory_size_bytes, false);
            let on_disk = MemoryPlan::of(memory_size_bytes, true);
            assert_eq!(in_memory.queues_bytes - on_disk.queues_bytes, 3 * MIB);
            assert_eq!(in_memory.statuses_bytes, on_disk.statuses_bytes);
        }
    }

    #[test]
    fn the_contracts_default_holds_the_default_queue() {
        let plan = MemoryPlan::of(65_535 * 1024, false);
        assert!(plan.queues_bytes >= 5000 * MemoryBudget::record_bytes(2500, 40));
    }
}
