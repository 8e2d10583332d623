//! The queue of a connector that does not run, for the commands that look into it, empty it and mend
//! it. Everything happens when it is asked for, on the thread that asks.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::clock::Clock;
use super::load::{Load, Wanted};
use super::recover::{Mend, Progress, Recovery, SET_ASIDE};
use super::segment::Place;
use super::state::lock;
use super::store::{DiskQueue, DiskQueueSettings, DiskStream};
use super::thread::Thread;
use super::tidy::mend;
use crate::arn::DeliveryStreamArn;
use crate::files::{Directory, DirectoryError, Files};
use crate::queue::{MemoryBudget, Share};

/// Why a queue cannot be worked with.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// Its directory cannot be used, or a connector is using it.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Its files cannot be listed.
    #[error("{path} cannot be read: {source}")]
    Read {
        /// The directory.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

/// What is in a queue.
#[derive(Debug)]
pub struct Overview {
    /// Each stream that has records, by name.
    pub streams: Vec<StreamOverview>,
    /// Segment files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were set aside as damaged, and their bytes.
    pub set_aside: Vec<(String, u64)>,
}

/// What a stream has in a queue.
#[derive(Debug)]
pub struct StreamOverview {
    /// Which stream.
    pub arn: DeliveryStreamArn,
    /// Records.
    pub records: usize,
    /// Bytes of records and ids.
    pub bytes: usize,
    /// When the oldest was received.
    pub oldest_unix_ms: Option<u64>,
}

/// What mending did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Damaged files whose whole records were moved, and that were set aside.
    pub set_aside: usize,
    /// Records moved out of them.
    pub records: usize,
}

/// The queue of a connector that does not run; no connector can start meanwhile.
pub struct OfflineQueue {
    directory: Arc<Directory>,
    queue: DiskQueue,
    thread: Thread,
    recovery: Recovery,
    /// Commands have no bound of memory but what they ask for.
    share: Share,
}

impl OfflineQueue {
    /// Opens the queue in a directory that must exist. With [`Mend::No`] nothing is changed by that.
    ///
    /// # Errors
    /// Where the directory cannot be used, or a connector uses it.
    pub fn open(path: &Path, mend: Mend, progress: Progress<'_>) -> Result<Self, OfflineError> {
        let directory = Arc::new(Directory::hold_existing(path)?);
        let settings = DiskQueueSettings {
            queue_size: usize::MAX,
            // To end a queue takes notes, not records: it does not grow here.
            max_bytes: u64::MAX / 2,
            commit_interval: Duration::ZERO,
        };
        let clock = Clock::new(Instant::now(), SystemTime::now());
        let files: Arc<dyn Files> = Arc::clone(&directory) as _;
        let opened = DiskQueue::open(files, settings, mend, clock, Arc::default(), progress);
        let (queue, recovery, thread) = opened.map_err(|source| OfflineError::Read {
            path: path.to_owned(),
            source,
        })?;
        Ok(OfflineQueue {
            directory,
            queue,
            thread,
            recovery,
            share: MemoryBudget::new(usize::MAX / 2).share(),
        })
    }

    /// What was found when it was opened.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// What is in it.
    ///
    /// # Errors
    /// Where its files cannot be listed.
    pub fn overview(&self) -> io::Result<Overview> {
        let state = lock(&self.queue.inner.state);
        let with_records = state.streams.values().filter(|s| s.depth.held() > 0);
        let mut streams: Vec<StreamOverview> = with_records
            .map(|stream| StreamOverview {
                arn: stream.arn.clone(),
                records: stream.depth.held(),
                bytes: stream.depth.unread_bytes(),
                oldest_unix_ms: stream.depth.oldest_unix_ms(),
            })
            .collect();
        streams.sort_by(|one, other| one.arn.as_str().cmp(other.arn.as_str()));
        let (files, bytes) = (state.segments.len(), state.total_bytes);
        drop(state);
        let mut set_aside = self.directory.list()?;
        set_aside.retain(|(name, _)| name.ends_with(SET_ASIDE));
        set_aside.sort();
        Ok(Overview {
            streams,
            files,
            bytes,
            set_aside,
        })
    }

    /// A stream of it.
    pub fn stream(&self, arn: &DeliveryStreamArn) -> DiskStream {
        self.queue.stream(arn)
    }

    /// The next records of a stream; each is read once.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn load(&self, stream: &DiskStream, wanted: Wanted) -> io::Result<Load> {
        stream.load(&self.share, wanted)
    }

    /// These records were delivered: when this returns, that outlives a loss of power.
    ///
    /// # Errors
    /// Where it cannot be noted; they would be sent again.
    pub fn finish(&mut self, stream: &DiskStream, places: &[Place]) -> io::Result<()> {
        stream.finish(places);
        let group = lock(&self.queue.inner.state).take_group(0, 0);
        self.thread.write_all(group)
    }

    /// Moves whole records out of damaged files and sets those aside.
    ///
    /// # Errors
    /// Where a file cannot be read or written. What was done stays done.
    pub fn repair(&mut self, progress: Progress<'_>) -> io::Result<Repaired> {
        let (writer, inner) = self.thread.parts();
        mend(writer, &*inner.files, &inner.state, progress)
    }

    /// Ends, leaving a directory that says what it holds and no more.
    ///
    /// # Errors
    /// What the operating system says; what is there can be read all the same.
    pub fn close(mut self) -> io::Result<()> {
        let group = lock(&self.queue.inner.state).take_group(0, 0);
        self.thread.end(group)
    }
}
