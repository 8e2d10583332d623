//! The bound on what all queues together may cost in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many bytes the records of all streams may cost, and how many they do. Cheap to clone;
/// clones count together.
#[derive(Debug, Clone)]
pub struct MemoryBudget {
    /// Shared by every clone and every charge.
    account: Arc<Account>,
}

#[derive(Debug)]
struct Account {
    /// Bytes charged at the moment.
    used: AtomicUsize,
    /// Bytes that may be charged at a time.
    limit: usize,
}

impl MemoryBudget {
    /// What a record costs beside its bytes: its place in the queue, in a batch and in a status
    /// document, and the allocator's share. Measured with 20-byte records, rounded up.
    pub const RECORD_OVERHEAD_BYTES: usize = 512;

    /// A budget of this many bytes.
    pub fn new(limit_bytes: usize) -> Self {
        MemoryBudget {
            account: Arc::new(Account {
                used: AtomicUsize::new(0),
                limit: limit_bytes,
            }),
        }
    }

    /// What a record of this size is charged from the moment it is taken in until its outcome is
    /// final: its bytes, and the base64 request body (4/3 of them) that carries it. The body is
    /// charged ahead, so that a call never has to wait for memory that another stream holds.
    pub fn record_bytes(data_bytes: usize, id_bytes: usize) -> usize {
        data_bytes + data_bytes.div_ceil(3) * 4 + 2 * id_bytes + Self::RECORD_OVERHEAD_BYTES
    }

    /// Charges `bytes`; `None` where they do not fit.
    pub fn charge(&self, bytes: usize) -> Option<Charge> {
        let used = &self.account.used;
        used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes)
                .filter(|used| *used <= self.account.limit)
        })
        .ok()?;
        Some(Charge {
            account: Arc::clone(&self.account),
            bytes,
        })
    }

    /// Bytes charged at the moment.
    pub fn used_bytes(&self) -> usize {
        self.account.used.load(Ordering::Relaxed)
    }

    /// Bytes that may be charged at a time.
    pub fn limit_bytes(&self) -> usize {
        self.account.limit
    }
}

/// Bytes charged to a budget; dropping it gives them back.
#[derive(Debug)]
pub struct Charge {
    /// Whose bytes these are.
    account: Arc<Account>,
    /// How many are given back.
    bytes: usize,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_up_to_the_limit_and_gives_back() {
        let budget = MemoryBudget::new(100);
        let first = budget.charge(60).unwrap();
        assert!(budget.charge(41).is_none());
        let second = budget.clone().charge(40).unwrap();
        assert_eq!(budget.used_bytes(), 100);
        assert!(budget.charge(usize::MAX).is_none());
        drop(first);
        assert_eq!(budget.used_bytes(), 40);
        drop(second);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn a_record_costs_itself_and_its_body() {
        assert_eq!(MemoryBudget::record_bytes(300, 10), 300 + 400 + 20 + 512);
        assert_eq!(MemoryBudget::record_bytes(0, 0), 512);
    }
}
