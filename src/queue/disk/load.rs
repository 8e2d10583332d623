//! Reading records back when it is their turn: they are on disk from the moment they are taken in, and
//! in memory only while they are being sent.

use std::io;
use std::sync::Mutex;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::format::{Entry, RecordEntry, read};
use super::index::StreamId;
use super::segment::{Place, Segment, file_name};
use super::state::{State, lock};
use crate::files::{Files, ReadAt};
use crate::framing::{Found, Header, look, next_entry};
use crate::queue::{Charge, MemoryBudget, Share};

/// Bytes read at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// From this size on a record has memory of its own.
const OWN_FROM_BYTES: usize = 32 * 1024;

/// When a file that could not be read is tried again.
const FAULT_PAUSE: Duration = Duration::from_secs(30);

/// How much to load.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Most records.
    pub records: usize,
    /// Bytes of data after which no further one is loaded.
    pub bytes: usize,
}

/// A record that was read.
#[derive(Debug)]
pub struct Loaded {
    /// Where it stands.
    pub place: Place,
    /// The id of its request, UTF-8.
    pub id: Bytes,
    /// The record.
    pub data: Bytes,
    /// When it was received.
    pub received_unix_ms: u64,
    /// Its share of the memory budget.
    pub charge: Charge,
}

/// What a load brought.
#[derive(Debug, Default)]
pub struct Load {
    /// In the order of the log.
    pub records: Vec<Loaded>,
    /// Whether it ended because memory has no place at the moment.
    pub out_of_memory: bool,
    /// Records that could not be read any more.
    pub lost: usize,
}

/// Where to read.
struct Spot {
    header: Header,
    /// The stream's number in the segment.
    stream: u32,
    /// How often a record was put back before.
    put_back: u64,
    /// Where there may be more.
    offset: u64,
    /// Where the segment ends.
    end: u64,
}

/// Loads the next unread records of a stream. One load of a stream runs at a time.
///
/// # Errors
/// Where files cannot be read at the moment, and no others have records; nothing is taken then.
pub(super) fn load(
    files: &dyn Files,
    state: &Mutex<State>,
    stream: StreamId,
    share: &Share,
    wanted: Wanted,
) -> io::Result<Load> {
    let mut taking = Taking {
        stream,
        share,
        wanted,
        slab: Slab::default(),
        out_of_memory: false,
        lost: 0,
    };
    let (mut fault, mut tried) = (None, Vec::new());
    while !taking.is_done() {
        let spot = spot(&lock(state), stream, &tried);
        let Some(spot) = spot else { break };
        match read_chunk(files, &spot) {
            Ok(chunk) => taking.take(&mut lock(state), &spot, &chunk),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                taking.lost += lock(state).lose_unread(spot.header.number);
            }
            Err(error) => {
                let number = spot.header.number;
                if put_off(&mut lock(state), stream, number) {
                    let file = file_name(number);
                    tracing::error!(file, %error, "a file of the queue cannot be read now; its records wait");
                }
                tried.push(number);
                fault = Some(error);
            }
        }
    }
    if let (Some(fault), true) = (fault, taking.slab.records.is_empty()) {
        return Err(fault);
    }
    Ok(Load {
        out_of_memory: taking.out_of_memory,
        lost: taking.lost,
        records: taking.slab.finish(),
    })
}

/// The segment is read again by and by; the others come first. Whether that is new.
fn put_off(state: &mut State, stream: StreamId, number: u64) -> bool {
    let stream = state.streams.get_mut(&stream);
    let mut parts = stream.into_iter().flat_map(|stream| &mut stream.parts);
    let part = parts.find(|part| part.segment == number);
    part.is_some_and(|part| part.failed(Instant::now() + FAULT_PAUSE))
}

/// Where the next unread records of a stream stand; `None` where it has none but in segments that were
/// tried in vain.
fn spot(state: &State, stream: StreamId, tried: &[u64]) -> Option<Spot> {
    let now = Instant::now();
    let parts = &state.streams.get(&stream)?.parts;
    let untried = || parts.iter().filter(|part| !tried.contains(&part.segment));
    let part = untried()
        .find(|part| part.is_readable(now))
        .or_else(|| untried().next())?;
    let segment = state.segments.get(&part.segment)?;
    Some(Spot {
        header: segment.header,
        stream: part.stream,
        put_back: part.put_back(),
        offset: part.read_from(segment).into(),
        end: segment.bytes,
    })
}

/// Whole entries of a segment.
struct Chunk {
    bytes: Vec<u8>,
    /// Kind, beginning and length of each, in the bytes.
    entries: Vec<(u8, usize, usize)>,
    /// Where what follows begins in the segment.
    next: u64,
}

/// Reads at least one entry, or finds that there is none any more.
fn read_chunk(files: &dyn Files, spot: &Spot) -> io::Result<Chunk> {
    let file = files.open(&file_name(spot.header.number))?;
    let mut bytes = read_part(&*file, spot, CHUNK_BYTES)?;
    let mut entries = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match look(spot.header.salt, &bytes[at..]) {
            Found::Entry { kind, bytes } => {
                entries.push((kind, at, bytes));
                at += bytes;
            }
            // Whatever follows what was found is looked at in the next chunk.
            Found::Cut(_) | Found::Nothing if !entries.is_empty() => break,
            Found::Cut(needed)
                if bytes.len() < needed && spot.offset + (needed as u64) <= spot.end =>
            {
                let more = read_part(&*file, spot, needed)?;
                if more.len() < needed {
                    at = more.len();
                }
                bytes = more;
            }
            Found::Cut(_) | Found::Nothing => {
                bytes = read_part(&*file, spot, usize::MAX)?;
                at = next_entry(spot.header.salt, &bytes, 1).unwrap_or(bytes.len());
            }
        }
    }
    let next = if entries.is_empty() {
        spot.end
    } else {
        spot.offset + at as u64
    };
    Ok(Chunk {
        bytes,
        entries,
        next,
    })
}

