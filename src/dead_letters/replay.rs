//! Noting which dead letters were sent again: marks beside the segments, and the removal of segments
//! that are done with. The connector does not take part in this, and may be running.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use super::read::{joined, read_marks, read_segment};
use super::{FileName, Letters, format};
use crate::files::{Append, DirectoryError, Files, Held};

/// Whoever replays holds a lock on this file.
const LOCK: &str = "replay.lock";

/// The right to send letters of a directory again and to mark them.
pub struct Replay {
    /// What is there.
    letters: Letters,
    /// The marks that were written to, by segment.
    marks: HashMap<u64, MarksFile>,
    /// Locked as long as it is open.
    _lock: Held,
}

/// Marks that are being written.
struct MarksFile {
    /// The file.
    file: Box<dyn Append>,
    /// Where the next entry goes.
    bytes: u64,
    /// The salt of the segment.
    salt: u32,
}

/// Why letters cannot be sent again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Somebody else does it.
    #[error("another replay of {0} is under way; wait for its end, or end it")]
    UnderWay(PathBuf),
    /// No lock can be had.
    #[error(
        "letters of {path} cannot be marked as sent: {source}; the directory must be writable for this user"
    )]
    NotWritable {
        /// The directory.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

impl Replay {
    /// Takes the right.
    ///
    /// # Errors
    /// Where the directory is none, cannot be written to, or somebody else replays it.
    pub fn start(path: &Path) -> Result<Self, ReplayError> {
        let letters = Letters::look_into(path)?;
        match letters.directory().lock_file(LOCK) {
            Ok(Some(lock)) => Ok(Replay {
                letters,
                marks: HashMap::new(),
                _lock: lock,
            }),
            Ok(None) => Err(ReplayError::UnderWay(path.to_owned())),
            Err(source) => Err(ReplayError::NotWritable {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// What is there.
    pub fn letters(&self) -> &Letters {
        &self.letters
    }

    /// Marks letters of a segment as sent; synced when this returns.
    ///
    /// # Errors
    /// Where the marks cannot be written. A segment that is gone needs none.
    pub fn mark(&mut self, segment: u64, ordinals: &[u32]) -> io::Result<()> {
        let runs = joined(ordinals.iter().map(|&ordinal| (ordinal, ordinal)).collect());
        if runs.is_empty() {
            return Ok(());
        }
        if !self.marks.contains_key(&segment) {
            let Some(marks) = self.begin(segment)? else {
                return Ok(());
            };
            self.marks.insert(segment, marks);
        }
        let Some(marks) = self.marks.get_mut(&segment) else {
            return Ok(());
        };
        let written = marks.append(&runs);
        if written.is_err() {
            // Begun anew next time, from what is whole.
            self.marks.remove(&segment);
        }
        written
    }

    /// Writes the marks that a segment has into a new file, to which more can be added; what an
    /// earlier replay left half-written is gone then. `None`: the segment is gone.
    fn begin(&self, segment: u64) -> io::Result<Option<MarksFile>> {
        let files = self.letters.directory();
        let Some(header) = read_segment(files, segment, true).and_then(|segment| segment.header)
        else {
            return Ok(None);
        };
        let (name, new) = (
            FileName::Marks(segment).text(),
            FileName::NewMarks(segment).text(),
        );
        remove(files, &new)?;
        let mut marks = MarksFile {
            file: files.create(&new)?,
            bytes: 0,
            salt: header.salt,
        };
        let runs = read_marks(files, segment, header.salt);
        if !runs.is_empty() {
            marks.append(&runs)?;
        }
        match files.rename(&new, &name) {
            // The connector removes marks whose segment it has removed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            result => result?,
        }
        files.sync_names()?;
        Ok(Some(marks))
    }

    /// Removes segments of which every letter was sent, but for the newest, which may be being written,
    /// and those with damage, which somebody may want to look into. Says how many.
    ///
    /// # Errors
    /// Where one cannot be removed.
    pub fn tidy(&mut self) -> io::Result<usize> {
        let files = self.letters.directory();
        let numbers = self.letters.segments()?;
        let Some((_, closed)) = numbers.split_last() else {
            return Ok(0);
        };
        let mut removed = 0;
        for &number in closed {
            // Read anew: the connector may have added letters since, before it closed the segment.
            let Some(segment) = read_segment(files, number, false) else {
                continue;
            };
            if segment.damage.is_some() || segment.letters.iter().any(|stored| !stored.done) {
                continue;
            }
            self.marks.remove(&number);
            remove(files, &FileName::Segment(number).text())?;
            // Marks must not go before what they are for.
            files.sync_names()?;
            remove(files, &FileName::Marks(number).text())?;
            removed += 1;
        }
        Ok(removed)
    }
}

impl MarksFile {
    fn append(&mut self, runs: &[(u32, u32)]) -> io::Result<()> {
        let mut entry = Vec::new();
        format::write_marks(self.salt, runs, &mut entry);
        self.file.write_at(self.bytes, &entry)?;
        self.file.sync()?;
        self.bytes += entry.len() as u64;
        Ok(())
    }
}

/// Removes a file that may be gone.
fn remove(files: &dyn Files, name: &str) -> io::Result<()> {
    match files.remove(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
