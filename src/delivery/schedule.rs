//! When the records of a stream are due: the publish interval and its exceptions. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::batch::Batch;

/// The publish interval of one stream. It begins with the first record that waits; when it ends,
/// all that waits then is due, and what comes back from a failed call waits for the next one.
#[derive(Debug)]
pub struct Schedule {
    /// `PUBLISH_INTERVAL`; zero: every record is due at once.
    interval: Duration,
    /// `PUBLISH_WHEN_FULL`: a full batch is due at once.
    when_full: bool,
    /// When the running interval ends; `None` where nothing waits.
    ends: Option<Instant>,
    /// Records that were waiting when the last interval ended and are not sent yet.
    due: usize,
    /// Whether everything is due at once, as the connector stops.
    rushed: bool,
}

impl Schedule {
    /// A schedule with nothing waiting.
    pub fn new(interval: Duration, when_full: bool) -> Self {
        Schedule {
            interval,
            when_full,
            ends: None,
            due: 0,
            rushed: false,
        }
    }

    /// Tells how many records wait now; starts and ends intervals.
    pub fn observe(&mut self, waiting: usize, now: Instant) {
        self.due = self.due.min(waiting);
        if waiting == 0 {
            self.ends = None;
            return;
        }
        match self.ends {
            Some(ends) if ends <= now => {
                self.due = waiting;
                self.ends = None;
            }
            None if self.due == 0 => self.ends = Some(now + self.interval),
            _ => {}
        }
    }

    /// Whether this next batch may go now. It is as good as full where memory is: `pressed`.
    pub fn is_due(&self, batch: Batch, pressed: bool) -> bool {
        self.is_all_due() || (self.when_full && (batch.full || pressed))
    }

    /// Whether whatever waits may go now, be it full or not.
    pub fn is_all_due(&self) -> bool {
        self.interval.is_zero() || self.rushed || self.due > 0
    }

    /// Tells that `records` from the front were sent.
    pub fn sent(&mut self, records: usize) {
        self.due = self.due.saturating_sub(records);
    }

    /// When the interval ends.
    pub fn ends(&self) -> Option<Instant> {
        self.ends
    }

    /// Makes everything due at once, from now on: the connector stops. Whether that is new.
    pub fn rush(&mut self) -> bool {
        !std::mem::replace(&mut self.rushed, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: Batch = Batch {
        records: 3,
        data_bytes: 3,
        full: false,
    };
    const FULL: Batch = Batch {
        records: 500,
        data_bytes: 500,
        full: true,
    };
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn all_that_waits_at_the_end_of_the_interval_goes_and_retries_wait_for_the_next() {
        let start = Instant::now();
        let mut schedule = Schedule::new(10 * SECOND, true);
        schedule.observe(0, start);
        assert_eq!(schedule.ends(), None);
        schedule.observe(3, start);
        assert_eq!(schedule.ends(), Some(start + 10 * SECOND));
        schedule.observe(3, start + 9 * SECOND);
        assert!(!schedule.is_due(PART, false) && schedule.is_due(FULL, false));
        assert!(schedule.is_due(PART, true));
        schedule.observe(3, start + 10 * SECOND);
        assert!(schedule.is_due(PART, false));
        schedule.sent(3);
        // All three come back.
        schedule.observe(3, start + 11 * SECOND);
        assert!(!schedule.is_due(PART, false));
        assert_eq!(schedule.ends(), Some(start + 21 * SECOND));
    }

    #[test]
    fn what_arrives_while_the_due_ones_wait_gets_an_interval_of_its_own() {
        let start = Instant::now();
        let mut schedule = Schedule::new(SECOND, false);
        schedule.observe(600, start);
        schedule.observe(600, start + SECOND);
        assert!(schedule.is_due(FULL, false));
        schedule.sent(500);
        schedule.observe(150, start + SECOND);
        assert!(schedule.is_due(PART, false));
        schedule.sent(100);
        schedule.observe(50, start + SECOND);
        assert!(!schedule.is_due(PART, false) && !schedule.is_due(FULL, false));
        assert_eq!(schedule.ends(), Some(start + 2 * SECOND));
    }

    #[test]
    fn no_interval_means_at_once() {
        let now = Instant::now();
        let mut schedule = Schedule::new(Duration::ZERO, true);
        schedule.observe(1, now);
        assert!(schedule.is_due(PART, false));
        let mut stopping = Schedule::new(900 * SECOND, false);
        stopping.observe(1, now);
        assert!(!stopping.is_due(PART, false));
        assert!(stopping.rush() && !stopping.rush());
        assert!(stopping.is_due(PART, false));
    }
}
