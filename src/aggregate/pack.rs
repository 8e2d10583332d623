//! How requests become Firehose records: each by itself, or joined with their delimiter and perhaps
//! compressed. Pure, and a compression takes some milliseconds: not for a thread that others wait for.

use std::io;

use bytes::Bytes;

use super::compress::{COMPRESSED_FROM_MAX_BYTES, Compression};
use super::cut::GroupLimits;
use crate::batch::BATCH_MAX_RECORDS;
use crate::delimiter::Delimiter;
use crate::request::RECORD_MAX_BYTES;

/// Most requests of a Firehose record that is not compressed. Firehose can take joined records apart
/// again (dynamic partitioning), and then takes 500 of one record at the most (PutRecordBatch API
/// reference). It costs nothing: 500 requests of 11 bytes fill what is billed.
const REQUESTS_MAX: usize = 500;

/// Most requests of one that is compressed; nothing but a reader takes it apart. It bounds what one
/// record that fails makes to be sent again.
const COMPRESSED_REQUESTS_MAX: usize = 5000;

/// `RECORD_AGGREGATION=delimited`, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aggregation {
    /// Stands behind each request.
    pub delimiter: Delimiter,
    /// `AGGREGATION_MAX_BYTES`: what requests are joined up to, before they are compressed. A larger
    /// request goes by itself.
    pub max_bytes: usize,
    /// `RECORD_COMPRESSION`.
    pub compression: Option<Compression>,
}

impl Aggregation {
    /// `AGGREGATION_MAX_BYTES` where it is not set: twenty units of 5 KB. A cut somewhere in the upper
    /// ten wastes less than 1 % for nearly every size of request, and a record that fails makes few
    /// requests be sent again.
    pub const MAX_BYTES: usize = 102_400;

    /// The same for records that are compressed, whose size in the end is not known when they are cut: so
    /// large that what is left of it, a tenth or so, wastes only a few percent of its last unit.
    pub const COMPRESSED_MAX_BYTES: usize = 512_000;

    /// What records are joined up to where nothing else is said.
    pub fn default_max_bytes(compression: Option<Compression>) -> usize {
        match compression {
            None => Aggregation::MAX_BYTES,
            Some(_) => Aggregation::COMPRESSED_MAX_BYTES,
        }
    }

    /// The limits of a Firehose record for streams of `queue_size`: of a compressed one at most half a
    /// queue, so that one is full before the queue is.
    pub fn group_limits(&self, queue_size: usize) -> GroupLimits {
        match self.compression {
            None => GroupLimits {
                requests: REQUESTS_MAX,
                bytes: self.max_bytes,
                compressed: false,
            },
            Some(_) => GroupLimits {
                requests: COMPRESSED_REQUESTS_MAX.min(queue_size / 2).max(1),
                bytes: self.max_bytes.min(COMPRESSED_FROM_MAX_BYTES),
                compressed: true,
            },
        }
    }

    /// The largest request with its delimiter that makes a Firehose record.
    pub fn request_max_bytes(&self) -> usize {
        match self.compression {
            None => RECORD_MAX_BYTES,
            Some(_) => COMPRESSED_FROM_MAX_BYTES,
        }
    }

    /// What a request takes of a Firehose record.
    pub fn bytes_of(&self, request: &[u8]) -> usize {
        request.len() + self.missing_behind(request).len()
    }

    /// A Firehose record of these requests, not compressed.
    pub fn join(&self, requests: &[Bytes]) -> Bytes {
        // Alone, with its delimiter, it is the record already.
        if let [request] = requests
            && self.is_record(request)
        {
            return request.clone();
        }
        let bytes = requests.iter().map(|request| self.bytes_of(request)).sum();
        let mut joined = Vec::with_capacity(bytes);
        self.parts(requests.iter())
            .for_each(|part| joined.extend_from_slice(part));
        joined.into()
    }

