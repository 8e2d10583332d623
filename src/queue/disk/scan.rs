//! A walk over a whole segment: every whole entry in order, and what lies between them. What an entry says
//! against an earlier one is damage too. Pure.

use std::collections::{HashMap, HashSet};

use super::bits::Bits;
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
    said: Said<'a>,
    repeated: Vec<u32>,
}

impl<'a> Scan<'a> {
    /// A walk over all bytes of a segment's file.
    ///
    /// # Errors
    /// Where its header cannot be used.
    pub fn new(bytes: &'a [u8]) -> Result<Self, HeaderError> {
        Ok(Scan {
            bytes,
            header: Header::read(MAGIC, bytes)?,
            at: HEADER_BYTES,
            damage: Damage::default(),
            ended: false,
            said: Said::default(),
            repeated: Vec::new(),
        })
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

    /// Where records begin that were left out, as an earlier one has their ordinal; ascending.
    pub fn into_repeated(self) -> Vec<u32> {
        self.repeated
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
                Some(entry) if !self.said.goes_with(&entry) => {
                    if let Entry::Record(_) | Entry::Moved { .. } = entry {
                        // Files that are read are far shorter than what 32 bits hold.
                        self.repeated.push(offset as u32);
                    }
                    self.damaged(offset + bytes);
                }
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

/// What the entries of a file said so far. A disk that brings bytes to the wrong place repeats entries, and
/// a record that is there twice would be counted twice.
#[derive(Default)]
struct Said<'a> {
    /// The streams by their numbers.
    streams: HashMap<u32, &'a str>,
    /// Those that have a number.
    arns: HashSet<&'a str>,
    /// Those of the records.
    ordinals: Bits,
}

impl<'a> Said<'a> {
    /// Whether an entry goes with those before it: a stream has one number, and a record its own ordinal.
    fn goes_with(&mut self, entry: &Entry<'a>) -> bool {
        match *entry {
            Entry::Stream { number, arn } => match self.streams.get(&number) {
                Some(&known) => known == arn,
                None => {
                    let is_new = self.arns.insert(arn);
                    if is_new {
                        self.streams.insert(number, arn);
                    }
                    is_new
                }
            },
            Entry::Record(record) | Entry::Moved { record, .. } => {
                // What is nobody's does not stand in the way of another.
                if !self.streams.contains_key(&record.stream) {
                    return true;
                }
                let is_new = !self.ordinals.contains(record.ordinal);
                self.ordinals.insert(record.ordinal);
                is_new
            }
            Entry::Finished(_) | Entry::End | Entry::Segments(_) | Entry::Removed(_) => true,
        }
    }
}
