//! Start: one pass over what is in the directory, from the newest segment to the oldest. Outcomes are
//! noted at or behind the record they are about, so when a record is seen it is known already whether
//! it is still needed. Damage is skipped and counted; it never stops a start.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use super::bits::Bits;
use super::format::{Entry, FILE_MAX_BYTES, RecordKey};
use super::index::StreamId;
use super::runs::{Run, count_without};
use super::scan::{Damage, Scan};
use super::segment::{Place, Segment, file_name, number_of};
use super::state::{Bounds, State};
use crate::arn::{DeliveryStreamArn, Partitions};
use crate::files::Files;
use crate::framing::HeaderError;

/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(1);

/// What a start found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segments read.
    pub segments: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Records whose outcome is not final.
    pub records: usize,
    /// Streams that have some.
    pub streams: usize,
    /// What could not be read.
    pub damage: Damage,
    /// Records whose stream could not be told, as its definition is damaged.
    pub nobodys_records: usize,
    /// Segments that somebody else took away, and whatever records were in them.
    pub missing_segments: usize,
    /// Files that cannot be used at all: set aside under another name, or left alone as they were
    /// written by a later version.
    pub unusable_files: usize,
}

impl Recovery {
    /// Whether anything is lost that was whole once.
    pub fn is_damaged(&self) -> bool {
        self.damage.is_real()
            || self.nobodys_records > 0
            || self.missing_segments > 0
            || self.unusable_files > 0
    }
}

/// Tells how far it is: bytes read, and bytes there are.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Reads the directory. Says what is in it, what was found, and the number of the next segment.
///
/// # Errors
/// Where the directory cannot be read at all.
pub(super) fn recover(
    files: &dyn Files,
    bounds: Bounds,
    mend: Mend,
    progress: Progress<'_>,
) -> io::Result<(State, Recovery, u64)> {
    let all = files.list()?;
    let mut found: Vec<(u64, u64)> = all
        .iter()
        .filter_map(|(name, bytes)| Some((number_of(name)?, *bytes)))
        .collect();
    found.sort_unstable();
    // A number that was used is never used again, not even that of a file that was set aside.
    let used: Vec<u64> = all
        .iter()
        .filter_map(|(name, _)| number_of(name.trim_end_matches(SET_ASIDE)))
        .collect();
    // What is beyond counting is not ours, and what is counted on from it would not be found again.
    let next_number = used
        .iter()
        .filter(|&&number| number < u64::MAX / 4)
        .max()
        .map_or(1, |number| number + 1);
    let mut pass = Pass {
        files,
        mend,
        state: State::new(bounds),
        recovery: Recovery::default(),
        finished: HashMap::new(),
        oldest: found.first().map_or(0, |first| first.0),
        newest: found.last().map_or(0, |last| last.0),
        told: None,
    };
    let total = found.iter().map(|(_, bytes)| bytes).sum();
    let (mut done, mut told) = (0, Instant::now());
    for &(number, bytes) in found.iter().rev() {
        pass.read_segment(number, bytes);
        done += bytes;
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            progress(done, total);
        }
    }
    if let Err(error) = files.sync_names() {
        tracing::error!(%error, "the directory of the queue cannot be synced");
    }
    let Pass {
        mut state,
        mut recovery,
        told,
        ..
    } = pass;
    recovery.missing_segments = told.unwrap_or_default().missing(used);
    state.forget_empty_streams();
    recovery.streams = state.streams.len();
    Ok((state, recovery, next_number))
}

/// What is asked of the allocator to read a segment; what is not touched costs nothing. From glibc's
/// limit of 32 MiB on such memory goes back to the system whole, and freeing it teaches the allocator
/// nothing: after a buffer of 2 MiB it keeps all that is smaller, which measured 7 MB more resident
/// while a backlog of 600,000 records was delivered (27 MB instead of 34).
const READ_BUFFER_BYTES: usize = 33 * 1024 * 1024;

/// What a file is called that cannot be used: its name with this behind.
pub(super) const SET_ASIDE: &str = ".damaged";

