//! What the ledger knows of one stream: its totals, and what is wrong with it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// After how long without an error, and with nothing to send, a stream is taken to be well: the next call
/// tells.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

/// What ails a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The code of the last error.
    pub code: String,
    /// Its message.
    pub message: String,
    /// For how long calls have not gone without errors.
    pub lasting: Duration,
    /// For how long calls have delivered nothing at all; `None` where some is delivered.
    pub failing: Option<Duration>,
    /// When it is tried again; `None` where nothing waits for that.
    pub retry_in: Option<Duration>,
}

/// What a call brought, if not all went well.
#[derive(Debug, Clone, Copy)]
pub struct Ailment<'a> {
    /// The code of an error.
    pub code: &'a str,
    /// Its message.
    pub message: &'a str,
    /// Whether some of its records were delivered all the same.
    pub delivers: bool,
    /// When the stream is tried again.
    pub retry_at: Option<Instant>,
}

/// What was counted of one stream since it came into use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamTotals {
    /// Records that its queue took in, and those that it held at the start.
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
    trouble: Mutex<Option<Ails>>,
}

/// Trouble, by the clock that nobody sets.
#[derive(Debug)]
struct Ails {
    code: String,
    message: String,
    since: Instant,
    failing_since: Option<Instant>,
    last: Instant,
    retry_at: Option<Instant>,
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
    pub fn ails(&self, ailment: Ailment<'_>, now: Instant) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let before = trouble.take();
        let failing_since = before.as_ref().and_then(|before| before.failing_since);
        *trouble = Some(Ails {
            code: ailment.code.to_owned(),
            message: ailment.message.to_owned(),
            since: before.map_or(now, |before| before.since),
            failing_since: (!ailment.delivers).then(|| failing_since.unwrap_or(now)),
            last: now,
            retry_at: ailment.retry_at,
        });
    }

    /// A call went well.
    pub fn recovers(&self) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What ails it; `None` where the last call went well, or was long ago and nothing is left of it:
    /// `is_idle` says that the stream holds no record.
    pub fn trouble(&self, is_idle: bool, now: Instant) -> Option<Trouble> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = |since: Instant| now.saturating_duration_since(since);
        let ails = trouble.as_ref()?;
        if is_idle && passed(ails.last) >= FORGIVEN_AFTER {
            return None;
        }
        let waits = |at: &Instant| !is_idle && *at > now;
        Some(Trouble {
            code: ails.code.clone(),
            message: ails.message.clone(),
            lasting: passed(ails.since),
            failing: ails.failing_since.map(passed),
            retry_in: ails.retry_at.filter(waits).map(|at| at - now),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ailment(code: &str, delivers: bool, retry_at: Option<Instant>) -> Ailment<'_> {
        Ailment {
            code,
            message: "it says",
            delivers,
            retry_at,
        }
    }

    #[test]
    fn trouble_began_with_the_first_error_and_speaks_of_the_last() {
        let (account, start) = (StreamAccount::default(), Instant::now());
        account.ails(ailment("Timeout", false, None), start);
        let later = start + 9 * SECOND;
        let again = ailment("AccessDeniedException", false, Some(later + SECOND));
        account.ails(again, later);
        let trouble = account.trouble(false, later).unwrap();
        assert_eq!(trouble.code, "AccessDeniedException");
        assert_eq!(
            (trouble.lasting, trouble.failing),
            (9 * SECOND, Some(9 * SECOND))
        );
        assert_eq!(trouble.retry_in, Some(SECOND));
        let past = account.trouble(false, later + 2 * SECOND).unwrap();
        assert_eq!(past.retry_in, None, "it is being tried");
        account.recovers();
        assert_eq!(account.trouble(false, later), None);
    }

    #[test]
    fn a_stream_that_delivers_some_is_in_trouble_and_does_not_fail() {
        let (account, start) = (StreamAccount::default(), Instant::now());
        account.ails(ailment("Timeout", false, None), start);
        account.ails(
            ailment("ServiceUnavailableException", true, None),
            start + SECOND,
        );
        let trouble = account.trouble(false, start + 2 * SECOND).unwrap();
        assert_eq!((trouble.lasting, trouble.failing), (2 * SECOND, None));
        account.ails(ailment("Timeout", false, None), start + 3 * SECOND);
        let trouble = account.trouble(false, start + 5 * SECOND).unwrap();
        assert_eq!(trouble.failing, Some(2 * SECOND), "since it delivered none");
    }

    #[test]
    fn what_is_over_is_forgiven_and_what_waits_is_not() {
        let (account, start) = (StreamAccount::default(), Instant::now());
        account.ails(ailment("InvalidArgumentException", false, None), start);
        let later = start + FORGIVEN_AFTER;
        assert!(account.trouble(true, later - SECOND).is_some());
        assert_eq!(account.trouble(true, later), None);
        assert!(account.trouble(false, later).is_some());
    }
}
