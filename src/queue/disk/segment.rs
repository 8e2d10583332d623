//! What is known of a segment in memory: three bits for each record — whether it is still needed, and
//! whether it is still unread, and whether its outcome is still to be noted — and a few numbers. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::bits::{Bits, Unnoted};
use super::format::FinishedIn;
use crate::framing::Header;

/// Parts of a segment in which a stream's unread records are known to stand or not to stand.
pub(super) const BLOCKS: u64 = 64;

/// When a file that could not be removed is tried again.
const REMOVAL_PAUSE: Duration = Duration::from_secs(30);

/// What names a segment's file.
pub(super) fn file_name(number: u64) -> String {
    format!("queue-{number:010}.log")
}

/// The number of the segment that has this file name.
pub(super) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("queue-")?.strip_suffix(".log")?;
    let number = digits.parse().ok()?;
    // Beyond this it was not made by counting.
    (file_name(number) == name && number < u64::MAX / 2).then_some(number)
}

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Number of the segment.
    pub segment: u64,
    /// Which record of the segment.
    pub ordinal: u32,
    /// Where its entry begins, in bytes.
    pub offset: u32,
    /// How long its entry is, in bytes.
    pub bytes: u32,
    /// The number that its stream has in the segment.
    pub stream: u32,
}

/// A segment.
#[derive(Debug)]
pub(super) struct Segment {
    /// What its file begins with.
    pub header: Header,
    /// Length of its file.
    pub bytes: u64,
    /// Records that it has or had: the next one's ordinal.
    pub records: u32,
    /// Records whose outcome is not final.
    live: Bits,
    /// Live records that are not in memory.
    unread: Bits,
    /// How many are live.
    pub live_records: u32,
    /// What their entries take.
    pub live_bytes: u64,
    /// Finished, and not noted in the log yet.
    unnoted: Unnoted,
    /// Older segments whose records are noted as finished in this one: the notes must outlive it.
    pub notes_about: BTreeSet<u64>,
    /// Where the first entry of each block begins.
    block_starts: Vec<u32>,
    /// Length of a block.
    block_bytes: u64,
    /// Whether something in it could not be read: then it is set aside, not removed.
    pub damaged: bool,
    /// Whether records could not be moved away that are in memory and cannot be read here any more:
    /// it goes when they are finished.
    pub is_stuck: bool,
    /// Whether records were given up that still count as needed: which they were is found out when the
    /// others are moved.
    pub has_lost: bool,
    /// After its file could not be removed, when that is tried again; the others go meanwhile.
    pub remove_at: Option<Instant>,
    /// Where records begin that repeat the ordinal of another, and are nobody's; ascending.
    pub repeated: Vec<u32>,
    /// Above how many needed bytes it was found not worth it to move them.
    pub worth_moving_bytes: u64,
}

impl Segment {
    /// An empty segment of about `segment_bytes` in the end.
    pub fn new(header: Header, segment_bytes: u64) -> Self {
        Segment {
            header,
            bytes: 0,
            records: 0,
            live: Bits::default(),
            unread: Bits::default(),
            live_records: 0,
            live_bytes: 0,
            unnoted: Unnoted::default(),
            notes_about: BTreeSet::new(),
            block_starts: Vec::new(),
            block_bytes: segment_bytes.div_ceil(BLOCKS).max(1),
            damaged: false,
            is_stuck: false,
            has_lost: false,
            remove_at: None,
            repeated: Vec::new(),
            worth_moving_bytes: u64::MAX,
        }
    }

    /// The block in which an entry at `offset` stands.
    pub fn block(&self, offset: u32) -> u32 {
        (u64::from(offset) / self.block_bytes).min(BLOCKS - 1) as u32
    }

    /// Where the first entry of a block begins.
    pub fn block_start(&self, block: u32) -> u32 {
        self.block_starts.get(block as usize).copied().unwrap_or(0)
    }

    /// Tells of a record's entry; entries come in order.
    pub fn note_record(&mut self, place: &Place) {
        let block = self.block(place.offset) as usize;
        while self.block_starts.len() <= block {
            self.block_starts.push(place.offset);
        }
        self.records = self.records.max(place.ordinal.saturating_add(1));
    }