fn read_part(file: &dyn ReadAt, spot: &Spot, bytes: usize) -> io::Result<Vec<u8>> {
    let there_are = usize::try_from(spot.end.saturating_sub(spot.offset)).unwrap_or(usize::MAX);
    let mut buffer = vec![0; bytes.min(there_are)];
    let read = file.read_at(spot.offset, &mut buffer)?;
    buffer.truncate(read);
    Ok(buffer)
}

/// A load under way.
struct Taking<'a> {
    stream: StreamId,
    share: &'a Share,
    wanted: Wanted,
    slab: Slab,
    out_of_memory: bool,
    lost: usize,
}

impl Taking<'_> {
    fn is_done(&self) -> bool {
        self.out_of_memory
            || self.slab.records.len() >= self.wanted.records
            || self.slab.data_bytes >= self.wanted.bytes
    }

    /// Takes what a chunk has for this stream. The segment may have gone since it was read.
    fn take(&mut self, state: &mut State, spot: &Spot, chunk: &Chunk) {
        let number = spot.header.number;
        let mut next = chunk.next;
        let mut received = 0;
        for &(kind, start, bytes) in &chunk.entries {
            let entry = read(&spot.header, kind, &chunk.bytes[start..start + bytes]);
            let Some(Entry::Record(record) | Entry::Moved { record, .. }) = entry else {
                continue;
            };
            if record.stream != spot.stream {
                continue;
            }
            if self.is_done() {
                next = spot.offset + start as u64;
                break;
            }
            let offset = (spot.offset + start as u64) as u32;
            let is_wanted = |segment: &Segment| {
                segment.is_unread(record.ordinal) && !segment.is_repeated(offset)
            };
            if !state.segments.get(&number).is_some_and(is_wanted) {
                continue;
            }
            let place = Place {
                segment: number,
                ordinal: record.ordinal,
                offset,
                bytes: bytes as u32,
                stream: spot.stream,
            };
            if !self.take_record(state, place, &record) {
                next = place.offset.into();
                break;
            }
            received = record.received_unix_ms;
        }
        self.note_progress(state, spot, next, received);
    }

    /// `false`: memory has no place for it.
    fn take_record(&mut self, state: &mut State, place: Place, record: &RecordEntry<'_>) -> bool {
        let cost = MemoryBudget::record_bytes(record.data.len(), record.id.len());
        let Some(charge) = self.share.charge(cost) else {
            self.out_of_memory = true;
            return false;
        };
        if let Some(segment) = state.segments.get_mut(&place.segment) {
            segment.set_read(place.ordinal);
        }
        if let Some(stream) = state.streams.get_mut(&self.stream) {
            stream.remove_unread(place.segment, record.id.len() + record.data.len());
        }
        self.slab.add(place, record, charge);
        true
    }

    fn note_progress(&mut self, state: &mut State, spot: &Spot, next: u64, received: u64) {
        let number = spot.header.number;
        let Some(stream) = state.streams.get_mut(&self.stream) else {
            return;
        };
        let Some(part) = stream.parts.iter_mut().find(|part| part.segment == number) else {
            return;
        };
        if part.put_back() != spot.put_back {
            // Records were put back meanwhile, before this perhaps: it is looked at once more.
            return;
        }
        // The segment may have grown since, where it is written to.
        let end = state
            .segments
            .get(&number)
            .map_or(0, |segment| segment.bytes);
        if next < end {
            part.looked_at(next as u32, received);
            stream.refresh_oldest();
            return;
        }
        // Looked at to its end, and some of its records were not there any more.
        let lost = stream.give_up_part(number);
        stream.depth.release(lost);
        self.lost += lost;
        state.lost += lost as u64;
        if let Some(segment) = state.segments.get_mut(&number) {
            segment.damaged = true;
            segment.has_lost = true;
            state.untidy = true;
        }
    }
}

/// Gathers records so that small ones share one allocation.
#[derive(Default)]
struct Slab {
    bytes: BytesMut,
    data_bytes: usize,
    records: Vec<Kept>,
}

/// A record in the slab: its id, and behind it its data unless that stands by itself.
struct Kept {
    place: Place,
    received_unix_ms: u64,
    charge: Charge,
    id_bytes: usize,
    data_bytes: usize,
    own: Option<Bytes>,
}

impl Slab {
    fn add(&mut self, place: Place, record: &RecordEntry<'_>, charge: Charge) {
        self.bytes.extend_from_slice(record.id);
        let own =
            (record.data.len() >= OWN_FROM_BYTES).then(|| Bytes::copy_from_slice(record.data));
        if own.is_none() {
            self.bytes.extend_from_slice(record.data);
        }
        self.data_bytes += record.data.len();
        self.records.push(Kept {
            place,
            received_unix_ms: record.received_unix_ms,
            charge,
            id_bytes: record.id.len(),
            data_bytes: record.data.len(),
            own,
        });
    }

    fn finish(self) -> Vec<Loaded> {
        // A copy of the exact size: a growing buffer has up to twice of it.
        let mut bytes = Bytes::copy_from_slice(&self.bytes);
        let split = |kept: Kept| Loaded {
            place: kept.place,
            id: bytes.split_to(kept.id_bytes),
            data: kept.own.unwrap_or_else(|| bytes.split_to(kept.data_bytes)),
            received_unix_ms: kept.received_unix_ms,
            charge: kept.charge,
        };
        self.records.into_iter().map(split).collect()
    }
}
