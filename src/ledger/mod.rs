//! The ledger: what became of records, counted where it happens. Metrics, the page, the heartbeat and the
//! summary in the log all read it, so they cannot disagree.
//!
//! Its law: at any instant, *received = delivered + failed + rejected + held*. A record moves from one of
//! these to another under an [`Entry`], in which the queue changes too; [`Ledger::balance`] looks while no
//! entry is open. Whoever holds the lock of a queue opens none: an entry comes first.

mod account;
mod timings;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;

use crate::code::Code;
pub use account::{Ailment, StreamAccount, StreamTotals, Trouble};
pub use timings::{BOUNDS_SECONDS, Distribution, Timings};

/// Most error codes that are told apart, beside our own. Services have a few dozen; beyond them is whatever answers in
/// their place.
const CODES_MAX: usize = 40;

/// What records are counted as that a fault of ours lost, and those that were damaged on disk after they were
/// taken in. No status says so: their ids went with them.
pub const FAULT_CODE: &str = "ConnectorFault";
pub const DAMAGED_CODE: &str = "DamagedOnDisk";

/// What codes beyond [`CODES_MAX`] are counted as.
const OTHER_CODE: &str = "Other";

/// Firehose bills a record rounded up to this many bytes (Amazon Data Firehose pricing: "5KB").
const BILLED_STEP_BYTES: u64 = 5 * 1024;

/// Counts what becomes of records. Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// Shared by all clones.
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Held shared while records move, and alone while somebody looks.
    gate: RwLock<()>,
    received: AtomicU64,
    received_bytes: AtomicU64,
    delivered: AtomicU64,
    delivered_bytes: AtomicU64,
    retried: AtomicU64,
    billed_bytes: AtomicU64,
    statuses_published: AtomicU64,
    calls_complete: AtomicU64,
    calls_partial: AtomicU64,
    calls_failed: AtomicU64,
    calls_in_flight: AtomicU64,
    /// Failed records by code; locked on failures only.
    failed: Mutex<ByCode>,
    /// Rejected requests by code; locked on rejections only.
    rejected: Mutex<ByCode>,
    call_times: Timings,
    batch_records: AtomicU64,
}

/// How many, by error code.
pub type ByCode = BTreeMap<String, u64>;

/// What was counted since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests that became records of a queue, or were rejected.
    pub received: u64,
    /// Bytes of those that became records.
    pub received_bytes: u64,
    /// Records that the destination has.
    pub delivered: u64,
    /// Their bytes.
    pub delivered_bytes: u64,
    /// Times that a record was put back to be sent again.
    pub retried: u64,
    /// Records that ended otherwise, by code.
    pub failed: ByCode,
    /// Requests that never became records, by code.
    pub rejected: ByCode,
    /// What the destination bills for the delivered ones, in bytes.
    pub billed_bytes: u64,
    /// Statuses that the broker was given.
    pub statuses_published: u64,
    /// Calls whose records were all taken.
    pub calls_complete: u64,
    /// Calls of which some records were not.
    pub calls_partial: u64,
    /// Calls that came to nothing.
    pub calls_failed: u64,
    /// Calls under way.
    pub calls_in_flight: u64,
    /// Firehose records of all calls that ended, those sent again included.
    pub batch_records: u64,
}

impl Totals {
    /// Records that failed, whatever the code.
    pub fn failed_records(&self) -> u64 {
        self.failed.values().sum()
    }

    /// Calls that ended, however.
    pub fn calls(&self) -> u64 {
        self.calls_complete + self.calls_partial + self.calls_failed
    }

