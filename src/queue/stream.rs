//! One stream as intake and delivery share it: its ARN, its queue, and the bell between them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::disk::DiskStream;
use super::{Share, StreamQueue};
use crate::arn::DeliveryStreamArn;
use crate::ledger::StreamAccount;

/// A stream with its queue. Intake puts records in, the stream's delivery worker takes them out.
#[derive(Debug)]
pub struct Stream {
    /// Which stream this is.
    pub arn: DeliveryStreamArn,
    /// What its records take of the memory budget.
    pub share: Share,
    /// Rung by intake when the worker has something new to consider, not for every record.
    pub wake: Arc<Notify>,
    /// Where its records stand, with a queue on disk; the queue below then holds those that were read
    /// back.
    pub disk: Option<DiskStream>,
    /// What was counted of it, and what ails it.
    pub account: StreamAccount,
    /// Locked for moments only, never across an await.
    queue: Mutex<StreamQueue>,
    /// Whether intake has forgotten the stream: nothing more will come.
    forgotten: AtomicBool,
}

impl Stream {
    /// A stream with an empty queue for up to `queue_size` records, in memory.
    pub fn new(arn: DeliveryStreamArn, queue_size: usize, share: Share) -> Self {
        Stream {
            arn,
            share,
            wake: Arc::default(),
            disk: None,
            account: StreamAccount::default(),
            queue: Mutex::new(StreamQueue::new(queue_size)),
            forgotten: AtomicBool::new(false),
        }
    }

    /// A stream of a queue on disk, which bounds it.
    pub fn on_disk(arn: DeliveryStreamArn, disk: DiskStream, share: Share) -> Self {
        let stream = Stream::new(arn, usize::MAX, share);
        stream.account.received(disk.depth().all());
        Stream {
            wake: disk.bell(),
            disk: Some(disk),
            ..stream
        }
    }

    /// Tells the worker that nothing more will come.
    pub fn forget(&self) {
        self.forgotten.store(true, Ordering::Relaxed);
        if let Some(disk) = &self.disk {
            disk.close();
        }
        self.wake.notify_one();
    }

    /// Whether nothing more will come.
    pub fn is_forgotten(&self) -> bool {
        self.forgotten.load(Ordering::Relaxed)
    }

    /// Records that are on disk only.
    pub fn unread(&self) -> usize {
        self.disk.as_ref().map_or(0, |disk| disk.depth().unread())
    }

    /// Whether it holds no record at all: none waits, none is in flight, none is on disk.
    pub fn is_empty(&self) -> bool {
        match &self.disk {
            Some(disk) => disk.depth().is_empty(),
            None => self.queue().is_empty(),
        }
    }

    /// The queue. A panic elsewhere while it was locked leaves it usable: each of its methods
    /// leaves it whole.
    pub fn queue(&self) -> MutexGuard<'_, StreamQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
