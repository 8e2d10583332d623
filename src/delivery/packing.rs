//! How the records of a stream become calls: which go together, how they are joined into Firehose records,
//! and whose outcome is whose.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::aggregate::{Aggregation, BILLED_BYTES, Group, GroupLimits, Plan};
use crate::batch::{self, BatchLimits};
use crate::blocking::Blocking;
use crate::destination::{CallError, Outcome, ServiceError};
use crate::parameters::RateLimits;
use crate::queue::{Id, Record};

/// Batches that are read from disk at a time, at most.
const BATCHES: usize = 4;

/// How records are joined; the same for every stream. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Joining {
    /// As configured.
    aggregation: Aggregation,
    /// What one Firehose record may be joined from.
    limits: GroupLimits,
    /// A single permit: compression needs memory of its own, and a whole core for some milliseconds.
    compressing: Arc<Semaphore>,
}

impl Joining {
    /// For streams that hold `queue_size` records. A Firehose record has no more than a second's worth
    /// of bytes, as a batch has, but never less than what is billed.
    pub fn new(aggregation: Aggregation, queue_size: usize, rate_limits: &RateLimits) -> Self {
        let mut limits = aggregation.group_limits(queue_size);
        if let Some(per_second) = rate_limits.bytes_per_second {
            let second = (per_second.get() as usize).max(BILLED_BYTES);
            limits.bytes = limits.bytes.min(second);
        }
        Joining {
            aggregation,
            limits,
            compressing: Arc::new(Semaphore::new(1)),
        }
    }

    /// What one Firehose record may be joined from.
    pub fn limits(&self) -> GroupLimits {
        self.limits
    }
}

/// How the records of one stream become calls.
pub(super) struct Packing {
    /// Limits of one call, for its Firehose records.
    limits: BatchLimits,
    /// `None` makes each record a Firehose record.
    joining: Option<Joining>,
}

impl Packing {
    pub fn new(limits: BatchLimits, joining: Option<Joining>) -> Self {
        Packing { limits, joining }
    }

    /// The next call off the front of what waits.
    pub fn plan<'a>(&self, waiting: impl Iterator<Item = &'a Bytes> + Clone) -> Plan {
        match &self.joining {
            None => Plan::of_single(waiting.map(Bytes::len), self.limits),
            Some(joining) => {
                let sizes = waiting.map(|data| joining.aggregation.bytes_of(data));
                Plan::of_groups(sizes, self.limits, joining.limits)
            }
        }
    }

    /// A call that was planned, of what waits now: within what it was to carry.
    pub fn plan_within<'a>(
        &self,
        waiting: impl Iterator<Item = &'a Bytes> + Clone,
        plan: &Plan,
    ) -> Plan {
        let again = self.plan(waiting.take(plan.batch.records));
        again.with_groups(plan.firehose_records())
    }

    /// Whether so much would make a full batch, were it in memory.
    pub fn is_full(&self, records: usize, data_bytes: usize) -> bool {
        match &self.joining {
            None => {
                let body = batch::body_bytes(data_bytes) + records * batch::body_bytes(0);
                records >= self.limits.records || body >= self.limits.body_bytes
            }
            Some(Joining { limits, .. }) => {
                records >= limits.requests || data_bytes >= limits.bytes
            }
        }
    }

    /// How many records to have in memory for so many calls.
    pub fn records_of(&self, calls: usize) -> usize {
        let of_call = match &self.joining {
            None if self.limits.records == 1 => return calls,
            None => self.limits.records,
            Some(joining) => joining.limits.requests,
        };
        of_call * calls.clamp(1, BATCHES)
    }

    /// What a call of these records carries. Where records are joined and not compressed, they become
    /// parts of what they are joined to, so that memory holds them once.
    pub fn load(&self, records: &mut [Record], groups: Option<&[Group]>) -> Cargo {
        let (Some(joining), Some(groups)) = (&self.joining, groups) else {
            let data = records.iter().map(|record| record.data.clone());
            return Cargo::Ready(data.collect());
        };
        let mut rest = records;
        let of_groups = groups.iter().map(|group| {
            let (of_group, behind) = std::mem::take(&mut rest).split_at_mut(group.requests);
            rest = behind;
            of_group
        });
        let Joining { aggregation, .. } = joining;
        if aggregation.compression.is_none() {
            return Cargo::Ready(of_groups.map(|group| join(group, aggregation)).collect());
        }
        let data = |group: &mut [Record]| group.iter().map(|record| record.data.clone()).collect();
        Cargo::ToCompress(joining.clone(), of_groups.map(data).collect())
    }
}

