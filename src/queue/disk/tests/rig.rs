//! A queue that is driven step by step, and a book of what it must hold.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use tokio::time::Instant;

use super::disk::Disk;
use crate::arn::{DeliveryStreamArn, Partitions};
use crate::queue::disk::load::Loaded;
use crate::queue::disk::recover::Mend;
use crate::queue::disk::state::lock;
use crate::queue::disk::store::DiskQueue;
use crate::queue::disk::thread::Thread;
use crate::queue::disk::{Bounds, Clock, DiskStream, Load, Recovery, Ticket, Wanted};
use crate::queue::{Id, MemoryBudget, Refusal, Share};

/// All there is.
pub const ALL: Wanted = Wanted {
    records: usize::MAX,
    bytes: usize::MAX,
};

pub const SMALL: Bounds = Bounds {
    queue_size: 10_000,
    max_bytes: 1 << 20,
    segment_bytes: 600,
};

const NOW_UNIX_MS: u64 = 1_800_000_000_000;

pub fn arn(stream: usize) -> DeliveryStreamArn {
    let text = format!("arn:aws:firehose:eu-west-1:123456789012:deliverystream/stream-{stream}");
    DeliveryStreamArn::parse(&text, &Partitions::ALL).unwrap()
}

pub fn clock() -> Clock {
    Clock::new(
        Instant::now(),
        UNIX_EPOCH + Duration::from_millis(NOW_UNIX_MS),
    )
}

/// A record as it was pushed.
#[derive(Debug, Clone)]
pub struct Pushed {
    pub stream: usize,
    pub id: String,
    pub data: Bytes,
    pub received_unix_ms: u64,
    /// Held if the queue says that this is synced.
    pub ticket: Ticket,
    pub held: bool,
    pub finished: bool,
    /// Whether that is noted, synced.
    pub noted: bool,
    /// Whether the process was killed before it was: it comes again, or not.
    pub unsure: bool,
}

/// Every record pushed, by the number in its id.
pub type Book = BTreeMap<usize, Pushed>;