/// Sets a file aside: it is read no more, and somebody may want to look at it.
pub(super) fn set_aside(files: &dyn Files, number: u64) -> io::Result<()> {
    let name = file_name(number);
    let aside = format!("{name}{SET_ASIDE}");
    files.rename(&name, &aside)?;
    files.sync_names()?;
    tracing::error!(
        file = aside,
        "a damaged file of the queue was set aside; what was whole in it was kept or delivered"
    );
    Ok(())
}

/// Whether a start may change what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mend {
    /// Files that cannot be used are set aside.
    Yes,
    /// Everything stays as it is.
    No,
}

struct Pass<'f> {
    files: &'f dyn Files,
    mend: Mend,
    state: State,
    recovery: Recovery,
    /// Finished records of segments that are not read yet.
    finished: HashMap<u64, Bits>,
    /// Number of the oldest segment.
    oldest: u64,
    /// Number of the newest.
    newest: u64,
    /// What the newest that can be read says of the others.
    told: Option<Told>,
}

/// What a segment says of others.
#[derive(Default)]
struct Told {
    /// Those that there were beside it, as it began.
    there: Vec<Run>,
    /// Those that were removed since.
    removed: Vec<Run>,
}

impl Told {
    /// How many are not there any more, though they were not removed.
    fn missing(self, used: Vec<u64>) -> usize {
        let mut known = self.removed;
        known.extend(used.into_iter().map(|number| number..=number));
        usize::try_from(count_without(self.there, known)).unwrap_or(usize::MAX)
    }
}

/// A record as the pass sees it, before it is known whether it is needed.
struct Seen {
    place: Place,
    /// Its stream, where that was told before.
    stream: Option<StreamId>,
    payload_bytes: usize,
    received_unix_ms: u64,
}

