//! What the log says about a stream: changes of its state, not repetitions.

use std::time::Duration;

use tokio::time::Instant;

use crate::arn::DeliveryStreamArn;
use crate::destination::{Outcome, ServiceError};
use crate::utc::whole_ms;

#[cfg(test)]
mod tests;

/// Shortest time between a log line of one stream and the next that tells of trouble: one that
/// flaps does not fill the log.
const PAUSE: Duration = Duration::from_secs(10);

/// Most codes that are told of one stream until it works again. They come from outside.
const CODES_MAX: usize = 16;

/// After how long without one that expired, records are said to expire no longer.
const QUIET: Duration = Duration::from_secs(60);

/// What is told of a call that brought errors.
#[derive(Debug, Clone, Copy)]
struct Trouble<'a> {
    /// The first of them, of those that are sent again or of those that are not.
    error: &'a ServiceError,
    /// Records that it is about: all of the call where some are sent again, otherwise those that failed.
    records: usize,
    /// Those that are sent again.
    retried: usize,
}

/// Remembers what was logged.
#[derive(Debug, Default)]
pub struct TroubleLog {
    /// What was told of calls since all was well, and what was told a moment ago.
    told: Vec<Told>,
    /// When a line about calls was logged last.
    at: Option<Instant>,
    /// Calls that brought errors since it was last told that all is well. What was not told itself is
    /// counted with the next.
    failed_calls: u64,
    /// When the first call after the last success brought an error.
    failing_since: Option<Instant>,
    /// Apart from calls: records expire because calls fail, and where all of them go well but are too few.
    expiry: Option<Expiry>,
}

/// An error of calls that was told.
#[derive(Debug)]
struct Told {
    code: String,
    at: Instant,
    /// Whether all was well since.
    is_over: bool,
}

/// Records that expired since that was told.
#[derive(Debug)]
struct Expiry {
    records: usize,
    last: Instant,
}

impl TroubleLog {
    /// Notes what a call brought; `retry_at` is when the stream is tried again.
    pub fn note_call(
        &mut self,
        stream: &DeliveryStreamArn,
        outcomes: &[Outcome],
        retry_at: Option<Instant>,
        now: Instant,
    ) {
        let records = outcomes.len();
        let retries = outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Retry(error) => Some(error),
            Outcome::Delivered { .. } | Outcome::Failed(_) => None,
        });
        let failures = outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Failed(error) => Some(error),
            Outcome::Delivered { .. } | Outcome::Retry(_) => None,
        });
        let (retried, failed) = (retries.clone().count(), failures.clone().count());
        if retried + failed == 0 {
            return self.note_success(stream, records, now);
        }
        self.failed_calls += 1;
        self.failing_since.get_or_insert(now);
        // Of a call that brought both, both are told: one must not hide the other.
        let retried = retries.take(1).map(|error| Trouble {
            error,
            records,
            retried,
        });
        let failed = failures.take(1).map(|error| Trouble {
            error,
            records: failed,
            retried: 0,
        });
        for trouble in retried.chain(failed) {
            let retry_at = retry_at.filter(|_| trouble.retried > 0);
            self.note_trouble(stream, trouble, retry_at, now);
        }
    }

    /// Notes that this many records were not delivered in time.
    pub fn note_expiry(
        &mut self,
        stream: &DeliveryStreamArn,
        error: &ServiceError,
        records: usize,
        now: Instant,
    ) {
        let is_told = self.expiry.is_some();
        let expiry = self.expiry.get_or_insert(Expiry {
            records: 0,
            last: now,
        });
        expiry.records += records;
        expiry.last = now;
        if !is_told {
            tracing::warn!(
                %stream,
                records,
                error.code = %error.code,
                error.message = %error.message,
                "records expire; they are reported as failed, and so are more until delivery keeps up",
            );
        }
    }

    fn note_trouble(
        &mut self,
        stream: &DeliveryStreamArn,
        trouble: Trouble<'_>,
        retry_at: Option<Instant>,
        now: Instant,
    ) {
        let Trouble {
            error,
            records,
            retried,
        } = trouble;
        self.told
            .retain(|told| !told.is_over || now.duration_since(told.at) < PAUSE);
        if !self.is_news(&error.code, retried > 0, now) {
            return;
        }
        tracing::warn!(
            %stream,
            records,
            retried,
            error.code = %error.code,
            error.message = %error.message,
            retry_in_ms = retry_at.map(|at| whole_ms(at.saturating_duration_since(now))),
            "{}",
            if retried > 0 {
                "delivery is in trouble; the records are kept and sent again"
            } else {
                "records failed for good; someone has to act"
            },
        );
        self.told.retain(|told| told.code != error.code);
        self.told.push(Told {
            code: error.code.clone(),
            at: now,
            is_over: false,
        });
        self.at = Some(now);
    }

    /// Whether an error is to be told.
    fn is_news(&self, code: &str, is_retried: bool, now: Instant) -> bool {
        let told = self.told.iter().find(|told| told.code == code);
        if told.is_some_and(|told| !told.is_over) {
            return false;
        }
        if told.is_none() && self.told.len() >= CODES_MAX {
            return false;
        }
        // What is sent again may go well at once. What failed for good is told, unless the same was just now.
        let last = if is_retried {
            self.at
        } else {
            told.map(|told| told.at)
        };
        last.is_none_or(|at| now.duration_since(at) >= PAUSE)
    }

    /// That it works again is always told: it may be the last there is to tell for long.
    fn note_success(&mut self, stream: &DeliveryStreamArn, records: usize, now: Instant) {
        let since = self.failing_since.take().unwrap_or(now);
        if self.told.iter().any(|told| !told.is_over) {
            let failed_calls = std::mem::take(&mut self.failed_calls);
            let failing_s = now.saturating_duration_since(since).as_secs();
            tracing::info!(%stream, records, failed_calls, failing_s, "delivery works again");
            self.told.iter_mut().for_each(|told| told.is_over = true);
            self.at = Some(now);
        }
        let is_quiet = |expiry: &mut Expiry| now.duration_since(expiry.last) >= QUIET;
        if let Some(expiry) = self.expiry.take_if(is_quiet) {
            tracing::info!(%stream, expired = expiry.records, "records no longer expire");
        }
    }
}
