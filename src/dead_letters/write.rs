//! Writing dead letters: appended to the newest segment and synced, within a bound. Trouble with the
//! disk costs letters, which are counted, and never delivery.

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::format::{self, HEADER_BYTES, Header};
use super::read::count_unsent;
use super::{FileName, Letter};
use crate::files::{Append, Directory, DirectoryError, Files};
use crate::utc::unix_ms;

/// A segment is an eighth of all that may be kept, within these, in bytes: making room costs few letters,
/// and little memory, as the segment that goes is read to count them.
const SEGMENT_BYTES: RangeInclusive<u64> = 256 << 10..=1 << 20;

/// Where very much may be kept, segments are larger, so that about this many files are enough.
const SEGMENTS: u64 = 4096;

/// The largest segment all the same, in bytes. Whoever gives the disk for more has the memory too.
const LARGE_SEGMENT_BYTES: u64 = 16 << 20;

/// Letters are gathered up to this many bytes for a write: a record costs memory once more meanwhile.
const WRITE_BYTES: usize = 64 << 10;

/// The longest entry, in bytes, that is written. Framing takes somewhat more.
const LETTER_MAX_BYTES: usize = 16 << 20;

/// Where records go that failed for a reason an operator can mend. Cheap to clone; clones share all.
#[derive(Clone)]
pub struct DeadLetters {
    /// Shared by all clones. Locked while the disk is written, which may take long.
    writer: Arc<Mutex<Writer>>,
    /// What others see of it, without waiting for the disk.
    account: Arc<Mutex<Account>>,
}

/// What there is of dead letters, and what became of them since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Account {
    /// What became of letters.
    pub counts: Counts,
    /// What the files take, as far as this process knows.
    pub bytes: u64,
    /// What they may take (`DEAD_LETTER_MAX_BYTES`).
    pub max_bytes: u64,
}

/// What became of letters since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Written and synced.
    pub buried: u64,
    /// Removed unsent to make room for newer ones.
    pub dropped: u64,
    /// Not written: the disk did not take them, or they are larger than all that may be kept.
    pub lost: u64,
}

impl DeadLetters {
    /// Opens a directory, made where it is missing, and holds it: one process at a time writes. Its
    /// files may take `max_bytes` together.
    ///
    /// # Errors
    /// Where it cannot be used, or another process has it.
    pub fn open(path: &Path, max_bytes: u64) -> Result<Self, DirectoryError> {
        let directory = Directory::hold(path)?;
        Self::with_files(Box::new(directory), max_bytes).map_err(|source| {
            DirectoryError::Unusable {
                path: path.to_owned(),
                source,
            }
        })
    }

    /// The same on any files.
    ///
    /// # Errors
    /// Where they cannot be listed.
    pub fn with_files(files: Box<dyn Files>, max_bytes: u64) -> io::Result<Self> {
        let mut writer = Writer {
            files,
            max_bytes,
            segments: BTreeMap::new(),
            current: None,
            next_number: 1,
            counts: Counts::default(),
            dropping: false,
            losing: false,
        };
        writer.look_around()?;
        Ok(DeadLetters {
            account: Arc::new(Mutex::new(writer.account())),
            writer: Arc::new(Mutex::new(writer)),
        })
    }

    /// Writes letters and syncs them; what cannot be written is counted as lost. Blocks on the disk.
    pub fn bury(&self, letters: &[Letter]) {
        let mut writer = self.writer();
        writer.bury(letters);
        *self.account.lock().unwrap_or_else(PoisonError::into_inner) = writer.account();
    }

    /// What there is, and what became of letters so far.
    pub fn account(&self) -> Account {
        *self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        // A panic elsewhere while it was locked leaves it usable: letters are counted once written.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetters").finish_non_exhaustive()
    }
}

struct Writer {
    /// The directory.
    files: Box<dyn Files>,
    /// What they may take together.
    max_bytes: u64,
    /// What each segment takes with its marks, in bytes. A replay changes this behind our back, so it
    /// is looked up anew before a segment is removed for room.
    segments: BTreeMap<u64, u64>,
    /// The segment that is being written; each start, and each trouble, begins a new one.
    current: Option<Current>,
    /// The number of the next segment.
    next_number: u64,
    /// What became of letters.
    counts: Counts,
    /// Whether the last segment begun took the place of an old one: a change is logged once.
    dropping: bool,
    /// Whether the last letters were lost: a change is logged once.
    losing: bool,
}

