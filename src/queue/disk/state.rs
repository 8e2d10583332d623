//! What is known of the whole queue: segments, streams, what waits to be written. Bookkeeping only; it
//! lives behind one lock, held for moments and never while a file is written or read.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::format::{FinishedIn, RecordKey, record_max_bytes, stream_bytes};
use super::index::{StreamId, StreamIndex};
use super::segment::{Place, Segment};
use crate::arn::DeliveryStreamArn;
use crate::queue::{Id, Refusal};

/// A stream may take this many times what is still free for all, as it may of memory: so a stream that
/// is gone leaves room to those that are well.
const SHARE_OF_FREE: u64 = 4;

/// One part in so many of the directory is kept for the default stream, as it is of memory.
const KEPT_PART: u64 = 4;

/// Runs of finished records that are noted in one entry at most, so that it stays short whatever waits to be noted: a
/// run takes 2 to 8 bytes there.
const NOTES_MAX_RUNS: usize = 16 * 1024;

/// Counts the records that were taken in; all up to a ticket are synced at a time.
pub type Ticket = u64;

/// A record that waits to be written and synced.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// Its stream.
    pub stream: StreamId,
    /// The same, by name.
    pub arn: DeliveryStreamArn,
    /// Maps its status back.
    pub id: Id,
    /// The record.
    pub data: Bytes,
    /// When it was received.
    pub received_unix_ms: u64,
    /// Whether the broker keeps its message until it is synced.
    pub kept_by_broker: bool,
    /// Its place in the order of arrival.
    pub ticket: Ticket,
}

impl Incoming {
    /// What it takes on disk at most.
    pub fn disk_bytes(&self) -> u64 {
        record_max_bytes(self.id.as_str().len(), self.data.len())
    }

    /// What it takes in memory while it waits, beside its place.
    pub fn payload_bytes(&self) -> usize {
        self.data.len() + self.id.as_str().len()
    }
}

/// Records that the writer takes at a time.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// In order of arrival.
    pub records: Vec<Incoming>,
    /// Outcomes to note.
    pub notes: Vec<FinishedIn>,
}

/// What may be held.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Records of one stream (`DELIVERY_STREAM_QUEUE_SIZE`).
    pub queue_size: usize,
    /// Bytes of all segments (`QUEUE_DIR_MAX_BYTES`).
    pub max_bytes: u64,
    /// Bytes at which a segment is ended.
    pub segment_bytes: u64,
}

/// The queue as it is.
#[derive(Debug)]
pub(super) struct State {
    pub bounds: Bounds,
    /// By number, oldest first.
    pub segments: BTreeMap<u64, Segment>,
    /// What their files take.
    pub total_bytes: u64,
    /// The one that is written to.
    pub current: Option<u64>,
    /// Those that have or had records.
    pub streams: HashMap<StreamId, StreamIndex>,
    /// The one of them that room is kept for.
    pub favoured: Option<StreamId>,
    /// The same by name.
    pub by_arn: HashMap<DeliveryStreamArn, StreamId>,
    next_stream: u64,
    /// Waits to be written, in order of arrival.
    pub incoming: VecDeque<Incoming>,
    /// Payload bytes of it.
    pub incoming_bytes: usize,
    /// What it takes on disk at most.
    incoming_disk_bytes: u64,
    /// Records that are not written yet, those that are being written too.
    pub unwritten: usize,
    /// Records that were found at the start, or written since.
    pub taken_in: u64,
    /// Their bytes, as far as they were written since.
    pub taken_in_bytes: u64,
    /// Records that could not be read any more since.
    pub lost: u64,
    /// The next ticket.
    next_ticket: Ticket,
    /// Where records stand now that were moved while in memory.
    moved: HashMap<RecordKey, Place>,
    /// Segments that owe notes.
    pub owing: BTreeSet<u64>,
    /// Segments that could not be synced at the start: nothing that follows from them may be done.
    pub unsynced: BTreeSet<u64>,
    /// Whether a segment may have become superfluous.
    pub untidy: bool,
    /// Whether nothing has changed since it was last tidied up: to do so again would bring no room.
    pub is_tidy: bool,
    /// Why nothing can be written at the moment.
    pub fault: Option<String>,
    /// Whether the writer is to end.
    pub closing: bool,
    /// Whether a session began since the last group was taken, and if so, whether the broker had kept
    /// the first such one: that decides about the group's records should they come back.
    session_since: Option<bool>,
}

