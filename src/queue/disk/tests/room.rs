//! Bounds and room: the bytes of the directory, a disk that is full, what it costs to note outcomes.

use std::time::Duration;

use tokio::time::Instant;

use super::disk::{Disk, EIO, ENOSPC, EROFS, Op};
use super::rig::{ALL, Rig, SMALL, arn};
use crate::files::Files;
use crate::queue::Refusal;
use crate::queue::disk::segment::file_name;
use crate::queue::disk::state::lock;
use crate::queue::disk::{Bounds, DiskQueueSettings, Wanted};

/// The least that `QUEUE_DIR_MAX_BYTES` may be.
fn least() -> Bounds {
    DiskQueueSettings {
        queue_size: 10_000,
        max_bytes: 8 << 20,
        commit_interval: std::time::Duration::ZERO,
    }
    .bounds()
}

#[test]
fn the_least_directory_takes_the_largest_records_over_and_over() {
    let mut rig = Rig::open(Disk::default(), least());
    let mut delivered = 0;
    for round in 0..12 {
        let refused = loop {
            match rig.push(round % 3, 1_024_000, 10) {
                Ok(_) => rig.step(false).unwrap(),
                Err(refusal) => break refusal,
            }
        };
        assert_eq!(refused, Refusal::QueueDirFull);
        for stream in 0..3 {
            let some = Wanted {
                records: 2,
                bytes: usize::MAX,
            };
            rig.load(stream, some).unwrap();
        }
        delivered += rig.loaded.len();
        rig.finish_all();
        rig.step(true).unwrap();
    }
    assert!(delivered > 30, "{delivered}");
    assert!(rig.files.peak_bytes() <= 8 << 20);
}

#[test]
fn what_is_left_counts_what_was_to_be_dropped_and_is_still_there() {
    let mut rig = Rig::open(Disk::default(), SMALL);
    for _ in 0..3 {
        rig.push(0, 100, 0).unwrap();
    }
    rig.step(false).unwrap();
    let stream = rig.stream(0);
    assert!(stream.door(&arn(0), Instant::now()).drop_oldest());
    assert_eq!(rig.queue.left().kept, 3);
    assert_eq!(rig.reopen(true).recovery.records, 3);
}

/// Whoever waits for room tries again each time that things were tidied up: were that a reason to tidy up again, both
/// would go on for ever.
#[test]
fn a_record_without_room_has_it_looked_for_once() {
    let mut rig = Rig::open(Disk::default(), least());
    while rig.push(0, 100_000, 0).is_ok() {
        rig.step(false).unwrap();
    }
    let is_untidy = |rig: &Rig| lock(&rig.queue.inner.state).untidy;
    assert!(is_untidy(&rig));
    rig.step(false).unwrap();
    for _ in 0..3 {
        assert_eq!(rig.push(0, 100_000, 0), Err(Refusal::QueueDirFull));
        assert!(!is_untidy(&rig));
    }
    // Once something is finished there may be some.
    let one = Wanted {
        records: 1,
        bytes: usize::MAX,
    };
    rig.load(0, one).unwrap();
    rig.finish_all();
    assert_eq!(rig.push(0, 1_000_000, 0), Err(Refusal::QueueDirFull));
    assert!(is_untidy(&rig));
    rig.step(true).unwrap();
    rig.step(false).unwrap();
    assert!(!is_untidy(&rig));
    // What waits to be written may take less than is set aside for it.
    while rig.push(1, 1000, 0).is_ok() {}
    assert!(is_untidy(&rig));
}

#[test]
fn large_and_small_records_stay_within_the_bound_while_they_are_moved() {
    let mut rig = Rig::open(Disk::default(), least());
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..60 {
        for _ in 0..20 {
            let bytes = match random.u8(..3) {
                0 => random.usize(..1000),
                1 => random.usize(..100_000),
                _ => random.usize(..900_000),
            };
            if rig.push(random.usize(..5), bytes, 0).is_err() {
                break;
            }
            if random.bool() {
                rig.step(false).unwrap();
            }
        }
        rig.step(false).unwrap();
        rig.load_all();
        for _ in 0..rig.loaded.len() / 2 {
            rig.finish(random.usize(..rig.loaded.len()));
        }
        while !rig.loaded.is_empty() {
            rig.unload(0);
        }
        rig.step(false).unwrap();
        assert!(rig.files.bytes() <= 8 << 20);
    }
    let peak = rig.files.peak_bytes();
    assert!(peak <= 8 << 20, "{peak} bytes at a time");
}

