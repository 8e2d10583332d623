//! The writer's thread: when a group is written, what follows a fault, and when things are tidied up. Where the
//! clock stands still it is a task.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::remove::remove_finished;
use super::state::{Group, State, lock};
use super::store::Inner;
use super::tidy::tidy;
use super::writer::Writer;
use crate::blocking::{Blocking, Takes, pass};

/// Records that make a full group: it is written at once. Half of what an MQTT 5 broker has under way
/// to us, so that the next group fills while this one is synced.
const GROUP_RECORDS: usize = 500;

/// Payload bytes that do.
const GROUP_BYTES: usize = 256 * 1024;

/// Most records of a group, so that the broker's window is opened again soon.
const GROUP_MAX_RECORDS: usize = 4 * GROUP_RECORDS;

/// Payload bytes after which a group takes no further record.
const GROUP_MAX_BYTES: usize = 4 * GROUP_BYTES;

/// How long outcomes may be written and not synced. Where the power goes, what they are about is sent
/// again.
const NOTES_SYNC: Duration = Duration::from_secs(1);

/// The first wait after a fault; it doubles.
const FAULT_WAIT: Duration = Duration::from_millis(100);

/// The longest.
const FAULT_WAIT_MAX: Duration = Duration::from_secs(5);

/// The writer and what decides when it works.
pub(super) struct Thread {
    inner: Arc<Inner>,
    writer: Writer,
    /// `COMMIT_INTERVAL_MS`.
    commit_interval: Duration,
    /// Since when records wait to be written.
    waiting_since: Option<Instant>,
    /// Since when notes are written and not synced.
    unsynced_since: Option<Instant>,
    /// Faults in a row.
    faults: u32,
    /// After a fault, when it is tried again.
    retry_at: Option<Instant>,
    /// After a fault that is none in writing, when things are tidied up again.
    tidy_at: Option<Instant>,
    /// The last such fault.
    tidy_fault: Option<String>,
}

/// What is to be done now.
enum Work {
    /// This is to be written, and the notes synced.
    Write(Group, bool),
    /// This is the last.
    End(Group),
}

/// Rung when the writer has something to do: a thread waits for it, or a task.
#[derive(Debug, Default)]
pub(super) struct WorkBell {
    thread: Condvar,
    task: Notify,
}

impl WorkBell {
    pub fn ring(&self) {
        self.thread.notify_one();
        self.task.notify_one();
    }
}

/// The writer at work. A task ends with this, as a thread does with its process.
pub(super) enum Running {
    Thread(thread::JoinHandle<()>),
    Task(JoinSet<()>, AbortHandle),
}

impl Running {
    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        match self {
            Running::Thread(thread) => thread.is_finished(),
            Running::Task(_, task) => task.is_finished(),
        }
    }

    /// Waits until it has. A panic in it was reported; what it held is in the state.
    pub async fn ended(self) {
        match self {
            Running::Thread(thread) => {
                let _ = Blocking::Threads.run(move || thread.join()).await;
            }
            Running::Task(mut task, _) => {
                let _ = task.join_next().await;
            }
        }
    }
}

impl Thread {
    pub fn new(inner: Arc<Inner>, writer: Writer, commit_interval: Duration) -> Self {
        Thread {
            inner,
            writer,
            commit_interval,
            waiting_since: None,
            unsynced_since: None,
            faults: 0,
            retry_at: None,
            tidy_at: None,
            tidy_fault: None,
        }
    }

    /// What it works with, for whoever works in its place.
    pub fn parts(&mut self) -> (&mut Writer, &Inner) {
        (&mut self.writer, &self.inner)
    }

