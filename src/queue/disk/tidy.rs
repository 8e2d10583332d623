//! Tidying up: segments without a record that is still needed go, and where few records hold many
//! bytes, those records move to the end of the log so that their segments can go too.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::Mutex;

use super::format::Entry;
use super::index::StreamId;
use super::offline::Repaired;
use super::recover::{Progress, read_whole, set_aside};
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

/// Removes what is superfluous and moves what stands in the way. Whether anything changed.
///
/// # Errors
/// What the operating system said; what is left is tried again the next time.
pub(super) fn tidy(
    writer: &mut Writer,
    files: &dyn Files,
    state: &Mutex<State>,
) -> io::Result<bool> {
    lock(state).untidy = false;
    let mut changed = remove_finished(writer, files, state)?;
    loop {
        // The lock is let go of before the records are moved.
        let victim = victim(&lock(state));
        let Some(victim) = victim else {
            return Ok(changed);
        };
        move_records(writer, files, state, victim)?;
        changed |= remove_finished(writer, files, state)?;
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
        move_records(writer, files, state, *number)?;
        remove_finished(writer, files, state)?;
        repaired.set_aside += 1;
        repaired.records += records;
        progress(repaired.set_aside as u64, damaged.len() as u64);
    }
    Ok(repaired)
}

/// Removes every segment without a record that is needed. Whether there was one.
///
/// # Errors
/// What the operating system said; what is left goes another time.
pub(super) fn remove_finished(
    writer: &mut Writer,
    files: &dyn Files,
    state: &Mutex<State>,
) -> io::Result<bool> {
    let finished = finished_segments(&lock(state));
    if finished.is_empty() {
        return Ok(false);
    }
    let group = {
        let mut state = lock(state);
        rescue_notes(&mut state, &finished);
        state.take_group(0, 0)
    };
    if !group.notes.is_empty() {
        writer.write_group(group, state, true)?;
    }
    for (number, damaged) in finished {
        if damaged {
            set_aside(files, number)?;
        } else {
            match files.remove(&file_name(number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        lock(state).remove_segment(number);
    }
    files.sync_names()?;
    Ok(true)
}

/// Their numbers, and whether they are damaged.
fn finished_segments(state: &State) -> Vec<(u64, bool)> {
    let finished = |segment: &&Segment| {
        segment.live_records == 0 && Some(segment.header.number) != state.current
    };
    let all = state.segments.values().filter(finished);
    all.map(|segment| (segment.header.number, segment.damaged))
        .collect()
}

/// What the segments that go say about older ones that stay is said again.
fn rescue_notes(state: &mut State, going: &[(u64, bool)]) {
    let about: BTreeSet<u64> = going
        .iter()
        .filter_map(|(number, _)| state.segments.get(number))
        .flat_map(|segment| segment.notes_about.iter().copied())
        .filter(|about| !going.iter().any(|(number, _)| number == about))
        .collect();
    for number in about {
        if let Some(segment) = state.segments.get_mut(&number) {
            segment.owe_all_notes();
            state.owing.insert(number);
        }
    }
}

/// The segment whose records are to move, if there is one: that with the smallest share of bytes that
/// are needed.
fn victim(state: &State) -> Option<u64> {
    let segment_bytes = state.bounds.segment_bytes;
    let total = state.total_bytes;
    let live = state.live_bytes();
    let wasteful = total > 2 * live + SLACK_SEGMENTS * segment_bytes;
    let pressed = total + 3 * segment_bytes > state.bounds.max_bytes;
    let scattered = state.segments.len() as u64 > 2 * (total / segment_bytes) + SLACK_FILES;
    let closed = || {
        let segments = state.segments.values();
        segments.filter(|segment| Some(segment.header.number) != state.current && !segment.is_stuck)
    };
    if scattered {
        let smallest = closed().min_by_key(|segment| segment.bytes)?;
        return Some(smallest.header.number);
    }
    if !(wasteful || pressed) {
        return None;
    }
    // Parts of a thousand are exact enough to compare by.
    let share = |segment: &&Segment| segment.live_bytes * 1000 / segment.bytes.max(1);
    let least = closed().min_by_key(share)?;
    (share(&least) < 750).then_some(least.header.number)
}

/// Moves the needed records of a segment to the end of the log.
fn move_records(
    writer: &mut Writer,
    files: &dyn Files,
    state: &Mutex<State>,
    number: u64,
) -> io::Result<()> {
    let Some(bytes) = lock(state)
        .segments
        .get(&number)
        .map(|segment| segment.bytes)
    else {
        return Ok(());
    };
    let content = read_whole(files, number, bytes)?;
    let found = match Scan::new(&content) {
        Ok(scan) => needed_records(scan, &lock(state)),
        Err(_) => Vec::new(),
    };
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
            stream: self.stream,
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
            Entry::Finished(_) | Entry::End => continue,
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
