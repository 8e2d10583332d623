//! What happens seldom: files that go while they are used, reads that fail, streams that come and go,
//! records that move while they are in memory.

use std::sync::Arc;

use super::content::Content;
use super::disk::{Disk, EIO, Fault, Op};
use super::rig::{ALL, Rig, SMALL, arn, clock};
use crate::blocking::Blocking;
use crate::files::Files;
use crate::queue::disk::segment::file_name;
use crate::queue::disk::state::lock;
use crate::queue::disk::{Bounds, DiskQueue, DiskQueueSettings, Wanted};

const FEW: Wanted = Wanted {
    records: 3,
    bytes: usize::MAX,
};

/// Segments of some seven records of 400 bytes.
const OF_SEVEN: Bounds = Bounds {
    segment_bytes: 3000,
    ..SMALL
};

/// A queue of several segments, one record of 400 bytes in each group of its own.
fn filled(records: usize) -> Rig {
    filled_within(SMALL, records)
}

fn filled_within(bounds: Bounds, records: usize) -> Rig {
    let mut rig = Rig::open(Disk::default(), bounds);
    for _ in 0..records {
        rig.push(0, 400, 0).unwrap();
        rig.step(false).unwrap();
    }
    rig
}

/// From here on it counts as an endless loop.
fn ends(disk: &Disk) {
    let mut left = 20_000;
    disk.judge(move |op, _| {
        left -= 1;
        assert!(left > 0, "{op:?} again and again");
        None
    });
}

#[test]
fn a_file_removed_by_hand_stops_nothing() {
    let mut rig = filled(20);
    rig.load(0, FEW).unwrap();
    rig.files.remove(&file_name(1)).unwrap();
    rig.files.remove(&file_name(4)).unwrap();
    let lost = rig.load_all();
    assert!(lost > 0);
    assert_eq!(rig.loaded.len(), 20 - lost);
    rig.finish_all();
    for _ in 0..3 {
        rig.step(true).unwrap();
    }
    assert_eq!(rig.segments(), 1);
    assert_eq!(rig.stream(0).depth().held(), 0);
    assert_eq!(rig.files.names().len(), 1, "{:?}", rig.files.names());
}

#[test]
fn a_file_that_cannot_be_read_holds_up_neither_writing_nor_tidying() {
    let mut rig = filled_within(OF_SEVEN, 140);
    rig.load(0, ALL).unwrap();
    // One record in seven stays, so that all segments are worth moving.
    for number in (0..140).filter(|number| number % 7 != 0) {
        rig.finish_number(number);
    }
    rig.files.judge(|op, name| {
        let bad = op == Op::Read && name == file_name(1);
        bad.then_some(Fault {
            errno: EIO,
            keeps: 0,
        })
    });
    rig.step(true).unwrap();
    assert!(rig.segments() < 16, "{} segments", rig.segments());
    assert_eq!(rig.queue.fault(), None);
    let state = lock(&rig.queue.inner.state);
    assert!(state.segments.contains_key(&1));
    drop(state);
    rig.files.work_again();
    let mut rig = rig.reopen(false);
    rig.load_all();
    assert_eq!(rig.numbers(), rig.expected(0));
}

#[test]
fn many_streams_with_small_records_are_tidied_once() {
    let mut rig = Rig::open(
        Disk::default(),
        Bounds {
            max_bytes: 100_000,
            segment_bytes: 3000,
            ..SMALL
        },
    );
    ends(&rig.files);
    let mut pushed = 0;
    while rig.push(pushed, 10, 0).is_ok() {
        pushed += 1;
        rig.step(false).unwrap();
    }
    let before = rig.files.log().len();
    rig.step(true).unwrap();
    assert!(rig.files.log().len() < before + 100);
    let mut rig = rig.reopen(true);
    ends(&rig.files);
    rig.step(true).unwrap();
    rig.load_all();
    assert_eq!(rig.loaded.len(), pushed);
}

#[test]
fn a_stream_that_came_again_is_read_whatever_was_damaged() {
    let mut rig = Rig::open(
        Disk::default(),
        Bounds {
            segment_bytes: 100_000,
            ..SMALL
        },
    );
    rig.push(0, 50, 0).unwrap();
    rig.step(false).unwrap();
    rig.load_all();
    rig.finish_all();
    // Its note is not written when it is forgotten and comes again.
    rig.stream(0).close();
    rig.push(0, 60, 0).unwrap();
    let group = {
        let mut state = lock(&rig.queue.inner.state);
        state.owing.clear();
        state.take_group(10, 1000)
    };
    rig.thread.step(group, true).unwrap();
    let mut rig = rig.reopen(false);
    assert_eq!(rig.load_all(), 0);
    assert_eq!(rig.numbers(), [0, 1]);
}