    /// A Firehose record of these requests, as it is sent.
    ///
    /// # Errors
    /// Where it cannot be compressed for want of memory.
    pub fn pack(&self, requests: &[Bytes]) -> io::Result<Bytes> {
        let Some(compression) = self.compression else {
            return Ok(self.join(requests));
        };
        let bytes = requests.iter().map(|request| self.bytes_of(request)).sum();
        let compressed = compression.compress(self.parts(requests.iter()), bytes)?;
        Ok(compressed.into())
    }

    /// Whether a request alone is a Firehose record as it is: its delimiter is there already.
    pub fn is_record(&self, request: &[u8]) -> bool {
        self.missing_behind(request).is_empty()
    }

    /// What a Firehose record of these requests consists of, in order, some of it empty.
    pub fn parts<'a>(
        &'a self,
        requests: impl Iterator<Item = &'a Bytes>,
    ) -> impl Iterator<Item = &'a [u8]> {
        requests.flat_map(|request| [&request[..], self.missing_behind(request)])
    }

    /// What of the delimiter is to be put behind a request. One that was taken in before there was a delimiter may
    /// have no room for it in a Firehose record: it goes as it is.
    fn missing_behind(&self, request: &[u8]) -> &[u8] {
        let missing = self.delimiter.missing_behind(request);
        if request.len() + missing.len() > RECORD_MAX_BYTES {
            return &[];
        }
        missing
    }
}

// A compressed group may be as large as a batch of single records, and no smaller.
const _: () = assert!(COMPRESSED_REQUESTS_MAX >= BATCH_MAX_RECORDS);

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: Aggregation = Aggregation {
        delimiter: Delimiter::NEWLINE,
        max_bytes: Aggregation::MAX_BYTES,
        compression: None,
    };

    #[test]
    fn joined_requests_have_their_delimiter_once() {
        let requests = ["a\n", "b", "", "c\n"].map(Bytes::from);
        assert_eq!(&LINES.join(&requests)[..], b"a\nb\n\nc\n");
        let bytes: usize = requests.iter().map(|request| LINES.bytes_of(request)).sum();
        assert_eq!(bytes, 7);
    }

    #[test]
    fn a_request_without_room_for_a_delimiter_goes_as_it_is() {
        let largest = Bytes::from(vec![b'x'; RECORD_MAX_BYTES]);
        assert_eq!(LINES.bytes_of(&largest), RECORD_MAX_BYTES);
        assert_eq!(LINES.join(std::slice::from_ref(&largest)), largest);
        let fits = largest.slice(1..);
        assert_eq!(LINES.join(&[fits]).len(), RECORD_MAX_BYTES);
    }

    #[test]
    fn a_single_request_that_has_its_delimiter_is_not_copied() {
        let request = Bytes::from("alone\n");
        let joined = LINES.join(std::slice::from_ref(&request));
        assert_eq!(joined.as_ptr(), request.as_ptr());
        assert_eq!(&LINES.join(&[Bytes::from("alone")])[..], b"alone\n");
    }

    #[test]
    fn a_compressed_record_is_so_with_a_single_request_too() {
        for compression in [Compression::Gzip, Compression::Zstd] {
            let aggregation = Aggregation {
                compression: Some(compression),
                ..LINES
            };
            let packed = aggregation.pack(&[Bytes::from("alone\n")]).unwrap();
            assert_ne!(&packed[..], b"alone\n");
            let magic: &[u8] = match compression {
                Compression::Gzip => &[0x1f, 0x8b],
                Compression::Zstd => &[0x28, 0xb5, 0x2f, 0xfd],
            };
            assert!(packed.starts_with(magic));
        }
    }

    #[test]
    fn a_compressed_group_is_full_before_its_queue_is() {
        let aggregation = Aggregation {
            compression: Some(Compression::Zstd),
            max_bytes: 1_024_000,
            ..LINES
        };
        assert_eq!(aggregation.group_limits(2000).requests, 1000);
        let limits = aggregation.group_limits(1_000_000);
        assert_eq!((limits.requests, limits.bytes), (5000, 1_020_000));
        assert_eq!(aggregation.request_max_bytes(), 1_020_000);
        assert_eq!(LINES.group_limits(2000).requests, 500);
    }
}
