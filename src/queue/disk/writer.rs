//! The writer: puts groups of records and notes into the current segment, each with one write and one
//! sync. It trusts nothing that was written since the last good sync: after a fault it begins a new
//! segment and writes the group again there.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::{Arc, Mutex};

use super::format::{Entry, EntryWriter, FinishedIn, MAGIC, RecordEntry};
use super::runs::runs_of;
use super::segment::{Place, Segment, file_name};
use super::state::{Group, Incoming, State, key, lock};
use crate::arn::DeliveryStreamArn;
use crate::files::{Append, Files};
use crate::framing::Header;

/// Runs of notes after which they are synced: until then they are kept in memory as well.
const UNSYNCED_MAX_RUNS: usize = 64 * 1024;

/// What the buffer of a group may keep for the next one.
const KEEP_BYTES: usize = 256 * 1024;

/// Writes to one directory.
pub(super) struct Writer {
    files: Arc<dyn Files>,
    /// Bytes at which a segment is ended.
    pub segment_bytes: u64,
    /// The next segment's number.
    next_number: u64,
    /// What is written to, once there was something to write.
    current: Option<Current>,
    /// What a group is put together in.
    buffer: Vec<u8>,
    /// Notes that were written since the last sync.
    unsynced_notes: Vec<FinishedIn>,
    /// The segments that there are.
    known: BTreeSet<u64>,
    /// Segments whose removal is to be noted.
    unnoted_removals: BTreeSet<u64>,
    /// Whether the last write failed.
    has_failed: bool,
}

/// The segment that is written to.
struct Current {
    file: Box<dyn Append>,
    entries: EntryWriter,
    /// Where the next group goes.
    end: u64,
    /// All before this is synced.
    synced: u64,
    /// Whether its name is synced.
    named: bool,
    /// Records in it.
    records: u32,
    /// Streams defined in it. By name: one that is forgotten and comes again keeps its number, as at the
    /// next start it is one stream.
    streams: HashMap<DeliveryStreamArn, u32>,
}

/// A record to write: where from does not matter.
#[derive(Clone, Copy)]
pub(super) struct ToWrite<'a> {
    pub arn: &'a DeliveryStreamArn,
    pub id: &'a [u8],
    pub data: &'a [u8],
    pub received_unix_ms: u64,
    /// Where it stands already, if it is moved.
    pub origin: Option<Place>,
}

impl<'a> From<&'a Incoming> for ToWrite<'a> {
    fn from(record: &'a Incoming) -> Self {
        ToWrite {
            arn: &record.arn,
            id: record.id.as_str().as_bytes(),
            data: &record.data,
            received_unix_ms: record.received_unix_ms,
            origin: None,
        }
    }
}

/// What a write brought.
pub(super) struct Written {
    /// Where the records stand, in their order.
    pub places: Vec<Place>,
    /// The segment that they are in.
    pub header: Header,
    /// The length of its file now.
    pub bytes: u64,
}

impl Writer {
    /// A writer beside the segments that are `known`, whose first has the number given; nothing is
    /// created yet.
    pub fn new(
        files: Arc<dyn Files>,
        segment_bytes: u64,
        next_number: u64,
        known: BTreeSet<u64>,
    ) -> Self {
        Writer {
            files,
            segment_bytes,
            next_number,
            current: None,
            buffer: Vec::new(),
            unsynced_notes: Vec::new(),
            known,
            unnoted_removals: BTreeSet::new(),
            has_failed: false,
        }
    }

    /// Whether the last write failed.
    pub fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// The newest segment.
    pub fn newest(&self) -> Option<u64> {
        self.known.last().copied()
    }

