//! What one call carries: which of the waiting requests, and how they are joined into its Firehose records.
//! Pure: sizes in, a plan out.

use super::compress::{COMPRESSED_FROM_MAX_BYTES, compressed_max_bytes};
use super::cut::{self, Group, GroupLimits};
use crate::batch::{self, Batch, BatchLimits};

/// The next call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The requests it carries. With groups it is full as soon as one of them is.
    pub batch: Batch,
    /// How these are joined, in their order; `None` where each is a Firehose record.
    pub groups: Option<Vec<Group>>,
}

impl Plan {
    /// A call of requests that are not joined; `sizes` in bytes, in order.
    pub fn of_single(sizes: impl Iterator<Item = usize>, limits: BatchLimits) -> Self {
        Plan {
            batch: batch::next(sizes, limits),
            groups: None,
        }
    }

    /// A call of requests that are joined; `sizes` with their delimiters. `limits` holds for the Firehose
    /// records, which are counted at the most that they may take.
    pub fn of_groups(
        mut sizes: impl Iterator<Item = usize> + Clone,
        limits: BatchLimits,
        group_limits: GroupLimits,
    ) -> Self {
        let (mut groups, mut body, mut full) = (Vec::new(), 0, false);
        while groups.len() < limits.records {
            let group = cut::next(sizes.clone(), group_limits);
            if group.requests == 0 {
                break;
            }
            body += match group_limits.compressed {
                // Of a request taken in before there was compression it is not known that it makes a record: it has
                // a call of its own, and takes no other with it.
                true if group.bytes > COMPRESSED_FROM_MAX_BYTES => limits.body_bytes,
                true => batch::body_bytes(compressed_max_bytes(group.bytes)),
                false => batch::body_bytes(group.bytes),
            };
            if !groups.is_empty() && body > limits.body_bytes {
                full = true;
                break;
            }
            // All of the group, and one on.
            let _ = sizes.nth(group.requests - 1);
            groups.push(group);
        }
        full |= groups.len() >= limits.records;
        Self::of(groups, full)
    }

    fn of(groups: Vec<Group>, full: bool) -> Self {
        Plan {
            batch: Batch {
                records: groups.iter().map(|group| group.requests).sum(),
                data_bytes: groups.iter().map(|group| group.bytes).sum(),
                full: full || groups.iter().any(|group| group.full),
            },
            groups: Some(groups),
        }
    }

    /// Firehose records that it carries.
    pub fn firehose_records(&self) -> usize {
        self.groups
            .as_ref()
            .map_or(self.batch.records, |groups| groups.len())
    }

    /// The same without a last group that is not full, as more may join it: unless there is no other.
    pub fn without_rest(mut self) -> Self {
        if let Some(groups) = &mut self.groups
            && let [.., _, last] = &groups[..]
            && !last.full
        {
            let rest = *last;
            groups.pop();
            self.batch.records -= rest.requests;
            self.batch.data_bytes -= rest.bytes;
        }
        self
    }

