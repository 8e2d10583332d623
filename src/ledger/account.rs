//! What the ledger knows of one stream: its totals, and what is wrong with it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// After how long without an error, and with nothing to send, a stream is taken to be well: the next call
/// tells.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

/// For how long after a record found no room a stream is called full.
const FULL_FOR: Duration = Duration::from_secs(10);

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
    full: Mutex<Option<Full>>,
}

/// Where a record found no room.
#[derive(Debug)]
struct Full {
    /// The parameter that bounds it.
    bound: &'static str,
    /// Until when that counts; `None`: while records wait for room.
    until: Option<Instant>,
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

    /// A record found no room within a bound, and was refused, or another dropped for it.
    pub fn refuses(&self, bound: &'static str, now: Instant) {
        let until = Some(now + FULL_FOR);
        self.note_full(Full { bound, until });
    }

    /// Records wait for room within a bound.
    pub fn waits(&self, bound: &'static str) {
        self.note_full(Full { bound, until: None });
    }

    /// While records wait nothing changes: what the first of them waits for, the others wait for too.
    fn note_full(&self, noted: Full) {
        let mut full = self.full();
        if full.as_ref().is_none_or(|full| full.until.is_some()) {
            *full = Some(noted);
        }
    }

    /// No record waits for room any more.
    pub fn waits_no_more(&self) {
        *self.full() = None;
    }

    /// The parameter whose bound keeps records out, if any does.
    pub fn full_by(&self, now: Instant) -> Option<&'static str> {
        let full = self.full();
        let counts = |full: &&Full| full.until.is_none_or(|until| now < until);
        full.as_ref().filter(counts).map(|full| full.bound)
    }

    fn full(&self) -> MutexGuard<'_, Option<Full>> {
        self.full.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn a_stream_is_full_a_while_after_a_refusal_and_as_long_as_records_wait() {
        let (account, start) = (StreamAccount::default(), Instant::now());
        assert_eq!(account.full_by(start), None);
        account.refuses("MEMORY_SIZE", start);
        account.refuses("QUEUE_DIR_MAX_BYTES", start + SECOND);
        let full_by = account.full_by(start + FULL_FOR);
        assert_eq!(full_by, Some("QUEUE_DIR_MAX_BYTES"));
        assert_eq!(account.full_by(start + SECOND + FULL_FOR), None);
        account.waits("MEMORY_SIZE");
        account.waits("DELIVERY_STREAM_QUEUE_SIZE");
        account.refuses("QUEUE_DIR_MAX_BYTES", start);
        assert_eq!(account.full_by(start + 100 * FULL_FOR), Some("MEMORY_SIZE"));
        account.waits_no_more();
        assert_eq!(account.full_by(start), None);
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
