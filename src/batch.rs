//! Cutting waiting records into calls within the limits of Firehose. Pure: sizes in, a plan out.

/// Most records of one PutRecordBatch call (Firehose API reference).
pub const BATCH_MAX_RECORDS: usize = 500;

/// Most bytes of one PutRecordBatch call (Firehose API reference: 4 MiB). AWS does not say
/// whether that is counted before or after base64; the whole JSON body is the safe side.
pub const BATCH_MAX_BYTES: usize = 4 * 1024 * 1024;

/// What stands around the records of a call: `{"DeliveryStreamName":"","Records":[]}`.
pub const ENVELOPE_BYTES: usize = 38;

/// What stands around one record: `{"Data":""},`.
const RECORD_ENVELOPE_BYTES: usize = 12;

/// How many records a call may carry and how large its body may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most records of a call; at least 1.
    pub records: usize,
    /// Most bytes of the request body, the stream's name left out.
    pub body_bytes: usize,
}

impl BatchLimits {
    /// The limits of the service for a stream whose name takes `name_bytes`.
    pub fn of_service(name_bytes: usize) -> Self {
        BatchLimits {
            records: BATCH_MAX_RECORDS,
            body_bytes: BATCH_MAX_BYTES.saturating_sub(ENVELOPE_BYTES + name_bytes),
        }
    }

    /// The same with about `data_bytes` to a call of more than one record, for a paced stream.
    pub fn with_data_bytes(self, data_bytes: usize) -> Self {
        BatchLimits {
            body_bytes: self
                .body_bytes
                .min(body_bytes(data_bytes.min(BATCH_MAX_BYTES))),
            ..self
        }
    }

    /// The same with at most `records` to a call, for a paced stream.
    pub fn with_records(self, records: usize) -> Self {
        BatchLimits {
            records: self.records.min(records).max(1),
            ..self
        }
    }
}

/// The next call: how many of the first waiting records it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Batch {
    /// Records from the front of the queue.
    pub records: usize,
    /// Their bytes of data, before base64.
    pub data_bytes: usize,
    /// Whether a limit ended it, not the end of the queue: such a batch need not wait for more.
    pub full: bool,
}

/// What a record of this size takes of a request body.
pub fn body_bytes(data_bytes: usize) -> usize {
    data_bytes.div_ceil(3) * 4 + RECORD_ENVELOPE_BYTES
}

/// Cuts the next call off the front of `sizes` (bytes of data, in order). The first record is
/// always in it: a record too large for a call was refused long before.
pub fn next(sizes: impl Iterator<Item = usize>, limits: BatchLimits) -> Batch {
    let mut batch = Batch::default();
    let mut body = 0;
    for size in sizes {
        body += body_bytes(size);
        if batch.records > 0 && body > limits.body_bytes {
            batch.full = true;
            break;
        }
        batch.records += 1;
        batch.data_bytes += size;
        if batch.records >= limits.records {
            batch.full = true;
            break;
        }
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::RECORD_MAX_BYTES;
    use proptest::prelude::*;

    const NAME: usize = 64;

    #[test]
    fn the_envelopes_are_what_the_wire_has() {
        let body = r#"{"DeliveryStreamName":"s","Records":[{"Data":"QQ=="},{"Data":"QUI="}]}"#;
        // One comma fewer than records: the count is one byte on the safe side.
        assert_eq!(
            body.len() + 1,
            ENVELOPE_BYTES + 1 + body_bytes(1) + body_bytes(2)
        );
    }

    #[test]
    fn edges() {
        let limits = BatchLimits::of_service(NAME);
        assert_eq!(next([].into_iter(), limits), Batch::default());
        let small = next(std::iter::repeat_n(10, 499), limits);
        assert_eq!((small.records, small.full), (499, false));
        let full = next(std::iter::repeat_n(10, 501), limits);
        assert_eq!((full.records, full.full), (500, true));
        let large = next(std::iter::repeat_n(RECORD_MAX_BYTES, 5), limits);
        assert_eq!((large.records, large.full), (3, true));
        let paced = next(std::iter::repeat_n(10, 501), limits.with_records(7));
        assert_eq!(paced.records, 7);
        assert_eq!(limits.with_records(0).records, 1);
        let narrow = limits.with_data_bytes(1000);
        assert_eq!(next(std::iter::repeat_n(100, 50), narrow).records, 9);
        assert_eq!(next(std::iter::repeat_n(5000, 50), narrow).records, 1);
        assert_eq!(limits.with_data_bytes(usize::MAX), limits);
    }

    proptest! {
        #[test]
        fn no_call_breaks_a_limit_and_none_is_empty(
            sizes in proptest::collection::vec(prop_oneof![0usize..300, 0usize..40_000, 900_000..=RECORD_MAX_BYTES], 0..1500),
            name in 1usize..=512,
        ) {
            let limits = BatchLimits::of_service(name);
            let (mut rest, mut calls) = (&sizes[..], Vec::new());
            while !rest.is_empty() {
                let batch = next(rest.iter().copied(), limits);
                prop_assert!(batch.records >= 1 && batch.records <= BATCH_MAX_RECORDS);
                let records = &rest[..batch.records];
                prop_assert_eq!(batch.data_bytes, records.iter().sum::<usize>());
                let data: Vec<_> = records.iter().map(|size| size.div_ceil(3) * 4 + 11).collect();
                let body = 38 + name + data.iter().sum::<usize>() + data.len() - 1;
                prop_assert!(body <= BATCH_MAX_BYTES, "body of {} bytes", body);
                // Full means that one more record would not have fitted, or 500 are in it.
                let more = rest.get(batch.records).map(|size| size.div_ceil(3) * 4 + 12);
                let could_grow = batch.records < 500 && more.is_some_and(|more| body + more < BATCH_MAX_BYTES);
                prop_assert!(!could_grow);
                prop_assert_eq!(batch.full, batch.records == 500 || more.is_some());
                calls.push(records);
                rest = &rest[batch.records..];
            }
            // Nothing lost or doubled, arrival order kept.
            prop_assert_eq!(calls.concat(), sizes);
        }
    }
}