    /// Goes to work where work is done that may block.
    ///
    /// # Errors
    /// Where there is no thread to be had.
    pub fn start(mut self, blocking: &Blocking) -> io::Result<Running> {
        match blocking {
            Blocking::Threads => {
                let thread = thread::Builder::new().name("queue-writer".to_owned());
                Ok(Running::Thread(thread.spawn(move || {
                    while {
                        let work = self.wait();
                        self.work_off(work)
                    } {}
                })?))
            }
            Blocking::Here(takes) => {
                let (takes, mut tasks) = (Arc::clone(takes), JoinSet::new());
                let task = tasks.spawn(self.run_as_task(takes));
                Ok(Running::Task(tasks, task))
            }
        }
    }

    async fn run_as_task(mut self, takes: Takes) {
        loop {
            let inner = Arc::clone(&self.inner);
            let next = self.look(&mut lock(&inner.state), Instant::now());
            match next {
                Ok(work) => {
                    pass(takes()).await;
                    if !self.work_off(work) {
                        return;
                    }
                }
                Err(next) => {
                    let bell = inner.work.task.notified();
                    tokio::select! {
                        biased;
                        () = bell => {}
                        () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
                    }
                }
            }
        }
    }

    /// Does what is to be done. Whether there may be more. In the program once, not once for thread and task each.
    #[inline(never)]
    fn work_off(&mut self, work: Work) -> bool {
        match work {
            Work::Write(group, sync) => {
                let _ = self.step(group, sync);
                true
            }
            Work::End(group) => {
                let _ = self.end(group);
                false
            }
        }
    }

    /// Writes the last group and leaves a directory that says what it holds and no more.
    ///
    /// # Errors
    /// What the operating system said; what is there can be read all the same.
    pub fn end(&mut self, group: Group) -> io::Result<()> {
        self.write_all(group)?;
        self.writer.end_segment()?;
        let inner = &self.inner;
        lock(&inner.state).current = None;
        remove_finished(&mut self.writer, &*inner.files, &inner.state)?;
        self.writer.end_segment()
    }