#[test]
fn what_is_moved_has_room_first() {
    let mut rig = Rig::open(Disk::default(), least());
    // A group of two makes a segment, of which the larger part goes.
    while rig.push(1, 650_000, 0).is_ok() && rig.push(0, 800_000, 0).is_ok() {
        rig.step(false).unwrap();
    }
    rig.step(false).unwrap();
    while rig.push(2, 1000, 0).is_ok() {}
    rig.step(false).unwrap();
    rig.load(0, ALL).unwrap();
    rig.finish_all();
    rig.step(true).unwrap();
    let peak = rig.files.peak_bytes();
    assert!(peak <= 8 << 20, "{peak} bytes at a time");
    rig.load_all();
    rig.finish_all();
    rig.step(true).unwrap();
    assert_eq!(rig.segments(), 1);
}

#[test]
fn a_full_disk_is_emptied_by_what_is_delivered() {
    for capacity in (8_000..12_000).step_by(37) {
        let disk = Disk::default();
        disk.set_capacity(Some(capacity));
        let mut rig = Rig::open(disk, SMALL);
        while rig.push(0, 300, 0).is_ok() && rig.step(false).is_ok() {}
        rig.step(false).unwrap_err();
        assert!(rig.queue.fault().is_some());
        rig.load(0, ALL).unwrap();
        assert!(rig.loaded.len() > 10);
        rig.finish_all();
        for _ in 0..3 {
            let _ = rig.step(true);
        }
        rig.step(true).unwrap();
        assert_eq!(rig.queue.fault(), None, "capacity {capacity}");
        let (next, last) = (rig.next, rig.push(0, 300, 0).unwrap());
        rig.step(false).unwrap();
        let mut rig = rig.reopen(false);
        rig.load_all();
        assert_eq!(rig.numbers(), [next - 1, last], "capacity {capacity}");
    }
}

#[test]
fn a_disk_that_cannot_be_written_acknowledges_nothing_and_loses_nothing() {
    for (op, errno) in [
        (&[Op::Create][..], ENOSPC),
        (&[Op::Write], ENOSPC),
        (&[Op::Sync], EIO),
        (&[Op::SyncNames], EIO),
        (
            &[Op::Create, Op::Write, Op::SetLen, Op::Remove, Op::Rename],
            EROFS,
        ),
    ] {
        let mut rig = Rig::open(Disk::default(), SMALL);
        for number in 0..10 {
            rig.push(0, 100, 0).unwrap();
            if number == 5 {
                rig.files.fail(op, errno);
            }
            let _ = rig.step(false);
        }
        // A segment is under way: to create one or to sync a name comes only with the next.
        let synced = rig.queue.synced();
        assert!(synced < 10, "{op:?}");
        assert_eq!(rig.stream(0).depth().held(), 10);
        rig.files.work_again();
        rig.step(false).unwrap();
        assert_eq!(rig.queue.synced(), 10);
        assert_eq!(rig.queue.fault(), None);
        rig.load_all();
        assert_eq!(rig.numbers(), rig.expected(0), "{op:?}");
        let mut rig = rig.reopen(false);
        rig.load_all();
        let mut numbers = rig.numbers();
        numbers.dedup();
        assert_eq!(numbers, rig.expected(0), "{op:?}");
    }
}

