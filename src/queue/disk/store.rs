//! The face of the queue on disk: what intake and the workers ask of it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::clock::Clock;
use super::index::{Depth, StreamId};
use super::load::{Load, Wanted, load};
use super::recover::{Mend, Progress, Recovery, recover};
use super::segment::Place;
use super::state::{Bounds, Incoming, State, Ticket, lock};
use super::thread::{Running, Thread, WorkBell};
use super::writer::Writer;
use crate::arn::DeliveryStreamArn;
use crate::blocking::Blocking;
use crate::files::Files;
use crate::ledger::{Distribution, Timings};
use crate::queue::{Id, Refusal, Share};

/// Payload bytes that may wait to be written before no more is read from the broker.
const CHOKED_BYTES: usize = 1024 * 1024;

/// Records likewise.
const CHOKED_RECORDS: usize = 4000;

/// Reads of records that run at a time.
const PARALLEL_READS: usize = 4;

/// About what stands around a record on disk.
const RECORD_AROUND_BYTES: usize = 20;

/// How the queue works.
#[derive(Debug, Clone, Copy)]
pub struct DiskQueueSettings {
    /// Records of one stream (`DELIVERY_STREAM_QUEUE_SIZE`).
    pub queue_size: usize,
    /// Bytes of all its files (`QUEUE_DIR_MAX_BYTES`).
    pub max_bytes: u64,
    /// How long a group stays open for more records at most (`COMMIT_INTERVAL_MS`).
    pub commit_interval: Duration,
}

impl DiskQueueSettings {
    /// The bounds that follow. Segments are small beside the whole, so that what is finished goes soon,
    /// and large enough to be few; one is in memory when its records are moved.
    pub fn bounds(&self) -> Bounds {
        Bounds {
            queue_size: self.queue_size,
            max_bytes: self.max_bytes,
            segment_bytes: (self.max_bytes / 32).clamp(128 * 1024, 2 * 1024 * 1024),
        }
    }
}

/// A queue on disk. Cheap to clone; clones share it.
#[derive(Clone)]
pub struct DiskQueue {
    pub(super) inner: Arc<Inner>,
    /// What writes, until it is waited for.
    running: Arc<Mutex<Option<Running>>>,
}

impl std::fmt::Debug for DiskQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskQueue").finish_non_exhaustive()
    }
}

/// What the thread and the others share.
pub(super) struct Inner {
    pub files: Arc<dyn Files>,
    pub state: Mutex<State>,
    /// Rung when the thread has something to do.
    pub work: WorkBell,
    pub clock: Clock,
    /// All records up to this ticket are synced.
    pub synced: AtomicU64,
    /// Rung when that changed.
    pub progress: Notify,
    /// Rung when there is room again.
    pub room: Arc<Notify>,
    /// Reads that may run at a time, of all streams: each takes a thread and a buffer.
    pub reads: Arc<Semaphore>,
    /// How long it takes to write and sync a group of records.
    pub syncs: Timings,
}

/// What the queue holds and has counted.
#[derive(Debug, Clone)]
pub struct DiskAccount {
    /// Records found at the start, or written and synced since.
    pub taken_in: u64,
    /// Bytes of those that were written since.
    pub taken_in_bytes: u64,
    /// Records that were damaged since they were written, and are lost.
    pub lost: u64,
    /// Records written and not final.
    pub held: usize,
    /// What the files take.
    pub bytes: u64,
    /// What they may take (`QUEUE_DIR_MAX_BYTES`).
    pub max_bytes: u64,
    /// Why nothing can be written at the moment.
    pub fault: Option<String>,
    /// How long groups of records took to be written and synced.
    pub syncs: Distribution,
}

/// What is left when the queue is closed.
#[derive(Debug)]
pub struct Closed {
    /// Records kept on disk.
    pub kept: usize,
    /// Ids of records that could not be written and that no broker keeps.
    pub lost: Vec<Id>,
}