impl Pass<'_> {
    fn read_segment(&mut self, number: u64, bytes: u64) {
        self.recovery.segments += 1;
        self.recovery.bytes += bytes;
        let content = match read_whole(self.files, number, bytes) {
            Ok(content) => content,
            // Somebody removed it just now; a missing file is no reason not to start.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                let file = file_name(number);
                tracing::error!(file, %error, "a file of the queue cannot be read; it is left alone");
                self.recovery.unusable_files += 1;
                return;
            }
        };
        let scan = match Scan::new(&content) {
            Ok(scan) if scan.header().number == number => scan,
            other => {
                let error = other.err().unwrap_or(HeaderError::Damaged);
                self.unusable(number, content.is_empty(), error);
                return;
            }
        };
        self.scan(number, bytes, scan);
    }

    fn unusable(&mut self, number: u64, empty: bool, error: HeaderError) {
        let file = file_name(number);
        if empty {
            // Created and never written to.
            if self.mend == Mend::Yes {
                let _ = self.files.remove(&file);
            }
            return;
        }
        self.recovery.unusable_files += 1;
        if self.mend == Mend::No {
            return;
        }
        if let HeaderError::Version(_) = error {
            tracing::error!(file, %error, "a file of the queue is left alone; run the version that wrote it to deliver its records");
        } else if let Err(problem) = set_aside(self.files, number) {
            tracing::error!(file, %error, %problem, "a file of the queue cannot be read, nor be set aside");
        }
    }

    fn scan(&mut self, number: u64, bytes: u64, mut scan: Scan<'_>) {
        let mut segment = Segment::new(scan.header(), self.state.bounds.segment_bytes);
        segment.bytes = bytes;
        let mut streams: HashMap<u32, StreamId> = HashMap::new();
        let mut seen = Vec::new();
        let mut told = Told::default();
        for placed in scan.by_ref() {
            let record = match placed.entry {
                Entry::Stream { number, arn } => {
                    self.define(&mut streams, number, arn);
                    continue;
                }
                Entry::Finished(finished) => {
                    for finished in finished {
                        for (first, last) in finished.runs {
                            self.note(&mut segment, finished.segment, first, last);
                        }
                    }
                    continue;
                }
                Entry::End => continue,
                Entry::Segments(there) => {
                    told.there.extend(there);
                    continue;
                }
                Entry::Removed(removed) => {
                    told.removed.extend(removed);
                    continue;
                }
                Entry::Record(record) => record,
                Entry::Moved { origin, record } => {
                    let RecordKey {
                        segment: of,
                        ordinal,
                    } = origin;
                    // A copy that is nobody's replaces nothing.
                    if streams.contains_key(&record.stream) {
                        self.note(&mut segment, of, ordinal, ordinal);
                    }
                    record
                }
            };
            seen.push(Seen {
                place: Place {
                    segment: number,
                    ordinal: record.ordinal,
                    // Files of ours are far shorter than what 32 bits hold.
                    offset: placed.offset as u32,
                    bytes: placed.bytes as u32,
                    stream: record.stream,
                },
                stream: streams.get(&record.stream).copied(),
                payload_bytes: record.id.len() + record.data.len(),
                received_unix_ms: record.received_unix_ms,
            });
        }
        if number == self.newest || !scan.is_ended() {
            self.sync(number);
        }
        self.told.get_or_insert(told);
        segment.damaged = scan.damage().is_real();
        self.recovery.damage.add(scan.damage());
        segment.repeated = scan.into_repeated();
        let finished = self.finished.remove(&number).unwrap_or_default();
        self.state.add_segment(segment);
        for record in seen {
            self.hold(&record, &finished);
        }
    }

    /// A process that was killed may have left what is read here in the memory of the machine only.
    /// What follows from it, as the removal of a segment whose records were moved, must not reach the
    /// disk before it. Segments before the last that were ended in order are synced.
    fn sync(&mut self, number: u64) {
        if let Err(error) = self.files.sync(&file_name(number)) {
            let file = file_name(number);
            tracing::error!(file, %error, "a file of the queue cannot be synced; nothing is removed before it can be");
            self.state.unsynced.insert(number);
        }
    }

    fn define(&mut self, streams: &mut HashMap<u32, StreamId>, number: u32, arn: &str) {
        if streams.contains_key(&number) {
            return;
        }
        if let Ok(arn) = DeliveryStreamArn::parse(arn, &Partitions::ALL) {
            streams.insert(number, self.state.stream(&arn));
        }
    }

    /// Notes speak of older segments or their own, never of younger ones.
    fn note(&mut self, segment: &mut Segment, of: u64, first: u32, last: u32) {
        let own = segment.header.number;
        if of > own || of < self.oldest {
            return;
        }
        if of != own {
            segment.notes_about.insert(of);
        }
        let finished = self.finished.entry(of).or_default();
        finished.insert_run(first, last);
    }

    fn hold(&mut self, seen: &Seen, finished: &Bits) {
        let Some(segment) = self.state.segments.get_mut(&seen.place.segment) else {
            return;
        };
        segment.note_record(&seen.place);
        if finished.contains(seen.place.ordinal) {
            return;
        }
        let Some(stream) = seen.stream else {
            self.recovery.nobodys_records += 1;
            segment.damaged = true;
            return;
        };
        self.recovery.records += 1;
        if let Some(stream) = self.state.streams.get(&stream) {
            stream.depth.hold(1);
        }
        let Seen {
            place,
            payload_bytes,
            received_unix_ms,
            ..
        } = seen;
        self.state
            .hold(stream, place, *payload_bytes, *received_unix_ms, true);
    }
}

/// The content of a segment's file.
///
/// # Errors
/// Where it cannot be read, or is longer than a segment ever gets.
pub(super) fn read_whole(files: &dyn Files, number: u64, bytes: u64) -> io::Result<Vec<u8>> {
    if bytes > FILE_MAX_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it has {bytes} bytes, and no segment has more than {FILE_MAX_BYTES}"),
        ));
    }
    let file = files.open(&file_name(number))?;
    let mut content = vec![0; READ_BUFFER_BYTES.max(bytes as usize)];
    content.truncate(bytes as usize);
    let read = file.read_at(0, &mut content)?;
    content.truncate(read);
    Ok(content)
}
