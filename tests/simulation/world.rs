//! What all parts of a simulated world share: its dice, its clock, the book of requests, the trace of what
//! happened, and the first thing that was wrong.

use std::collections::BTreeMap;
use std::fmt::{Arguments, Write};
use std::hash::{DefaultHasher, Hasher};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use fastrand::Rng;
use kinesis_edge::telemetry::{Observer, Snapshot};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::book::{Book, marker};
use crate::broker::Broker;
use crate::common::imbalance;
use crate::disk::Disk;
use crate::plan::Plan;
use crate::run::Report;

/// More steps than any run takes: one that takes more goes round in circles.
const STEPS_MAX: usize = 2_000_000;

pub struct World {
    pub plan: Plan,
    pub start: Instant,
    pub broker: Broker,
    dice: Mutex<Rng>,
    book: Mutex<Book>,
    trace: Mutex<Trace>,
    /// Whether faults are over: what is left is to be delivered now.
    calm: AtomicBool,
    /// How often a process was killed, or the power went.
    pub crashes: AtomicUsize,
    /// How often it was stopped while the disk took no notes.
    pub noteless_stops: AtomicUsize,
    /// Where dead letters are.
    pub letters: Disk,
    /// Of the connector that runs.
    observer: Mutex<Option<Observer>>,
    wrong: Mutex<Option<String>>,
    /// Rung when something is wrong.
    pub alarm: Notify,
}

/// What happened, as a number that differs where anything differs; and as text, where somebody reads it.
struct Trace {
    hasher: DefaultHasher,
    steps: usize,
    line: String,
    is_told: bool,
}

/// One run of the connector, from its start to its end.
pub struct Life {
    pub number: usize,
    /// Whether it was killed: whatever it still does has no effect.
    over: AtomicBool,
    /// Whether it was asked to stop.
    pub stopping: AtomicBool,
    /// Operations on the disk so far.
    pub disk_operations: AtomicUsize,
    /// Rung when it was killed.
    pub killed: Notify,
}

impl Life {
    pub fn new(number: usize) -> Self {
        Life {
            number,
            over: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            disk_operations: AtomicUsize::new(0),
            killed: Notify::new(),
        }
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// It is killed: from here on it has no effect.
    pub fn kill(&self) {
        if !self.over.swap(true, Ordering::Relaxed) {
            self.killed.notify_one();
        }
    }
}

impl World {
    pub fn new(plan: Plan, is_told: bool) -> Self {
        // Other dice than those of the plan.
        let dice = Rng::with_seed(!plan.seed);
        World {
            broker: Broker::new(&plan),
            book: Mutex::new(Book::new(&plan)),
            plan,
            start: Instant::now(),
            dice: Mutex::new(dice),
            trace: Mutex::new(Trace {
                hasher: DefaultHasher::new(),
                steps: 0,
                line: String::new(),
                is_told,
            }),
            calm: AtomicBool::new(false),
            crashes: AtomicUsize::new(0),
            noteless_stops: AtomicUsize::new(0),
            letters: Disk::default(),
            observer: Mutex::new(None),
            wrong: Mutex::new(None),
            alarm: Notify::new(),
        }
    }

    pub fn dice<T>(&self, throw: impl FnOnce(&mut Rng) -> T) -> T {
        throw(&mut self.dice.lock().unwrap())
    }

    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    pub fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    pub fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
        self.say(format_args!("faults are over"));
    }

    pub fn crashes(&self) -> usize {
        self.crashes.load(Ordering::Relaxed)
    }

    /// How often the connector may have forgotten that a record had arrived.
    pub fn repeats(&self) -> usize {
        self.crashes() + self.noteless_stops.load(Ordering::Relaxed)
    }

    /// Notes a step.
    pub fn say(&self, what: Arguments<'_>) {
        let at = self.start.elapsed().as_millis();
        let mut trace = self.trace.lock().unwrap();
        let Trace {
            hasher,
            steps,
            line,
            is_told,
        } = &mut *trace;
        line.clear();
        let _ = write!(line, "{at:>8} {what}");
        hasher.write(line.as_bytes());
        if *is_told {
            eprintln!("{line}");
        }
        *steps += 1;
        if *steps == STEPS_MAX {
            drop(trace);
            self.wrong(format_args!("it goes round in circles"));
        }
    }

    /// Something is wrong.
    pub fn wrong(&self, what: Arguments<'_>) {
        let at = self.start.elapsed().as_millis();
        self.wrong
            .lock()
            .unwrap()
            .get_or_insert_with(|| format!("at {at} ms: {what}"));
        self.alarm.notify_one();
        self.say(format_args!("WRONG: {what}"));
    }

    pub fn what_is_wrong(&self) -> Option<String> {
        self.wrong.lock().unwrap().clone()
    }

    pub fn report(&self) -> Report {
        let mut counts = BTreeMap::new();
        self.book().count(&mut counts);
        counts.insert("crashes".to_owned(), self.crashes());
        let stops = self.plan.ends.len() - self.crashes();
        counts.insert("stops".to_owned(), stops);
        counts.insert("connections".to_owned(), self.broker.connections());
        let trace = self.trace.lock().unwrap();
        counts.insert("steps".to_owned(), trace.steps);
        Report {
            fingerprint: trace.hasher.finish(),
            counts,
        }
    }

    pub fn watch(&self, observer: Option<Observer>) {
        *self.observer.lock().unwrap() = observer;
    }

    /// Whether the letter of a request would outlive a loss of power.
    pub fn is_buried(&self, number: usize) -> bool {
        let (content, marker) = (self.letters.content(), marker(number));
        let mut files = content.inodes.iter();
        files.any(|file| memchr::memmem::find(&file.synced, marker.as_bytes()).is_some())
    }

    /// Looks at the connector that runs.
    pub fn look<T: Default>(&self, look: impl FnOnce(&Snapshot) -> T) -> T {
        let observer = self.observer.lock().unwrap().clone();
        observer.map_or_else(T::default, |observer| look(&observer.look()))
    }

    /// Looks at the connector: its books must balance at every moment, within what it may use.
    pub fn audit(&self) {
        let Some(observer) = self.observer.lock().unwrap().clone() else {
            return;
        };
        let snapshot = observer.look();
        if let Some(wrong) = imbalance(&snapshot) {
            self.wrong(format_args!("{wrong}"));
        }
        if snapshot.memory_used_bytes > snapshot.memory_limit_bytes {
            self.wrong(format_args!(
                "records cost {} bytes of memory and may cost {}",
                snapshot.memory_used_bytes, snapshot.memory_limit_bytes
            ));
        }
        if let Some(disk) = &snapshot.disk
            && disk.bytes > disk.max_bytes
        {
            self.wrong(format_args!(
                "the queue takes {} bytes of disk and may take {}",
                disk.bytes, disk.max_bytes
            ));
        }
        for code in ["ConnectorFault", "DamagedOnDisk"] {
            if let Some(lost) = snapshot.totals.failed.get(code) {
                self.wrong(format_args!("{lost} records were lost as {code}"));
            }
        }
    }
}