impl DiskQueue {
    /// Reads what is in the directory and starts to write, on a thread or among the tasks. `room` is rung when
    /// there is room again.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn start(
        files: Arc<dyn Files>,
        settings: DiskQueueSettings,
        blocking: &Blocking,
        clock: Clock,
        room: Arc<Notify>,
        progress: Progress<'_>,
    ) -> io::Result<(Self, Recovery)> {
        let (queue, recovery, thread) =
            Self::open(files, settings, Mend::Yes, clock, room, progress)?;
        *queue.running() = Some(thread.start(blocking)?);
        Ok((queue, recovery))
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, the thread not started.
    pub(super) fn open(
        files: Arc<dyn Files>,
        settings: DiskQueueSettings,
        mend: Mend,
        clock: Clock,
        room: Arc<Notify>,
        progress: Progress<'_>,
    ) -> io::Result<(Self, Recovery, Thread)> {
        let interval = settings.commit_interval;
        Self::open_bounded(
            files,
            settings.bounds(),
            interval,
            mend,
            clock,
            room,
            progress,
        )
    }

    /// The same within any bounds.
    pub(super) fn open_bounded(
        files: Arc<dyn Files>,
        bounds: Bounds,
        commit_interval: Duration,
        mend: Mend,
        clock: Clock,
        room: Arc<Notify>,
        progress: Progress<'_>,
    ) -> io::Result<(Self, Recovery, Thread)> {
        let (mut state, recovery, next_number) = recover(&*files, bounds, mend, progress)?;
        state.taken_in = state.held() as u64;
        let known = state.segments.keys().copied().collect();
        let writer = Writer::new(Arc::clone(&files), bounds.segment_bytes, next_number, known);
        let inner = Arc::new(Inner {
            files,
            state: Mutex::new(state),
            work: WorkBell::default(),
            clock,
            synced: AtomicU64::new(0),
            progress: Notify::new(),
            room,
            reads: Arc::new(Semaphore::new(PARALLEL_READS)),
            syncs: Timings::default(),
        });
        let thread = Thread::new(Arc::clone(&inner), writer, commit_interval);
        let queue = DiskQueue {
            inner,
            running: Arc::default(),
        };
        Ok((queue, recovery, thread))
    }

    /// Keeps room for this stream, whatever the others hold.
    pub fn keep_room_for(&self, arn: &DeliveryStreamArn) {
        let mut state = lock(&self.inner.state);
        state.favoured = Some(state.stream(arn));
    }

    /// The stream of that name.
    pub fn stream(&self, arn: &DeliveryStreamArn) -> DiskStream {
        let mut state = lock(&self.inner.state);
        let id = state.stream(arn);
        let depth = match state.streams.get(&id) {
            Some(stream) => Arc::clone(&stream.depth),
            None => unreachable!("the stream was made just now, under the same lock"),
        };
        drop(state);
        DiskStream {
            queue: self.clone(),
            id,
            depth,
        }
    }

    /// Every stream that holds records, by name.
    pub fn streams_with_records(&self) -> Vec<DeliveryStreamArn> {
        let state = lock(&self.inner.state);
        let streams = state.streams.values();
        let with_records = streams.filter(|stream| stream.depth.held() > 0);
        let mut names: Vec<_> = with_records.map(|stream| stream.arn.clone()).collect();
        names.sort_unstable();
        names
    }

    /// All records up to this ticket are synced.
    pub fn synced(&self) -> Ticket {
        self.inner.synced.load(Ordering::Acquire)
    }

    /// Waits until more is synced than when the last wait ended.
    pub async fn progress(&self) {
        self.inner.progress.notified().await;
    }

    /// Whether so much waits to be written that nothing more should be read.
    pub fn is_choked(&self) -> bool {
        let state = lock(&self.inner.state);
        state.incoming_bytes >= CHOKED_BYTES || state.incoming.len() >= CHOKED_RECORDS
    }

    /// Whether any record is not written yet.
    pub fn has_unwritten(&self) -> bool {
        lock(&self.inner.state).unwritten > 0
    }

    /// Why nothing can be written at the moment.
    pub fn fault(&self) -> Option<String> {
        lock(&self.inner.state).fault.clone()
    }

    /// There is a new connection. In a session that the broker kept it sends again what is not
    /// acknowledged, so what of it waits here to be written is dropped; in a new one ours is the only
    /// copy.
    pub fn reconnected(&self, resumed: bool) {
        let mut state = lock(&self.inner.state);
        if resumed {
            state.drop_kept_by_broker();
        } else {
            state.kept_by_no_broker();
        }
    }

    /// Whether a fault of ours ended the thread: then nothing is written any more.
    pub fn has_failed(&self) -> bool {
        self.running().as_ref().is_some_and(Running::is_finished)
    }

    /// Writes what waits and ends. Returns when that is done, or has failed. Says what is left.
    pub async fn close(&self) -> Closed {
        lock(&self.inner.state).closing = true;
        self.inner.work.ring();
        let running = self.running().take();
        if let Some(running) = running {
            running.ended().await;
        }
        self.left()
    }

    /// What it holds, and what it counted since the start; all of one moment.
    pub fn account(&self) -> DiskAccount {
        let state = lock(&self.inner.state);
        DiskAccount {
            taken_in: state.taken_in,
            taken_in_bytes: state.taken_in_bytes,
            lost: state.lost,
            held: state.held().saturating_sub(state.unwritten),
            bytes: state.total_bytes,
            max_bytes: state.bounds.max_bytes,
            fault: state.fault.clone(),
            syncs: self.inner.syncs.distribution(),
        }
    }

    /// What is kept on disk, and what is nowhere but here.
    pub fn left(&self) -> Closed {
        let state = lock(&self.inner.state);
        let unwritten = state
            .incoming
            .iter()
            .filter(|record| !record.kept_by_broker);
        Closed {
            kept: state.held().saturating_sub(state.unwritten),
            lost: unwritten.map(|record| record.id.clone()).collect(),
        }
    }
}

