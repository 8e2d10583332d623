//! Tidying up: segments without a record that is still needed go, and where few records hold many
//! bytes, those records move to the end of the log so that their segments can go too.

use std::collections::HashMap;
use std::io;
use std::sync::Mutex;

use super::format::{Entry, stream_bytes};
use super::index::StreamId;
use super::offline::Repaired;
use super::recover::{Progress, read_whole};
use super::remove::remove_finished;
use super::scan::Scan;
use super::segment::{Place, Segment, file_name};
use super::state::{State, lock};
use super::writer::{ToWrite, Writer, register};
use crate::arn::{DeliveryStreamArn, Partitions};
use crate::files::Files;

/// Segments that may be mostly finished before records are moved: moving costs writes, room does not.
const SLACK_SEGMENTS: u64 = 8;

/// Files beside those that the bytes call for, before small ones are joined: each start begins one.
const SLACK_FILES: u64 = 32;

/// Removes what is superfluous and moves what stands in the way.
///
/// # Errors
/// What the operating system said; what is left is tried again the next time.
pub(super) fn tidy(writer: &mut Writer, files: &dyn Files, state: &Mutex<State>) -> io::Result<()> {
    {
        let mut state = lock(state);
        (state.untidy, state.is_tidy) = (false, true);
    }
    let result = remove_and_move(writer, files, state);
    if result.is_err() {
        lock(state).is_tidy = false;
    }
    result
}

fn remove_and_move(writer: &mut Writer, files: &dyn Files, state: &Mutex<State>) -> io::Result<()> {
    remove_finished(writer, files, state)?;
    loop {
        // The lock is let go of before the records are moved.
        let victim = victim(&lock(state));
        let Some(victim) = victim else {
            return Ok(());
        };
        move_records(writer, files, state, victim.number, !victim.is_to_go)?;
        remove_finished(writer, files, state)?;
        let state = lock(state);
        let left = state.segments.get(&victim.number);
        if left.is_some_and(|left| !left.is_removable()) {
            // To move more would take room and make none.
            return Ok(());
        }
    }
}

/// Moves the whole records of damaged segments to the end of the log, so that the files can be set
/// aside.
///
/// # Errors
/// What the operating system said; what was done stays done.
pub(super) fn mend(
    writer: &mut Writer,
    files: &dyn Files,
    state: &Mutex<State>,
    progress: Progress<'_>,
) -> io::Result<Repaired> {
    let damaged: Vec<(u64, usize)> = {
        let state = lock(state);
        let damaged = state.segments.values().filter(|segment| segment.damaged);
        damaged
            .map(|segment| (segment.header.number, segment.live_records as usize))
            .collect()
    };
    let mut repaired = Repaired::default();
    for (number, records) in &damaged {
        move_records(writer, files, state, *number, false)?;
        remove_finished(writer, files, state)?;
        if !lock(state).segments.contains_key(number) {
            repaired.set_aside += 1;
            repaired.records += records;
        }
        progress(repaired.set_aside as u64, damaged.len() as u64);
    }
    Ok(repaired)
}

/// Whether there is hardly any room left for what is to be moved and noted.
pub(super) fn is_pressed(state: &State) -> bool {
    state.total_bytes + 3 * state.bounds.segment_bytes > state.bounds.max_bytes
}

/// Whether there are many more files than their bytes call for.
pub(super) fn is_scattered(state: &State) -> bool {
    let called_for = state.total_bytes / state.bounds.segment_bytes;
    state.segments.len() as u64 > 2 * called_for + SLACK_FILES
}

/// The segment whose records are to move, if there is one: that with the smallest share of bytes that
/// are needed.
fn victim(state: &State) -> Option<Victim> {
    let segment_bytes = state.bounds.segment_bytes;
    let wasteful = state.total_bytes > 2 * state.live_bytes() + SLACK_SEGMENTS * segment_bytes;
    let closed = || {
        let segments = state.segments.values();
        segments.filter(|segment| {
            let is_current = Some(segment.header.number) == state.current;
            !is_current && !segment.is_stuck && segment.live_records > 0
        })
    };
    if let Some(lossy) = closed().find(|segment| segment.has_lost) {
        return Some(Victim {
            number: lossy.header.number,
            is_to_go: true,
        });
    }
    if is_scattered(state) {
        let small = closed().filter(|segment| segment.bytes < segment_bytes / 2);
        if let Some(smallest) = small.min_by_key(|segment| segment.bytes) {
            return Some(Victim {
                number: smallest.header.number,
                is_to_go: true,
            });
        }
    }
    if !(wasteful || is_pressed(state)) {
        return None;
    }
    // Parts of a thousand are exact enough to compare by.
    let share = |segment: &&Segment| segment.live_bytes * 1000 / segment.bytes.max(1);
    let worth_it = closed().filter(|segment| segment.live_bytes <= segment.worth_moving_bytes);
    let least = worth_it.min_by_key(share)?;
    (share(&least) < 750).then_some(Victim {
        number: least.header.number,
        is_to_go: false,
    })
}

