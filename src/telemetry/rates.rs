//! What happens per second: from the totals of the last seconds.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use serde::Serialize;

use super::observer::Snapshot;
use crate::ledger::{Distribution, StreamTotals};

/// Over how many looks, a second apart, a rate is taken: as long as the default publish interval, so that a
/// steady flow has steady rates.
const LOOKS: usize = 10;

/// Per second, over the last ten.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Rates {
    /// Requests.
    pub received: f64,
    /// Bytes of records.
    pub received_bytes: f64,
    /// Records.
    pub delivered: f64,
    /// Bytes of records.
    pub delivered_bytes: f64,
    /// Records put back.
    pub retried: f64,
    /// Records.
    pub failed: f64,
    /// Requests.
    pub rejected: f64,
    /// Received and delivered of each stream.
    #[serde(skip)]
    streams: HashMap<String, (f64, f64)>,
}

impl Rates {
    /// Records received and delivered of a stream.
    pub fn of_stream(&self, arn: &str) -> (f64, f64) {
        self.streams.get(arn).copied().unwrap_or_default()
    }
}

/// What a look leaves for later ones.
#[derive(Debug)]
struct Look {
    /// By the clock that nobody sets.
    uptime: Duration,
    /// In the order of the fields of [`Rates`].
    totals: [u64; 7],
    streams: HashMap<String, StreamTotals>,
    call_times: Distribution,
}

/// The last looks.
#[derive(Debug, Default)]
pub struct RecentLooks {
    looks: VecDeque<Look>,
}

impl RecentLooks {
    /// Keeps what a snapshot shows.
    pub fn add(&mut self, snapshot: &Snapshot) {
        if self.looks.len() >= LOOKS {
            self.looks.pop_front();
        }
        let streams = snapshot.streams.iter();
        self.looks.push_back(Look {
            uptime: snapshot.uptime,
            totals: totals(snapshot),
            streams: streams
                .map(|stream| (stream.arn.as_str().to_owned(), stream.totals))
                .collect(),
            call_times: snapshot.call_times,
        });
    }

    /// Per second since the oldest of them.
    pub fn rates(&self, snapshot: &Snapshot) -> Rates {
        let Some(first) = self.looks.front() else {
            return Rates::default();
        };
        let seconds = snapshot.uptime.saturating_sub(first.uptime).as_secs_f64();
        // Nothing is known before time has passed.
        let rate = |more: u64| {
            if seconds > 0.0 {
                more as f64 / seconds
            } else {
                0.0
            }
        };
        let mut since = totals(snapshot);
        for (now, before) in since.iter_mut().zip(first.totals) {
            *now = now.saturating_sub(before);
        }
        let [
            received,
            received_bytes,
            delivered,
            delivered_bytes,
            retried,
            failed,
            rejected,
        ] = since.map(rate);
        let streams = snapshot.streams.iter().map(|stream| {
            let arn = stream.arn.as_str();
            // One that came into use since began with nothing.
            let before = first.streams.get(arn).copied().unwrap_or_default();
            let received = stream.totals.received.saturating_sub(before.received);
            let delivered = stream.totals.delivered.saturating_sub(before.delivered);
            (arn.to_owned(), (rate(received), rate(delivered)))
        });
        Rates {
            received,
            received_bytes,
            delivered,
            delivered_bytes,
            retried,
            failed,
            rejected,
            streams: streams.collect(),
        }
    }

    /// How long calls took that ended since the oldest of them: median and 99th percentile, in milliseconds.
    pub fn latency_ms(&self, snapshot: &Snapshot) -> (Option<f64>, Option<f64>) {
        let first = self.looks.front().map(|look| look.call_times);
        latency_ms(&snapshot.call_times.since(&first.unwrap_or_default()))
    }
}

/// Median and 99th percentile, in milliseconds.
pub fn latency_ms(times: &Distribution) -> (Option<f64>, Option<f64>) {
    let quantile = |part| times.quantile_seconds(part).map(|seconds| seconds * 1000.0);
    (quantile(0.5), quantile(0.99))
}

fn totals(snapshot: &Snapshot) -> [u64; 7] {
    let totals = &snapshot.totals;
    [
        totals.received,
        totals.received_bytes,
        totals.delivered,
        totals.delivered_bytes,
        totals.retried,
        totals.failed_records(),
        totals.rejected_requests(),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_rate_is_that_of_the_last_ten_looks() {
        let (mut recent, mut snapshot) = (RecentLooks::default(), Snapshot::sample());
        assert_eq!(
            recent.rates(&snapshot),
            Rates::default(),
            "nothing is known"
        );
        for _ in 0..30 {
            recent.add(&snapshot);
            snapshot.pass(Duration::from_secs(1));
            snapshot.totals.received += 100;
            snapshot.streams[1].totals.delivered += 7;
        }
        // From now on nothing comes.
        let rates = recent.rates(&snapshot);
        assert_eq!((rates.received, rates.delivered), (100.0, 0.0));
        let other = snapshot.streams[1].arn.as_str();
        assert_eq!(rates.of_stream(other), (0.0, 7.0));
        for _ in 0..5 {
            recent.add(&snapshot);
            snapshot.pass(Duration::from_secs(1));
        }
        assert_eq!(recent.rates(&snapshot).received, 50.0);
    }

    #[test]
    fn a_clock_that_is_set_changes_no_rates() {
        for now in [0, 1_900_000_000] {
            let (mut recent, mut snapshot) = (RecentLooks::default(), Snapshot::sample());
            recent.add(&snapshot);
            snapshot.pass(Duration::from_secs(2));
            snapshot.now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
            snapshot.totals.received += 100;
            assert_eq!(recent.rates(&snapshot).received, 50.0);
        }
    }
}
