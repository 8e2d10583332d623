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

/// Logs what happened between two looks; nothing where nothing did.
fn log_minute(before: &Snapshot, now: &Snapshot) {
    let since = |figure: fn(&Snapshot) -> u64| figure(now).saturating_sub(figure(before));
    let received = since(|snapshot| snapshot.totals.received);
    let calls = since(|snapshot| snapshot.totals.calls());
    if received == 0 && calls == 0 && now.held == 0 {
        return;
    }
    let (p50_ms, _) = latency_ms(&now.call_times.since(&before.call_times));
    tracing::info!(
        received,
        delivered = since(|snapshot| snapshot.totals.delivered),
        retried = since(|snapshot| snapshot.totals.retried),
        failed = since(|snapshot| snapshot.totals.failed_records()),
        rejected = since(|snapshot| snapshot.totals.rejected_requests()),
        held = now.held,
        oldest_s = now.oldest_age().unwrap_or_default().as_secs(),
        calls,
        calls_failed = since(|snapshot| snapshot.totals.calls_failed),
        call_ms = p50_ms.map(f64::round),
        "the last minute"
    );
}
