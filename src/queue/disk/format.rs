//! The bytes of a segment file: a header with the magic `KEDGEQ`, then entries ([`crate::framing`]). The
//! times of its records count from when it was begun. Pure.

use super::runs::Run;
use crate::arn::DeliveryStreamArn;
use crate::framing::{ENTRY_HEADER_BYTES, Header, Magic, put, seal, take};

/// What a segment begins with.
pub const MAGIC: Magic = *b"KEDGEQ";

/// Longest file that is read, in bytes. More than any segment has: it is ended at a few megabytes, and the last
/// group goes beyond that.
pub const FILE_MAX_BYTES: u64 = 64 * 1024 * 1024;

/// What stands in an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry<'a> {
    /// From here on records of this segment name the stream by this number. Written twice, since
    /// without it its records would be nobody's.
    Stream {
        /// Counts the streams of the segment from 0.
        number: u32,
        /// Which it is.
        arn: &'a str,
    },
    /// A record.
    Record(RecordEntry<'a>),
    /// A record that stood elsewhere, where it is finished with.
    Moved {
        /// Where it stood.
        origin: RecordKey,
        /// The record.
        record: RecordEntry<'a>,
    },
    /// Records whose outcome is final.
    Finished(Vec<FinishedIn>),
    /// The segment was ended in order: all before is synced, so what is not whole is damaged.
    End,
    /// The segments that there are beside this one, as it begins: what is missing of them later, and
    /// was not noted as removed, was taken away by somebody else. Ascending.
    Segments(Vec<Run>),
    /// Segments that are removed now. Ascending.
    Removed(Vec<Run>),
}

/// A record as it stands in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordEntry<'a> {
    /// Number of its stream in this segment.
    pub stream: u32,
    /// Counts the records of the segment from 0.
    pub ordinal: u32,
    /// When it was received.
    pub received_unix_ms: u64,
    /// The id of its request, UTF-8.
    pub id: &'a [u8],
    /// The record.
    pub data: &'a [u8],
}

/// Names a record as long as its segment exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordKey {
    /// Number of the segment.
    pub segment: u64,
    /// Which record of it.
    pub ordinal: u32,
}

/// Finished records of one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedIn {
    /// Number of the segment.
    pub segment: u64,
    /// First and last ordinals of runs, ascending.
    pub runs: Vec<(u32, u32)>,
}

/// No record of a segment has a higher ordinal: a file of ours has room for fewer entries. What says otherwise
/// was not written by this program, and believing it would cost memory and time.
pub const ORDINAL_MAX: u32 = (FILE_MAX_BYTES / ENTRY_HEADER_BYTES as u64) as u32;

const STREAM: u8 = 1;
const RECORD: u8 = 2;
const MOVED: u8 = 3;
const FINISHED: u8 = 4;
const END: u8 = 5;
const SEGMENTS: u8 = 6;
const REMOVED: u8 = 7;

/// Appends entries of one segment.
#[derive(Debug, Clone, Copy)]
pub struct EntryWriter {
    /// The header of the segment.
    pub header: Header,
}

impl EntryWriter {
    /// Appends an entry. A body that is too long is the caller's fault: records are bounded long
    /// before.
    pub fn write(&self, entry: &Entry<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; ENTRY_HEADER_BYTES]);
        let kind = match entry {
            Entry::Stream { number, arn } => {
                put(out, u64::from(*number));
                out.extend_from_slice(arn.as_bytes());
                STREAM
            }
            Entry::Record(record) => {
                self.put_record(record, out);
                RECORD
            }
            Entry::Moved { origin, record } => {
                put(out, origin.segment);
                put(out, u64::from(origin.ordinal));
                self.put_record(record, out);
                MOVED
            }
            Entry::Finished(segments) => {
                segments
                    .iter()
                    .for_each(|finished| put_finished(finished, out));
                FINISHED
            }
            Entry::End => END,
            Entry::Segments(runs) => {
                put_runs(runs, out);
                SEGMENTS
            }
            Entry::Removed(runs) => {
                put_runs(runs, out);
                REMOVED
            }
        };
        seal(self.header.salt, kind, &mut out[start..]);
    }

    fn put_record(&self, record: &RecordEntry<'_>, out: &mut Vec<u8>) {
        put(out, u64::from(record.stream));
        put(out, u64::from(record.ordinal));
        // A record that was moved here is older than the segment: the sign goes into the lowest bit.
        let age = record
            .received_unix_ms
            .wrapping_sub(self.header.created_unix_ms) as i64;
        put(out, (age << 1 ^ age >> 63) as u64);
        put(out, record.id.len() as u64);
        out.extend_from_slice(record.id);
        out.extend_from_slice(record.data);
    }
}

/// Reads an entry that [`look`] found; `entry` is all of it. `None`: not one that this version
/// writes.
pub fn read<'a>(header: &Header, kind: u8, entry: &'a [u8]) -> Option<Entry<'a>> {
    let mut body = entry.get(ENTRY_HEADER_BYTES..)?;
    let body = &mut body;
    match kind {
        STREAM => Some(Entry::Stream {
            number: take_u32(body)?,
            arn: std::str::from_utf8(body).ok()?,
        }),
        RECORD => Some(Entry::Record(take_record(header, body)?)),
        MOVED => Some(Entry::Moved {
            origin: RecordKey {
                segment: take(body)?,
                ordinal: take_ordinal(body)?,
            },
            record: take_record(header, body)?,
        }),
        FINISHED => {
            let mut segments = Vec::new();
            while !body.is_empty() {
                segments.push(take_finished(body)?);
            }
            Some(Entry::Finished(segments))
        }
        END => Some(Entry::End),
        SEGMENTS => Some(Entry::Segments(take_runs(body)?)),
        REMOVED => Some(Entry::Removed(take_runs(body)?)),
        _ => None,
    }
}