    /// A record that is needed, and in memory or not.
    pub fn hold(&mut self, place: &Place, unread: bool) {
        self.live.insert(place.ordinal);
        if unread {
            self.unread.insert(place.ordinal);
        }
        self.live_records += 1;
        self.live_bytes += u64::from(place.bytes);
    }

    pub fn is_live(&self, ordinal: u32) -> bool {
        self.live.contains(ordinal)
    }

    pub fn is_unread(&self, ordinal: u32) -> bool {
        self.unread.contains(ordinal)
    }

    /// Whether what begins at `offset` is left out, as it repeats the ordinal of another.
    pub fn is_repeated(&self, offset: u32) -> bool {
        self.repeated.binary_search(&offset).is_ok()
    }

    /// A record is now in memory. Whether it was not.
    pub fn set_read(&mut self, ordinal: u32) -> bool {
        self.unread.remove(ordinal)
    }

    /// A record is in memory no more.
    pub fn set_unread(&mut self, ordinal: u32) {
        self.unread.insert(ordinal);
    }

    /// A record is needed no more. Whether it was.
    pub fn release(&mut self, place: &Place) -> bool {
        let was_live = self.live.remove(place.ordinal);
        if was_live {
            self.unread.remove(place.ordinal);
            self.live_records -= 1;
            self.live_bytes = self.live_bytes.saturating_sub(place.bytes.into());
        }
        was_live
    }

    /// Its file could not be removed. Whether that is new.
    pub fn put_off_removal(&mut self) -> bool {
        self.remove_at
            .replace(Instant::now() + REMOVAL_PAUSE)
            .is_none()
    }

    /// Whether its file may be removed, as far as is known.
    pub fn is_removable(&self) -> bool {
        self.remove_at.is_none_or(|at| at <= Instant::now())
    }

    /// Gives up all records that are not in memory. Says how many there were.
    pub fn lose_unread(&mut self) -> u32 {
        let mut lost = 0;
        for ordinal in 0..self.records {
            if self.unread.remove(ordinal) && self.live.remove(ordinal) {
                lost += 1;
            }
        }
        self.live_records -= lost;
        if self.live_records == 0 {
            self.live_bytes = 0;
        }
        self.damaged |= lost > 0;
        lost
    }

    /// A finished record is to be noted as such.
    pub fn owe_note(&mut self, ordinal: u32) {
        self.unnoted.add(ordinal);
    }

    /// Notes that were taken to be written and were not.
    pub fn owe_notes(&mut self, runs: &[(u32, u32)]) {
        for &(first, last) in runs {
            (first..=last).for_each(|ordinal| self.unnoted.add(ordinal));
        }
    }

    /// All finished records are to be noted again: the segment with their notes goes.
    pub fn owe_all_notes(&mut self) {
        for ordinal in (0..self.records).filter(|&ordinal| !self.live.contains(ordinal)) {
            self.unnoted.add(ordinal);
        }
    }

    /// What notes about all its finished records take at most, in bytes.
    pub fn notes_max_bytes(&self) -> u64 {
        // A run is two varints, of mostly one byte each; beside it the number of the segment.
        20 + 4 * self.live.gaps(self.records)
    }

    /// Whether something is to be noted.
    pub fn owes_notes(&self) -> bool {
        !self.unnoted.is_empty()
    }

    /// What is to be noted, in at most so many runs; it is owed no more.
    pub fn take_notes(&mut self, most_runs: usize) -> FinishedIn {
        FinishedIn {
            segment: self.header.number,
            runs: self.unnoted.take(most_runs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_are_segments() {
        assert_eq!(number_of(&file_name(7)), Some(7));
        assert_eq!(number_of(&file_name(u64::MAX)), None);
        for name in [
            "queue-7.log",
            "queue-0000000007.log.damaged",
            "queue-+000000007.log",
            "lock",
        ] {
            assert_eq!(number_of(name), None, "{name}");
        }
    }
}
