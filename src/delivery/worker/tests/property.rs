//! Whatever comes in, whatever the destination does and whenever the stop comes: every record
//! ends with exactly one status and is counted as what that says, and none that is known to be delivered goes out again.

use proptest::prelude::*;

use super::*;

/// Time in which all is delivered, however often calls fail. It passes at once on a paused clock.
const LONG_ENOUGH: Duration = Duration::from_secs(7 * 24 * 3600);

/// Records that come in together.
#[derive(Debug, Clone)]
struct Arrival {
    after: Duration,
    count: usize,
    bytes: usize,
}

/// A run from the start of a worker to its end.
#[derive(Debug, Clone)]
struct Run {
    interval_s: u64,
    when_full: bool,
    max_age: Option<Duration>,
    arrivals: Vec<Arrival>,
    /// Decides what each call does.
    seed: u64,
    /// How long the stop may take.
    drain: Duration,
}

fn arrival() -> impl Strategy<Value = Arrival> {
    let size = prop_oneof![8 => 8usize..200, 1 => 900_000usize..=1_024_000];
    (0u64..8000, 1usize..700, size).prop_map(|(after, count, bytes)| Arrival {
        after: Duration::from_millis(after),
        // A few large ones, many small ones.
        count: if bytes > 1000 { count % 7 + 1 } else { count },
        bytes,
    })
}

fn run() -> impl Strategy<Value = Run> {
    (
        prop_oneof![Just(0u64), Just(1), Just(10)],
        any::<bool>(),
        prop_oneof![
            Just(None),
            (1u32..40).prop_map(|seconds| Some(seconds * SECOND))
        ],
        proptest::collection::vec(arrival(), 1..6),
        any::<u64>(),
        prop_oneof![Just(SECOND), Just(20 * SECOND), Just(LONG_ENOUGH)],
    )
        .prop_map(
            |(interval_s, when_full, max_age, arrivals, seed, drain)| Run {
                interval_s,
                when_full,
                max_age,
                arrivals,
                seed,
                drain,
            },
        )
}

/// What a call does, decided by dice that depend on the run and the call's number only.
fn act(seed: u64, call: &Call) -> (Duration, Reply) {
    let mut dice = fastrand::Rng::with_seed(seed ^ (call.number as u64).wrapping_mul(0x9e37_79b9));
    let after = Duration::from_millis([0, 3, 700, 12_000][dice.usize(..4)]);
    let mut outcomes = call.records.iter().map(|_| match dice.u8(..10) {
        0 => Outcome::Failed(ServiceError::new("InvalidArgumentException", "no")),
        1..4 => Outcome::Retry(throttled()),
        _ => delivered(),
    });
    let reply = match dice_of(seed, call.number) {
        0..5 => Reply::Is(Ok(outcomes.collect())),
        5..7 => refused(true, "InternalFailure"),
        7 => refused(false, "AccessDeniedException"),
        8 if !call.single => {
            Reply::Is(Ok(outcomes.by_ref().take(call.records.len() / 2).collect()))
        }
        8 => refused(true, "Timeout"),
        _ => Reply::Panics,
    };
    (after, reply)
}

fn dice_of(seed: u64, call: usize) -> u8 {
    fastrand::Rng::with_seed(seed.wrapping_add(call as u64)).u8(..10)
}

async fn go(run: Run) -> Result<(), TestCaseError> {
    let settings = WorkerSettings {
        publish_when_full: run.when_full,
        record_max_age: run.max_age,
        ..settings(run.interval_s)
    };
    let seed = run.seed;
    let mut bench = Bench::start(settings, move |call| act(seed, call));
    let mut records = 0;
    for arrival in &run.arrivals {
        sleep(arrival.after).await;
        bench.push(records..records + arrival.count, arrival.bytes);
        records += arrival.count;
    }
    let left = bench.stop(run.drain).await;
    let verdicts = bench.verdicts();
    let of = |code: &str| -> Vec<usize> {
        let with_code = verdicts.iter().filter(|(_, verdict)| *verdict == code);
        with_code.map(|(number, _)| *number).collect()
    };
    let numbers: Vec<usize> = verdicts.keys().copied().collect();
    prop_assert_eq!(numbers, list(0..records), "one status each");
    prop_assert_eq!(of("ConnectorStopped").len(), left);
    // What is counted is what is reported.
    let (totals, ()) = bench.ledger.balance(|| ());
    let mut reported = ByCode::new();
    for verdict in verdicts.values() {
        *reported.entry(verdict.clone()).or_default() += 1;
    }
    let delivered = reported.remove("success").unwrap_or_default();
    prop_assert_eq!((totals.delivered, totals.failed), (delivered, reported));
    // The fake itself sees that none of these was sent again.
    let mut delivered = bench.seen.lock().unwrap().delivered.clone();
    delivered.sort_unstable();
    prop_assert_eq!(of("success"), delivered);
    prop_assert!(run.max_age.is_some() || of("Expired").is_empty());
    prop_assert!(run.drain < LONG_ENOUGH || left == 0);
    prop_assert!(bench.stream.queue().is_empty());
    prop_assert_eq!(bench.budget.used_bytes(), 0);
    // The records of one call keep the order in which they came, but for those sent before.
    let mut sent = std::collections::BTreeSet::new();
    for call in bench.calls() {
        let fresh: Vec<_> = call
            .records
            .iter()
            .filter(|number| sent.insert(**number))
            .collect();
        prop_assert!(fresh.is_sorted(), "{:?}", call.records);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_record_ends_exactly_once(run in run()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(go(run))?;
    }
}