#[test]
fn notes_are_not_written_over_and_over() {
    let bounds = Bounds {
        max_bytes: 8 << 20,
        segment_bytes: 4096,
        ..SMALL
    };
    let mut rig = Rig::open(Disk::default(), bounds);
    // A stream that is gone beside one that is well: every second record stays.
    for _ in 0..4000 {
        rig.push(0, 20, 0).unwrap();
        rig.push(1, 20, 0).unwrap();
        if rig.next.is_multiple_of(100) {
            rig.step(false).unwrap();
        }
    }
    rig.step(false).unwrap();
    let before = rig.files.written_bytes();
    rig.load(0, ALL).unwrap();
    while !rig.loaded.is_empty() {
        rig.finish(0);
        if rig.loaded.len().is_multiple_of(20) {
            rig.step(false).unwrap();
        }
    }
    rig.step(true).unwrap();
    let written = rig.files.written_bytes() - before;
    assert!(written < 60_000, "{written} bytes for 4000 outcomes");
    let peak = rig.files.peak_bytes();
    assert!(peak < 600_000, "{peak} bytes");
    let mut rig = rig.reopen(false);
    rig.load_all();
    assert_eq!(rig.numbers(), rig.expected(1));
}

#[test]
fn the_queue_size_bounds_each_stream() {
    let bounds = Bounds {
        queue_size: 5,
        ..SMALL
    };
    let mut rig = Rig::open(Disk::default(), bounds);
    for stream in 0..2 {
        for _ in 0..5 {
            rig.push(stream, 1, 1).unwrap();
        }
        assert_eq!(rig.push(stream, 1, 1), Err(Refusal::QueueFull));
    }
    rig.step(false).unwrap();
    assert_eq!(rig.push(0, 1, 1), Err(Refusal::QueueFull));
    // One that is to be dropped makes place for one.
    assert!(rig.stream(0).depth().drop_more(1));
    rig.push(0, 1, 1).unwrap();
    assert_eq!(rig.push(0, 1, 1), Err(Refusal::QueueFull));
    assert_eq!(rig.stream(0).depth().to_drop(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_fails_holds_up_no_other() {
    let mut rig = Rig::with_finished_segments();
    rig.files.judge(|op, name| {
        let bad = op == Op::Remove && name == file_name(2);
        bad.then_some(super::disk::Fault {
            errno: EIO,
            keeps: 0,
        })
    });
    // Nor is it a reason not to write.
    rig.step(true).unwrap();
    assert_eq!(lock(&rig.queue.inner.state).fault, None);
    assert_eq!(rig.files.names().len(), 2, "{:?}", rig.files.names());
    assert!(rig.files.open(&file_name(2)).is_ok());
    rig.files.work_again();
    let again = |rig: &mut Rig| {
        lock(&rig.queue.inner.state).untidy = true;
        rig.step(true).unwrap();
        rig.files.names().len()
    };
    assert_eq!(again(&mut rig), 2, "it is not tried at once");
    tokio::time::advance(Duration::from_secs(31)).await;
    assert_eq!(again(&mut rig), 1);
}

#[test]
fn a_stream_that_is_gone_leaves_room_to_others() {
    let mut rig = Rig::open(Disk::default(), SMALL);
    let mut gone = 0;
    while rig.push(0, 1000, 0).is_ok() {
        gone += 1;
        rig.step(false).unwrap();
    }
    assert!(gone > 500, "{gone} records of a KB in a MB");
    for stream in 1..4 {
        for _ in 0..10 {
            assert!(
                rig.push(stream, 1000, 0).is_ok(),
                "no room for stream {stream}"
            );
            rig.step(false).unwrap();
        }
    }
}

#[test]
fn room_is_kept_for_one_stream_however_many_others_there_are() {
    let mut rig = Rig::open(Disk::default(), SMALL);
    rig.queue.keep_room_for(&arn(0));
    let mut taken = 0;
    for stream in 1..100 {
        while rig.push(stream, 1000, 0).is_ok() {
            taken += 1;
            rig.step(false).unwrap();
        }
    }
    // A stream that holds nothing gets whatever fits.
    assert_eq!(rig.push(100, 1000, 0), Err(Refusal::QueueDirFull));
    assert!(taken > 500, "{taken} records of a KB in a MB");
    for number in 0..150 {
        assert!(rig.push(0, 1000, 0).is_ok(), "only {number}");
        rig.step(false).unwrap();
    }
}
