//! The workers of the streams: started, joined, and started again should one end in a fault.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::{Id, JoinSet};

use crate::delivery::{Worker, WorkerContext};
use crate::destination::Destination;
use crate::ledger::FAULT_CODE;
use crate::queue::Stream;

/// The running workers, and what a new one works with.
pub(super) struct Workers<D> {
    /// What each works with.
    context: WorkerContext<D>,
    /// Each ends with the number of records it left undelivered.
    tasks: JoinSet<usize>,
    /// Whose worker a task is.
    streams: HashMap<Id, Arc<Stream>>,
}

impl<D: Destination> Workers<D> {
    pub fn new(context: WorkerContext<D>) -> Self {
        Workers {
            context,
            tasks: JoinSet::new(),
            streams: HashMap::new(),
        }
    }

    /// Starts the worker of a stream.
    pub fn start(&mut self, stream: Arc<Stream>) {
        let worker = Worker::new(Arc::clone(&stream), self.context.clone());
        let task = self.tasks.spawn(worker.run());
        self.streams.insert(task.id(), stream);
    }

    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Waits until a worker has ended. Says how many records it left undelivered.
    pub async fn ended(&mut self) -> usize {
        match self.tasks.join_next_with_id().await {
            None => 0,
            Some(Ok((id, left))) => {
                self.streams.remove(&id);
                left
            }
            Some(Err(error)) => {
                let stream = self.streams.remove(&error.id());
                stream.map_or(0, |stream| self.replace(stream, &error.to_string()))
            }
        }
    }

    /// A fault of ours ended a worker: what it had in flight is lost, the stream goes on.
    fn replace(&mut self, stream: Arc<Stream>, fault: &str) -> usize {
        let entry = self.context.ledger.entry();
        let in_flight = stream.queue().abandon_in_flight();
        // On disk they are still there, and are sent again.
        let lost = if stream.disk.is_some() { 0 } else { in_flight };
        entry.failed(FAULT_CODE, lost);
        stream.account.failed(lost);
        drop(entry);
        tracing::error!(stream = %stream.arn, records = lost, fault, "delivery of a stream ended in a fault; starting it again");
        self.start(stream);
        lost
    }
}
