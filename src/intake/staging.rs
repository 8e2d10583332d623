//! Records of one stream between decoding and their queue, gathered so that many small ones share
//! one allocation. The packet they came in is let go of: a record that stays long would hold all
//! that was read with it, records of other streams too.

use bytes::{Bytes, BytesMut};

use crate::mqtt::AckToken;
use crate::queue::{Charge, Id, MemoryBudget};

/// From this size on a record stays where it is, if it is most of its packet.
const SHARE_FROM_BYTES: usize = 32 * 1024;

/// What a buffer may keep for the next round. There is one for each stream.
const KEEP_BYTES: usize = 8 * 1024;

/// A record that is ready for its queue.
#[derive(Debug)]
pub(super) struct Staged {
    /// The record.
    pub data: Bytes,
    /// Maps its status back.
    pub id: Id,
    /// What its message is owed.
    pub ack: Option<AckToken>,
    /// Its share of the memory budget, where it has one already.
    pub charge: Option<Charge>,
}

impl Staged {
    /// What it is charged, in bytes.
    pub fn cost_bytes(&self) -> usize {
        MemoryBudget::record_bytes(self.data.len(), self.id.as_str().len())
    }

    /// Gives it memory of its own, as it may stay longer than those it came with.
    pub fn detach(&mut self) {
        self.data = Bytes::copy_from_slice(&self.data);
        self.id = Id::from(self.id.as_str());
    }
}

/// Gathers the records of one stream.
#[derive(Debug, Default)]
pub(super) struct Staging {
    /// Ids and small records, one behind the other.
    slab: BytesMut,
    /// In order of arrival.
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    /// Stands first in the slab.
    id_bytes: usize,
    data: Data,
    ack: Option<AckToken>,
}

#[derive(Debug)]
enum Data {
    /// Stands behind the id in the slab.
    Slab(usize),
    Own(Bytes),
}

impl Staging {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a record that is a part of its packet, with its delimiter, which may be empty; `share`
    /// keeps such a part by itself.
    pub fn add_borrowed(
        &mut self,
        data: &[u8],
        delimiter: &[u8],
        id: &str,
        ack: Option<AckToken>,
        share: impl FnOnce(&[u8]) -> Bytes,
    ) {
        self.slab.extend_from_slice(id.as_bytes());
        let data = if data.len() < SHARE_FROM_BYTES {
            self.slab.extend_from_slice(data);
            self.slab.extend_from_slice(delimiter);
            Data::Slab(data.len() + delimiter.len())
        } else if delimiter.is_empty() {
            Data::Own(share(data))
        } else {
            Data::Own([data, delimiter].concat().into())
        };
        self.entries.push(Entry {
            id_bytes: id.len(),
            data,
            ack,
        });
    }

    /// Adds a record that has memory of its own, with its delimiter, which may be empty.
    pub fn add_owned(
        &mut self,
        mut data: Vec<u8>,
        delimiter: &[u8],
        id: &str,
        ack: Option<AckToken>,
    ) {
        // No more memory than it needs: it may stay long.
        data.reserve_exact(delimiter.len());
        data.extend_from_slice(delimiter);
        self.slab.extend_from_slice(id.as_bytes());
        self.entries.push(Entry {
            id_bytes: id.len(),
            data: Data::Own(Bytes::from(data)),
            ack,
        });
    }

    /// The records gathered, in order of arrival; nothing is left.
    pub fn finish(&mut self) -> Vec<Staged> {
        // A copy of the exact size: a growing buffer has up to twice of it.
        let mut slab = Bytes::copy_from_slice(&self.slab);
        self.slab.clear();
        if self.slab.capacity() > KEEP_BYTES {
            self.slab = BytesMut::new();
        }
        std::mem::take(&mut self.entries)
            .into_iter()
            .map(|entry| Staged {
                id: Id::from_utf8(slab.split_to(entry.id_bytes)),
                data: match entry.data {
                    Data::Slab(bytes) => slab.split_to(bytes),
                    Data::Own(data) => data,
                },
                ack: entry.ack,
                charge: None,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_and_content_whatever_the_size() {
        let mut staging = Staging::default();
        let large = vec![7; SHARE_FROM_BYTES];
        staging.add_borrowed(b"small", b"", "1", None, |_| {
            unreachable!("small records are copied")
        });
        staging.add_borrowed(&large, b"", "2", None, Bytes::copy_from_slice);
        staging.add_owned(b"owned".to_vec(), b"", "", None);
        staging.add_borrowed(b"", b"", "ü4", None, |_| unreachable!());
        let records = staging.finish();
        let found: Vec<_> = records
            .iter()
            .map(|r| (r.id.as_str(), r.data.len()))
            .collect();
        assert_eq!(
            found,
            [("1", 5), ("2", SHARE_FROM_BYTES), ("", 5), ("ü4", 0)]
        );
        assert_eq!(&records[0].data[..], b"small");
        assert!(staging.is_empty() && staging.finish().is_empty());
    }

    #[test]
    fn each_record_has_its_delimiter_behind_it() {
        let mut staging = Staging::default();
        let large = vec![7; SHARE_FROM_BYTES];
        staging.add_borrowed(b"small", b"\r\n", "1", None, |_| unreachable!());
        staging.add_borrowed(&large, b"\r\n", "2", None, |_| {
            unreachable!("there is no place behind it")
        });
        staging.add_owned(b"owned".to_vec(), b"\r\n", "3", None);
        staging.add_borrowed(b"", b"\r\n", "4", None, |_| unreachable!());
        let records = staging.finish();
        let found: Vec<_> = records
            .iter()
            .map(|r| (r.id.as_str(), &r.data[..]))
            .collect();
        let large = [&large[..], b"\r\n"].concat();
        let expected = [
            ("1", &b"small\r\n"[..]),
            ("2", &large),
            ("3", b"owned\r\n"),
            ("4", b"\r\n"),
        ];
        assert_eq!(found, expected);
    }
}
