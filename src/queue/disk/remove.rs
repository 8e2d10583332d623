//! Removing segments without a record that is needed. What they say about older ones that stay is said
//! again first, so that no outcome is forgotten.

use std::collections::BTreeSet;
use std::io;
use std::sync::Mutex;

use super::recover::set_aside;
use super::segment::{Segment, file_name};
use super::state::{State, lock};
use super::tidy::{is_pressed, is_scattered};
use super::writer::Writer;
use crate::files::Files;

/// Removes segments without a record that is needed.
///
/// # Errors
/// What the operating system said to a write or a sync; what is left goes another time. A file that cannot be removed is
/// told, and is no error.
pub(super) fn remove_finished(
    writer: &mut Writer,
    files: &dyn Files,
    state: &Mutex<State>,
) -> io::Result<()> {
    let newest = writer.newest();
    let Finished { free, noting } = Finished::find(&lock(state), newest);
    // First those that take no writing: on a full disk they are what makes room for the others.
    remove(writer, files, state, &free)?;
    if noting.is_empty() {
        return Ok(());
    }
    rescue_notes(&mut lock(state), &noting);
    loop {
        let group = lock(state).take_group(0, 0);
        if group.notes.is_empty() {
            break;
        }
        writer.write_group(group, state, true)?;
    }
    remove(writer, files, state, &noting)
}

/// Removes files of segments, or sets them aside. One that cannot go keeps only those that have notes
/// about it.
fn remove(
    writer: &mut Writer,
    files: &dyn Files,
    state: &Mutex<State>,
    numbers: &[u64],
) -> io::Result<()> {
    if numbers.is_empty() {
        return Ok(());
    }
    sync_first(files, state)?;
    writer.note_removal(numbers, state)?;
    let (mut unsynced, mut kept) = (BTreeSet::new(), BTreeSet::new());
    for &number in numbers {
        let (damaged, about_unsynced, about_kept) = match lock(state).segments.get(&number) {
            Some(segment) => (
                segment.damaged,
                !segment.notes_about.is_disjoint(&unsynced),
                !segment.notes_about.is_disjoint(&kept),
            ),
            None => continue,
        };
        if about_kept {
            kept.insert(number);
            continue;
        }
        // Should an older segment be there again, so must be the notes about it.
        if about_unsynced {
            files.sync_names()?;
            unsynced.clear();
        }
        let removed = if damaged {
            set_aside(files, number)
        } else {
            files.remove(&file_name(number))
        };
        match removed {
            // Somebody removed it by hand.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                kept.insert(number);
                put_off(state, number, &error);
            }
            _ => {
                unsynced.insert(number);
                lock(state).remove_segment(number);
                writer.forget(number);
            }
        }
    }
    if !unsynced.is_empty() {
        files.sync_names()?;
    }
    Ok(())
}

/// The file of a segment stays for now.
fn put_off(state: &Mutex<State>, number: u64, error: &io::Error) {
    let mut state = lock(state);
    let segment = state.segments.get_mut(&number);
    if segment.is_some_and(Segment::put_off_removal) {
        tracing::error!(
            file = file_name(number),
            %error,
            "a file of the queue that is not needed any more cannot be removed; it takes room until it can"
        );
    }
}

/// Syncs what could not be synced at the start.
fn sync_first(files: &dyn Files, state: &Mutex<State>) -> io::Result<()> {
    let unsynced = lock(state).unsynced.clone();
    for number in unsynced {
        match files.sync(&file_name(number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => lock(state).unsynced.remove(&number),
        };
    }
    Ok(())
}

/// Segments without a record that is needed and that can go now, oldest first.
struct Finished {
    /// Those that say nothing about segments that stay.
    free: Vec<u64>,
    /// Those whose notes must be written again first.
    noting: Vec<u64>,
}

impl Finished {
    fn find(state: &State, newest: Option<u64>) -> Self {
        let is_empty = state
            .segments
            .values()
            .all(|segment| segment.live_records == 0);
        let finished = |segment: &&Segment| {
            let number = Some(segment.header.number);
            // The newest says which others there are, and goes with the last of them; unless there is
            // no room to write a newer one.
            let stays = number == newest && !is_empty && state.fault.is_none();
            let is_done = segment.live_records == 0 && number != state.current && !stays;
            is_done && segment.is_removable()
        };
        let (mut free, mut noting) = (BTreeSet::new(), Vec::new());
        // Notes are about older segments: whether those go is known already.
        for segment in state.segments.values().filter(finished) {
            let number = segment.header.number;
            if staying(segment, state, &free).next().is_none() {
                free.insert(number);
            } else {
                noting.push(number);
            }
        }
        if !(is_scattered(state) || is_worth_it(state, &noting)) {
            noting.clear();
        }
        Finished {
            free: free.into_iter().collect(),
            noting,
        }
    }
}

/// Whether to write the notes of these segments again makes room. Notes that would soon fill as much
/// again stay where they are until what they are about goes.
fn is_worth_it(state: &State, noting: &[u64]) -> bool {
    let going: BTreeSet<u64> = noting.iter().copied().collect();
    let noting = || {
        noting
            .iter()
            .filter_map(|number| state.segments.get(number))
    };
    let about: BTreeSet<u64> = noting()
        .flat_map(|segment| staying(segment, state, &going))
        .collect();
    let about = about.iter().filter_map(|about| state.segments.get(about));
    let notes_bytes: u64 = about.map(Segment::notes_max_bytes).sum();
    let bytes: u64 = noting().map(|segment| segment.bytes).sum();
    if is_pressed(state) {
        notes_bytes < bytes
    } else {
        notes_bytes * 4 <= bytes
    }
}

/// What a segment has notes about and does not go.
fn staying<'s>(
    segment: &'s Segment,
    state: &'s State,
    going: &'s BTreeSet<u64>,
) -> impl Iterator<Item = u64> + 's {
    let about = segment.notes_about.iter().copied();
    about.filter(|about| state.segments.contains_key(about) && !going.contains(about))
}

/// What the segments that go say about older ones that stay is said again.
fn rescue_notes(state: &mut State, going: &[u64]) {
    let about: BTreeSet<u64> = going
        .iter()
        .filter_map(|number| state.segments.get(number))
        .flat_map(|segment| segment.notes_about.iter().copied())
        .filter(|about| !going.contains(about))
        .collect();
    for number in about {
        if let Some(segment) = state.segments.get_mut(&number) {
            segment.owe_all_notes();
            state.owing.insert(number);
        }
    }
}
