//! The same worker with its records on disk: what holds for a queue in memory holds here, and memory is
//! taken only while records are being sent.

use std::cell::Cell;
use std::time::SystemTime;

use tempfile::TempDir;

use super::*;
use crate::files::Directory;
use crate::queue::disk::{Clock, Depth, DiskQueue, DiskQueueSettings};

thread_local! {
    /// Whether benches made on this thread have their queue on disk.
    static ON_DISK: Cell<bool> = const { Cell::new(false) };
}

/// A queue on disk, in a directory that goes with it.
pub(super) struct Disk {
    pub queue: DiskQueue,
    _directory: TempDir,
}

/// One where it is asked for.
pub(super) fn queue() -> Option<Disk> {
    let directory = ON_DISK.get().then(|| tempfile::tempdir().unwrap())?;
    let settings = DiskQueueSettings {
        queue_size: 100_000,
        max_bytes: 1 << 30,
        commit_interval: Duration::ZERO,
    };
    let clock = Clock::new(Instant::now(), SystemTime::now());
    let files = Arc::new(Directory::hold(directory.path()).unwrap());
    let started = DiskQueue::start(
        files,
        settings,
        &Blocking::Threads,
        clock,
        Arc::default(),
        &mut |_, _| {},
    );
    Some(Disk {
        queue: started.unwrap().0,
        _directory: directory,
    })
}

/// Records come in, as intake brings them, and are synced.
pub(super) fn push(disk: &DiskQueue, stream: &Stream, numbers: Range<usize>, bytes: usize) {
    let mut last = 0;
    let kept = stream.disk.as_ref().unwrap();
    let mut door = kept.door(&stream.arn, Instant::now());
    for number in numbers {
        let id = Id::from(number.to_string().as_str());
        let ticket = door.push(id, data(number, bytes), false);
        last = ticket.map_err(|(refusal, ..)| refusal).unwrap();
    }
    drop(door);
    while disk.synced() < last {
        std::thread::yield_now();
    }
    // The writer's thread rings by and by, and the clock that stands still does not wait for it.
    stream.wake.notify_one();
}

/// Runs tests of the queue in memory with one on disk.
macro_rules! on_disk {
    ($($test:ident,)*) => {$(
        #[test]
        fn $test() {
            ON_DISK.set(true);
            super::$test();
        }
    )*};
    (@joined $($test:ident,)*) => {$(
        #[test]
        fn $test() {
            ON_DISK.set(true);
            super::joined::$test();
        }
    )*};
}

on_disk! {
    all_that_waits_at_the_end_of_the_interval_goes_in_arrival_order,
    a_full_batch_goes_early,
    a_full_batch_waits_for_the_interval_where_told_to,
    without_an_interval_each_record_goes_at_once_in_a_call_of_its_own,
    a_backlog_goes_in_parallel_calls_up_to_a_bound,
    each_outcome_of_a_call_decides_about_its_own_record,
    a_call_refused_for_good_fails_its_records_and_delays_nothing,
    waits_grow_to_a_bound_with_jitter_and_end_with_a_success,
    a_success_ends_the_wait_that_another_call_began,
    one_call_at_a_time_tries_until_one_succeeds,
    a_full_batch_does_not_go_around_the_wait_after_a_failure,
    records_expire_while_the_stream_is_in_trouble_and_not_while_they_are_under_way,
    a_stop_sends_what_waits_without_its_interval,
    an_answer_that_is_here_at_the_deadline_counts,
    a_destination_that_panics_loses_no_record,
    records_without_an_outcome_are_sent_again,
    version_1_wraps_messages_of_the_service,
    a_forgotten_stream_ends_its_worker_once_it_is_empty,
    limits_per_second_hold,
}

on_disk! {
    @joined
    all_that_is_due_goes_in_few_records_and_each_request_has_its_status,
    all_get_their_statuses_however_many_go_together,
    one_full_record_goes_early_and_the_rest_waits_for_its_interval,
    an_outcome_is_that_of_exactly_the_requests_it_was_joined_from,
    limits_per_second_count_the_records_that_are_sent,
    a_backlog_leaves_in_full_records_and_one_more,
}

fn start(
    settings: WorkerSettings,
    script: impl Fn(&Call) -> (Duration, Reply) + Send + Sync + 'static,
) -> Bench {
    ON_DISK.set(true);
    Bench::start(settings, script)
}

fn depth(bench: &Bench) -> &Depth {
    bench.stream.disk.as_ref().unwrap().depth()
}

