//! What the log says about a stream: changes of its state, not repetitions.

use std::time::Duration;

use tokio::time::Instant;

use crate::arn::DeliveryStreamArn;
use crate::destination::{Outcome, ServiceError};

/// Shortest time between a log line of one stream and the next that tells of trouble: one that
/// flaps does not fill the log.
const PAUSE: Duration = Duration::from_secs(10);

/// Of how many records an error is told.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    /// All of them.
    pub records: usize,
    /// Those that are sent again.
    pub retried: usize,
}

/// Remembers what was logged last.
#[derive(Debug, Default)]
pub struct TroubleLog {
    /// The code of the trouble; `None` where all is well.
    code: Option<String>,
    /// When that was logged.
    at: Option<Instant>,
    /// Calls that brought errors since all was well, and when the first of them ended.
    failing: Option<(u64, Instant)>,
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
        let retried = outcomes
            .iter()
            .filter(|outcome| matches!(outcome, Outcome::Retry(_)))
            .count();
        match outcomes.iter().find_map(Outcome::error) {
            Some(error) => {
                let (calls, _) = self.failing.get_or_insert((0, now));
                *calls += 1;
                let counts = Counts {
                    records: outcomes.len(),
                    retried,
                };
                self.note_trouble(stream, error, counts, retry_at, now);
            }
            None => self.note_success(stream, outcomes.len(), now),
        }
    }

    /// Notes trouble with this many records, of which some are sent again.
    pub fn note_trouble(
        &mut self,
        stream: &DeliveryStreamArn,
        error: &ServiceError,
        Counts { records, retried }: Counts,
        retry_at: Option<Instant>,
        now: Instant,
    ) {
        let recently = self.at.is_some_and(|at| now.duration_since(at) < PAUSE);
        if recently || self.code.as_ref() == Some(&error.code) {
            return;
        }
        tracing::warn!(
            %stream,
            records,
            retried,
            error.code = %error.code,
            error.message = %error.message,
            retry_in_ms = retry_at.map(|at| at.saturating_duration_since(now).as_millis()),
            "{}",
            if retried > 0 {
                "delivery is in trouble; the records are kept and sent again"
            } else {
                "records failed for good; someone has to act"
            },
        );
        self.code = Some(error.code.clone());
        self.at = Some(now);
    }

    /// That it works again is always told: it may be the last there is to tell for long.
    fn note_success(&mut self, stream: &DeliveryStreamArn, records: usize, now: Instant) {
        let failing = self.failing.take();
        if self.code.take().is_some() {
            let (failed_calls, since) = failing.unwrap_or((0, now));
            let failing_s = now.saturating_duration_since(since).as_secs();
            tracing::info!(%stream, records, failed_calls, failing_s, "delivery works again");
            self.at = Some(now);
        }
    }
}
