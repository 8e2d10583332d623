//! Power is cut at every point of a run, with what was not synced kept, dropped, or in parts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use fastrand::Rng;

use super::content::Content;
use super::disk::{Disk, EIO, Fault, Op};
use super::rig::{Book, Rig, SMALL};
use crate::queue::disk::Wanted;
use crate::queue::disk::format::Entry;
use crate::queue::disk::scan::Scan;

/// What the directory was before an operation, and what must be found in it.
struct Moment {
    content: Content,
    /// All records of this run up to that ticket are held.
    synced: u64,
    /// The book when the step began.
    book: Arc<Book>,
    /// Whether a write or a sync had failed by then: then a record may be there twice.
    faults: bool,
}

/// What is told to the one who watches.
#[derive(Default)]
struct Told {
    book: Arc<Book>,
    faults: bool,
    moments: Vec<Moment>,
}

/// What the run does, as a random choice each time.
struct Run {
    rig: Rig,
    told: Arc<Mutex<Told>>,
    random: Rng,
    with_faults: bool,
}

impl Run {
    fn new(seed: u64, with_faults: bool) -> Self {
        let files = Disk::default();
        let mut run = Run {
            rig: Rig::open(files, SMALL),
            told: Arc::default(),
            random: Rng::with_seed(seed),
            with_faults,
        };
        run.watch();
        run
    }

    fn watch(&mut self) {
        let told = Arc::clone(&self.told);
        let inner = Arc::downgrade(&self.rig.queue.inner);
        self.rig.files.watch(move |content| {
            let mut told = told.lock().unwrap();
            let synced = inner.upgrade().map_or(0, |inner| {
                inner.synced.load(std::sync::atomic::Ordering::Relaxed)
            });
            let moment = Moment {
                content: content.clone(),
                synced,
                book: Arc::clone(&told.book),
                faults: told.faults,
            };
            told.moments.push(moment);
        });
    }

    fn tell(&mut self) {
        let mut told = self.told.lock().unwrap();
        told.book = Arc::new(self.rig.book.clone());
    }

    fn one_fault(&mut self) {
        let told = Arc::clone(&self.told);
        let mut random = self.random.fork();
        let mut after = random.usize(..8);
        self.rig.files.judge(move |op, _| {
            if op == Op::Read || after == usize::MAX {
                return None;
            }
            if after > 0 {
                after -= 1;
                return None;
            }
            after = usize::MAX;
            // Whoever watches has seen this operation before it fails.
            let _ = &told;
            Some(Fault {
                errno: EIO,
                keeps: random.usize(..400),
            })
        });
        self.told.lock().unwrap().faults = true;
    }

    /// From some operation on nothing is done any more, as the process is dead.
    fn begin_what_ends_in_a_kill(&mut self) {
        die_after(&self.rig.files, self.random.usize(..8));
        for _ in 0..4 {
            let bytes = self.random.usize(..300);
            let _ = self.rig.push(self.random.usize(..4), bytes, 5);
        }
        for _ in 0..self.rig.loaded.len() / 2 {
            let index = self.random.usize(..self.rig.loaded.len());
            self.rig.finish(index);
        }
        self.tell();
        let _ = self.rig.step(true);
    }