#[tokio::test(start_paused = true)]
async fn what_failed_goes_with_the_next_batch() {
    let bench = start(settings(10), |call| {
        let mut outcomes = call.all(delivered());
        if call.number == 0 {
            outcomes[1] = Outcome::Retry(throttled());
        }
        (2 * SECOND, Reply::Is(Ok(outcomes)))
    });
    bench.push(0..3, 8);
    bench.until(11 * SECOND).await;
    bench.push(3..5, 8);
    bench.until(60 * SECOND).await;
    // It is in memory already, so it stands before what is read behind it.
    let expected = [(10 * SECOND, list(0..3)), (21 * SECOND, vec![1, 3, 4])];
    assert_eq!(bench.plan(), expected);
    bench.finish(5).await;
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_the_rest_is_kept() {
    // Of three calls one succeeds in time, one comes back to wait, one hangs.
    let mut bench = start(settings(1), |call| match call.number {
        0 => (SECOND, call.delivered()),
        1 => (2 * SECOND, refused(true, "InternalFailure")),
        _ => (NEVER, call.delivered()),
    });
    bench.push(0..1500, 8);
    sleep(SECOND / 2).await;
    assert_eq!(bench.stop(9 * SECOND).await, 0);
    assert_eq!(bench.start.elapsed().as_secs(), 9);
    assert_eq!(bench.verdicts(), every(0..500, "success"));
    assert_eq!(depth(&bench).held(), 1000);
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_a_stream_in_trouble() {
    let mut bench = start(settings(1), |_| (SECOND, refused(true, "InternalFailure")));
    bench.push(0..1500, 8);
    bench.until(100 * SECOND).await;
    let stopped = Instant::now();
    assert_eq!(bench.stop(3600 * SECOND).await, 0);
    assert!(stopped.elapsed() < 10 * SECOND);
    assert_eq!(depth(&bench).held(), 1500);
    assert_eq!(bench.verdicts(), BTreeMap::new());
}

#[tokio::test(start_paused = true)]
async fn a_stream_in_trouble_takes_no_memory_while_it_waits() {
    ON_DISK.set(true);
    // Room for one batch and a bit.
    let bench = Bench::start_with(2_000_000, settings(1), None, |call| {
        if call.number < 8 {
            (SECOND, refused(true, "ServiceUnavailableException"))
        } else {
            (SECOND / 10, call.delivered())
        }
    });
    bench.push(0..20_000, 1000);
    let mut waits = 0;
    for second in 0..100 {
        bench.until(second * SECOND + SECOND / 2).await;
        // Records may have been read for a call that begins in this very moment.
        sleep(SECOND / 1000).await;
        if bench.seen.lock().unwrap().open == 0 {
            assert_eq!(bench.budget.used_bytes(), 0, "in second {second}");
            waits += 1;
        }
    }
    assert!(waits > 0);
    bench.finish(20_000).await;
}

#[tokio::test(start_paused = true)]
async fn without_memory_records_wait_on_disk_for_it() {
    ON_DISK.set(true);
    let bench = Bench::start_with(10_000, settings(1), None, |call| {
        (SECOND / 10, call.delivered())
    });
    let others = bench.budget.share();
    let charge = others.charge(9_000).unwrap();
    bench.push(0..3, 1000);
    bench.until(30 * SECOND).await;
    assert_eq!(bench.plan(), []);
    drop(charge);
    bench.until(40 * SECOND).await;
    bench.finish(3).await;
}

#[tokio::test(start_paused = true)]
async fn the_oldest_are_dropped_for_newer_ones() {
    let mut bench = start(settings(1), |_| (SECOND, refused(true, "InternalFailure")));
    bench.push(0..1500, 8);
    // Between two calls.
    bench.until(100 * SECOND).await;
    while bench.seen.lock().unwrap().open > 0 {
        sleep(SECOND / 2).await;
    }
    assert!(depth(&bench).drop_more(700));
    assert_eq!(depth(&bench).held(), 800);
    sleep(SECOND / 10).await;
    assert_eq!(bench.verdicts(), every(0..700, "Dropped"));
    assert_eq!((depth(&bench).held(), depth(&bench).to_drop()), (800, 0));
    bench.stop(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_long_backlog_expires_while_the_stream_is_in_trouble() {
    let limited = WorkerSettings {
        record_max_age: Some(50 * SECOND),
        ..settings(1)
    };
    let mut bench = start(limited, |_| (SECOND, refused(true, "InternalFailure")));
    bench.push(0..9_000, 8);
    bench.until(49 * SECOND).await;
    assert_eq!(bench.verdicts(), BTreeMap::new());
    bench.until(60 * SECOND).await;
    assert_eq!(bench.verdicts(), every(0..9_000, "Expired"));
    assert_eq!(depth(&bench).held(), 0);
    assert_eq!(bench.stop(SECOND).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_always_fails_does_not_hold_up_the_others() {
    let mut bench = start(settings(1), |call| {
        let reply = if call.records.contains(&7) {
            refused(true, "UnknownToUs")
        } else {
            call.delivered()
        };
        (SECOND / 10, reply)
    });
    bench.push(0..500, 8);
    bench.until(10 * SECOND).await;
    bench.push(500..2000, 8);
    bench.until(1000 * SECOND).await;
    let verdicts = bench.verdicts();
    assert!(verdicts.len() >= 1500, "{} are through", verdicts.len());
    assert!(!verdicts.contains_key(&7));
    bench.stop(SECOND).await;
}