/// A stream of the queue.
#[derive(Clone)]
pub struct DiskStream {
    queue: DiskQueue,
    id: StreamId,
    depth: Arc<Depth>,
}

impl std::fmt::Debug for DiskStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskStream")
            .field("depth", &self.depth)
            .finish_non_exhaustive()
    }
}

impl DiskStream {
    /// What is known of it without asking.
    pub fn depth(&self) -> &Depth {
        &self.depth
    }

    /// Rung when records can be read.
    pub fn bell(&self) -> Arc<Notify> {
        Arc::clone(&self.depth.bell)
    }

    /// The clock that records' times are told by.
    pub fn clock(&self) -> Clock {
        self.queue.inner.clock
    }

    /// Whether any record, of whatever stream, is not written yet.
    pub fn has_unwritten(&self) -> bool {
        self.queue.has_unwritten()
    }

    /// The way in, for several records at once.
    pub fn door(&self, arn: &DeliveryStreamArn, now: Instant) -> Door<'_> {
        Door {
            state: lock(&self.queue.inner.state),
            inner: &self.queue.inner,
            stream: self.id,
            arn: arn.clone(),
            received_unix_ms: self.queue.inner.clock.unix_ms(now),
        }
    }

    /// Of these a permit is to be held during a read: there are few for all streams.
    pub fn reads(&self) -> Arc<Semaphore> {
        Arc::clone(&self.queue.inner.reads)
    }

    /// Reads the next records that are not in memory. Blocks: it reads files.
    ///
    /// # Errors
    /// Where they cannot be read at the moment.
    pub fn load(&self, share: &Share, wanted: Wanted) -> io::Result<Load> {
        let inner = &self.queue.inner;
        load(&*inner.files, &inner.state, self.id, share, wanted)
    }

    /// The outcomes of these records are final.
    pub fn finish(&self, places: &[Place]) {
        lock(&self.queue.inner.state).finish(self.id, places);
        self.queue.inner.work.ring();
    }

    /// These records (place, bytes of data and id, time of receipt) are in memory no more and not
    /// final: they are read again.
    pub fn unload(&self, records: &[(Place, usize, u64)]) {
        lock(&self.queue.inner.state).unload(self.id, records);
    }

    /// Nothing more comes for it.
    pub fn close(&self) {
        lock(&self.queue.inner.state).close_stream(self.id);
    }
}

/// The way into the queue. The thread goes to work when it is dropped.
pub struct Door<'a> {
    state: MutexGuard<'a, State>,
    inner: &'a Inner,
    stream: StreamId,
    arn: DeliveryStreamArn,
    received_unix_ms: u64,
}

impl Door<'_> {
    /// Takes a record in. It is held once [`DiskQueue::synced`] has reached its ticket.
    ///
    /// # Errors
    /// Where there is no room.
    pub fn push(
        &mut self,
        id: Id,
        data: bytes::Bytes,
        kept_by_broker: bool,
    ) -> Result<Ticket, (Refusal, Id, bytes::Bytes)> {
        let record = Incoming {
            stream: self.stream,
            arn: self.arn.clone(),
            id,
            data,
            received_unix_ms: self.received_unix_ms,
            kept_by_broker,
            ticket: 0,
        };
        self.state
            .push(record)
            .map_err(|(refusal, record)| (refusal, record.id, record.data))
    }
}

impl Door<'_> {
    /// Has the oldest record dropped for a newer one. `false`: there is none.
    pub fn drop_oldest(&mut self) -> bool {
        let stream = self.state.streams.get(&self.stream);
        stream.is_some_and(|stream| stream.depth.drop_more(1))
    }

    /// Has as many of the oldest records dropped as make up a segment, since room comes by segments,
    /// unless what was dropped before may make some yet. `false`: the stream holds none.
    pub fn drop_a_segments_worth(&mut self) -> bool {
        let Some(stream) = self.state.streams.get(&self.stream) else {
            return false;
        };
        let depth = &stream.depth;
        let is_under_way = depth.to_drop() > 0 || self.state.untidy || !self.state.owing.is_empty();
        if is_under_way {
            return depth.held() + depth.to_drop() > 0;
        }
        let record_bytes = depth.unread_bytes() / depth.unread().max(1) + RECORD_AROUND_BYTES;
        let segment_bytes = usize::try_from(self.state.bounds.segment_bytes).unwrap_or(usize::MAX);
        depth.drop_more((segment_bytes / record_bytes).max(1))
    }
}

impl Drop for Door<'_> {
    fn drop(&mut self) {
        self.inner.work.ring();
    }
}