    /// Writes a group, and all notes that are owed then.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn write_all(&mut self, group: Group) -> io::Result<()> {
        self.step(group, true)?;
        loop {
            let group = lock(&self.inner.state).take_group(0, 0);
            if group.notes.is_empty() {
                return Ok(());
            }
            self.step(group, true)?;
        }
    }

    /// Waits until there is something to do.
    fn wait(&mut self) -> Work {
        let inner = Arc::clone(&self.inner);
        let mut state = lock(&inner.state);
        loop {
            let now = Instant::now();
            let next = match self.look(&mut state, now) {
                Ok(work) => return work,
                Err(next) => next,
            };
            let bell = &inner.work.thread;
            state = match next {
                // A lock that was poisoned elsewhere is as good as any; see `lock`.
                Some(next) => {
                    let waited = bell.wait_timeout(state, next - now);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => bell.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// What there is to do now; or when there will be something, as far as is known.
    fn look(&mut self, state: &mut State, now: Instant) -> Result<Work, Option<Instant>> {
        if state.closing {
            return Ok(Work::End(state.take_group(usize::MAX, usize::MAX)));
        }
        if state.incoming.is_empty() {
            self.waiting_since = None;
        } else {
            // Whoever brings a record rings, so this is when the first one came.
            self.waiting_since.get_or_insert(now);
        }
        let next = self.next_work(state, now);
        if next.is_none_or(|next| next > now) {
            return Err(next);
        }
        let sync = self
            .unsynced_since
            .is_some_and(|since| now.duration_since(since) >= NOTES_SYNC);
        let group = state.take_group(GROUP_MAX_RECORDS, GROUP_MAX_BYTES);
        self.waiting_since = self.waiting_since.filter(|_| !state.incoming.is_empty());
        Ok(Work::Write(group, sync))
    }

    /// When there is something to do, as far as is known now.
    fn next_work(&self, state: &State, now: Instant) -> Option<Instant> {
        if self.retry_at.is_some() {
            return self.retry_at;
        }
        let is_full = state.incoming.len() >= GROUP_RECORDS || state.incoming_bytes >= GROUP_BYTES;
        let group = self.waiting_since.map(|since| {
            if is_full {
                now
            } else {
                since + self.commit_interval
            }
        });
        // Notes go with the next group, where one is on its way.
        let notes = (group.is_none() && !state.owing.is_empty()).then_some(now);
        let tidy = (group.is_none() && state.untidy).then(|| self.tidy_at.unwrap_or(now));
        let sync = self.unsynced_since.map(|since| since + NOTES_SYNC);
        [group, notes, tidy, sync].into_iter().flatten().min()
    }

    /// Writes a group and tidies up.
    ///
    /// # Errors
    /// What the operating system said; it is tried again.
    pub fn step(&mut self, group: Group, sync: bool) -> io::Result<()> {
        let ticket = group.records.last().map(|record| record.ticket);
        let mut streams: Vec<_> = group.records.iter().map(|record| record.stream).collect();
        streams.sort_unstable();
        streams.dedup();
        let begun = Instant::now();
        let mut result = self.writer.write_group(group, &self.inner.state, sync);
        if result.is_ok()
            && let Some(ticket) = ticket
        {
            self.inner.syncs.observe(begun.elapsed());
            self.inner.synced.store(ticket, Ordering::Release);
            self.inner.progress.notify_one();
            let state = lock(&self.inner.state);
            for stream in streams.iter().filter_map(|id| state.streams.get(id)) {
                stream.depth.bell.notify_one();
            }
        }
        // Even on a full disk: to remove a file takes no room, and makes some.
        if lock(&self.inner.state).untidy && self.tidy_at.is_none_or(|at| at <= begun) {
            result = result.and(self.tidy_up());
            // Whoever waits for room looks again: there may be some, or more may have to be dropped.
            self.inner.room.notify_one();
        }
        self.unsynced_since = match self.unsynced_since {
            _ if !self.writer.has_unsynced_notes() => None,
            None => Some(Instant::now()),
            since => since,
        };
        self.note_result(&result);
        result
    }

    /// Tidies up. What cannot be synced, so that files can be removed, is told and tried again after a while; it is no
    /// reason not to write.
    ///
    /// # Errors
    /// What the operating system said to a write.
    fn tidy_up(&mut self) -> io::Result<()> {
        let tidied = tidy(&mut self.writer, &*self.inner.files, &self.inner.state);
        let fault = match tidied {
            Err(error) if self.writer.has_failed() => return Err(error),
            tidied => tidied.err().map(|error| error.to_string()),
        };
        self.tidy_at = fault.as_ref().map(|_| Instant::now() + FAULT_WAIT_MAX);
        if let Some(error) = &fault {
            lock(&self.inner.state).untidy = true;
            if self.tidy_fault != fault {
                tracing::error!(
                    error,
                    "files of the queue that are not needed any more cannot be removed, as the directory cannot be \
                     synced; records are written and delivered as long as there is room"
                );
            }
        }
        self.tidy_fault = fault;
        Ok(())
    }

    /// What follows a fault, and what is said about it.
    fn note_result(&mut self, result: &io::Result<()>) {
        let mut state = lock(&self.inner.state);
        match result {
            Ok(()) => {
                self.faults = 0;
                self.retry_at = None;
                if state.fault.take().is_some() {
                    tracing::info!("the queue on disk can be written again");
                }
            }
            Err(error) => {
                let wait = FAULT_WAIT
                    .saturating_mul(1 << self.faults.min(10))
                    .min(FAULT_WAIT_MAX);
                self.faults += 1;
                self.retry_at = Some(Instant::now() + wait);
                let fault = error.to_string();
                if state.fault.as_ref() != Some(&fault) {
                    tracing::error!(
                        error = fault,
                        "the queue on disk cannot be written; messages are not acknowledged, so the broker keeps \
                         them, until it can be again"
                    );
                    state.fault = Some(fault);
                }
            }
        }
    }
}
