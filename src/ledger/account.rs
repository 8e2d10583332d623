//! What the ledger knows of one stream: its totals, and what is wrong with it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// What ails a stream at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The code of the last error.
    pub code: String,
    /// Its message.
    pub message: String,
    /// Since when calls have not gone well.
    pub since: SystemTime,
    /// When it is tried again; `None` where nothing waits to be sent again.
    pub retry_at: Option<SystemTime>,
}

/// What was counted of one stream since it came into use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamTotals {
    /// Records that its queue took in.
    pub received: u64,
    /// Records that were delivered.
    pub delivered: u64,
    /// Records that failed.
    pub failed: u64,
}

/// The account of one stream.
#[derive(Debug, Default)]
pub struct StreamAccount {
    received: AtomicU64,
    delivered: AtomicU64,
    failed: AtomicU64,
    trouble: Mutex<Option<Trouble>>,
}

impl StreamAccount {
    /// Its queue took these records in.
    pub fn received(&self, records: usize) {
        self.received.fetch_add(records as u64, Ordering::Relaxed);
    }

    /// These records were delivered.
    pub fn delivered(&self, records: usize) {
        self.delivered.fetch_add(records as u64, Ordering::Relaxed);
    }

    /// These records failed.
    pub fn failed(&self, records: usize) {
        self.failed.fetch_add(records as u64, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn totals(&self) -> StreamTotals {
        StreamTotals {
            received: self.received.load(Ordering::Relaxed),
            delivered: self.delivered.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    /// A call brought an error. Trouble of which there was some already began then.
    pub fn ails(&self, code: &str, message: &str, retry_at: Option<SystemTime>, now: SystemTime) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let since = trouble.as_ref().map_or(now, |trouble| trouble.since);
        *trouble = Some(Trouble {
            code: code.to_owned(),
            message: message.to_owned(),
            since,
            retry_at,
        });
    }

    /// A call went well.
    pub fn recovers(&self) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What ails it; `None` where the last call went well.
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn trouble_began_with_the_first_error_and_speaks_of_the_last() {
        let account = StreamAccount::default();
        let start = SystemTime::UNIX_EPOCH;
        account.ails("Timeout", "no answer", None, start);
        let later = start + Duration::from_secs(9);
        account.ails("AccessDeniedException", "not allowed", Some(later), later);
        let trouble = account.trouble().unwrap();
        assert_eq!((trouble.since, trouble.retry_at), (start, Some(later)));
        assert_eq!(trouble.code, "AccessDeniedException");
        account.recovers();
        assert_eq!(account.trouble(), None);
    }
}
