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
