//! When records were received, as it is written and as it is reckoned with.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::utc::whole_ms;

/// 2026-01-01: a device whose clock says less has not been told the time yet.
const PLAUSIBLE_UNIX_MS: u64 = 1_767_225_600_000;

/// Translates between instants of this process and Unix time. The clock of the machine is asked once:
/// one that is set while the process runs changes no age.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    start_unix_ms: u64,
}

impl Clock {
    /// A clock that starts at this instant, when the machine's clock showed that.
    pub fn new(start: Instant, wall: SystemTime) -> Self {
        let since_epoch = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock {
            start,
            start_unix_ms: whole_ms(since_epoch),
        }
    }

    /// Unix time in milliseconds of an instant of this process.
    pub fn unix_ms(&self, instant: Instant) -> u64 {
        let since = instant.saturating_duration_since(self.start);
        self.start_unix_ms.saturating_add(whole_ms(since))
    }

    /// The instant of a Unix time. Of one before the start, as far back as it says, unless it was taken
    /// by a clock that was not set: then it counts from the start.
    pub fn instant(&self, unix_ms: u64) -> Instant {
        if let Some(since) = unix_ms.checked_sub(self.start_unix_ms) {
            let instant = self.start.checked_add(Duration::from_millis(since));
            // One that is yet to come was taken by a clock that went ahead of this one.
            return instant
                .filter(|&instant| instant <= Instant::now())
                .unwrap_or(self.start);
        }
        if unix_ms < PLAUSIBLE_UNIX_MS && self.start_unix_ms >= PLAUSIBLE_UNIX_MS {
            return self.start;
        }
        let before = Duration::from_millis(self.start_unix_ms - unix_ms);
        self.start.checked_sub(before).unwrap_or(self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_survive_a_restart_but_not_a_clock_that_was_not_set() {
        let start = Instant::now();
        let now_ms = PLAUSIBLE_UNIX_MS + 1_000_000;
        let clock = Clock::new(start, UNIX_EPOCH + Duration::from_millis(now_ms));
        let later = start + Duration::from_secs(5);
        assert_eq!(clock.unix_ms(later), now_ms + 5000);
        assert_eq!(clock.instant(now_ms + 3_600_000), start);
        assert_eq!(
            start - clock.instant(now_ms - 60_000),
            Duration::from_secs(60)
        );
        assert_eq!(clock.instant(86_400_000), start);
        let unset = Clock::new(start, UNIX_EPOCH + Duration::from_secs(100));
        assert_eq!(start - unset.instant(40_000), Duration::from_secs(60));
    }
}