/// A segment whose records are to move.
struct Victim {
    number: u64,
    /// Whether the file is to go, whatever bytes that saves.
    is_to_go: bool,
}

/// Moves the needed records of a segment to the end of the log; if asked, only where that makes room.
fn move_records(
    writer: &mut Writer,
    files: &dyn Files,
    state: &Mutex<State>,
    number: u64,
    to_make_room: bool,
) -> io::Result<()> {
    let Some(bytes) = lock(state)
        .segments
        .get(&number)
        .map(|segment| segment.bytes)
    else {
        return Ok(());
    };
    let content = match read_whole(files, number, bytes) {
        Ok(content) => content,
        // Somebody removed it by hand.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            let file = file_name(number);
            tracing::error!(file, %error, "a file of the queue cannot be read; it is left as it is");
            if let Some(segment) = lock(state).segments.get_mut(&number) {
                segment.is_stuck = true;
            }
            return Ok(());
        }
    };
    let found = match Scan::new(&content) {
        Ok(scan) => needed_records(scan, &lock(state)),
        Err(_) => Vec::new(),
    };
    if to_make_room && !makes_room(&found, bytes, &mut lock(state), number) {
        return Ok(());
    }
    let to_write: Vec<ToWrite<'_>> = found.iter().map(Found::to_write).collect();
    let written = writer.write_moved(&to_write, state)?;
    let mut state = lock(state);
    if let Some(written) = written {
        register(&mut state, &written, writer.segment_bytes, &[]);
        if let Some(current) = state.segments.get_mut(&written.header.number) {
            current.notes_about.insert(number);
        }
        for (found, new) in found.iter().zip(written.places) {
            let payload_bytes = found.id.len() + found.data.len();
            let received = found.received_unix_ms;
            state.relocate(found.stream, &found.place, new, payload_bytes, received);
        }
    }
    let lost = state.lose_unread(number);
    drop(state);
    if lost > 0 {
        tracing::error!(
            file = file_name(number),
            records = lost,
            "records of the queue were damaged since they were written; they are lost"
        );
    }
    Ok(())
}

/// Whether these records take clearly less without the rest of their segment, and there is room for them
/// meanwhile. If not, nobody asks again before half of them are finished.
fn makes_room(found: &[Found<'_>], bytes: u64, state: &mut State, number: u64) -> bool {
    let records = found.iter();
    let records: u64 = records.map(|found| u64::from(found.place.bytes)).sum();
    let streams: HashMap<StreamId, u64> = found
        .iter()
        .map(|found| (found.stream, stream_bytes(&found.arn)))
        .collect();
    let needed = records + streams.values().sum::<u64>();
    let is_gain = needed * 4 <= bytes * 3;
    let reserve = 2 * state.bounds.segment_bytes;
    let fits = needed <= reserve || state.total_bytes + needed <= state.bounds.max_bytes;
    if !(is_gain && fits)
        && let Some(segment) = state.segments.get_mut(&number)
    {
        segment.worth_moving_bytes = segment.live_bytes / 2;
    }
    is_gain && fits
}

/// A needed record of the segment that is being cleared.
struct Found<'a> {
    stream: StreamId,
    arn: DeliveryStreamArn,
    place: Place,
    id: &'a [u8],
    data: &'a [u8],
    received_unix_ms: u64,
}

impl<'a> Found<'a> {
    fn to_write(&'a self) -> ToWrite<'a> {
        ToWrite {
            arn: &self.arn,
            id: self.id,
            data: self.data,
            received_unix_ms: self.received_unix_ms,
            origin: Some(self.place),
        }
    }
}

fn needed_records<'a>(scan: Scan<'a>, state: &State) -> Vec<Found<'a>> {
    let number = scan.header().number;
    let mut streams: HashMap<u32, (StreamId, DeliveryStreamArn)> = HashMap::new();
    let mut found = Vec::new();
    let Some(segment) = state.segments.get(&number) else {
        return found;
    };
    for placed in scan {
        let record = match placed.entry {
            Entry::Stream { number, arn } => {
                let parsed = DeliveryStreamArn::parse(arn, &Partitions::ALL);
                if let Ok(arn) = parsed
                    && let Some(&id) = state.by_arn.get(arn.as_str())
                {
                    streams.insert(number, (id, arn));
                }
                continue;
            }
            Entry::Record(record) | Entry::Moved { record, .. } => record,
            Entry::Finished(_) | Entry::End | Entry::Segments(_) | Entry::Removed(_) => continue,
        };
        if let (true, Some((stream, arn))) =
            (segment.is_live(record.ordinal), streams.get(&record.stream))
        {
            found.push(Found {
                stream: *stream,
                arn: arn.clone(),
                place: Place {
                    segment: number,
                    ordinal: record.ordinal,
                    offset: placed.offset as u32,
                    bytes: placed.bytes as u32,
                    stream: record.stream,
                },
                id: record.id,
                data: record.data,
                received_unix_ms: record.received_unix_ms,
            });
        }
    }
    found
}
