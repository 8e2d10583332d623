//! Dead letters: records that failed for a reason an operator can mend, kept on disk until somebody
//! sends them again.
//!
//! The letters stand in segments, `letters-0000000001.log` and so on; what was sent again is noted in
//! marks beside them, `letters-0000000001.done`. The connector alone writes segments and removes the
//! oldest to stay within its bound ([`DeadLetters`]). Whoever looks ([`Letters`]) takes no lock, and
//! whoever sends letters again ([`Replay`]) excludes only others who do, so both work beside a running
//! connector. Calls block on the disk: none belongs on the async runtime.

mod format;
mod read;
mod replay;
#[cfg(test)]
mod tests;
mod write;

use bytes::Bytes;

pub use read::{Damage, Letters, Segment, Stored};
pub use replay::{Replay, ReplayError};
pub use write::{Account, Counts, DeadLetters};

use crate::arn::DeliveryStreamArn;

/// A record that failed, and what is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Where it was to go.
    pub stream: DeliveryStreamArn,
    /// The id of its request; empty where the app gave none.
    pub id: String,
    /// The record, exactly as it was queued.
    pub data: Bytes,
    /// Why it failed: a code of the service or one of ours.
    pub code: String,
    /// The same for a person.
    pub message: String,
    /// When it was received.
    pub received_unix_ms: u64,
    /// When it failed.
    pub failed_unix_ms: u64,
}

/// What the name of a file in the directory says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileName {
    /// A segment.
    Segment(u64),
    /// The marks of a segment.
    Marks(u64),
    /// Marks that were not finished being rewritten.
    NewMarks(u64),
}

impl FileName {
    fn read(name: &str) -> Option<FileName> {
        let (number, suffix) = name.strip_prefix("letters-")?.split_once('.')?;
        let number = number.parse().ok()?;
        let read = match suffix {
            "log" => FileName::Segment(number),
            "done" => FileName::Marks(number),
            "done.new" => FileName::NewMarks(number),
            _ => return None,
        };
        // `letters-1.log` would be another file of the same number.
        (read.text() == name).then_some(read)
    }

    fn text(self) -> String {
        match self {
            FileName::Segment(number) => format!("letters-{number:010}.log"),
            FileName::Marks(number) => format!("letters-{number:010}.done"),
            FileName::NewMarks(number) => format!("letters-{number:010}.done.new"),
        }
    }
}