    /// Notes, synced, that segments are removed now, where there is a later one that says they exist.
    /// While nothing can be written it is noted as soon as something can be.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn note_removal(&mut self, numbers: &[u64], state: &Mutex<State>) -> io::Result<()> {
        let newest = self
            .known
            .iter()
            .rev()
            .find(|known| !numbers.contains(known));
        if let Some(&newest) = newest {
            let listed = numbers.iter().filter(|&&number| number < newest);
            self.unnoted_removals.extend(listed);
        }
        if self.unnoted_removals.is_empty() || lock(state).fault.is_some() {
            return Ok(());
        }
        self.write_group(Group::default(), state, true)
    }

    /// A segment is gone.
    pub fn forget(&mut self, number: u64) {
        self.known.remove(&number);
    }

    /// Whether notes were written and not synced.
    pub fn has_unsynced_notes(&self) -> bool {
        !self.unsynced_notes.is_empty()
    }

    /// Writes what a group holds. With records it is synced; without, notes are synced if asked.
    /// What could not be written is given back to the state.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn write_group(
        &mut self,
        group: Group,
        state: &Mutex<State>,
        sync: bool,
    ) -> io::Result<()> {
        let records: Vec<ToWrite<'_>> = group.records.iter().map(ToWrite::from).collect();
        let runs = |notes: &[FinishedIn]| notes.iter().map(|it| it.runs.len()).sum::<usize>();
        let unsynced = runs(&self.unsynced_notes) + runs(&group.notes);
        let sync = sync || !records.is_empty() || unsynced > UNSYNCED_MAX_RUNS;
        let result = self.write(&records, &group.notes, sync);
        match result {
            Ok(None) => Ok(()),
            Ok(Some(written)) => {
                let mut state = lock(state);
                register(&mut state, &written, self.segment_bytes, &group.notes);
                state.written(&group.records, &written.places);
                drop(state);
                if !sync {
                    self.unsynced_notes.extend(group.notes);
                }
                Ok(())
            }
            Err(error) => {
                self.abandon(state);
                lock(state).not_written(group);
                Err(error)
            }
        }
    }

    /// Writes records and notes at the end of the current segment. `None`: there was nothing to do.
    fn write(
        &mut self,
        records: &[ToWrite<'_>],
        notes: &[FinishedIn],
        sync: bool,
    ) -> io::Result<Option<Written>> {
        if records.is_empty() && notes.is_empty() && self.unnoted_removals.is_empty() {
            if sync && let Some(current) = &mut self.current {
                current.sync(&*self.files)?;
                current.synced = current.end;
                self.unsynced_notes.clear();
                self.has_failed = false;
            }
            return Ok(None);
        }
        if self
            .current
            .as_ref()
            .is_some_and(|current| current.end >= self.segment_bytes)
        {
            self.end_segment()?;
        }
        let current = match &mut self.current {
            Some(current) => current,
            None => {
                let created = records.iter().map(|record| record.received_unix_ms).max();
                // Counted even where it cannot be created: what is in the way may be a file of that name.
                let number = self.next_number;
                self.next_number += 1;
                self.current
                    .insert(begin(&*self.files, number, created.unwrap_or_default())?)
            }
        };
        self.buffer.clear();
        let segments = Segments {
            known: &self.known,
            removed: &self.unnoted_removals,
        };
        let places = current.put(records, notes, segments, &mut self.buffer);
        current.file.write_at(current.end, &self.buffer)?;
        if sync {
            current.sync(&*self.files)?;
        }
        current.end += self.buffer.len() as u64;
        self.known.insert(current.entries.header.number);
        self.unnoted_removals.clear();
        self.has_failed = false;
        if sync {
            current.synced = current.end;
            self.unsynced_notes.clear();
        }
        if self.buffer.capacity() > KEEP_BYTES {
            self.buffer = Vec::new();
        }
        Ok(Some(Written {
            places,
            header: current.entries.header,
            bytes: current.end,
        }))
    }

    /// Moves records here, synced. What could not be moved stays where it is.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn write_moved(
        &mut self,
        records: &[ToWrite<'_>],
        state: &Mutex<State>,
    ) -> io::Result<Option<Written>> {
        let result = self.write(records, &[], true);
        if result.is_err() {
            self.abandon(state);
        }
        result
    }

    /// Ends the current segment in order: all in it is synced.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn end_segment(&mut self) -> io::Result<()> {
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        self.buffer.clear();
        current.entries.write(&Entry::End, &mut self.buffer);
        current.file.write_at(current.end, &self.buffer)?;
        current.sync(&*self.files)?;
        self.unsynced_notes.clear();
        self.current = None;
        Ok(())
    }

    /// Leaves the current segment after a fault, cut off behind what is known to be synced.
    fn abandon(&mut self, state: &Mutex<State>) {
        self.has_failed = true;
        let lost = std::mem::take(&mut self.unsynced_notes);
        let left = self.current.take();
        let mut state = lock(state);
        state.current = None;
        state.untidy = true;
        state.owe_notes(&lost);
        let Some(mut left) = left else { return };
        let number = left.entries.header.number;
        state.set_segment_bytes(number, left.synced);
        drop(state);
        // Where this fails too, what stands behind is found at the next start, and sent twice at worst.
        if left.synced == 0 {
            let _ = self.files.remove(&file_name(number));
        } else {
            let _ = left.file.set_len(left.synced);
        }
    }
}