/// Joins records into one, which has them and their ids from then on: what they came with can go.
fn join(records: &mut [Record], aggregation: &Aggregation) -> Bytes {
    if let [record] = records
        && aggregation.is_record(&record.data)
    {
        return record.data.clone();
    }
    let bytes = records.iter().map(|record| {
        let (data, id) = (&record.data, record.id.as_str());
        aggregation.bytes_of(data) + id.len()
    });
    let mut all = Vec::with_capacity(bytes.sum());
    for part in aggregation.parts(records.iter().map(|record| &record.data)) {
        all.extend_from_slice(part);
    }
    let joined_bytes = all.len();
    for record in &*records {
        all.extend_from_slice(record.id.as_str().as_bytes());
    }
    let mut ids = Bytes::from(all);
    let joined = ids.split_to(joined_bytes);
    let mut at = 0;
    for record in records {
        let (bytes, with_delimiter) = (record.data.len(), aggregation.bytes_of(&record.data));
        // As it was, without a delimiter that it did not have: what is charged for it stays right.
        record.data = joined.slice(at..at + bytes);
        record.id = Id::from_utf8(ids.split_to(record.id.as_str().len()));
        at += with_delimiter;
    }
    joined
}

/// What a call carries, one entry for each Firehose record.
pub(super) enum Cargo {
    /// As it is sent.
    Ready(Vec<Bytes>),
    /// The records of each, to be joined and compressed.
    ToCompress(Joining, Vec<Vec<Bytes>>),
}

impl Cargo {
    /// Compresses what is to be, where it delays nobody.
    ///
    /// # Errors
    /// Where there is no memory for it at the moment.
    pub async fn into_data(self, blocking: &Blocking) -> Result<Vec<Bytes>, CallError> {
        let (joining, groups) = match self {
            Cargo::Ready(data) => return Ok(data),
            Cargo::ToCompress(joining, groups) => (joining, groups),
        };
        let Joining {
            aggregation,
            compressing,
            ..
        } = joining;
        // Nobody closes it, so there is one sooner or later.
        let _permit = compressing.acquire().await;
        let pack = move || groups.iter().map(|group| aggregation.pack(group)).collect();
        let packed: std::io::Result<Vec<Bytes>> = blocking.run(pack).await;
        packed.map_err(|error| CallError {
            retryable: true,
            error: ServiceError::new("CompressionFailed", error.to_string()),
        })
    }
}

/// The outcomes of records, from those of the Firehose records that they were joined into.
pub(super) fn spread(outcomes: Vec<Outcome>, groups: Option<&[Group]>) -> Vec<Outcome> {
    let Some(groups) = groups else {
        return outcomes;
    };
    let each = outcomes.into_iter().zip(groups);
    each.flat_map(|(outcome, group)| std::iter::repeat_n(outcome, group.requests))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delimiter::Delimiter;

    /// What was paid for by the Firehose record is not exceeded where other records wait by now.
    #[test]
    fn a_call_stays_within_what_it_was_to_carry() {
        let aggregation = Aggregation {
            delimiter: Delimiter::NEWLINE,
            max_bytes: 5120,
            compression: None,
        };
        let joining = Joining::new(aggregation, 5000, &RateLimits::default());
        let packing = Packing::new(BatchLimits::of_service(1), Some(joining));
        let small = vec![Bytes::from_static(&[b'x'; 100]); 20];
        let plan = packing.plan(small.iter());
        assert_eq!((plan.firehose_records(), plan.batch.records), (1, 20));
        let large = vec![Bytes::from_static(&[b'x'; 3000]); 20];
        let again = packing.plan_within(large.iter(), &plan);
        assert_eq!((again.firehose_records(), again.batch.records), (1, 1));
        let again = packing.plan_within(small[..7].iter(), &plan);
        assert_eq!((again.firehose_records(), again.batch.records), (1, 7));
    }
}
