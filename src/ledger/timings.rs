//! How long something took, counted in buckets: exact enough for a quantile, small enough to keep for good.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, in seconds; one more bucket holds what is above the last. From a local
/// answer to a call at the end of its time.
pub const BOUNDS_SECONDS: [f64; 17] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0,
];

const BUCKETS: usize = BOUNDS_SECONDS.len() + 1;

/// Counts durations.
#[derive(Debug, Default)]
pub struct Timings {
    /// How many fell into each bucket.
    buckets: [AtomicU64; BUCKETS],
    /// All together, in nanoseconds.
    sum_ns: AtomicU64,
}

impl Timings {
    /// Counts one.
    pub fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS_SECONDS.partition_point(|&bound| bound < seconds);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sum_ns.fetch_add(nanos, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn distribution(&self) -> Distribution {
        let mut counts = [0; BUCKETS];
        for (count, bucket) in counts.iter_mut().zip(&self.buckets) {
            *count = bucket.load(Ordering::Relaxed);
        }
        Distribution {
            counts,
            sum_seconds: self.sum_ns.load(Ordering::Relaxed) as f64 / 1e9,
        }
    }
}

/// Durations as they were counted.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Distribution {
    /// How many fell into each bucket, not summed up.
    pub counts: [u64; BUCKETS],
    /// All together, in seconds.
    pub sum_seconds: f64,
}

impl Distribution {
    /// The upper bound of each bucket but the last, in seconds, with how many are at or below it.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let counts = self.counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        BOUNDS_SECONDS.into_iter().zip(counts)
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// What came since an earlier look.
    pub fn since(&self, earlier: &Distribution) -> Distribution {
        let mut counts = self.counts;
        for (count, before) in counts.iter_mut().zip(earlier.counts) {
            *count = count.saturating_sub(before);
        }
        Distribution {
            counts,
            sum_seconds: (self.sum_seconds - earlier.sum_seconds).max(0.0),
        }
    }

    /// The duration that this part of all did not exceed, in seconds, as exactly as the buckets say;
    /// `None` where there are none.
    pub fn quantile_seconds(&self, part: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = (part * count as f64).clamp(1.0, count as f64);
        let mut below = 0.0;
        for (bucket, &inside) in self.counts.iter().enumerate() {
            let inside = inside as f64;
            if inside > 0.0 && below + inside >= rank {
                let lower = if bucket == 0 {
                    0.0
                } else {
                    BOUNDS_SECONDS[bucket - 1]
                };
                // What is above the last bound is taken to be there.
                let upper = BOUNDS_SECONDS.get(bucket).copied().unwrap_or(lower);
                return Some(lower + (upper - lower) * (rank - below) / inside);
            }
            below += inside;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_bucket_whose_bound_it_does_not_exceed() {
        let timings = Timings::default();
        timings.observe(Duration::from_millis(1));
        timings.observe(Duration::from_micros(1001));
        timings.observe(Duration::from_secs(31));
        let distribution = timings.distribution();
        assert_eq!(distribution.counts[3], 1, "up to 1 ms");
        assert_eq!(distribution.counts[4], 1, "up to 2.5 ms");
        assert_eq!(distribution.counts[BUCKETS - 1], 1, "longer than all");
        assert_eq!(distribution.count(), 3);
        assert!((distribution.sum_seconds - 31.002_001).abs() < 1e-9);
    }

    #[test]
    fn quantiles_stay_inside_their_bucket() {
        let timings = Timings::default();
        for _ in 0..99 {
            timings.observe(Duration::from_millis(2));
        }
        timings.observe(Duration::from_secs(2));
        let distribution = timings.distribution();
        let half = distribution.quantile_seconds(0.5).unwrap();
        assert!((0.001..=0.0025).contains(&half), "{half}");
        let all = distribution.quantile_seconds(1.0).unwrap();
        assert!((1.0..=2.5).contains(&all), "{all}");
        assert_eq!(Distribution::default().quantile_seconds(0.5), None);
    }

    #[test]
    fn since_leaves_what_came_later() {
        let timings = Timings::default();
        timings.observe(Duration::from_millis(2));
        let before = timings.distribution();
        timings.observe(Duration::from_secs(2));
        let since = timings.distribution().since(&before);
        assert_eq!(since.count(), 1);
        assert!((since.sum_seconds - 2.0).abs() < 1e-9);
    }
}
