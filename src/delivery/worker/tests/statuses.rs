//! Delivery and a broker that takes statuses slowly, or not at all.

use super::*;
use crate::status::Room;

/// Room for the statuses of some batches.
const BACKLOG_BYTES: usize = 600_000;
const RECORDS: usize = 20_000;

fn bench() -> Bench {
    Bench::start_reporting(BACKLOG_BYTES, settings(1), |call| {
        (Duration::from_millis(20), call.delivered())
    })
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_takes_statuses_slowly_gets_them_all() {
    let mut bench = bench();
    bench.statuses.set_room(Room::Usual);
    bench.push(0..RECORDS, 20);
    bench.until(60 * SECOND).await;
    let held_back = bench.stream.queue().waiting();
    assert!(held_back > RECORDS / 4, "{held_back} wait for room");
    assert!(
        bench.calls().iter().any(|call| call.open > 1),
        "side by side"
    );
    let mut reported = BTreeMap::new();
    while reported.len() < RECORDS {
        // All that is there now: the next are to come for it, so that in the end none is missing.
        let verdicts = bench.verdicts();
        assert!(!verdicts.is_empty(), "stuck at {}", reported.len());
        reported.extend(verdicts);
        tokio::time::sleep(SECOND).await;
    }
    assert_eq!(bench.statuses.dropped(), 0);
    assert_eq!(reported, every(0..RECORDS, "success"));
    assert_eq!(bench.stop(SECOND).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_takes_none_does_not_keep_records_from_their_destination() {
    let mut bench = bench();
    bench.statuses.set_room(Room::Usual);
    bench.push(0..RECORDS, 20);
    bench.until(60 * SECOND).await;
    bench.statuses.set_room(Room::NoMatter);
    bench.until(120 * SECOND).await;
    assert!(bench.stream.is_empty());
    assert!(bench.statuses.dropped() > 0);
    assert_eq!(bench.stop(SECOND).await, 0);
}

async fn all_that_expires_at_once_is_told(dead_letters: Option<DeadLetters>) {
    let settings = WorkerSettings {
        record_max_age: Some(5 * SECOND),
        ..settings(1)
    };
    let fake = Fake::new(|_| (Duration::ZERO, refused(true, "ThrottlingException")));
    let (statuses, seen) = (publisher(BACKLOG_BYTES), Arc::clone(&fake.seen));
    let mut bench = Bench::start_all(usize::MAX, settings, dead_letters, statuses, fake, seen);
    bench.statuses.set_room(Room::Usual);
    bench.push(0..RECORDS, 20);
    bench.until(4 * SECOND).await;
    let mut reported = BTreeMap::new();
    for _ in 0..200 {
        reported.extend(bench.verdicts());
        tokio::time::sleep(SECOND / 10).await;
    }
    assert_eq!(bench.statuses.dropped(), 0);
    assert_eq!(reported, every(0..RECORDS, "Expired"));
    assert_eq!(bench.stop(SECOND).await, 0);
}

#[tokio::test(start_paused = true)]
async fn all_that_expires_at_once_is_told_as_fast_as_the_broker_takes_it() {
    all_that_expires_at_once_is_told(None).await;
}

#[tokio::test(start_paused = true)]
async fn and_so_it_is_where_letters_are_written_first() {
    let folder = tempfile::tempdir().unwrap();
    let dead_letters = DeadLetters::open(folder.path(), 1 << 30).unwrap();
    all_that_expires_at_once_is_told(Some(dead_letters)).await;
}

#[tokio::test(start_paused = true)]
async fn all_that_a_stop_leaves_is_told_to_a_broker_that_takes_it() {
    let mut bench = Bench::start_reporting(BACKLOG_BYTES, settings(1), |_| {
        (Duration::ZERO, refused(true, "ThrottlingException"))
    });
    bench.statuses.set_room(Room::NoMatter);
    bench.push(0..RECORDS, 20);
    bench.until(2 * SECOND).await;
    let statuses = bench.statuses.clone();
    let broker = tokio::spawn(async move {
        let mut taken = 0;
        for _ in 0..5_000 {
            taken += statuses.pop().map_or(0, |document| document.statuses);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        taken
    });
    assert_eq!(bench.stop(SECOND).await, RECORDS);
    assert_eq!(broker.await.unwrap(), RECORDS);
}