impl State {
    pub fn new(bounds: Bounds) -> Self {
        State {
            bounds,
            segments: BTreeMap::new(),
            total_bytes: 0,
            current: None,
            streams: HashMap::new(),
            favoured: None,
            by_arn: HashMap::new(),
            next_stream: 0,
            incoming: VecDeque::new(),
            incoming_bytes: 0,
            incoming_disk_bytes: 0,
            unwritten: 0,
            taken_in: 0,
            taken_in_bytes: 0,
            lost: 0,
            next_ticket: 1,
            moved: HashMap::new(),
            owing: BTreeSet::new(),
            unsynced: BTreeSet::new(),
            untidy: true,
            is_tidy: false,
            fault: None,
            closing: false,
            session_since: None,
        }
    }

    /// The stream of that name, made where there is none.
    pub fn stream(&mut self, arn: &DeliveryStreamArn) -> StreamId {
        if let Some(&id) = self.by_arn.get(arn.as_str()) {
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.closed = false;
            }
            return id;
        }
        let id = StreamId(self.next_stream);
        self.next_stream += 1;
        self.by_arn.insert(arn.clone(), id);
        self.streams.insert(id, StreamIndex::new(arn.clone()));
        id
    }

    /// Nothing more comes for a stream: it is forgotten once it holds nothing.
    pub fn close_stream(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.closed = true;
        }
        self.forget_if_empty(id);
    }

    /// Forgets streams that hold nothing: nobody has asked for them yet.
    pub fn forget_empty_streams(&mut self) {
        self.streams.retain(|_, stream| !stream.depth.is_empty());
        let streams = &self.streams;
        self.by_arn.retain(|_, id| streams.contains_key(id));
    }

    fn forget_if_empty(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get(&id) else {
            return;
        };
        if stream.closed && stream.depth.is_empty() {
            self.by_arn.remove(stream.arn.as_str());
            self.streams.remove(&id);
        }
    }

    /// Records not final, those that are not written yet too.
    pub fn held(&self) -> usize {
        let streams = self.streams.values();
        streams.map(|stream| stream.depth.all()).sum()
    }

    /// Takes a record in, to be written.
    ///
    /// # Errors
    /// Gives it back where there is no room for it.
    #[expect(
        clippy::result_large_err,
        reason = "a refused record is moved back, not boxed"
    )]
    pub fn push(&mut self, mut record: Incoming) -> Result<Ticket, (Refusal, Incoming)> {
        let Some(stream) = self.streams.get(&record.stream) else {
            return Err((Refusal::QueueFull, record));
        };
        if stream.depth.held() >= self.bounds.queue_size {
            return Err((Refusal::QueueFull, record));
        }
        let bytes = record.disk_bytes();
        let own = stream.depth.disk_bytes();
        let room = self
            .room_bytes()
            .saturating_sub(self.kept_bytes_beside(record.stream));
        let left = room.checked_sub(bytes + stream_bytes(&record.arn));
        let is_share = |left: u64| own == 0 || own + bytes <= left.saturating_mul(SHARE_OF_FREE);
        if !left.is_some_and(is_share) {
            // Perhaps there is something to tidy up, or what is being written takes less than was set aside for it.
            // Else nobody must look again for this one: who waits for room tries each time that somebody has.
            self.untidy |= !self.is_tidy || self.unwritten > 0;
            return Err((Refusal::QueueDirFull, record));
        }
        record.ticket = self.next_ticket;
        self.next_ticket += 1;
        stream.depth.hold(1);
        self.incoming_bytes += record.payload_bytes();
        self.incoming_disk_bytes += bytes;
        self.unwritten += 1;
        let ticket = record.ticket;
        self.incoming.push_back(record);
        Ok(ticket)
    }

    /// How much further records may take: two segments' worth stays free to move and note things.
    fn room_bytes(&self) -> u64 {
        let taken = self.total_bytes + self.incoming_disk_bytes + 2 * self.bounds.segment_bytes;
        self.bounds.max_bytes.saturating_sub(taken)
    }

    /// How much of that is kept for another stream than this one.
    fn kept_bytes_beside(&self, stream: StreamId) -> u64 {
        let favoured = self.favoured.filter(|favoured| *favoured != stream);
        let favoured = favoured.and_then(|favoured| self.streams.get(&favoured));
        favoured.map_or(0, |favoured| {
            let kept = self.bounds.max_bytes / KEPT_PART;
            kept.saturating_sub(favoured.depth.disk_bytes())
        })
    }

    /// Adds a segment.
    pub fn add_segment(&mut self, segment: Segment) {
        self.is_tidy = false;
        self.total_bytes += segment.bytes;
        self.segments.insert(segment.header.number, segment);
    }

    /// Tells how long the file of a segment is now.
    pub fn set_segment_bytes(&mut self, number: u64, bytes: u64) {
        if let Some(segment) = self.segments.get_mut(&number) {
            self.total_bytes = self.total_bytes - segment.bytes + bytes;
            segment.bytes = bytes;
        }
    }

    /// Forgets a segment whose file is gone.
    pub fn remove_segment(&mut self, number: u64) {
        if let Some(segment) = self.segments.remove(&number) {
            self.total_bytes -= segment.bytes;
            self.owing.remove(&number);
        }
    }

    /// What live records take.
    pub fn live_bytes(&self) -> u64 {
        self.segments
            .values()
            .map(|segment| segment.live_bytes)
            .sum()
    }

    /// The broker sends again what it keeps: such records are dropped here, as long as they are not
    /// being written.
    pub fn drop_kept_by_broker(&mut self) {
        self.session_since.get_or_insert(true);
        let (dropped, stays): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.incoming)
            .into_iter()
            .partition(|record| record.kept_by_broker);
        self.incoming = stays;
        for record in dropped {
            self.drop_incoming(&record);
        }
    }

    /// The broker has forgotten the session: what waits here is the only copy.
    pub fn kept_by_no_broker(&mut self) {
        self.session_since.get_or_insert(false);
        for record in &mut self.incoming {
            record.kept_by_broker = false;
        }
    }

    /// A record is not written at all.
    fn drop_incoming(&mut self, record: &Incoming) {
        self.forget_incoming(record);
        if let Some(stream) = self.streams.get(&record.stream) {
            stream.depth.release(1);
        }
        self.forget_if_empty(record.stream);
    }

    /// A record waits no more.
    fn forget_incoming(&mut self, record: &Incoming) {
        self.incoming_bytes -= record.payload_bytes();
        self.incoming_disk_bytes -= record.disk_bytes();
        self.unwritten -= 1;
    }

    /// What is to be written next. It stays counted until [`State::written`] or
    /// [`State::not_written`].
    pub fn take_group(&mut self, max_records: usize, max_bytes: usize) -> Group {
        self.session_since = None;
        let mut records = Vec::new();
        let mut bytes = 0;
        while records.len() < max_records
            && bytes < max_bytes
            && let Some(record) = self.incoming.pop_front()
        {
            bytes += record.payload_bytes();
            records.push(record);
        }
        Group {
            records,
            notes: self.take_notes(),
        }
    }

    /// Outcomes that are to be noted, oldest segments first: as many as one entry holds.
    fn take_notes(&mut self) -> Vec<FinishedIn> {
        let mut notes = Vec::new();
        let mut runs = NOTES_MAX_RUNS;
        while runs > 0
            && let Some(number) = self.owing.pop_first()
        {
            let Some(segment) = self.segments.get_mut(&number).filter(|it| it.owes_notes()) else {
                continue;
            };
            let finished = segment.take_notes(runs);
            runs -= finished.runs.len();
            notes.push(finished);
            if segment.owes_notes() {
                self.owing.insert(number);
            }
        }
        notes
    }

    /// The records of a group stand on disk, synced, in these places.
    pub fn written(&mut self, records: &[Incoming], places: &[Place]) {
        for (record, place) in records.iter().zip(places) {
            self.forget_incoming(record);
            self.taken_in += 1;
            self.taken_in_bytes += record.data.len() as u64;
            self.hold(
                record.stream,
                place,
                record.payload_bytes(),
                record.received_unix_ms,
                true,
            );
        }
    }

    /// A group could not be written: it waits again, in front. If there was a new session meanwhile, what
    /// that means for records that wait is done here.
    pub fn not_written(&mut self, group: Group) {
        for mut record in group.records.into_iter().rev() {
            match self.session_since {
                Some(true) if record.kept_by_broker => {
                    self.drop_incoming(&record);
                    continue;
                }
                Some(false) => record.kept_by_broker = false,
                _ => {}
            }
            self.incoming.push_front(record);
        }
        self.owe_notes(&group.notes);
    }

    /// Notes that are to be written again.
    pub fn owe_notes(&mut self, notes: &[FinishedIn]) {
        for finished in notes {
            if let Some(segment) = self.segments.get_mut(&finished.segment) {
                segment.owe_notes(&finished.runs);
                self.owing.insert(finished.segment);
            }
        }
    }

    /// A record stands at a place, and is in memory or not.
    pub fn hold(
        &mut self,
        stream: StreamId,
        place: &Place,
        payload_bytes: usize,
        received_unix_ms: u64,
        unread: bool,
    ) {
        let Some(segment) = self.segments.get_mut(&place.segment) else {
            return;
        };
        segment.note_record(place);
        segment.hold(place, unread);
        let Some(stream) = self.streams.get_mut(&stream) else {
            return;
        };
        stream.depth.add_disk_bytes(place.bytes);
        if unread {
            stream.add_unread(segment, place, payload_bytes, received_unix_ms);
        }
    }

    /// The outcomes of records are final.
    pub fn finish(&mut self, stream: StreamId, places: &[Place]) {
        let (mut finished, mut bytes) = (0, 0);
        for place in places {
            let key = key(place);
            let place = self.moved.remove(&key).unwrap_or(*place);
            let Some(segment) = self.segments.get_mut(&place.segment) else {
                continue;
            };
            if !segment.release(&place) {
                continue;
            }
            finished += 1;
            bytes += u64::from(place.bytes);
            segment.owe_note(place.ordinal);
            self.owing.insert(place.segment);
            self.is_tidy = false;
            self.untidy |= segment.live_records == 0 || segment.live_bytes * 2 < segment.bytes;
        }
        if let Some(stream) = self.streams.get(&stream) {
            stream.depth.release(finished);
            stream.depth.remove_disk_bytes(bytes);
        }
        self.forget_if_empty(stream);
    }

    /// Records that are in memory no more, and not final: they are read again when it is their turn.
    pub fn unload(&mut self, stream: StreamId, records: &[(Place, usize, u64)]) {
        let Some(index) = self.streams.get_mut(&stream) else {
            return;
        };
        for &(place, payload_bytes, received_unix_ms) in records {
            let place = self.moved.remove(&key(&place)).unwrap_or(place);
            let Some(segment) = self.segments.get_mut(&place.segment) else {
                continue;
            };
            if segment.is_live(place.ordinal) && !segment.is_unread(place.ordinal) {
                segment.set_unread(place.ordinal);
                index.put_back(segment, &place, payload_bytes, received_unix_ms);
            }
        }
    }

    /// A record stands in a new place, synced; the old one goes. Where it was finished meanwhile, the new
    /// place is owed a note.
    pub fn relocate(
        &mut self,
        stream: StreamId,
        old: &Place,
        new: Place,
        payload_bytes: usize,
        received_unix_ms: u64,
    ) {
        let (was_live, was_unread) = match self.segments.get_mut(&old.segment) {
            Some(segment) => {
                let was_unread = segment.is_unread(old.ordinal);
                (segment.release(old), was_unread)
            }
            None => (false, false),
        };
        if !was_live {
            if let Some(segment) = self.segments.get_mut(&new.segment) {
                segment.note_record(&new);
                segment.owe_note(new.ordinal);
                self.owing.insert(new.segment);
            }
            return;
        }
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.depth.remove_disk_bytes(old.bytes.into());
            if was_unread {
                stream.remove_unread(old.segment, payload_bytes);
            }
        }
        self.hold(stream, &new, payload_bytes, received_unix_ms, was_unread);
        if !was_unread {
            self.follow(old, new);
        }
    }

    /// Gives up the records of a segment that cannot be read. Says how many.
    pub fn lose_unread(&mut self, number: u64) -> usize {
        let Some(segment) = self.segments.get_mut(&number) else {
            return 0;
        };
        segment.lose_unread();
        segment.is_stuck = segment.live_records > 0;
        self.untidy = true;
        self.is_tidy = false;
        let mut lost = 0;
        for stream in self.streams.values_mut() {
            let records = stream.give_up_part(number);
            stream.depth.release(records);
            lost += records;
        }
        self.lost += lost as u64;
        lost
    }

    /// Whoever has the record in memory knows it by the place where it was read.
    fn follow(&mut self, old: &Place, new: Place) {
        let first = self
            .moved
            .iter()
            .find(|(_, place)| key(place) == key(old))
            .map(|(&first, _)| first);
        self.moved.insert(first.unwrap_or(key(old)), new);
    }
}

/// What names the record of a place.
pub(super) fn key(place: &Place) -> RecordKey {
    RecordKey {
        segment: place.segment,
        ordinal: place.ordinal,
    }
}

/// The state. A panic elsewhere while it was locked leaves it usable: no method of it panics half-way.
pub(super) fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
