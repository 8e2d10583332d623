//! Which numbers were seen: each is to be seen exactly once.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::common::PATIENCE;

/// How often whoever waits for numbers looks.
const LOOK: Duration = Duration::from_micros(500);

/// One bit for each number, shared by threads.
#[derive(Debug)]
pub struct Seen {
    /// Bits, 64 to a word.
    words: Vec<AtomicU64>,
    /// Numbers that were seen.
    count: AtomicU64,
    /// How often a number was seen that had been before.
    repeats: AtomicU64,
    /// How often something was seen that was never sent.
    wrong: AtomicU64,
}

impl Seen {
    /// For the numbers below `numbers`.
    pub fn new(numbers: u64) -> Self {
        Seen {
            words: (0..numbers.div_ceil(64))
                .map(|_| AtomicU64::new(0))
                .collect(),
            count: AtomicU64::new(0),
            repeats: AtomicU64::new(0),
            wrong: AtomicU64::new(0),
        }
    }

    /// Marks a number; `None` is something wrong. Says whether it is a number that is new.
    pub fn mark(&self, number: Option<u64>) -> bool {
        let word = number.and_then(|number| self.words.get((number / 64) as usize));
        let (Some(number), Some(word)) = (number, word) else {
            self.wrong.fetch_add(1, Ordering::Relaxed);
            return false;
        };
        let bit = 1 << (number % 64);
        let is_new = word.fetch_or(bit, Ordering::Relaxed) & bit == 0;
        if !is_new {
            self.repeats.fetch_add(1, Ordering::Relaxed);
        }
        is_new
    }

    /// Counts numbers that [`Seen::mark`] said are new.
    pub fn add(&self, count: u64) {
        self.count.fetch_add(count, Ordering::Release);
    }

    /// How many numbers were seen.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Waits until so many were seen.
    pub fn wait_for(&self, count: u64) -> io::Result<()> {
        let (mut last, mut last_change) = (0, Instant::now());
        while last < count {
            let now = self.count();
            if now != last {
                (last, last_change) = (now, Instant::now());
            }
            if last_change.elapsed() > PATIENCE {
                return Err(io::Error::other(format!(
                    "{now} of {count} have come, and none for {PATIENCE:?}"
                )));
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// The numbers below `expected` and nothing else are to have been seen, each once.
    pub fn check(&self, what: &str, expected: u64) -> io::Result<()> {
        let repeats = self.repeats.load(Ordering::Relaxed);
        let wrong = self.wrong.load(Ordering::Relaxed);
        let missing = (0..expected).filter(|&number| !self.has(number)).count() as u64;
        let more = self.count() - (expected - missing);
        if (repeats, wrong, missing, more) == (0, 0, 0, 0) {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "{what}, {expected} expected: {missing} missing, {repeats} repeated, {wrong} wrong, {more} too many"
        )))
    }

    fn has(&self, number: u64) -> bool {
        let word = self.words.get((number / 64) as usize);
        word.is_some_and(|word| word.load(Ordering::Relaxed) >> (number % 64) & 1 == 1)
    }
}
