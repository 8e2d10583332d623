//! The last hour, a point for each five seconds: what the page's plots show.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::observer::{Snapshot, distance};
use super::rates::latency_ms;
use crate::ledger::Distribution;
use crate::utc::unix_ms;

/// Time between two points.
const INTERVAL: Duration = Duration::from_secs(5);

/// An hour's worth.
const POINTS: usize = 720;

/// A point of the plots.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// Unix seconds.
    t: u64,
    /// Requests per second.
    received: f64,
    /// Records per second.
    delivered: f64,
    /// Records per second that failed or were rejected.
    failed: f64,
    /// Records held.
    queued: u64,
    /// Median of calls.
    p50_ms: Option<f64>,
    /// 99th percentile of calls.
    p99_ms: Option<f64>,
}

/// The last hour.
#[derive(Debug, Default)]
pub struct History {
    points: VecDeque<Point>,
    last: Option<Last>,
}

/// What the next point is counted from.
#[derive(Debug)]
struct Last {
    /// By the device's clock, and by the one that nobody sets.
    at: SystemTime,
    uptime: Duration,
    received: u64,
    delivered: u64,
    failed: u64,
    call_times: Distribution,
}

/// The history by columns, as plots want it.
#[derive(Debug, Serialize)]
struct Columns {
    interval_s: u64,
    t: Vec<u64>,
    received: Vec<f64>,
    delivered: Vec<f64>,
    failed: Vec<f64>,
    queued: Vec<u64>,
    p50_ms: Vec<Option<f64>>,
    p99_ms: Vec<Option<f64>>,
}

impl History {
    /// Adds a point where it is time for one; gives it.
    pub fn add(&mut self, snapshot: &Snapshot) -> Option<Point> {
        let totals = &snapshot.totals;
        let now = Last {
            at: snapshot.now,
            uptime: snapshot.uptime,
            received: totals.received,
            delivered: totals.delivered,
            failed: totals.failed_records() + totals.rejected_requests(),
            call_times: snapshot.call_times,
        };
        let Some(last) = &self.last else {
            self.last = Some(now);
            return None;
        };
        let passed = now.uptime.saturating_sub(last.uptime);
        // Half a second early is in time: looks are a second apart, more or less.
        if passed + Duration::from_millis(500) < INTERVAL {
            return None;
        }
        // Plots are drawn along the device's clock: where that was set, what was drawn stands in another time.
        if distance(now.at, last.at + passed) >= INTERVAL {
            *self = History {
                points: VecDeque::new(),
                last: Some(now),
            };
            return None;
        }
        let after = self.points.back().map_or(0, |last| last.t + 1);
        let seconds = passed.as_secs_f64();
        let (p50_ms, p99_ms) = latency_ms(&now.call_times.since(&last.call_times));
        let per_second = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        let point = Point {
            t: (unix_ms(now.at) / 1000).max(after),
            received: per_second(now.received, last.received),
            delivered: per_second(now.delivered, last.delivered),
            failed: per_second(now.failed, last.failed),
            queued: snapshot.held,
            p50_ms,
            p99_ms,
        };
        if self.points.len() >= POINTS {
            self.points.pop_front();
        }
        self.points.push_back(point);
        self.last = Some(now);
        Some(point)
    }

    /// Whether there is none yet, or none since the clock was set.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// All of it, by columns, as JSON.
    pub fn to_json(&self) -> String {
        let columns = Columns {
            interval_s: INTERVAL.as_secs(),
            t: self.points.iter().map(|point| point.t).collect(),
            received: self.points.iter().map(|point| point.received).collect(),
            delivered: self.points.iter().map(|point| point.delivered).collect(),
            failed: self.points.iter().map(|point| point.failed).collect(),
            queued: self.points.iter().map(|point| point.queued).collect(),
            p50_ms: self.points.iter().map(|point| point.p50_ms).collect(),
            p99_ms: self.points.iter().map(|point| point.p99_ms).collect(),
        };
        // Numbers and names only: nothing that could not be written.
        serde_json::to_string(&columns).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(snapshot: &mut Snapshot, seconds: u64, received: u64) {
        snapshot.pass(Duration::from_secs(seconds));
        snapshot.totals.received += received;
    }

    #[test]
    fn a_point_for_each_five_seconds_and_an_hour_of_them() {
        let (mut history, mut snapshot) = (History::default(), Snapshot::sample());
        let mut points = 0;
        for _ in 0..2 * 3600 {
            points += usize::from(history.add(&snapshot).is_some());
            after(&mut snapshot, 1, 10);
        }
        assert_eq!(points, 2 * 720 - 1);
        assert_eq!(history.points.len(), POINTS);
        assert!(history.points.iter().all(|point| point.received == 10.0));
        let times: Vec<u64> = history.points.iter().map(|point| point.t).collect();
        assert!(times.windows(2).all(|pair| pair[1] == pair[0] + 5));
    }

    #[test]
    fn after_the_clock_was_set_it_begins_anew() {
        for now in [0, 1_900_000_000] {
            let (mut history, mut snapshot) = (History::default(), Snapshot::sample());
            history.add(&snapshot);
            after(&mut snapshot, 5, 0);
            assert!(history.add(&snapshot).is_some());
            after(&mut snapshot, 5, 0);
            snapshot.now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
            assert_eq!(history.add(&snapshot), None);
            assert!(
                history.is_empty(),
                "{now}: times ascend, without a gap of years"
            );
            after(&mut snapshot, 5, 50);
            let point = history.add(&snapshot).unwrap();
            assert_eq!((point.t, point.received), (now + 5, 10.0));
        }
    }

    #[test]
    fn a_clock_that_is_set_by_seconds_changes_no_figure() {
        for (step, t) in [(-4, 1), (4, 9)] {
            let (mut history, mut snapshot) = (History::default(), Snapshot::sample());
            history.add(&snapshot);
            after(&mut snapshot, 5, 50);
            let first = history.add(&snapshot).unwrap();
            after(&mut snapshot, 5, 50);
            let stepped = unix_ms(snapshot.now) as i64 + step * 1000;
            snapshot.now = SystemTime::UNIX_EPOCH + Duration::from_millis(stepped as u64);
            let second = history.add(&snapshot).unwrap();
            assert_eq!((second.t - first.t, second.received), (t, 10.0));
        }
    }

    #[test]
    fn columns_are_as_long_as_each_other() {
        let (mut history, mut snapshot) = (History::default(), Snapshot::sample());
        for _ in 0..3 {
            history.add(&snapshot);
            after(&mut snapshot, 5, 5);
        }
        let columns: serde_json::Value = serde_json::from_str(&history.to_json()).unwrap();
        for name in [
            "t",
            "received",
            "delivered",
            "failed",
            "queued",
            "p50_ms",
            "p99_ms",
        ] {
            assert_eq!(columns[name].as_array().map(Vec::len), Some(2), "{name}");
        }
        assert_eq!(columns["interval_s"], 5);
    }
}
