//! When to leave a connection alone for a moment. A broker that sends message by message wakes its reader
//! for each, and is woken by each acknowledgement: most of what a message costs on either side. Where messages
//! come that close, a reader that rests finds many at once, and acknowledges them together
//! (BENCHMARKS.md has the figures). Pure; time comes in as an argument.

use std::time::Duration;

use tokio::time::Instant;

/// How long a rest is. Timers tick in milliseconds, so it is up to twice this.
const REST: Duration = Duration::from_millis(1);

/// Messages that are looked at together.
const LOOK_MESSAGES: usize = 32;

/// When so many come within this (8,000 in a second), a rest finds more than it delays.
const LOOK_TIME: Duration = Duration::from_millis(4);

/// A read that brings as much as this is worth its wake-up, and more may wait behind it.
const WORTH_BYTES: usize = 16 * 1024;

/// The rests of one connection.
#[derive(Debug)]
pub(super) struct Rest {
    /// Whether the broker sends on when what it sent is not acknowledged at once.
    is_allowed: bool,
    /// Messages since `since`.
    messages: usize,
    since: Instant,
    /// Whether messages came close to each other lately.
    is_dense: bool,
    /// The end of the present rest.
    until: Option<Instant>,
}

impl Rest {
    /// For a new connection to a broker that has up to `window` messages under way to us.
    pub fn new(window: u16, now: Instant) -> Self {
        Rest {
            // With less, it would only wait for us meanwhile.
            is_allowed: usize::from(window) >= 8 * LOOK_MESSAGES,
            messages: 0,
            since: now,
            is_dense: false,
            until: None,
        }
    }

    /// Notes what a read brought.
    pub fn read(&mut self, messages: usize, bytes: usize, now: Instant) {
        self.messages += messages;
        if self.messages >= LOOK_MESSAGES {
            let time = now - self.since;
            // More than that came? Then in proportionally more time.
            let looks = u32::try_from(self.messages / LOOK_MESSAGES).unwrap_or(u32::MAX);
            self.is_dense = time <= LOOK_TIME * looks;
            (self.messages, self.since) = (0, now);
        }
        if self.is_allowed && self.is_dense && bytes < WORTH_BYTES {
            self.until = Some(now + REST);
        }
    }

    /// Until when nothing is to be read; `None` where it may be.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Ends a rest that is over.
    pub fn end(&mut self, now: Instant) {
        self.until = self.until.filter(|until| *until > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads of one message each, this far apart: how many rests they bring.
    fn rests(reads: usize, apart: Duration, window: u16) -> usize {
        let mut now = Instant::now();
        let mut rest = Rest::new(window, now);
        let mut rests = 0;
        for _ in 0..reads {
            now += apart;
            rest.read(1, 300, now);
            if let Some(until) = rest.until() {
                rests += 1;
                rest.end(until);
                assert_eq!(rest.until(), None);
            }
        }
        rests
    }

    #[test]
    fn only_where_messages_come_close() {
        assert!(rests(1000, Duration::from_micros(10), 1000) > 900);
        // 1,000 in a second: whoever sends those wants each of them soon.
        assert_eq!(rests(1000, Duration::from_millis(1), 1000), 0);
        // The broker has too few under way: it would wait for us.
        assert_eq!(rests(1000, Duration::from_micros(10), 20), 0);
    }

    #[test]
    fn a_pause_ends_a_dense_time() {
        let mut now = Instant::now();
        let mut rest = Rest::new(1000, now);
        rest.read(LOOK_MESSAGES, 10_000, now);
        assert!(rest.until().is_some());
        rest.end(now + REST);
        now += Duration::from_secs(1);
        rest.read(LOOK_MESSAGES, 10_000, now);
        assert_eq!(rest.until(), None);
    }

    #[test]
    fn a_read_that_brings_much_is_followed_by_another() {
        let now = Instant::now();
        let mut rest = Rest::new(1000, now);
        rest.read(200, 60_000, now);
        assert_eq!(rest.until(), None);
        rest.read(1, 300, now);
        assert!(rest.until().is_some());
    }

    #[test]
    fn a_rest_is_not_over_before_its_time() {
        let now = Instant::now();
        let mut rest = Rest::new(1000, now);
        rest.read(LOOK_MESSAGES, 10_000, now);
        rest.end(now + REST / 2);
        assert_eq!(rest.until(), Some(now + REST));
    }
}
