//! How long a stream waits after failures. Pure: time and randomness come in as arguments.

use std::time::Duration;

use tokio::time::Instant;

/// The first wait, before jitter.
const BASE: Duration = Duration::from_millis(200);

/// The longest wait, before jitter: after an outage of hours a stream is back within this.
const BOUND: Duration = Duration::from_secs(30);

/// Doubling waits with jitter. Calls run in parallel, so the failures of calls that were under
/// way together count as one.
#[derive(Debug, Default)]
pub struct Backoff {
    /// Failures in a row.
    failures: u32,
    /// Until when nothing is sent.
    until: Option<Instant>,
    /// Goes up with each failure that counts; a call remembers the one it started in.
    generation: u64,
}

impl Backoff {
    /// What a call has to bring back to [`Backoff::failed`].
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// A call delivered: the stream is well again at once.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.until = None;
    }

    /// A call delivered part of its records: a pause, not a growing one, since there is progress.
    pub fn partly_failed(&mut self, now: Instant, dice: f64) {
        self.failures = 0;
        self.until = Some(now + jitter(BASE, dice));
    }

    /// A call delivered nothing. `dice` is a random number from 0 to 1. `false`: one that was under
    /// way with it has counted already.
    pub fn failed(&mut self, generation: u64, now: Instant, dice: f64) -> bool {
        if generation != self.generation {
            return false;
        }
        self.generation += 1;
        self.failures = self.failures.saturating_add(1);
        let doubled = BASE.saturating_mul(1 << (self.failures - 1).min(16));
        self.until = Some(now + jitter(doubled.min(BOUND), dice));
        true
    }

    /// Ends the present wait, and should it fail again the waits begin small: the connector stops,
    /// and there is no time for long ones. One call at a time tries still.
    pub fn try_now(&mut self) {
        self.until = None;
        self.failures = self.failures.min(1);
    }

    /// Until when nothing is sent; `None` where it may be sent now.
    pub fn until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }

    /// Whether the last calls failed: then one call at a time tries whether it works again.
    pub fn is_probing(&self) -> bool {
        self.failures > 0
    }
}

/// Half of the wait is fixed, half is random: devices that failed together do not return together.
fn jitter(wait: Duration, dice: f64) -> Duration {
    wait.mul_f64(0.5 + 0.5 * dice.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_a_bound_and_recovers_at_once() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        let mut waits = Vec::new();
        for _ in 0..12 {
            backoff.failed(backoff.generation(), now, 1.0);
            waits.push(backoff.until(now).unwrap() - now);
        }
        assert_eq!(waits[..4], [200, 400, 800, 1600].map(Duration::from_millis));
        assert_eq!(waits[11], BOUND);
        assert!(backoff.is_probing());
        backoff.succeeded();
        assert_eq!((backoff.until(now), backoff.is_probing()), (None, false));
        backoff.failed(backoff.generation(), now, 0.0);
        assert_eq!(backoff.until(now), Some(now + Duration::from_millis(100)));
        assert_eq!(backoff.until(now + Duration::from_millis(100)), None);
    }

    #[test]
    fn calls_under_way_together_count_once() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        let started_in = backoff.generation();
        for _ in 0..16 {
            backoff.failed(started_in, now, 1.0);
        }
        assert_eq!(backoff.until(now), Some(now + BASE));
    }

    #[test]
    fn a_failure_never_overflows() {
        let now = Instant::now();
        let mut backoff = Backoff {
            failures: u32::MAX,
            ..Backoff::default()
        };
        backoff.failed(0, now, 1.0);
        assert_eq!(backoff.until(now), Some(now + BOUND));
    }

    #[test]
    fn a_wait_can_be_cut_short_without_forgetting_the_failures() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        for _ in 0..9 {
            backoff.failed(backoff.generation(), now, 1.0);
        }
        backoff.try_now();
        assert!(backoff.until(now).is_none() && backoff.is_probing());
        backoff.failed(backoff.generation(), now, 1.0);
        assert_eq!(backoff.until(now), Some(now + 2 * BASE));
    }

    #[test]
    fn partial_failures_pause_without_growing() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            backoff.partly_failed(now, 1.0);
        }
        assert_eq!(backoff.until(now), Some(now + BASE));
        assert!(!backoff.is_probing());
    }
}