/// What is in the data of a record: its number and a pattern of it.
pub fn data(number: usize, bytes: usize) -> Bytes {
    let mut seed = number as u32 ^ 0x9e37_79b9;
    let next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

/// The number in an id.
pub fn number(id: &[u8]) -> usize {
    let text = std::str::from_utf8(id).unwrap();
    text.split('-').next().unwrap().parse().unwrap()
}

pub struct Rig {
    pub files: Arc<Disk>,
    pub bounds: Bounds,
    pub queue: DiskQueue,
    pub thread: Thread,
    pub recovery: Recovery,
    pub budget: MemoryBudget,
    shares: BTreeMap<usize, Share>,
    pub book: Book,
    pub next: usize,
    /// Records in memory, and their streams.
    pub loaded: Vec<(usize, Loaded)>,
    /// Numbers that a test put back.
    pub unloaded_before: Vec<usize>,
}

impl Rig {
    pub fn open(files: Disk, bounds: Bounds) -> Self {
        let files = Arc::new(files);
        let opened = DiskQueue::open_bounded(
            Arc::clone(&files) as _,
            bounds,
            Duration::ZERO,
            Mend::Yes,
            clock(),
            Arc::default(),
            &mut |_, _| {},
        );
        let (queue, recovery, thread) = opened.unwrap();
        Rig {
            files,
            bounds,
            queue,
            thread,
            recovery,
            budget: MemoryBudget::new(usize::MAX / 8),
            shares: BTreeMap::new(),
            book: Book::new(),
            next: 0,
            loaded: Vec::new(),
            unloaded_before: Vec::new(),
        }
    }

    /// Small segments, with a record of one stream in each, all finished and none removed yet.
    pub fn with_finished_segments() -> Self {
        let mut rig = Rig::open(Disk::default(), SMALL);
        for _ in 0..10 {
            rig.push(0, 700, 0).unwrap();
            rig.step(false).unwrap();
        }
        rig.load_all();
        rig.finish_all();
        rig
    }

    /// The process ends, in order or by a kill, and another begins.
    pub fn reopen(mut self, in_order: bool) -> Self {
        if in_order {
            let _ = self.close();
        }
        let Rig {
            files,
            bounds,
            book,
            next,
            unloaded_before,
            ..
        } = self;
        let mut rig = Rig::open(Disk::clone(&files), bounds);
        (rig.book, rig.next) = (book, next);
        rig.unloaded_before = unloaded_before;
        // Tickets are those of a process.
        for pushed in rig.book.values_mut() {
            pushed.ticket = 0;
            pushed.unsure = pushed.finished && !pushed.noted;
        }
        rig
    }

    /// Writes what waits and ends.
    pub fn close(&mut self) -> io::Result<()> {
        let group = lock(&self.queue.inner.state).take_group(usize::MAX, usize::MAX);
        let result = self.thread.end(group);
        self.note_synced(result.is_ok());
        result
    }

    pub fn stream(&self, stream: usize) -> DiskStream {
        self.queue.stream(&arn(stream))
    }

    pub fn push(&mut self, stream: usize, bytes: usize, id_bytes: usize) -> Result<usize, Refusal> {
        let number = self.next;
        let mut id = format!("{number}-");
        id.extend(std::iter::repeat_n('x', id_bytes));
        let data = data(number, bytes);
        let now = Instant::now();
        let disk = self.stream(stream);
        let pushed = disk
            .door(&arn(stream), now)
            .push(Id::from(&*id), data.clone(), true);
        let ticket = pushed.map_err(|(refusal, ..)| refusal)?;
        self.next += 1;
        let pushed = Pushed {
            stream,
            id,
            data,
            received_unix_ms: self.queue.inner.clock.unix_ms(now),
            ticket,
            held: false,
            finished: false,
            noted: false,
            unsure: false,
        };
        self.book.insert(number, pushed);
        Ok(number)
    }

    /// Writes a group, and tidies up.
    pub fn step(&mut self, sync: bool) -> io::Result<()> {
        let group = lock(&self.queue.inner.state).take_group(2000, 1 << 20);
        let syncs = sync || !group.records.is_empty();
        let result = self.thread.step(group, sync);
        self.note_synced(result.is_ok() && syncs);
        result
    }

    fn note_synced(&mut self, notes: bool) {
        let synced = self.queue.synced();
        for pushed in self.book.values_mut() {
            pushed.held |= pushed.ticket != 0 && pushed.ticket <= synced;
            pushed.noted |= pushed.finished && !pushed.unsure && notes;
        }
    }

    /// Loads records of a stream. Each must be as it was pushed.
    pub fn load(&mut self, stream: usize, wanted: Wanted) -> io::Result<Load> {
        let share = self.shares.entry(stream);
        let share = share.or_insert_with(|| self.budget.share()).clone();
        let mut load = self.stream(stream).load(&share, wanted)?;
        for record in load.records.drain(..) {
            let number = number(&record.id);
            let pushed = self.book.get(&number).expect("it was never pushed");
            assert_eq!(pushed.stream, stream, "record {number}");
            assert_eq!(record.id, pushed.id.as_bytes(), "record {number}");
            assert!(record.data == pushed.data, "record {number}");
            assert_eq!(record.received_unix_ms, pushed.received_unix_ms);
            self.loaded.push((stream, record));
        }
        Ok(load)
    }

    /// Loads everything of all streams in the book.
    pub fn load_all(&mut self) -> usize {
        let streams: Vec<usize> = self.streams();
        streams
            .into_iter()
            .map(|stream| self.load(stream, ALL).unwrap().lost)
            .sum()
    }

    pub fn streams(&self) -> Vec<usize> {
        let mut streams: Vec<_> = self.book.values().map(|pushed| pushed.stream).collect();
        streams.sort_unstable();
        streams.dedup();
        streams
    }

    /// Numbers of the records in memory, in order.
    pub fn numbers(&self) -> Vec<usize> {
        let mut numbers: Vec<_> = self.loaded.iter().map(|(_, r)| number(&r.id)).collect();
        numbers.sort_unstable();
        numbers
    }

    /// One of the records in memory is finished.
    pub fn finish(&mut self, index: usize) {
        let (stream, record) = self.loaded.swap_remove(index);
        let pushed = self.book.get_mut(&number(&record.id)).unwrap();
        (pushed.finished, pushed.unsure) = (true, false);
        self.stream(stream).finish(&[record.place]);
    }

    pub fn finish_all(&mut self) {
        while !self.loaded.is_empty() {
            self.finish(self.loaded.len() - 1);
        }
    }

    pub fn finish_number(&mut self, wanted: usize) {
        let is_it = |(_, record): &(usize, Loaded)| number(&record.id) == wanted;
        let index = self.loaded.iter().position(is_it).expect("it is in memory");
        self.finish(index);
    }

    pub fn unload(&mut self, index: usize) {
        let (stream, record) = self.loaded.swap_remove(index);
        let bytes = record.data.len() + record.id.len();
        let left = [(record.place, bytes, record.received_unix_ms)];
        self.stream(stream).unload(&left);
    }

    /// Records, of a stream, that the book says are not final.
    pub fn expected(&self, stream: usize) -> Vec<usize> {
        let here = self.book.iter();
        here.filter(|(_, pushed)| pushed.stream == stream && !pushed.finished)
            .map(|(&number, _)| number)
            .collect()
    }

    /// What may be in memory from now on; nothing is.
    pub fn set_budget(&mut self, bytes: usize) {
        assert!(self.loaded.is_empty());
        self.budget = MemoryBudget::new(bytes);
        self.shares.clear();
    }

    pub fn unload_all(&mut self) {
        while !self.loaded.is_empty() {
            self.unload(0);
        }
    }

    pub fn segments(&self) -> usize {
        lock(&self.queue.inner.state).segments.len()
    }
}