struct Current {
    /// The file.
    file: Box<dyn Append>,
    /// Its number and salt.
    header: Header,
    /// How much of it is written and synced.
    bytes: u64,
    /// Letters in it.
    letters: u32,
}

impl Writer {
    fn account(&self) -> Account {
        Account {
            counts: self.counts,
            bytes: self.segments.values().sum(),
            max_bytes: self.max_bytes,
        }
    }

    fn bury(&mut self, letters: &[Letter]) {
        let mut rest = letters;
        while let Some(first) = rest.first() {
            if !self.can_hold(first) {
                let error = io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    "the record is larger than DEAD_LETTER_MAX_BYTES allows",
                );
                self.note_lost(1, &error);
                rest = &rest[1..];
                continue;
            }
            let written = self.write_some(rest).or_else(|error| {
                if is_full(&error) && self.remove_oldest().unwrap_or(false) {
                    self.note_dropping(true);
                    self.write_some(rest)
                } else {
                    Err(error)
                }
            });
            match written {
                Ok(count) => {
                    self.note_buried(count);
                    rest = &rest[count..];
                }
                Err(error) => {
                    self.note_lost(rest.len(), &error);
                    return;
                }
            }
        }
    }

    fn can_hold(&self, letter: &Letter) -> bool {
        let bytes = format::letter_max_bytes(letter);
        bytes < LETTER_MAX_BYTES && (HEADER_BYTES + bytes) as u64 <= self.max_bytes
    }

    /// Writes as many letters as the segment has room for, at least one, and syncs them. Says how many.
    fn write_some(&mut self, letters: &[Letter]) -> io::Result<usize> {
        let limit = segment_bytes(self.max_bytes);
        let size = |letter: &Letter| format::letter_max_bytes(letter) as u64;
        let first = letters.first().map_or(0, size);
        if let Some(current) = &self.current
            && current.bytes + first > limit
        {
            self.current = None;
        }
        let mut total = match &self.current {
            Some(current) => current.bytes,
            None => HEADER_BYTES as u64,
        };
        let before = self.current.as_ref().map_or(0, |current| current.bytes);
        let mut count = 0;
        for letter in letters {
            if count > 0 && total + size(letter) > limit {
                break;
            }
            total += size(letter);
            count += 1;
        }
        self.make_room(total - before)?;
        let mut current = match self.current.take() {
            Some(current) => current,
            None => self.begin_segment()?,
        };
        if let Err(error) = current.append(&letters[..count]) {
            self.leave(current);
            return Err(error);
        }
        self.segments.insert(current.header.number, current.bytes);
        self.current = Some(current);
        Ok(count)
    }

    /// After an error a segment is left as it was before, and the next one is begun: who knows what the
    /// disk made of it. Nothing more can be done where this fails too.
    fn leave(&mut self, mut current: Current) {
        if current.bytes > 0 {
            let _ = current.file.set_len(current.bytes);
        } else {
            // Or a full disk would fill up with empty files.
            let _ = remove(&*self.files, FileName::Segment(current.header.number));
            self.segments.remove(&current.header.number);
        }
    }

    fn begin_segment(&mut self) -> io::Result<Current> {
        let header = Header {
            number: self.next_number,
            created_unix_ms: unix_ms(SystemTime::now()),
            salt: fastrand::u32(..),
        };
        // Not used again, whatever becomes of this one.
        self.next_number += 1;
        let current = Current {
            file: self
                .files
                .create(&FileName::Segment(header.number).text())?,
            header,
            bytes: 0,
            letters: 0,
        };
        if let Err(error) = self.files.sync_names() {
            self.leave(current);
            return Err(error);
        }
        Ok(current)
    }

    /// Removes the oldest segments until so many more bytes may be written.
    fn make_room(&mut self, needed: u64) -> io::Result<()> {
        if self.current.is_some() && !self.is_over(needed) {
            return Ok(());
        }
        // A replay may have removed segments, or added marks.
        self.look_around()?;
        let mut removed = false;
        while self.is_over(needed) && self.remove_oldest()? {
            removed = true;
        }
        self.note_dropping(removed);
        Ok(())
    }

    fn is_over(&self, needed: u64) -> bool {
        self.segments.values().sum::<u64>() + needed > self.max_bytes
    }

    /// Removes the oldest segment and counts its letters that were not sent. `false`: there is none.
    fn remove_oldest(&mut self) -> io::Result<bool> {
        let Some((&number, _)) = self.segments.first_key_value() else {
            return Ok(false);
        };
        if self
            .current
            .as_ref()
            .is_some_and(|current| current.header.number == number)
        {
            self.current = None;
        }
        let unsent = count_unsent(&*self.files, number);
        remove(&*self.files, FileName::Segment(number))?;
        self.segments.remove(&number);
        self.counts.dropped += unsent as u64;
        // Left over at worst, and then removed as something without a segment.
        let _ = remove(&*self.files, FileName::Marks(number));
        Ok(true)
    }

    /// Finds out which files there are, and removes marks whose segment is gone.
    fn look_around(&mut self) -> io::Result<()> {
        let mut segments = BTreeMap::new();
        let mut marks = Vec::new();
        for (name, bytes) in self.files.list()? {
            let name = FileName::read(&name);
            match name {
                Some(FileName::Segment(number)) => {
                    segments.insert(number, bytes);
                }
                Some(FileName::Marks(number) | FileName::NewMarks(number)) => {
                    marks.extend(name.map(|name| (number, name, bytes)));
                }
                None => {}
            }
        }
        for (number, name, bytes) in marks {
            match segments.get_mut(&number) {
                Some(segment) => *segment += bytes,
                None => {
                    let _ = remove(&*self.files, name);
                }
            }
        }
        let last = segments.last_key_value().map_or(0, |(&number, _)| number);
        self.next_number = self.next_number.max(last.saturating_add(1));
        self.segments = segments;
        Ok(())
    }

    fn note_buried(&mut self, count: usize) {
        self.counts.buried += count as u64;
        if std::mem::take(&mut self.losing) {
            tracing::info!("dead letters can be written again");
        }
    }

    fn note_lost(&mut self, count: usize, error: &io::Error) {
        self.counts.lost += count as u64;
        if !std::mem::replace(&mut self.losing, true) {
            tracing::error!(
                records = count,
                %error,
                "dead letters cannot be written to DEAD_LETTER_DIR; records that fail are lost until they can"
            );
        }
    }

    fn note_dropping(&mut self, dropping: bool) {
        if dropping && !self.dropping {
            tracing::warn!(
                records = self.counts.dropped,
                "the dead letters take as much as they may (DEAD_LETTER_MAX_BYTES, or the disk is full); \
                 the oldest are removed"
            );
        }
        self.dropping = dropping;
    }
}

