//! Reading dead letters: one pass over a segment at a time, damage skipped and told. No lock is taken:
//! a running connector may append to the newest segment and remove the oldest meanwhile.

use std::io;
use std::path::Path;

use bytes::Bytes;

use super::format::{self, Header};
use super::{FileName, Letter};
use crate::files::{Directory, DirectoryError, Files};

/// The most that is read of one file, in bytes. A segment is some MiB, or one letter that is longer, and
/// a letter is less than 16 MiB.
const FILE_MAX_BYTES: usize = 32 << 20;

/// The dead letters of a directory, to look at.
#[derive(Debug)]
pub struct Letters {
    /// Not locked.
    directory: Directory,
}

/// What one segment holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Segment {
    /// Its letters in order, as far as they are whole.
    pub letters: Vec<Stored>,
    /// What is not.
    pub damage: Option<Damage>,
    /// Its header, where it has one.
    pub(super) header: Option<Header>,
}

/// A letter where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its place among the letters of its segment.
    pub ordinal: u32,
    /// The letter.
    pub letter: Letter,
    /// Whether it was sent again and arrived.
    pub done: bool,
}

/// What cannot be read of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file's name.
    pub file: String,
    /// How many bytes.
    pub bytes: u64,
    /// In how many places.
    pub places: usize,
    /// What is wrong, for a person.
    pub what: String,
}

impl Letters {
    /// The letters of a directory that must be there.
    ///
    /// # Errors
    /// Where it is none or cannot be read.
    pub fn look_into(path: &Path) -> Result<Self, DirectoryError> {
        Ok(Letters {
            directory: Directory::look_into(path)?,
        })
    }

    pub(super) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The numbers of the segments that there are now, oldest first.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn segments(&self) -> io::Result<Vec<u64>> {
        let mut numbers: Vec<u64> = self
            .directory
            .list()?
            .into_iter()
            .filter_map(|(name, _)| match FileName::read(&name) {
                Some(FileName::Segment(number)) => Some(number),
                _ => None,
            })
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Reads a segment of [`Letters::segments`]. `None`: it was removed since. What cannot be read is
    /// damage, not an error: the other segments are there still. `newest` says that no later one was
    /// there, so that its end may just be being written.
    pub fn read(&self, number: u64, newest: bool) -> Option<Segment> {
        read_segment(&self.directory, number, newest)
    }
}

/// As [`Letters::read`], of any files.
pub(super) fn read_segment(files: &dyn Files, number: u64, newest: bool) -> Option<Segment> {
    let name = FileName::Segment(number).text();
    let damaged = |bytes: usize, places: usize, what: String| {
        Some(Damage {
            file: name.clone(),
            bytes: bytes as u64,
            places,
            what,
        })
    };
    let bytes = match read_file(files, &name) {
        Ok(bytes) => Bytes::from(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            return Some(Segment {
                damage: damaged(0, 1, format!("it cannot be read: {error}")),
                ..Segment::default()
            });
        }
    };
    let header = match Header::read(format::MAGIC, &bytes) {
        Ok(header) => header,
        Err(error) => {
            // A segment is begun with its first letter; before that it is empty.
            let begun = newest && bytes.len() < format::HEADER_BYTES;
            let nothing = bytes.is_empty() || begun;
            return Some(Segment {
                damage: damaged(bytes.len(), 1, error.to_string()).filter(|_| !nothing),
                ..Segment::default()
            });
        }
    };
    let (letters, mut gaps) = format::letters(&header, &bytes);
    gaps.retain(|gap| !(newest && gap.cut));
    let damage = if gaps.is_empty() {
        None
    } else {
        let places: Vec<String> = gaps.iter().take(5).map(|gap| gap.at.to_string()).collect();
        let more = if gaps.len() > places.len() {
            ", …"
        } else {
            ""
        };
        let what = format!("no letters at offset {}{more}", places.join(", "));
        damaged(gaps.iter().map(|gap| gap.bytes).sum(), gaps.len(), what)
    };
    let done = read_marks(files, number, header.salt);
    let letters = letters
        .into_iter()
        .map(|(ordinal, letter)| Stored {
            ordinal,
            letter,
            done: is_in(&done, ordinal),
        })
        .collect();
    Some(Segment {
        letters,
        damage,
        header: Some(header),
    })
}

/// How many letters of a segment were not sent again. Reads no more of each than its place.
pub(super) fn count_unsent(files: &dyn Files, number: u64) -> usize {
    let bytes = read_file(files, &FileName::Segment(number).text()).unwrap_or_default();
    let Ok(header) = Header::read(format::MAGIC, &bytes) else {
        return 0;
    };
    let done = read_marks(files, number, header.salt);
    format::ordinals(&header, &bytes)
        .into_iter()
        .filter(|&ordinal| !is_in(&done, ordinal))
        .count()
}

/// The runs of letters of a segment that were sent again and arrived: ascending, apart from each other.
/// Marks that are missing or cannot be read are none: a letter may come twice, and none is lost.
pub(super) fn read_marks(files: &dyn Files, number: u64, salt: u32) -> Vec<(u32, u32)> {
    let bytes = read_file(files, &FileName::Marks(number).text()).unwrap_or_default();
    joined(format::marks(salt, &bytes))
}

/// The same runs in order, those that touch as one.
pub(super) fn joined(mut runs: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    runs.retain(|(first, last)| first <= last);
    runs.sort_unstable();
    let mut joined: Vec<(u32, u32)> = Vec::new();
    for (first, last) in runs {
        match joined.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => joined.push((first, last)),
        }
    }
    joined
}

fn is_in(runs: &[(u32, u32)], ordinal: u32) -> bool {
    let after = runs.partition_point(|&(first, _)| first <= ordinal);
    after > 0 && runs[after - 1].1 >= ordinal
}

fn read_file(files: &dyn Files, name: &str) -> io::Result<Vec<u8>> {
    const PIECE_BYTES: usize = 256 << 10;
    let file = files.open(name)?;
    let mut bytes = Vec::new();
    // The length is not asked for: the file may grow while it is read.
    while bytes.len() < FILE_MAX_BYTES {
        let at = bytes.len();
        bytes.resize(at + PIECE_BYTES, 0);
        let read = file.read_at(at as u64, &mut bytes[at..])?;
        bytes.truncate(at + read);
        if read < PIECE_BYTES {
            break;
        }
    }
    Ok(bytes)
}
