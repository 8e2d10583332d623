//! While the disk does not do what it should: what waits to be noted stays small, and a fault of one kind is not taken for
//! another.

use super::disk::{Disk, EIO, Fault, Op};
use super::rig::{ALL, Rig};
use crate::queue::disk::Bounds;
use crate::queue::disk::format::{Entry, FinishedIn};
use crate::queue::disk::scan::Scan;
use crate::queue::disk::state::lock;

const LARGE: Bounds = Bounds {
    segment_bytes: 4 << 20,
    queue_size: 100_000,
    max_bytes: 64 << 20,
};

fn runs(notes: &[FinishedIn]) -> usize {
    notes.iter().map(|finished| finished.runs.len()).sum()
}

/// A queue whose first stream is in memory: what is finished of it is a run of one record each.
fn two_streams_in_turns() -> Rig {
    let mut rig = Rig::open(Disk::default(), LARGE);
    for number in 0..40_000 {
        rig.push(number % 2, 1, 0).unwrap();
    }
    while !lock(&rig.queue.inner.state).incoming.is_empty() {
        rig.step(false).unwrap();
    }
    rig.load(0, ALL).unwrap();
    rig
}

#[test]
fn notes_that_gathered_while_nothing_could_be_written_are_written_in_pieces() {
    let mut rig = two_streams_in_turns();
    rig.files.judge(|op, _| {
        (op == Op::Write).then_some(Fault {
            errno: EIO,
            keeps: 0,
        })
    });
    rig.finish_all();
    rig.step(true).unwrap_err();
    rig.files.work_again();
    while !lock(&rig.queue.inner.state).owing.is_empty() {
        rig.step(true).unwrap();
    }
    let content = rig.files.content();
    let mut largest = 0;
    for name in content.names() {
        for placed in Scan::new(content.file(&name)).unwrap() {
            if let Entry::Finished(notes) = placed.entry {
                largest = largest.max(runs(&notes));
            }
        }
    }
    assert!((1..=16 * 1024).contains(&largest), "{largest} in one");
    let mut rig = rig.reopen(false);
    rig.load_all();
    assert_eq!(rig.numbers(), rig.expected(1));
}

#[test]
fn an_end_notes_all_that_is_finished() {
    let mut rig = two_streams_in_turns();
    rig.finish_all();
    let mut rig = rig.reopen(true);
    rig.load_all();
    assert_eq!(rig.numbers(), rig.expected(1));
}

/// The queue goes on taking records in, and says nothing of a disk that cannot be written.
#[test]
fn a_directory_that_cannot_be_synced_is_no_reason_not_to_write() {
    let mut rig = Rig::with_finished_segments();
    let mut removed = false;
    rig.files.judge(move |op, _| {
        removed |= op == Op::Remove;
        (removed && op == Op::SyncNames).then_some(Fault {
            errno: EIO,
            keeps: 0,
        })
    });
    rig.step(true).unwrap();
    assert_eq!(lock(&rig.queue.inner.state).fault, None);
    rig.files.work_again();
    let kept = rig.push(0, 700, 0).unwrap();
    rig.step(false).unwrap();
    let mut rig = rig.reopen(false);
    rig.load_all();
    assert_eq!(rig.numbers(), [kept]);
}
