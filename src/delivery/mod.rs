//! Delivery: when a stream publishes, how it paces and backs off, and what happens to each
//! outcome. One [`Worker`] per stream, so that a stream that is slow, throttled or gone delays
//! no other.

mod backoff;
mod letters;
mod pace;
mod packing;
mod parallel;
mod refill;
mod schedule;
mod trouble;
mod worker;

pub use pace::{NEARLY_FULL_BATCH_BYTES, full_batch_records};
pub use packing::Joining;
pub use worker::{Deadline, PARALLEL_CALLS, Worker, WorkerContext, WorkerSettings};