/// What is said of segments in a group.
struct Segments<'a> {
    /// Those that there are, as a new one begins.
    known: &'a BTreeSet<u64>,
    /// Those that go.
    removed: &'a BTreeSet<u64>,
}

impl Current {
    /// Makes what was written, and the name it is found by, outlive a loss of power.
    fn sync(&mut self, files: &dyn Files) -> io::Result<()> {
        self.file.sync()?;
        if !self.named {
            files.sync_names()?;
            self.named = true;
        }
        Ok(())
    }

    /// Puts records and notes together; says where the records will stand.
    fn put(
        &mut self,
        records: &[ToWrite<'_>],
        notes: &[FinishedIn],
        segments: Segments<'_>,
        out: &mut Vec<u8>,
    ) -> Vec<Place> {
        if self.end == 0 {
            self.entries.header.write(MAGIC, out);
            let known = runs_of(segments.known.iter().copied());
            self.entries.write(&Entry::Segments(known), out);
        }
        if !segments.removed.is_empty() {
            let removed = runs_of(segments.removed.iter().copied());
            self.entries.write(&Entry::Removed(removed), out);
        }
        if !notes.is_empty() {
            self.entries.write(&Entry::Finished(notes.to_vec()), out);
        }
        records
            .iter()
            .map(|record| self.put_record(record, out))
            .collect()
    }

    fn put_record(&mut self, record: &ToWrite<'_>, out: &mut Vec<u8>) -> Place {
        let stream = self.stream(record, out);
        let start = out.len();
        let ordinal = self.records;
        self.records += 1;
        let entry = RecordEntry {
            stream,
            ordinal,
            received_unix_ms: record.received_unix_ms,
            id: record.id,
            data: record.data,
        };
        let entry = match record.origin {
            None => Entry::Record(entry),
            Some(origin) => Entry::Moved {
                origin: key(&origin),
                record: entry,
            },
        };
        self.entries.write(&entry, out);
        Place {
            segment: self.entries.header.number,
            ordinal,
            // A segment ends at a few megabytes; one group more is far from what 32 bits hold.
            offset: (self.end + start as u64) as u32,
            bytes: (out.len() - start) as u32,
            stream,
        }
    }

    /// The number of the record's stream in this segment, defined where it is new.
    fn stream(&mut self, record: &ToWrite<'_>, out: &mut Vec<u8>) -> u32 {
        if let Some(&number) = self.streams.get(record.arn.as_str()) {
            return number;
        }
        let number = self.streams.len() as u32;
        self.streams.insert(record.arn.clone(), number);
        let entry = Entry::Stream {
            number,
            arn: record.arn.as_str(),
        };
        self.entries.write(&entry, out);
        self.entries.write(&entry, out);
        number
    }
}

fn begin(files: &dyn Files, number: u64, created_unix_ms: u64) -> io::Result<Current> {
    let file = files.create(&file_name(number))?;
    let header = Header {
        number,
        created_unix_ms,
        salt: fastrand::u32(..),
    };
    Ok(Current {
        file,
        entries: EntryWriter { header },
        end: 0,
        synced: 0,
        named: false,
        records: 0,
        streams: HashMap::new(),
    })
}

/// Tells the state what the current segment holds now.
pub(super) fn register(
    state: &mut State,
    written: &Written,
    segment_bytes: u64,
    notes: &[FinishedIn],
) {
    let number = written.header.number;
    state.current = Some(number);
    if !state.segments.contains_key(&number) {
        state.add_segment(Segment::new(written.header, segment_bytes));
    }
    state.set_segment_bytes(number, written.bytes);
    if let Some(segment) = state.segments.get_mut(&number) {
        let about = notes.iter().map(|finished| finished.segment);
        segment
            .notes_about
            .extend(about.filter(|&about| about != number));
    }
}
