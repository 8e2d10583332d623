//! Which of the waiting requests go together into one Firehose record. Pure: sizes in, a cut out.

/// Firehose bills each record of a direct put rounded up to a multiple of this (Amazon Data Firehose
/// pricing: 5 KB, which it spells out as 5,120 bytes).
pub const BILLED_BYTES: usize = 5 * 1024;

/// What is billed for a Firehose record of this size. An empty one counts as one unit here.
pub fn billed_bytes(record_bytes: usize) -> usize {
    record_bytes.div_ceil(BILLED_BYTES).max(1) * BILLED_BYTES
}

/// What one Firehose record may be joined from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupLimits {
    /// Most requests; at least 1.
    pub requests: usize,
    /// Most bytes of more than one request.
    pub bytes: usize,
    /// Whether it is compressed afterwards: its size is another then, and the cut is as late as may be,
    /// not where what is billed says so.
    pub compressed: bool,
}

/// The next Firehose record: how many of the first waiting requests it is joined from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Group {
    /// Requests from the front.
    pub requests: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Whether a limit ended it, not the end of what waits: such a group need not wait for more.
    pub full: bool,
}

/// Cuts the next group off the front of `sizes` (bytes of each request with its delimiter, in order). The
/// first is always in it. All that is left makes the last group; before that, the cut is where the
/// least is lost by rounding up, within the upper half of what the limits allow.
pub fn next(sizes: impl Iterator<Item = usize>, limits: GroupLimits) -> Group {
    let mut all = Group::default();
    let mut best = Group::default();
    let mut was_in_upper_half = false;
    let mut sizes = sizes.peekable();
    while let Some(size) = sizes.peek() {
        if all.requests > 0 && all.bytes + size > limits.bytes || all.requests >= limits.requests {
            all.full = true;
            break;
        }
        all.bytes += size;
        all.requests += 1;
        sizes.next();
        let is_in_upper_half = 2 * all.bytes > limits.bytes || 2 * all.requests > limits.requests;
        if !was_in_upper_half || !wastes_more(all.bytes, best.bytes) {
            best = all;
        }
        was_in_upper_half = is_in_upper_half;
    }
    // As many as may be are as good as full, though nothing waits behind them.
    all.full |= all.requests >= limits.requests || all.bytes >= limits.bytes;
    if all.full && !limits.compressed {
        best.full = true;
        return best;
    }
    all
}

/// Whether more of each byte billed is wasted at the first size than at the second.
fn wastes_more(bytes: usize, than: usize) -> bool {
    // bytes / billed < than / billed(than), in whole numbers.
    bytes as u64 * (billed_bytes(than) as u64) < than as u64 * (billed_bytes(bytes) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: GroupLimits = GroupLimits {
        requests: 500,
        bytes: 102_400,
        compressed: false,
    };

    fn alike(size: usize, count: usize, limits: GroupLimits) -> Group {
        next(std::iter::repeat_n(size, count), limits)
    }

    #[test]
    fn edges() {
        assert_eq!(next([].into_iter(), LIMITS), Group::default());
        assert_eq!(billed_bytes(0), 5120);
        assert_eq!((billed_bytes(5120), billed_bytes(5121)), (5120, 10_240));
        // What is left goes together, whatever it wastes.
        let rest = alike(201, 26, LIMITS);
        assert_eq!((rest.requests, rest.bytes, rest.full), (26, 5226, false));
        // One that is larger than a group may be goes alone.
        let large = next([1_024_000, 1].into_iter(), LIMITS);
        assert_eq!((large.requests, large.full), (1, true));
        // The limits themselves are full.
        assert!(alike(1024, 100, LIMITS).full && alike(1, 500, LIMITS).full);
        assert!(!alike(1024, 99, LIMITS).full && !alike(1, 499, LIMITS).full);
    }

    #[test]
    fn the_cut_is_where_the_least_is_wasted() {
        // 23 records of 2,001 bytes fill 46,023 of 46,080; 25 would fill 50,025 of 51,200.
        let limits = GroupLimits {
            bytes: 51_200,
            ..LIMITS
        };
        assert_eq!(alike(2001, 1000, limits).requests, 23);
        // 200 bytes and a newline: 433 of them take 87,033 of 87,040 bytes.
        let group = alike(201, 1000, LIMITS);
        assert_eq!(
            (group.requests, group.bytes, group.full),
            (433, 87_033, true)
        );
        // Compressed it is as large as may be.
        let limits = GroupLimits {
            compressed: true,
            ..LIMITS
        };
        assert_eq!(alike(201, 1000, limits).requests, 500);
    }

    #[test]
    fn small_requests_waste_almost_nothing() {
        for size in 1..=5120 {
            let group = alike(size, 1000, LIMITS);
            let waste = billed_bytes(group.bytes) - group.bytes;
            // 500 very small ones fill less than one unit.
            let bound = if size < 11 { 5119 } else { group.bytes / 20 };
            assert!(waste <= bound, "{size}: {group:?}");
        }
    }

    proptest! {
        #[test]
        fn no_group_breaks_a_limit_and_nothing_is_lost(
            sizes in proptest::collection::vec(prop_oneof![0usize..400, 0usize..30_000, 900_000..=1_024_000usize], 0..1200),
            units in 1usize..=200,
            requests in 1usize..=600,
            compressed: bool,
        ) {
            let limits = GroupLimits { requests, bytes: units * BILLED_BYTES, compressed };
            let (mut rest, mut groups) = (&sizes[..], Vec::new());
            while !rest.is_empty() {
                let group = next(rest.iter().copied(), limits);
                prop_assert!(group.requests >= 1 && group.requests <= requests);
                let of_group = &rest[..group.requests];
                prop_assert_eq!(group.bytes, of_group.iter().sum::<usize>());
                prop_assert!(group.requests == 1 || group.bytes <= limits.bytes);
                rest = &rest[group.requests..];
                // Only what is not full may be the last, and it is.
                prop_assert!(group.full || rest.is_empty());
                if !compressed && group.full && !rest.is_empty() {
                    // Every longer group within the limits wastes as much or more of each byte.
                    let mut bytes = group.bytes;
                    for (place, size) in rest.iter().enumerate() {
                        bytes += size;
                        if bytes > limits.bytes || group.requests + place + 1 > requests {
                            break;
                        }
                        prop_assert!(wastes_more(bytes, group.bytes), "{bytes} after {group:?}");
                    }
                }
                groups.push(of_group);
            }
            prop_assert_eq!(groups.concat(), sizes);
        }
    }
}