/// How far the first of each run is behind the last of the run before, and how many follow it.
fn put_runs(runs: &[Run], out: &mut Vec<u8>) {
    let mut last = 0;
    for run in runs {
        put(out, run.start() - last);
        put(out, run.end() - run.start());
        last = *run.end();
    }
}

fn take_runs(body: &mut &[u8]) -> Option<Vec<Run>> {
    let (mut runs, mut last) = (Vec::new(), 0u64);
    while !body.is_empty() {
        let first = last.checked_add(take(body)?)?;
        last = first.checked_add(take(body)?)?;
        runs.push(first..=last);
    }
    Some(runs)
}

fn take_record<'a>(header: &Header, body: &mut &'a [u8]) -> Option<RecordEntry<'a>> {
    let stream = take_u32(body)?;
    let ordinal = take_ordinal(body)?;
    let age = take(body)?;
    let age = (age >> 1) as i64 ^ -((age & 1) as i64);
    let received_unix_ms = header.created_unix_ms.wrapping_add(age as u64);
    let id_bytes = usize::try_from(take(body)?).ok()?;
    let (id, data) = body.split_at_checked(id_bytes)?;
    Some(RecordEntry {
        stream,
        ordinal,
        received_unix_ms,
        id,
        data,
    })
}

fn put_finished(finished: &FinishedIn, out: &mut Vec<u8>) {
    put(out, finished.segment);
    put(out, finished.runs.len() as u64);
    let mut next = 0;
    for &(first, last) in &finished.runs {
        put(out, u64::from(first - next));
        put(out, u64::from(last - first));
        next = last;
    }
}

fn take_finished(body: &mut &[u8]) -> Option<FinishedIn> {
    let segment = take(body)?;
    let count = take(body)?;
    let mut runs = Vec::new();
    let mut next = 0u32;
    for _ in 0..count {
        let first = next.checked_add(take_u32(body)?)?;
        let last = first.checked_add(take_u32(body)?)?;
        if last > ORDINAL_MAX {
            return None;
        }
        runs.push((first, last));
        next = last;
    }
    Some(FinishedIn { segment, runs })
}

/// What a record takes in a segment at most, in bytes.
pub fn record_max_bytes(id_bytes: usize, data_bytes: usize) -> u64 {
    // Varints: stream, ordinal, id length up to 5 bytes, time up to 10, and the origin of a moved one.
    (ENTRY_HEADER_BYTES + 5 + 5 + 10 + 5 + 15 + id_bytes + data_bytes) as u64
}

/// What the definition of a stream takes, both copies.
pub fn stream_bytes(arn: &DeliveryStreamArn) -> u64 {
    2 * (ENTRY_HEADER_BYTES + 5 + arn.as_str().len()) as u64
}

fn take_ordinal(bytes: &mut &[u8]) -> Option<u32> {
    take_u32(bytes).filter(|&ordinal| ordinal <= ORDINAL_MAX)
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    u32::try_from(take(bytes)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::{Found, look};
    use crate::queue::disk::runs::runs_of;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_of_segments_come_back(numbers in proptest::collection::btree_set(prop_oneof![0u64..40, any::<u64>()], 0..30)) {
            let header = Header { number: 1, created_unix_ms: 2, salt: 3 };
            let entry = Entry::Removed(runs_of(numbers));
            let mut bytes = Vec::new();
            EntryWriter { header }.write(&entry, &mut bytes);
            let Found::Entry { kind, bytes: length } = look(header.salt, &bytes) else {
                panic!("no entry");
            };
            prop_assert_eq!(length, bytes.len());
            prop_assert_eq!(read(&header, kind, &bytes), Some(entry));
        }
    }

    /// An entry whose checksum is right and that says what no writer would.
    fn forged(kind: u8, numbers: &[u64]) -> Option<Entry<'static>> {
        let header = Header {
            number: 1,
            created_unix_ms: 2,
            salt: 3,
        };
        let mut bytes = vec![0; ENTRY_HEADER_BYTES];
        numbers.iter().for_each(|&number| put(&mut bytes, number));
        seal(header.salt, kind, &mut bytes);
        read(&header, kind, bytes.leak())
    }

    #[test]
    fn what_no_file_has_room_for_is_not_believed() {
        let (most, beyond) = (u64::from(ORDINAL_MAX), u64::from(ORDINAL_MAX) + 1);
        // Stream, ordinal, time, length of the id.
        assert!(forged(RECORD, &[0, most, 0, 0]).is_some());
        assert_eq!(forged(RECORD, &[0, beyond, 0, 0]), None);
        assert_eq!(forged(MOVED, &[1, beyond, 0, 0, 0, 0]), None);
        // Segment, runs, then for each where it begins and how many follow.
        assert!(forged(FINISHED, &[1, 1, 0, most]).is_some());
        assert_eq!(forged(FINISHED, &[1, 1, 0, beyond]), None);
        assert_eq!(forged(FINISHED, &[1, 2, 0, most, 0, 1]), None);
        // Segments are not counted one by one.
        assert!(forged(REMOVED, &[1, u64::MAX - 1]).is_some());
        assert_eq!(forged(REMOVED, &[1, u64::MAX]), None);
    }
}
