//! A walk over a whole segment: every whole entry in order, and what lies between them. Pure.

use super::format::{Entry, MAGIC, read};
use crate::framing::{Found, HEADER_BYTES, Header, HeaderError, look, next_entry};

/// What was found that is no entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Damage {
    /// Places at which something could not be read, with whole entries behind.
    pub places: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes behind the last whole entry of a segment that was not ended in order: a write that was
    /// under way when the power or the process went, never acknowledged.
    pub torn_bytes: u64,
}

impl Damage {
    /// Whether something is lost that was whole once.
    pub fn is_real(&self) -> bool {
        self.places > 0
    }

    /// Adds what was found elsewhere.
    pub fn add(&mut self, other: Damage) {
        self.places += other.places;
        self.bytes += other.bytes;
        self.torn_bytes += other.torn_bytes;
    }
}

/// An entry and where it stands.
#[derive(Debug)]
pub(super) struct Placed<'a> {
    /// Where it begins.
    pub offset: usize,
    /// How long it is.
    pub bytes: usize,
    /// What it is.
    pub entry: Entry<'a>,
}

/// Walks over a segment.
pub(super) struct Scan<'a> {
    bytes: &'a [u8],
    header: Header,
    at: usize,
    damage: Damage,
    ended: bool,
}

impl<'a> Scan<'a> {
    /// A walk over all bytes of a segment's file.
    ///
    /// # Errors
    /// Where its header cannot be used.
    pub fn new(bytes: &'a [u8]) -> Result<Self, HeaderError> {
        let header = Header::read(MAGIC, bytes)?;
        Ok(Self::from(bytes, header, HEADER_BYTES))
    }

    /// A walk that begins at an offset.
    pub fn from(bytes: &'a [u8], header: Header, offset: usize) -> Self {
        Scan {
            bytes,
            header,
            at: offset,
            damage: Damage::default(),
            ended: false,
        }
    }

    /// What the segment says about itself.
    pub fn header(&self) -> Header {
        self.header
    }

    /// What was found up to here that is no entry.
    pub fn damage(&self) -> Damage {
        self.damage
    }

    /// Whether the segment was ended in order, as far as was seen.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    fn damaged(&mut self, to: usize) {
        self.damage.places += 1;
        self.damage.bytes += (to - self.at) as u64;
        self.at = to;
    }
}

impl<'a> Iterator for Scan<'a> {
    type Item = Placed<'a>;

    fn next(&mut self) -> Option<Placed<'a>> {
        while self.at < self.bytes.len() {
            let rest = &self.bytes[self.at..];
            let Found::Entry { kind, bytes } = look(self.header.salt, rest) else {
                match next_entry(self.header.salt, self.bytes, self.at + 1) {
                    Some(next) => self.damaged(next),
                    None if self.ended => self.damaged(self.bytes.len()),
                    None => {
                        self.damage.torn_bytes = rest.len() as u64;
                        self.at = self.bytes.len();
                    }
                }
                continue;
            };
            let offset = self.at;
            match read(&self.header, kind, &rest[..bytes]) {
                Some(entry) => {
                    self.at += bytes;
                    self.ended |= entry == Entry::End;
                    return Some(Placed {
                        offset,
                        bytes,
                        entry,
                    });
                }
                // Whole, but of a kind that is not known.
                None => self.damaged(offset + bytes),
            }
        }
        None
    }
}