    /// The same with so many Firehose records at the most, of requests that are joined.
    pub fn with_groups(self, most: usize) -> Self {
        match self.groups {
            Some(mut groups) if groups.len() > most => {
                groups.truncate(most);
                Self::of(groups, true)
            }
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BATCH_MAX_BYTES, BATCH_MAX_RECORDS};
    use proptest::prelude::*;

    const GROUPS: GroupLimits = GroupLimits {
        requests: 500,
        bytes: 102_400,
        compressed: false,
    };

    fn plan(sizes: &[usize], groups: GroupLimits) -> Plan {
        Plan::of_groups(sizes.iter().copied(), BatchLimits::of_service(64), groups)
    }

    fn requests(plan: &Plan) -> Vec<usize> {
        let groups = plan.groups.iter().flatten();
        groups.map(|group| group.requests).collect()
    }

    #[test]
    fn one_full_group_makes_a_full_call_and_the_rest_may_wait() {
        assert_eq!(plan(&[], GROUPS).firehose_records(), 0);
        let part = plan(&[201; 400], GROUPS);
        assert_eq!((requests(&part), part.batch.full), (vec![400], false));
        // There is nothing but the rest.
        assert_eq!(part.clone().without_rest(), part);
        let full = plan(&[201; 1000], GROUPS);
        assert_eq!(
            (requests(&full), full.batch.full),
            (vec![433, 433, 134], true)
        );
        let whole = full.without_rest();
        assert_eq!(requests(&whole), [433, 433]);
        assert_eq!(
            (whole.batch.records, whole.batch.data_bytes),
            (866, 174_066)
        );
        assert_eq!(whole.clone().without_rest(), whole);
        let one = whole.with_groups(1);
        assert_eq!((one.batch.records, one.batch.full), (433, true));
    }

    #[test]
    fn the_body_of_a_call_bounds_its_groups() {
        // Thirty of the largest, as base64, take 4.1 of 4.19 MB.
        assert_eq!(plan(&[1024; 10_000], GROUPS).firehose_records(), 30);
        let compressed = GroupLimits {
            requests: 5000,
            bytes: 1_020_000,
            compressed: true,
        };
        assert_eq!(plan(&[1000; 10_000], compressed).firehose_records(), 3);
        let limits = BatchLimits::of_service(64).with_records(2);
        let two = Plan::of_groups([1024; 10_000].into_iter(), limits, GROUPS);
        assert_eq!((two.firehose_records(), two.batch.full), (2, true));
    }

    #[test]
    fn what_may_make_no_record_takes_no_other_with_it() {
        let compressed = GroupLimits {
            requests: 5000,
            bytes: 1_020_000,
            compressed: true,
        };
        let sizes = [100, 1_024_000, 100];
        let before = plan(&sizes, compressed);
        assert_eq!((requests(&before), before.batch.full), (vec![1], true));
        let alone = plan(&sizes[1..], compressed);
        assert_eq!((requests(&alone), alone.batch.full), (vec![1], true));
    }

    #[test]
    fn what_is_not_joined_is_a_batch_as_ever() {
        let limits = BatchLimits::of_service(64);
        let plan = Plan::of_single([10; 600].into_iter(), limits);
        assert_eq!((plan.firehose_records(), plan.batch.full), (500, true));
        assert_eq!(plan.clone().without_rest(), plan);
        assert_eq!(plan.clone().with_groups(1), plan);
    }

    proptest! {
        #[test]
        fn no_call_breaks_a_limit_and_nothing_is_lost(
            sizes in proptest::collection::vec(prop_oneof![0usize..400, 0usize..40_000, 900_000..=1_020_000usize], 0..1500),
            most in 1usize..=500,
            max_bytes in 5120usize..=1_020_000,
            compressed: bool,
        ) {
            let limits = BatchLimits::of_service(64).with_records(most);
            let group_limits = GroupLimits { requests: 700, bytes: max_bytes, compressed };
            let (mut rest, mut sent) = (&sizes[..], Vec::new());
            while !rest.is_empty() {
                let plan = Plan::of_groups(rest.iter().copied(), limits, group_limits);
                let groups = plan.groups.clone().unwrap();
                prop_assert!(!groups.is_empty() && groups.len() <= most.min(BATCH_MAX_RECORDS));
                let mut body = 38 + 64;
                for group in &groups {
                    let of_group = &rest[..group.requests];
                    prop_assert_eq!(group.bytes, of_group.iter().sum::<usize>());
                    body += batch::body_bytes(group.bytes);
                    sent.extend_from_slice(of_group);
                    rest = &rest[group.requests..];
                }
                prop_assert!(body <= BATCH_MAX_BYTES, "body of {body} bytes");
                // What is not full is all there is, and only its last group is not.
                prop_assert!(plan.batch.full || rest.is_empty());
                let all_but_last = &groups[..groups.len() - 1];
                prop_assert!(all_but_last.iter().all(|group| group.full));
            }
            prop_assert_eq!(sent, sizes);
        }
    }
}