    fn go(mut self, rounds: usize) -> (Rig, Arc<Mutex<Told>>) {
        for _ in 0..rounds {
            self.tell();
            match self.random.u8(..20) {
                0..6 => {
                    for _ in 0..self.random.usize(1..8) {
                        let bytes = self.random.usize(..300);
                        let _ = self.rig.push(self.random.usize(..4), bytes, 5);
                    }
                    self.tell();
                    let _ = self.rig.step(false);
                }
                6..10 => {
                    let stream = self.random.usize(..4);
                    let wanted = Wanted {
                        records: self.random.usize(1..10),
                        bytes: 10_000,
                    };
                    self.rig.load(stream, wanted).unwrap();
                }
                10..15 => {
                    for _ in 0..self.random.usize(..12).min(self.rig.loaded.len()) {
                        let index = self.random.usize(..self.rig.loaded.len());
                        self.rig.finish(index);
                    }
                    self.tell();
                    let sync = self.random.bool();
                    let _ = self.rig.step(sync);
                }
                15 => {
                    for _ in 0..self.random.usize(..5).min(self.rig.loaded.len()) {
                        let index = self.random.usize(..self.rig.loaded.len());
                        self.rig.unload(index);
                    }
                }
                16 => {
                    let _ = self.rig.step(true);
                }
                17 if self.with_faults => self.one_fault(),
                18 => {
                    let in_order = self.random.bool();
                    if !in_order {
                        self.begin_what_ends_in_a_kill();
                    }
                    self.rig.files.work_again();
                    self.rig = self.rig.reopen(in_order);
                    self.watch();
                }
                _ => {}
            }
        }
        self.rig.files.unwatch();
        (self.rig, self.told)
    }
}

/// So many operations are done, and no more: the process is dead.
fn die_after(files: &Disk, mut left: usize) {
    files.judge(move |op, _| {
        if op == Op::Read {
            return None;
        }
        let dead = left == 0;
        left = left.saturating_sub(1);
        let (errno, keeps) = (EIO, usize::from(op == Op::Sync));
        dead.then_some(Fault { errno, keeps })
    });
}

/// What may come again though it was finished.
#[derive(Debug, Default, Clone, Copy)]
struct Again {
    not_noted: usize,
    noted: usize,
    twice: usize,
}

/// Starts on what a cut left, and compares.
fn check(moment: &Moment, left: Content, again: &mut Again) {
    let names = left.names();
    let mut rig = Rig::open(Disk::holding(left), SMALL);
    assert!(
        moment.faults || rig.recovery.missing_segments == 0,
        "{:?}",
        rig.recovery
    );
    rig.book = Book::clone(&moment.book);
    rig.next = rig.book.keys().max().map_or(0, |last| last + 1);
    // `load` compares each with the book: nothing comes that was never pushed.
    let lost = rig.load_all();
    assert_eq!(lost, 0, "{names:?}");
    let mut found: BTreeMap<usize, usize> = BTreeMap::new();
    for number in rig.numbers() {
        *found.entry(number).or_default() += 1;
    }
    for (number, pushed) in moment.book.iter() {
        let times = found.get(number).copied().unwrap_or_default();
        let held = pushed.held || (pushed.ticket != 0 && pushed.ticket <= moment.synced);
        if held && !pushed.finished {
            assert!(times > 0, "record {number} was held and is lost: {names:?}");
        }
        if times > 1 {
            assert!(moment.faults, "record {number} is there {times} times");
            again.twice += 1;
        }
        if pushed.finished && times > 0 {
            if pushed.noted {
                assert!(
                    moment.faults,
                    "record {number} was noted as finished: {names:?}"
                );
                again.noted += 1;
            } else {
                again.not_noted += 1;
            }
        }
    }
    goes_on(rig);
}

/// The queue goes on to work.
fn goes_on(mut rig: Rig) {
    rig.unload_some();
    rig.finish_all();
    let new: Vec<usize> = (0..5).map(|_| rig.push(1, 100, 3).unwrap()).collect();
    rig.step(false).unwrap();
    let mut rig = rig.reopen(true);
    rig.load_all();
    let mut still = rig.unloaded_before.clone();
    still.extend(new);
    still.sort_unstable();
    assert_eq!(rig.numbers(), still);
}

impl Rig {
    /// Every third is put back; which these were is kept.
    fn unload_some(&mut self) {
        let mut index = 0;
        while index < self.loaded.len() {
            let number = super::rig::number(&self.loaded[index].1.id);
            self.unloaded_before.push(number);
            self.unload(index);
            index += 2;
        }
    }
}