    /// Requests that were rejected, whatever the code.
    pub fn rejected_requests(&self) -> u64 {
        self.rejected.values().sum()
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallEnd {
    /// All its records were taken.
    Complete,
    /// Some were.
    Partial,
    /// None was.
    Failed,
}

impl Ledger {
    /// Opens an entry: records may move while it lives. Not while the lock of a queue is held, nor while
    /// another entry of this thread is open.
    pub fn entry(&self) -> Entry<'_> {
        let gate = self.inner.gate.read();
        Entry {
            inner: &self.inner,
            _gate: gate.unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Looks at the totals, and through `look` at the queues, while no record moves.
    pub fn balance<T>(&self, look: impl FnOnce() -> T) -> (Totals, T) {
        let _gate = self
            .inner
            .gate
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        (self.inner.totals(), look())
    }

    /// A call begins.
    pub fn begin_call(&self) -> OpenCall {
        add(&self.inner.calls_in_flight, 1);
        OpenCall {
            inner: Arc::clone(&self.inner),
            begun: Instant::now(),
        }
    }

    /// How long calls took.
    pub fn call_times(&self) -> Distribution {
        self.inner.call_times.distribution()
    }

    /// The destination took a record as long as this.
    pub fn billed(&self, record_bytes: usize) {
        let bytes = record_bytes as u64;
        add(
            &self.inner.billed_bytes,
            bytes.div_ceil(BILLED_STEP_BYTES).max(1) * BILLED_STEP_BYTES,
        );
    }

    /// So many statuses were given to the broker.
    pub fn statuses_published(&self, statuses: usize) {
        add(&self.inner.statuses_published, statuses as u64);
    }
}

/// A call under way; one that is dropped was given up.
#[derive(Debug)]
pub struct OpenCall {
    inner: Arc<Inner>,
    begun: Instant,
}

impl OpenCall {
    /// It has ended, and carried so many Firehose records.
    pub fn end(self, end: CallEnd, records: usize) {
        let counter = match end {
            CallEnd::Complete => &self.inner.calls_complete,
            CallEnd::Partial => &self.inner.calls_partial,
            CallEnd::Failed => &self.inner.calls_failed,
        };
        add(counter, 1);
        add(&self.inner.batch_records, records as u64);
        self.inner.call_times.observe(self.begun.elapsed());
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.inner.calls_in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An open entry: what moves is noted in it, and the queue changed while it lives.
#[derive(Debug)]
pub struct Entry<'a> {
    inner: &'a Inner,
    _gate: RwLockReadGuard<'a, ()>,
}

impl Entry<'_> {
    /// Queues took these records in.
    pub fn received(&self, records: usize, bytes: usize) {
        add(&self.inner.received, records as u64);
        add(&self.inner.received_bytes, bytes as u64);
    }

    /// A request never became a record.
    pub fn rejected(&self, code: &str) {
        add(&self.inner.received, 1);
        count(&self.inner.rejected, code, 1);
    }

    /// The destination has these records.
    pub fn delivered(&self, records: usize, bytes: usize) {
        add(&self.inner.delivered, records as u64);
        add(&self.inner.delivered_bytes, bytes as u64);
    }

    /// These records ended, and the destination does not have them.
    pub fn failed(&self, code: &str, records: usize) {
        if records > 0 {
            count(&self.inner.failed, code, records as u64);
        }
    }

    /// These records stay in their queue, to be sent again.
    pub fn retried(&self, records: usize) {
        add(&self.inner.retried, records as u64);
    }
}

impl Inner {
    fn totals(&self) -> Totals {
        Totals {
            received: get(&self.received),
            received_bytes: get(&self.received_bytes),
            delivered: get(&self.delivered),
            delivered_bytes: get(&self.delivered_bytes),
            retried: get(&self.retried),
            failed: copy(&self.failed),
            rejected: copy(&self.rejected),
            billed_bytes: get(&self.billed_bytes),
            statuses_published: get(&self.statuses_published),
            calls_complete: get(&self.calls_complete),
            calls_partial: get(&self.calls_partial),
            calls_failed: get(&self.calls_failed),
            calls_in_flight: get(&self.calls_in_flight),
            batch_records: get(&self.batch_records),
        }
    }
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn count(by_code: &Mutex<ByCode>, code: &str, more: u64) {
    let mut by_code = by_code.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(counter) = by_code.get_mut(code) {
        *counter += more;
        return;
    }
    let is_ours = Code::ALL.iter().any(|ours| ours.as_str() == code);
    let code = if is_ours || by_code.len() < CODES_MAX {
        code
    } else {
        OTHER_CODE
    };
    *by_code.entry(code.to_owned()).or_default() += more;
}

fn copy(by_code: &Mutex<ByCode>) -> ByCode {
    by_code
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_looks_waits_for_open_entries_and_sees_all_of_them() {
        let ledger = Ledger::default();
        let entry = ledger.entry();
        entry.received(2, 20);
        let looking = std::thread::spawn({
            let ledger = ledger.clone();
            move || ledger.balance(|| ()).0
        });
        entry.delivered(1, 10);
        // Time enough to look, for whoever would not wait.
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!looking.is_finished());
        entry.failed("Expired", 1);
        drop(entry);
        let totals = looking.join().unwrap();
        assert_eq!((totals.received, totals.delivered), (2, 1));
        assert_eq!(totals.failed_records(), 1);
    }

    #[test]
    fn a_rejection_is_received_and_rejected() {
        let ledger = Ledger::default();
        ledger.entry().rejected("InvalidRequest");
        let (totals, ()) = ledger.balance(|| ());
        assert_eq!((totals.received, totals.rejected_requests()), (1, 1));
        assert_eq!(totals.received_bytes, 0);
    }

    #[test]
    fn codes_from_outside_are_bounded() {
        let ledger = Ledger::default();
        for code in 0..1000 {
            ledger.entry().failed(&format!("Code{code}"), 1);
        }
        let (totals, ()) = ledger.balance(|| ());
        assert_eq!(totals.failed.len(), CODES_MAX + 1);
        assert_eq!(totals.failed[OTHER_CODE], 1000 - CODES_MAX as u64);
        ledger.entry().failed("Expired", 1);
        assert_eq!(ledger.balance(|| ()).0.failed["Expired"], 1, "ours");
    }

    #[test]
    fn each_record_is_billed_rounded_up() {
        let ledger = Ledger::default();
        for bytes in [0, 1, 5120, 5121] {
            ledger.billed(bytes);
        }
        let (totals, ()) = ledger.balance(|| ());
        assert_eq!(totals.billed_bytes, (1 + 1 + 1 + 2) * 5120);
    }
}
