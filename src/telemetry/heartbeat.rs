//! The connector's own status: its figures as small JSON for fleets that have MQTT and no HTTP.

use std::time::Duration;

use serde::Serialize;

use super::health::Readiness;
use super::observer::Snapshot;
use crate::utc::unix_ms;

/// What the broker is to publish when the connection breaks.
pub const OFFLINE: &str = "{\"state\":\"offline\"}";

/// The figures, as they are published.
#[derive(Debug, Serialize)]
struct Status<'a> {
    /// `online`; what a subscriber finds otherwise is [`OFFLINE`].
    state: &'static str,
    client_id: &'a str,
    version: &'static str,
    /// Unix seconds.
    time: u64,
    uptime_s: u64,
    ready: bool,
    /// Why it is not, a sentence for each part that is not as it should be.
    not_ready: Vec<String>,
    received: u64,
    delivered: u64,
    failed: u64,
    rejected: u64,
    held: u64,
    retried: u64,
    /// Of the oldest record that waits; `null` where none does.
    oldest_record_s: Option<u64>,
    delivered_bytes: u64,
    billed_bytes: u64,
    calls: u64,
    calls_failed: u64,
    mqtt_reconnects: u64,
    statuses_dropped: usize,
    dead_letters: u64,
    queue_dir_bytes: Option<u64>,
}

/// The status that a snapshot makes.
pub fn status(snapshot: &Snapshot) -> String {
    let totals = &snapshot.totals;
    let readiness = Readiness::of(snapshot);
    let unwell = readiness.parts.into_iter().filter(|part| !part.ok);
    let status = Status {
        state: "online",
        client_id: &snapshot.facts.client_id,
        version: env!("CARGO_PKG_VERSION"),
        time: unix_ms(snapshot.now) / 1000,
        uptime_s: snapshot.uptime.as_secs(),
        ready: readiness.ok,
        not_ready: unwell.map(|part| part.reason).collect(),
        received: totals.received,
        delivered: totals.delivered,
        failed: totals.failed_records(),
        rejected: totals.rejected_requests(),
        held: snapshot.held,
        retried: totals.retried,
        oldest_record_s: snapshot.oldest_age().as_ref().map(Duration::as_secs),
        delivered_bytes: totals.delivered_bytes,
        billed_bytes: totals.billed_bytes,
        calls: totals.calls(),
        calls_failed: totals.calls_failed,
        mqtt_reconnects: snapshot.session.connections.saturating_sub(1),
        statuses_dropped: snapshot.statuses_dropped,
        dead_letters: snapshot
            .dead_letters
            .map_or(0, |letters| letters.counts.buried),
        queue_dir_bytes: snapshot.disk.as_ref().map(|disk| disk.bytes),
    };
    // Numbers and text only: nothing that could not be written.
    serde_json::to_string(&status).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_small_and_says_what_is_not_ready() {
        let mut snapshot = Snapshot::sample();
        snapshot.uptime = Duration::from_secs(90);
        snapshot.held = 7;
        snapshot.streams[1].oldest_age = Some(Duration::from_millis(5500));
        snapshot.session.subscribed = false;
        let text = status(&snapshot);
        assert!(text.len() < 1000, "{text}");
        let status: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&status["state"], &status["ready"]),
            (&"online".into(), &false.into())
        );
        assert_eq!(status["not_ready"].as_array().map(Vec::len), Some(1));
        assert_eq!(
            (&status["uptime_s"], &status["held"]),
            (&90.into(), &7.into())
        );
        assert_eq!(status["oldest_record_s"], 5);
        let offline: serde_json::Value = serde_json::from_str(OFFLINE).unwrap();
        assert_eq!(offline["state"], "offline");
    }
}