fn has_moved(content: &Content) -> bool {
    let is_moved = |name: &String| {
        let scan = Scan::new(content.file(name)).ok();
        scan.is_some_and(|mut scan| scan.any(|placed| matches!(placed.entry, Entry::Moved { .. })))
    };
    content.names().iter().any(is_moved)
}

fn cut_everywhere(seeds: std::ops::Range<u64>, rounds: usize, with_faults: bool) {
    let mut again = Again::default();
    let (mut cuts, mut moved) = (0, 0);
    for seed in seeds {
        let (rig, told) = Run::new(seed, with_faults).go(rounds);
        moved += usize::from(has_moved(&rig.files.content()));
        drop(rig);
        let told = std::mem::take(&mut *told.lock().unwrap());
        for (at, moment) in told.moments.iter().enumerate() {
            for keep in 0..4 {
                let mut random = Rng::with_seed(seed << 32 | (at as u64) << 4 | keep as u64);
                let left = moment.content.after_power_cut(keep, &mut random);
                let context = format!("seed {seed}, cut {at}, keep {keep}");
                let _print = PrintOnPanic(context);
                check(moment, left, &mut again);
                cuts += 1;
            }
        }
    }
    assert!(moved > 0, "no record was moved");
    println!("{cuts} cuts; {moved} runs with moved records; finished and found again: {again:?}");
}

struct PrintOnPanic(String);

impl Drop for PrintOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

#[test]
fn whenever_the_power_goes_what_was_held_is_there() {
    cut_everywhere(0..4, 90, false);
}

#[test]
fn whenever_the_power_goes_after_faults_what_was_held_is_there() {
    cut_everywhere(100..104, 90, true);
}

/// A process is killed at every point of a step that moves records; the next one goes on from what it
/// finds, and then the power goes: what the first had not synced is gone with it.
#[test]
fn what_a_killed_process_left_is_not_built_upon_unsynced() {
    let mut again = Again::default();
    for left in 0..40 {
        let mut rig = Rig::open(Disk::default(), SMALL);
        for _ in 0..60 {
            rig.push(0, 30, 0).unwrap();
            rig.push(1, 30, 0).unwrap();
            rig.step(false).unwrap();
        }
        rig.load_all();
        for number in (0..120).filter(|number| number % 5 != 0) {
            rig.finish_number(number);
        }
        die_after(&rig.files, left);
        let _ = rig.step(true);
        rig.files.work_again();
        cut(&rig, left, &mut again);
        let mut rig = rig.reopen(false);
        rig.step(false).unwrap();
        cut(&rig, left, &mut again);
    }
}

/// The power goes now, and leaves this and that.
fn cut(rig: &Rig, seed: usize, again: &mut Again) {
    let moment = Moment {
        content: rig.files.content(),
        synced: 0,
        book: Arc::new(rig.book.clone()),
        faults: false,
    };
    for keep in 0..8 {
        let mut random = Rng::with_seed((seed * 100 + keep) as u64);
        let _print = PrintOnPanic(format!("seed {seed}, keep {keep}"));
        let left = moment.content.after_power_cut(keep, &mut random);
        check(&moment, left, again);
    }
}

#[test]
fn segments_that_go_together_take_no_notes_with_them() {
    let mut again = Again::default();
    for left in 0..20 {
        let mut rig = Rig::open(Disk::default(), SMALL);
        for _ in 0..20 {
            rig.push(0, 100, 0).unwrap();
            rig.step(false).unwrap();
        }
        rig.load_all();
        // These are noted behind them, and what notes them goes when they do.
        for number in (0..20).step_by(2) {
            rig.finish_number(number);
        }
        rig.step(true).unwrap();
        for _ in 0..10 {
            rig.push(0, 100, 0).unwrap();
            rig.step(false).unwrap();
        }
        rig.load_all();
        rig.finish_all();
        die_after(&rig.files, left);
        let _ = rig.step(true);
        cut(&rig, left, &mut again);
    }
    assert_eq!(again.noted, 0);
}
