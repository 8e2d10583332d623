//! A simulation of the whole connector under a clock that stands still and moves on by itself: everything but broker,
//! endpoint, disk and network is the product. A seed decides what is configured, what is published, what breaks, and
//! when the connector is stopped, killed or without power; the six promises are checked as far as each seed allows.
//! A seed is the same run each time, byte for byte.
//!
//! `SIMULATION_SEEDS` says how many (`make simulate N=10000`), `SIMULATION_FROM` from which on. A seed that fails is
//! told; `SIMULATION_SEED=… cargo test --test simulation one_seed -- --nocapture` shows all of its steps.

#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code, reason = "tests of the queue use all of it")]
#[path = "../../src/queue/disk/tests/content.rs"]
mod content;
#[allow(dead_code, reason = "tests of the queue use all of it")]
#[path = "../../src/queue/disk/tests/disk.rs"]
mod disk;

mod book;
mod broker;
mod choices;
mod endpoint;
mod line;
mod plan;
mod run;
mod storage;
mod world;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use run::Report;

// The disk of the queue's own tests, which names it so.
use kinesis_edge::files;

/// How many seeds run where nobody says.
const SEEDS: u64 = 300;

/// A seed that takes longer goes round in circles without our seeing it.
const PATIENCE: Duration = Duration::from_secs(120);

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is a number")),
    )
}

#[test]
fn the_promises_hold_whatever_happens() {
    run::note_panics();
    let from = number("SIMULATION_FROM").unwrap_or(0);
    let seeds = from..from + number("SIMULATION_SEEDS").unwrap_or(SEEDS);
    let (next, failed) = (AtomicU64::new(seeds.start), Mutex::new(Vec::new()));
    let counts = Mutex::new(BTreeMap::<String, usize>::new());
    let begun = Instant::now();
    let threads = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    match watched(seed, false) {
                        Ok(report) => {
                            let mut counts = counts.lock().unwrap();
                            for (what, times) in report.counts {
                                *counts.entry(what).or_default() += times;
                            }
                        }
                        Err(wrong) => {
                            eprintln!("seed {seed}: {wrong}");
                            failed.lock().unwrap().push(seed);
                        }
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort_unstable();
    eprintln!("{} seeds in {:?}", seeds.end - seeds.start, begun.elapsed());
    for (what, times) in counts.into_inner().unwrap() {
        eprintln!("{times:>10} {what}");
    }
    assert!(
        failed.is_empty(),
        "{} seeds fail; see all of the first with\n  SIMULATION_SEED={} cargo test --test simulation one_seed -- --nocapture",
        failed.len(),
        failed[0]
    );
}

/// Runs a seed, and ends the test where that does not end.
fn watched(seed: u64, is_told: bool) -> Result<Report, String> {
    let (done, ended) = std::sync::mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            if ended.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                eprintln!("SIMULATION_SEED={seed} does not end");
                std::process::abort();
            }
        });
        let result = run::run(seed, is_told);
        drop(done);
        result
    })
}

/// What is chosen with `SIMULATION_SEED`, told step by step.
#[test]
fn one_seed() {
    let Some(seed) = number("SIMULATION_SEED") else {
        return;
    };
    run::note_panics();
    let is_told = std::env::var_os("SIMULATION_QUIET").is_none();
    match watched(seed, is_told) {
        Ok(report) => println!("fingerprint {:016x}", report.fingerprint),
        Err(wrong) => panic!("seed {seed}: {wrong}"),
    }
}

#[test]
fn a_seed_is_the_same_run_each_time() {
    let program = std::env::current_exe().expect("this program");
    for seed in 0..6 {
        let once = watched(seed, false);
        assert_eq!(once, watched(seed, false), "seed {seed} twice in a process");
        let again = Command::new(&program)
            .args(["--exact", "one_seed", "--nocapture"])
            .env("SIMULATION_SEED", seed.to_string())
            .env("SIMULATION_QUIET", "1")
            .output()
            .expect("this program runs");
        let said = String::from_utf8_lossy(&again.stdout);
        let fingerprint = format!(
            "fingerprint {:016x}",
            once.expect("the seed is good").fingerprint
        );
        assert!(said.contains(&fingerprint), "seed {seed}: {said}");
    }
}
