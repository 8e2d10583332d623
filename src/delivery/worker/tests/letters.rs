//! What fails is among the dead letters before anybody is told, and nothing else is.

use std::path::Path;

use super::*;
use crate::dead_letters::{Letter, Letters};

/// What lies in a directory.
fn buried(path: &Path) -> Vec<Letter> {
    let letters = Letters::look_into(path).unwrap();
    let numbers = letters.segments().unwrap();
    let segments = numbers
        .iter()
        .filter_map(|&number| letters.read(number, true));
    segments
        .flat_map(|segment| segment.letters)
        .map(|stored| stored.letter)
        .collect()
}

fn numbers(path: &Path) -> Vec<usize> {
    let mut numbers: Vec<usize> = buried(path)
        .iter()
        .map(|letter| number_of(&letter.data))
        .collect();
    numbers.sort_unstable();
    numbers
}

fn open(path: &Path) -> Option<DeadLetters> {
    Some(DeadLetters::open(path, 1 << 30).unwrap())
}

/// Checks that whenever statuses are there, so are the letters of those that failed.
async fn letters_come_first(
    bench: &mut Bench,
    path: &Path,
    records: usize,
) -> BTreeMap<usize, String> {
    let mut all = BTreeMap::new();
    while all.len() < records {
        let verdicts = bench.verdicts();
        let failed = verdicts.iter().filter(|(_, code)| *code != "success");
        let buried = numbers(path);
        for (number, code) in failed {
            assert!(
                buried.contains(number),
                "{number} ended as {code} before it was buried"
            );
        }
        all.extend(verdicts);
        sleep(Duration::from_millis(1)).await;
    }
    all
}

#[tokio::test]
async fn failed_records_are_buried_before_their_statuses() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::start_with(usize::MAX, settings(0), open(folder.path()), |call| {
        let error = ServiceError::new("InvalidArgumentException", "on command");
        let outcome = |&number: &usize| match number % 3 {
            0 => Outcome::Failed(error.clone()),
            1 => delivered(),
            _ if call.number < 3 => Outcome::Retry(throttled()),
            _ => delivered(),
        };
        (
            Duration::ZERO,
            Reply::Is(Ok(call.records.iter().map(outcome).collect())),
        )
    });
    bench.push(0..150, 8);
    letters_come_first(&mut bench, folder.path(), 150).await;
    let failed: Vec<usize> = (0..150).filter(|number| number % 3 == 0).collect();
    assert_eq!(numbers(folder.path()), failed);
    let letter = buried(folder.path()).remove(0);
    assert_eq!(letter.code, "InvalidArgumentException");
    assert_eq!(letter.message, "on command");
    assert_eq!(letter.id, number_of(&letter.data).to_string());
    assert_eq!(letter.stream, bench.stream.arn);
}

#[tokio::test]
async fn whole_calls_that_are_refused_are_buried_in_pieces_and_reported_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::start_with(usize::MAX, settings(900), open(folder.path()), |_| {
        (Duration::ZERO, refused(false, "ResourceNotFoundException"))
    });
    bench.push(0..2_222, 8);
    assert_eq!(bench.stop(3600 * SECOND).await, 0);
    assert_eq!(
        bench.verdicts(),
        every(0..2_222, "ResourceNotFoundException")
    );
    assert_eq!(numbers(folder.path()), list(0..2_222));
    assert_eq!(bench.budget.used_bytes(), 0);
}

#[tokio::test]
async fn expired_records_are_buried_and_those_of_a_stop_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let limited = WorkerSettings {
        record_max_age: Some(Duration::from_millis(50)),
        ..settings(900)
    };
    let mut bench = Bench::start_with(usize::MAX, limited, open(folder.path()), |_| {
        (Duration::ZERO, refused(true, "InternalFailure"))
    });
    bench.push(0..1_200, 8);
    let verdicts = letters_come_first(&mut bench, folder.path(), 1_200).await;
    assert_eq!(verdicts, every(0..1_200, "Expired"));
    assert_eq!(numbers(folder.path()), list(0..1_200));
    let letter = buried(folder.path()).remove(0);
    let waited = letter.failed_unix_ms - letter.received_unix_ms;
    assert!(waited >= 50, "{waited} ms");
    assert_eq!(bench.budget.used_bytes(), 0);
    bench.push(2_000..2_001, 8);
    assert_eq!(bench.stop(Duration::ZERO).await, 1);
    assert_eq!(bench.verdicts(), every(2_000..2_001, "ConnectorStopped"));
    assert_eq!(numbers(folder.path()), list(0..1_200));
}

#[tokio::test]
async fn a_stop_waits_for_letters_and_their_statuses() {
    let folder = tempfile::tempdir().unwrap();
    let limited = WorkerSettings {
        record_max_age: Some(Duration::from_millis(50)),
        ..settings(900)
    };
    let mut bench = Bench::start_with(usize::MAX, limited, open(folder.path()), |_| {
        (Duration::ZERO, refused(true, "InternalFailure"))
    });
    bench.push(0..4, 8);
    assert_eq!(bench.stop(3600 * SECOND).await, 0);
    assert_eq!(bench.verdicts(), every(0..4, "Expired"));
    assert_eq!(numbers(folder.path()), list(0..4));
}
