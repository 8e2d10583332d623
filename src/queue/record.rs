//! A record as the queue holds it, and the id its status will carry.

use bytes::Bytes;
use bytestring::ByteString;
use tokio::time::Instant;

use super::Charge;
use super::disk::Place;

/// The id of a request: text, as a slice of a buffer that other records may share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Id(ByteString);

impl Id {
    /// An id from bytes that are known to be UTF-8; what is not UTF-8 becomes empty.
    pub fn from_utf8(bytes: Bytes) -> Self {
        Id(ByteString::try_from(bytes).unwrap_or_default())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Id {
    fn from(text: &str) -> Self {
        Id(ByteString::from(text))
    }
}

/// What Firehose receives, and what is needed to say what became of it.
#[derive(Debug)]
pub struct Record {
    /// The record, before base64.
    pub data: Bytes,
    /// Maps the status back to the request.
    pub id: Id,
    /// When it was taken in: its age decides whether it is expired.
    pub received: Instant,
    /// Its share of the memory budget, given back when the record goes.
    pub charge: Charge,
    /// Where it is kept, with a queue on disk.
    pub kept: Option<Kept>,
}

/// A record's copy on disk.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    /// Where it stands.
    pub place: Place,
    /// When it was received, as it is written there.
    pub received_unix_ms: u64,
}

impl Record {
    /// Gives the record memory of its own. Records that arrive together share one buffer, which
    /// stays as long as any of them: one that goes back to the queue must not hold the others'.
    pub fn detach(&mut self) {
        self.data = Bytes::copy_from_slice(&self.data);
        self.id = Id::from(self.id.as_str());
    }
}
