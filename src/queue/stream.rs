//! One stream as intake and delivery share it: its ARN, its queue, and the bell between them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::{Share, StreamQueue};
use crate::arn::DeliveryStreamArn;

/// A stream with its queue. Intake puts records in, the stream's delivery worker takes them out.
#[derive(Debug)]
pub struct Stream {
    /// Which stream this is.
    pub arn: DeliveryStreamArn,
    /// What its records take of the memory budget.
    pub share: Share,
    /// Rung by intake when the worker has something new to consider, not for every record.
    pub wake: Notify,
    /// Locked for moments only, never across an await.
    queue: Mutex<StreamQueue>,
    /// Whether intake has forgotten the stream: nothing more will come.
    forgotten: AtomicBool,
}

impl Stream {
    /// A stream with an empty queue for up to `queue_size` records.
    pub fn new(arn: DeliveryStreamArn, queue_size: usize, share: Share) -> Self {
        Stream {
            arn,
            share,
            wake: Notify::new(),
            queue: Mutex::new(StreamQueue::new(queue_size)),
            forgotten: AtomicBool::new(false),
        }
    }

    /// Tells the worker that nothing more will come.
    pub fn forget(&self) {
        self.forgotten.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Whether nothing more will come.
    pub fn is_forgotten(&self) -> bool {
        self.forgotten.load(Ordering::Relaxed)
    }

    /// The queue. A panic elsewhere while it was locked leaves it usable: each of its methods
    /// leaves it whole.
    pub fn queue(&self) -> MutexGuard<'_, StreamQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
