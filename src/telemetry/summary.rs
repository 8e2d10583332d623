//! A line in the log for each minute in which anything happened: what a person at the end of an ssh
//! connection wants to see, without asking.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval_at};

use super::observer::{Observer, Snapshot};
use super::rates::latency_ms;

/// Time between two lines.
const EVERY: Duration = Duration::from_secs(60);

/// Writes the lines, for ever.
pub async fn summarize(observer: Observer) {
    let mut ticks = interval_at(tokio::time::Instant::now() + EVERY, EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = observer.look();
    loop {
        ticks.tick().await;
        let now = observer.look();
        log_minute(&before, &now);
        before = now;
    }
}

/// What happened between two looks.
#[derive(Debug, PartialEq)]
struct Minute {
    received: u64,
    delivered: u64,
    retried: u64,
    failed: u64,
    rejected: u64,
    calls: u64,
    calls_failed: u64,
    /// Median of the calls, in milliseconds.
    call_ms: Option<f64>,
}

impl Minute {
    /// `None` where nothing happened, and nothing waits.
    fn between(before: &Snapshot, now: &Snapshot) -> Option<Self> {
        let since = |figure: fn(&Snapshot) -> u64| figure(now).saturating_sub(figure(before));
        let (call_ms, _) = latency_ms(&now.call_times.since(&before.call_times));
        let minute = Minute {
            received: since(|snapshot| snapshot.totals.received),
            delivered: since(|snapshot| snapshot.totals.delivered),
            retried: since(|snapshot| snapshot.totals.retried),
            failed: since(|snapshot| snapshot.totals.failed_records()),
            rejected: since(|snapshot| snapshot.totals.rejected_requests()),
            calls: since(|snapshot| snapshot.totals.calls()),
            calls_failed: since(|snapshot| snapshot.totals.calls_failed),
            call_ms: call_ms.map(f64::round),
        };
        let anything = minute.received + minute.calls + now.held > 0;
        anything.then_some(minute)
    }
}

fn log_minute(before: &Snapshot, now: &Snapshot) {
    let Some(minute) = Minute::between(before, now) else {
        return;
    };
    tracing::info!(
        received = minute.received,
        delivered = minute.delivered,
        retried = minute.retried,
        failed = minute.failed,
        rejected = minute.rejected,
        held = now.held,
        oldest_s = now.oldest_age().unwrap_or_default().as_secs(),
        calls = minute.calls,
        calls_failed = minute.calls_failed,
        call_ms = minute.call_ms,
        "the last minute"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_in_which_nothing_happened_has_no_line() {
        let (before, mut now) = (Snapshot::sample(), Snapshot::sample());
        assert_eq!(Minute::between(&before, &now), None);
        now.held = 1;
        assert!(Minute::between(&before, &now).is_some(), "something waits");
        now.held = 0;
        now.totals.received = 7;
        now.totals.failed.insert("Expired".to_owned(), 2);
        let minute = Minute::between(&before, &now).unwrap();
        assert_eq!((minute.received, minute.failed), (7, 2));
        assert_eq!(
            Minute::between(&now, &now),
            None,
            "what is past is told already"
        );
    }
}