#[test]
fn a_stream_with_nothing_but_records_to_drop_is_not_forgotten() {
    let mut rig = filled(3);
    let stream = rig.stream(0);
    while stream.depth().drop_more(1) {}
    stream.close();
    assert_eq!(rig.load(0, ALL).unwrap().lost, 0);
    assert_eq!(rig.loaded.len(), 3);
    stream.depth().dropped(3);
    rig.finish_all();
    stream.close();
    assert!(lock(&rig.queue.inner.state).streams.is_empty());
}

#[test]
fn a_new_session_during_a_write_that_fails() {
    for resumed in [true, false] {
        let mut rig = Rig::open(Disk::default(), SMALL);
        rig.push(0, 10, 0).unwrap();
        let group = lock(&rig.queue.inner.state).take_group(10, 1000);
        rig.queue.reconnected(resumed);
        rig.files.fail(&[Op::Sync], EIO);
        rig.thread.step(group, true).unwrap_err();
        rig.files.work_again();
        // What the broker sends again is not there as well; what it has forgotten stays.
        let held = usize::from(!resumed);
        assert_eq!(rig.stream(0).depth().held(), held, "resumed: {resumed}");
        rig.queue.reconnected(true);
        assert_eq!(rig.stream(0).depth().held(), held, "resumed: {resumed}");
        rig.step(true).unwrap();
        rig.load_all();
        assert_eq!(rig.loaded.len(), held);
    }
}

#[test]
fn an_ordinary_run_leaves_no_damage_behind() {
    let mut rig = filled(20);
    rig.load_all();
    for number in 5..10 {
        rig.finish_number(number);
    }
    rig.step(true).unwrap();
    let rig = rig.reopen(true);
    assert!(!rig.recovery.is_damaged(), "{:?}", rig.recovery);
}

#[test]
fn numbers_go_on_whatever_a_file_is_called() {
    for number in [u64::MAX / 2 - 1, u64::MAX / 2, u64::MAX] {
        let mut content = Content::default();
        content.put(&file_name(number), b"what is this");
        content.put(&format!("{}.damaged", file_name(number)), b"and this");
        let mut rig = Rig::open(Disk::holding(content), SMALL);
        rig.push(0, 10, 0).unwrap();
        rig.step(false).unwrap();
        let mut rig = rig.reopen(false);
        rig.load_all();
        assert_eq!(rig.loaded.len(), 1, "{number}");
    }
}

#[test]
fn records_in_memory_are_found_wherever_they_were_moved() {
    let mut rig = filled_within(OF_SEVEN, 360);
    rig.load(0, ALL).unwrap();
    let at_first = rig.files.names();
    // Finished a few at a time: the rest is moved again and again.
    for round in 2..7 {
        for number in (0..360).filter(|number| number % 7 == round) {
            rig.finish_number(number);
        }
        rig.step(round % 2 == 0).unwrap();
    }
    let state = lock(&rig.queue.inner.state);
    let moved = rig
        .loaded
        .iter()
        .filter(|(_, record)| !state.segments.contains_key(&record.place.segment));
    let moved = moved.count();
    assert!(moved > 10, "{moved}");
    drop(state);
    for _ in 0..5 {
        rig.unload(0);
    }
    rig.load(
        0,
        Wanted {
            records: 2,
            bytes: ALL.bytes,
        },
    )
    .unwrap();
    for number in (0..360).filter(|number| number % 7 == 1) {
        if rig.numbers().contains(&number) {
            rig.finish_number(number);
        }
    }
    rig.step(true).unwrap();
    assert!(
        rig.files
            .names()
            .iter()
            .all(|name| !at_first[..10].contains(name))
    );
    rig.load_all();
    assert_eq!(rig.numbers(), rig.expected(0));
    let mut rig = rig.reopen(true);
    rig.load_all();
    assert_eq!(rig.numbers(), rig.expected(0));
    rig.finish_all();
    rig.step(true).unwrap();
    assert_eq!(rig.stream(0).depth().held(), 0);
    assert!(rig.segments() <= 1);
}

