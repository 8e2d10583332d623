//! The rate limits of one stream, on governor: records, bytes and requests per second. Time is the async
//! runtime's, so that who stops its clock stops this.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::{Instant, sleep};

use crate::batch::BATCH_MAX_RECORDS;
use crate::parameters::RateLimits;

/// Records that make a full batch: those of a call, or a second's worth where that is less, so that
/// the limit holds within seconds and not only on average.
pub fn full_batch_records(limits: &RateLimits) -> usize {
    limits
        .records_per_second
        .map_or(BATCH_MAX_RECORDS, |limit| {
            BATCH_MAX_RECORDS.min(limit.get() as usize)
        })
}

/// From here on the bytes that wait may make a full batch.
pub const NEARLY_FULL_BATCH_BYTES: usize = 2_900_000;

/// Makes calls wait so that a stream keeps its limits over time. Cheap to clone; clones share the
/// limits.
#[derive(Clone)]
pub struct Pace {
    /// `None` where the limit is not set.
    records: Option<Arc<Limiter>>,
    bytes: Option<Arc<Limiter>>,
    requests: Option<Arc<Limiter>>,
}

/// Tells how long it has been there.
#[derive(Debug, Clone)]
struct Since(Instant);

impl Clock for Since {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

struct Limiter {
    /// Holds one second's worth at most.
    limiter: RateLimiter<NotKeyed, InMemoryState, Since, NoOpMiddleware<Duration>>,
    /// What it goes by.
    clock: Since,
    /// That second's worth.
    per_second: NonZeroU32,
}

impl Limiter {
    fn new(per_second: NonZeroU32) -> Arc<Self> {
        let clock = Since(Instant::now());
        Arc::new(Limiter {
            limiter: RateLimiter::direct_with_clock(Quota::per_second(per_second), clock.clone()),
            clock,
            per_second,
        })
    }

    /// Waits until `cells` are free. More than a second's worth, such as a record larger than the
    /// bytes of a second, is waited for in parts.
    async fn pay(&self, cells: usize) {
        let mut left = cells;
        while left > 0 {
            let part = u32::try_from(left)
                .unwrap_or(u32::MAX)
                .min(self.per_second.get());
            if let Some(part) = NonZeroU32::new(part) {
                // Refused for good only for more than a second's worth, which a part never is.
                while let Ok(Err(not_yet)) = self.limiter.check_n(part) {
                    sleep(not_yet.wait_time_from(self.clock.now())).await;
                }
            }
            left -= part as usize;
        }
    }
}

impl Pace {
    /// The limits given, each full at the start.
    pub fn new(limits: &RateLimits) -> Self {
        Pace {
            records: limits.records_per_second.map(Limiter::new),
            bytes: limits.bytes_per_second.map(Limiter::new),
            requests: limits.requests_per_second.map(Limiter::new),
        }
    }

    /// Whether there is any limit.
    pub fn is_limited(&self) -> bool {
        self.records.is_some() || self.bytes.is_some() || self.requests.is_some()
    }

    /// Most bytes of data of one call of more than one record: likewise a second's worth.
    pub fn batch_bytes(&self) -> usize {
        self.bytes
            .as_ref()
            .map_or(usize::MAX, |limiter| limiter.per_second.get() as usize)
    }

    /// Waits until a call of this many Firehose records and bytes of data may be made.
    pub async fn pay(&self, records: usize, bytes: usize) {
        for (limiter, cells) in [
            (&self.requests, 1),
            (&self.records, records),
            (&self.bytes, bytes),
        ] {
            if let Some(limiter) = limiter {
                limiter.pay(cells).await;
            }
        }
    }
}
