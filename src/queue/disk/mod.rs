//! The queue on disk: a log of segment files that holds each record from before it is acknowledged
//! until its outcome is final.
//!
//! Records of all streams stand in one log, so that a group of them costs one write and one sync.
//! `format` says what is in a file, `scan` walks over one, `recover` reads a directory at the start.
//! `state` keeps the books — `segment` what each record is, `index` where each stream's unread records
//! are — and costs a few bits for a record. `writer` writes groups, `remove` removes segments, `tidy` joins them, `load`
//! reads records back. [`DiskQueue`] is the face: a thread that writes, and what others may ask.
//! [`OfflineQueue`] is the face for commands, while no connector runs.

mod bits;
mod clock;
mod format;
mod index;
mod load;
mod offline;
mod recover;
mod remove;
mod runs;
mod scan;
mod segment;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod thread;
mod tidy;
mod writer;

pub use clock::Clock;
pub use index::{Depth, StreamId};
pub use load::{Load, Loaded, Wanted};
pub use offline::{OfflineError, OfflineQueue, Overview, Repaired, StreamOverview};
pub use recover::{Mend, Recovery};
pub use scan::Damage;
pub use segment::Place;
pub use state::{Bounds, Ticket};
pub use store::{Closed, DiskAccount, DiskQueue, DiskQueueSettings, DiskStream, Door};