impl Current {
    /// Writes letters, behind the header where there is none yet, and syncs.
    fn append(&mut self, letters: &[Letter]) -> io::Result<()> {
        let (mut at, mut ordinal) = (self.bytes, self.letters);
        let mut out = Vec::new();
        if at == 0 {
            self.header.write(format::MAGIC, &mut out);
        }
        for letter in letters {
            format::write_letter(self.header.salt, ordinal, letter, &mut out);
            ordinal += 1;
            if out.len() >= WRITE_BYTES {
                self.file.write_at(at, &out)?;
                at += out.len() as u64;
                out.clear();
            }
        }
        if !out.is_empty() {
            self.file.write_at(at, &out)?;
            at += out.len() as u64;
        }
        self.file.sync()?;
        (self.bytes, self.letters) = (at, ordinal);
        Ok(())
    }
}

fn segment_bytes(max_bytes: u64) -> u64 {
    let usual = (max_bytes / 8).clamp(*SEGMENT_BYTES.start(), *SEGMENT_BYTES.end());
    usual.max((max_bytes / SEGMENTS).min(LARGE_SEGMENT_BYTES))
}

/// Whether there is no room on the disk, or for this user.
fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Removes a file that may be gone.
fn remove(files: &dyn Files, name: FileName) -> io::Result<()> {
    match files.remove(&name.text()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