#[test]
fn streams_over_time_leave_nothing_in_memory() {
    let mut rig = Rig::open(
        Disk::default(),
        Bounds {
            segment_bytes: 5000,
            ..SMALL
        },
    );
    for stream in 0..2000 {
        rig.push(stream, 10, 0).unwrap();
        rig.step(false).unwrap();
        rig.load(stream, ALL).unwrap();
        rig.finish_all();
        rig.stream(stream).close();
    }
    rig.step(true).unwrap();
    let state = lock(&rig.queue.inner.state);
    assert!(state.streams.is_empty() && state.by_arn.is_empty());
    assert!(state.segments.len() < 5, "{}", state.segments.len());
    drop(state);
    let rig = rig.reopen(false);
    let state = lock(&rig.queue.inner.state);
    assert!(
        state.streams.len() <= 1,
        "{} streams without records",
        state.streams.len()
    );
}

#[test]
fn starts_without_end_leave_few_files() {
    let bounds = Bounds {
        segment_bytes: 16_384,
        ..SMALL
    };
    let mut rig = Rig::open(Disk::default(), bounds);
    for start in 0..300 {
        for stream in 0..2 {
            rig.push(stream, 10, 0).unwrap();
        }
        rig.step(false).unwrap();
        rig = rig.reopen(start % 2 == 0);
        ends(&rig.files);
        rig.step(false).unwrap();
        assert!(
            rig.files.names().len() < 40,
            "{} files",
            rig.files.names().len()
        );
        rig.files.work_again();
    }
    rig.load_all();
    assert_eq!(rig.loaded.len(), 600);
}

#[test]
fn reading_fails_for_a_while() {
    let mut rig = filled(10);
    rig.files.fail(&[Op::Read], EIO);
    assert!(rig.load(0, ALL).is_err());
    assert_eq!(rig.stream(0).depth().unread(), 10);
    rig.files.work_again();
    rig.load(0, ALL).unwrap();
    assert_eq!(rig.loaded.len(), 10);
}

#[test]
fn a_writer_that_ended_in_a_fault_of_ours_is_noticed_and_holds_nothing() {
    let disk = Disk::default();
    let settings = DiskQueueSettings {
        queue_size: 10,
        max_bytes: 1 << 30,
        commit_interval: std::time::Duration::ZERO,
    };
    disk.judge(|op, _| {
        assert!(op != Op::Create, "a fault, on command");
        None
    });
    let started = DiskQueue::start(
        Arc::new(disk),
        settings,
        &Blocking::Threads,
        clock(),
        Arc::default(),
        &mut |_, _| {},
    );
    let (queue, _) = started.unwrap();
    assert!(!queue.has_failed());
    let stream = queue.stream(&arn(0));
    let pushed = stream.door(&arn(0), tokio::time::Instant::now()).push(
        "1".into(),
        bytes::Bytes::from_static(b"data"),
        false,
    );
    assert!(pushed.is_ok());
    while !queue.has_failed() {
        std::thread::yield_now();
    }
    assert_eq!(queue.synced(), 0);
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(queue.close());
}

#[test]
fn a_record_put_back_while_others_are_read_is_not_passed_over() {
    let bounds = Bounds {
        segment_bytes: 400_000,
        max_bytes: 1 << 30,
        ..SMALL
    };
    let mut rig = Rig::open(Disk::default(), bounds);
    // Three records of a stream, far from each other.
    for _ in 0..3 {
        rig.push(0, 100, 0).unwrap();
        for _ in 0..100 {
            rig.push(1, 1000, 0).unwrap();
        }
    }
    rig.step(false).unwrap();
    rig.load(0, ALL).unwrap();
    assert_eq!(rig.loaded.len(), 3);
    let (_, middle) = rig.loaded.remove(1);
    rig.unload(0);
    rig.unload(0);
    let one = Wanted { records: 1, ..ALL };
    rig.load(0, one).unwrap();
    // The next read skips to the last; meanwhile the middle one is put back.
    let mut put_back = Some((rig.stream(0), middle));
    rig.files.judge(move |op, _| {
        if op == Op::Read
            && let Some((stream, record)) = put_back.take()
        {
            let bytes = record.id.len() + record.data.len();
            stream.unload(&[(record.place, bytes, record.received_unix_ms)]);
        }
        None
    });
    let lost = rig.load_all();
    assert_eq!(
        (
            lost,
            rig.loaded.iter().filter(|(stream, _)| *stream == 0).count()
        ),
        (0, 3)
    );
}
