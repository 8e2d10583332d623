//! The store: what is buried is read again, whatever happens to the files, within the bound.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;
use crate::arn::Partitions;
use crate::files::{Append, Directory, Files, ReadAt};

const MIB: u64 = 1 << 20;

fn stream(name: &str) -> DeliveryStreamArn {
    let arn = format!("arn:aws:firehose:us-east-1:123456789012:deliverystream/{name}");
    DeliveryStreamArn::parse(&arn, &Partitions::ALL).unwrap()
}

fn letter(id: &str, data: impl Into<Vec<u8>>) -> Letter {
    Letter {
        stream: stream("gone"),
        id: id.to_owned(),
        data: Bytes::from(data.into()),
        code: "ResourceNotFoundException".to_owned(),
        message: "Firehose gone not found".to_owned(),
        received_unix_ms: 1_700_000_000_000,
        failed_unix_ms: 1_700_000_001_000,
    }
}

/// All letters that were not sent again, and how many stretches cannot be read.
fn read(path: &Path) -> (Vec<Letter>, usize) {
    let letters = Letters::look_into(path).unwrap();
    let numbers = letters.segments().unwrap();
    let (mut all, mut places) = (Vec::new(), 0);
    for &number in &numbers {
        let segment = letters.read(number, Some(&number) == numbers.last());
        let segment = segment.expect("nobody removes it");
        let unsent = segment.letters.into_iter().filter(|stored| !stored.done);
        all.extend(unsent.map(|stored| stored.letter));
        places += segment.damage.map_or(0, |damage| damage.places);
    }
    (all, places)
}

fn ids(path: &Path) -> Vec<String> {
    read(path).0.into_iter().map(|letter| letter.id).collect()
}

fn bytes_in(path: &Path) -> u64 {
    let files = fs::read_dir(path).unwrap();
    files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum()
}

/// Marks every letter of these ids as sent.
fn replay(path: &Path, sent: &[&str]) {
    let mut replay = Replay::start(path).unwrap();
    for number in replay.letters().segments().unwrap() {
        let segment = replay.letters().read(number, true).unwrap();
        let ordinals: Vec<u32> = segment
            .letters
            .iter()
            .filter(|stored| sent.contains(&stored.letter.id.as_str()))
            .map(|stored| stored.ordinal)
            .collect();
        replay.mark(number, &ordinals).unwrap();
    }
    replay.tidy().unwrap();
}

#[test]
fn what_is_buried_is_read_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters");
    let letters = vec![
        letter("a", *b"plain"),
        letter("", Vec::new()),
        Letter {
            stream: stream("other"),
            code: "Expired".to_owned(),
            message: "ü".repeat(500),
            ..letter("\u{0}ü", [0, 159, 146, 150])
        },
    ];
    let dead_letters = DeadLetters::open(&path, MIB).unwrap();
    dead_letters.bury(&letters[..1]);
    dead_letters.bury(&letters[1..]);
    assert_eq!(read(&path), (letters, 0));
    let counts = dead_letters.account().counts;
    assert_eq!((counts.buried, counts.dropped, counts.lost), (3, 0, 0));
}

#[test]
fn one_process_writes_and_each_start_begins_a_segment() {
    let folder = tempfile::tempdir().unwrap();
    for id in ["1", "2", "3"] {
        let dead_letters = DeadLetters::open(folder.path(), MIB).unwrap();
        assert!(DeadLetters::open(folder.path(), MIB).is_err());
        dead_letters.bury(&[letter(id, *b"x")]);
    }
    let letters = Letters::look_into(folder.path()).unwrap();
    assert_eq!(letters.segments().unwrap(), [1, 2, 3]);
    assert_eq!(ids(folder.path()), ["1", "2", "3"]);
}

#[test]
fn the_bound_holds_and_the_oldest_go_first() {
    let folder = tempfile::tempdir().unwrap();
    let dead_letters = DeadLetters::open(folder.path(), MIB).unwrap();
    for round in 0..300 {
        let batch: Vec<Letter> = (0..5)
            .map(|number| letter(&format!("{:04}", round * 5 + number), vec![7; 3000]))
            .collect();
        dead_letters.bury(&batch);
        assert!(bytes_in(folder.path()) <= MIB);
    }
    let left = ids(folder.path());
    let expected: Vec<String> = (1500 - left.len()..1500)
        .map(|id| format!("{id:04}"))
        .collect();
    assert_eq!(left, expected);
    // At most a segment's worth less than there is room for.
    assert!(left.len() > 200, "{}", left.len());
    let counts = dead_letters.account().counts;
    assert_eq!(counts.buried, 1500);
    assert_eq!(counts.dropped, 1500 - left.len() as u64);
    assert_eq!(counts.lost, 0);
}

#[test]
fn the_bound_counts_what_earlier_starts_left_and_no_letter_that_was_sent_counts_as_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let write = |ids: std::ops::Range<u32>| {
        let dead_letters = DeadLetters::open(folder.path(), MIB).unwrap();
        for id in ids {
            dead_letters.bury(&[letter(&id.to_string(), vec![1; 60_000])]);
        }
        dead_letters.account().counts
    };
    write(0..3);
    replay(folder.path(), &["0", "1"]);
    let counts = write(3..23);
    assert!(bytes_in(folder.path()) <= MIB);
    let left = ids(folder.path());
    // Of 23 letters two were sent; the others are here or were dropped.
    assert_eq!(counts.dropped, 21 - left.len() as u64);
    assert!(counts.dropped > 0 && left.len() > 10);
}

#[test]
fn a_letter_larger_than_all_that_may_be_kept_is_lost_alone() {
    let folder = tempfile::tempdir().unwrap();
    let dead_letters = DeadLetters::open(folder.path(), MIB).unwrap();
    let large = letter("large", vec![0; MIB as usize]);
    dead_letters.bury(&[letter("a", *b"x"), large, letter("b", *b"y")]);
    assert_eq!(ids(folder.path()), ["a", "b"]);
    assert_eq!(dead_letters.account().counts.lost, 1);
    // One of the largest records there are fits the least bound.
    dead_letters.bury(&[letter("record", vec![0; crate::request::RECORD_MAX_BYTES])]);
    assert_eq!(ids(folder.path()), ["a", "b", "record"]);
}

/// A small store as bytes: the segment, and where each of its letters ends.
fn small(folder: &Path) -> (Vec<Letter>, Vec<u8>, Vec<usize>) {
    let letters: Vec<Letter> = (0..4)
        .map(|id| letter(&id.to_string(), format!("record {id}")))
        .collect();
    let dead_letters = DeadLetters::open(folder, MIB).unwrap();
    let name = folder.join("letters-0000000001.log");
    let mut ends = Vec::new();
    for letter in &letters {
        dead_letters.bury(std::slice::from_ref(letter));
        ends.push(fs::read(&name).unwrap().len());
    }
    (letters, fs::read(&name).unwrap(), ends)
}

#[test]
fn any_flipped_byte_costs_its_letter_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let (letters, whole, ends) = small(folder.path());
    for at in 0..whole.len() {
        for mask in [1, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] ^= mask;
            fs::write(folder.path().join("letters-0000000001.log"), &damaged).unwrap();
            let hit = (at >= format::HEADER_BYTES).then(|| ends.partition_point(|&end| end <= at));
            let mut expected = letters.clone();
            hit.map(|hit| expected.remove(hit));
            let (read, places) = read(folder.path());
            assert_eq!(read, expected, "byte {at}");
            // At the very end it may look like a write under way.
            assert!(
                places == usize::from(hit.is_some()) || hit == Some(3),
                "byte {at}"
            );
            // And there is no trouble in beginning anew.
            DeadLetters::open(folder.path(), MIB).unwrap();
        }
    }
}

#[test]
fn a_segment_cut_anywhere_keeps_what_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (letters, whole, ends) = small(folder.path());
    for length in 0..whole.len() {
        fs::write(
            folder.path().join("letters-0000000001.log"),
            &whole[..length],
        )
        .unwrap();
        let kept = ends.iter().filter(|&&end| end <= length).count();
        let expected = &letters[..kept];
        // A letter may be being written: no damage in the newest segment.
        assert_eq!(
            read(folder.path()),
            (expected.to_vec(), 0),
            "{length} bytes"
        );
        let store = Letters::look_into(folder.path()).unwrap();
        let clean = length == 0 || length == format::HEADER_BYTES || ends.contains(&length);
        let damage = store.read(1, false).unwrap().damage;
        // In one that is closed, it is; half a header is as good as a whole one.
        let has_header = (format::HEADER_BYTES / 2..format::HEADER_BYTES).contains(&length);
        assert!(damage.is_none() == clean || has_header, "{length}");
    }
}

#[test]
fn marks_that_are_damaged_or_cut_are_none_and_nothing_else_is_marked() {
    let folder = tempfile::tempdir().unwrap();
    small(folder.path());
    let name = folder.path().join("letters-0000000001.done");
    let mut replay = Replay::start(folder.path()).unwrap();
    replay.mark(1, &[0]).unwrap();
    let first = fs::read(&name).unwrap().len();
    replay.mark(1, &[2, 3]).unwrap();
    drop(replay);
    assert_eq!(ids(folder.path()), ["1"]);
    let whole = fs::read(&name).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x41;
        fs::write(&name, &damaged).unwrap();
        let expected: &[&str] = if at < first {
            &["0", "1"]
        } else {
            &["1", "2", "3"]
        };
        assert_eq!(ids(folder.path()), expected, "byte {at}");
        fs::write(&name, &whole[..at]).unwrap();
        let expected: &[&str] = if at < first {
            &["0", "1", "2", "3"]
        } else {
            &["1", "2", "3"]
        };
        assert_eq!(ids(folder.path()), expected, "cut at {at}");
        // What is added later counts, whatever stands before it.
        Replay::start(folder.path()).unwrap().mark(1, &[1]).unwrap();
        assert_eq!(
            ids(folder.path()),
            expected
                .iter()
                .copied()
                .filter(|&id| id != "1")
                .collect::<Vec<_>>()
        );
    }
}

#[test]
fn marks_of_another_segment_of_the_same_number_mean_nothing() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for folder in [&folder, &other] {
        small(folder.path());
    }
    replay(other.path(), &["0", "1"]);
    assert_eq!(ids(other.path()), ["2", "3"]);
    let name = "letters-0000000001.done";
    fs::copy(other.path().join(name), folder.path().join(name)).unwrap();
    assert_eq!(ids(folder.path()), ["0", "1", "2", "3"]);
}

#[test]
fn a_segment_that_is_done_with_goes_unless_it_may_be_written_or_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let names = || -> BTreeSet<String> {
        let files = fs::read_dir(folder.path()).unwrap();
        files
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("letters-"))
            .collect()
    };
    for id in ["1", "2", "3"] {
        DeadLetters::open(folder.path(), MIB)
            .unwrap()
            .bury(&[letter(id, *b"x"), letter("left", *b"y")]);
    }
    let second = folder.path().join("letters-0000000002.log");
    let mut damaged = fs::read(&second).unwrap();
    damaged.push(1);
    fs::write(&second, damaged).unwrap();
    replay(folder.path(), &["1", "2", "3"]);
    assert_eq!(names().len(), 6);
    replay(folder.path(), &["left"]);
    let expected = [
        "letters-0000000002.done",
        "letters-0000000002.log",
        "letters-0000000003.done",
        "letters-0000000003.log",
    ];
    assert_eq!(names(), expected.map(str::to_owned).into());
    assert_eq!(ids(folder.path()), [""; 0]);
    // Marks without a segment go when the connector starts.
    fs::remove_file(&second).unwrap();
    DeadLetters::open(folder.path(), MIB).unwrap();
    assert_eq!(names().len(), 2);
}

#[test]
fn letters_that_came_after_a_replay_had_read_are_not_removed() {
    let folder = tempfile::tempdir().unwrap();
    let dead_letters = DeadLetters::open(folder.path(), MIB).unwrap();
    dead_letters.bury(&[letter("early", *b"x")]);
    let mut replay = Replay::start(folder.path()).unwrap();
    let seen = replay.letters().read(1, true).unwrap().letters;
    dead_letters.bury(&[letter("late", *b"x")]);
    drop(dead_letters);
    DeadLetters::open(folder.path(), MIB)
        .unwrap()
        .bury(&[letter("next", *b"x")]);
    let ordinals: Vec<u32> = seen.iter().map(|stored| stored.ordinal).collect();
    replay.mark(1, &ordinals).unwrap();
    assert_eq!(replay.tidy().unwrap(), 0);
    assert_eq!(ids(folder.path()), ["late", "next"]);
}

#[test]
fn replays_exclude_each_other_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let dead_letters = DeadLetters::open(folder.path(), MIB).unwrap();
    let first = Replay::start(folder.path()).unwrap();
    assert!(matches!(
        Replay::start(folder.path()),
        Err(ReplayError::UnderWay(_))
    ));
    dead_letters.bury(&[letter("a", *b"x")]);
    drop(first);
    assert!(Replay::start(folder.path()).is_ok());
    assert!(Replay::start(&folder.path().join("missing")).is_err());
}

#[test]
fn a_segment_that_the_connector_removes_meanwhile_needs_no_marks() {
    let folder = tempfile::tempdir().unwrap();
    let dead_letters = DeadLetters::open(folder.path(), MIB).unwrap();
    let fill = |id: &str| dead_letters.bury(&[letter(id, vec![0; 200_000])]);
    (0..4).for_each(|id| fill(&id.to_string()));
    let mut replay = Replay::start(folder.path()).unwrap();
    assert_eq!(replay.letters().read(1, false).unwrap().letters.len(), 1);
    replay.mark(2, &[0]).unwrap();
    (4..12).for_each(|id| fill(&id.to_string()));
    assert!(replay.letters().read(1, false).is_none());
    replay.mark(1, &[0]).unwrap();
    replay.mark(2, &[0]).unwrap();
    replay.tidy().unwrap();
    let store = Letters::look_into(folder.path()).unwrap();
    let numbers = store.segments().unwrap();
    assert!(numbers[0] > 2, "{numbers:?}");
    for file in fs::read_dir(folder.path()).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(!name.ends_with("1.done"), "{name}");
    }
}

/// Counts what a loss of power would undo.
#[derive(Clone, Default)]
struct Unsynced {
    names: Arc<AtomicUsize>,
    writes: Arc<AtomicUsize>,
}

/// A disk of this many bytes in front of a directory.
struct SmallDisk {
    directory: Directory,
    room: Arc<AtomicUsize>,
    /// Whether everything fails, and with what.
    broken: Option<io::ErrorKind>,
    /// Since the last sync.
    unsynced: Unsynced,
}

struct SmallFile {
    file: Box<dyn Append>,
    room: Arc<AtomicUsize>,
    bytes: usize,
    broken: Option<io::ErrorKind>,
    unsynced: Unsynced,
}

impl Files for SmallDisk {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        self.directory.list()
    }
    fn create(&self, name: &str) -> io::Result<Box<dyn Append>> {
        self.unsynced.names.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(SmallFile {
            file: self.directory.create(name)?,
            room: Arc::clone(&self.room),
            bytes: 0,
            broken: self.broken,
            unsynced: self.unsynced.clone(),
        }))
    }
    fn open(&self, name: &str) -> io::Result<Box<dyn ReadAt>> {
        self.directory.open(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.directory.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        let bytes = self.list()?.into_iter().find(|(found, _)| found == name);
        self.directory.remove(name)?;
        let bytes = bytes.map_or(0, |(_, bytes)| bytes as usize);
        self.room.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
    fn sync(&self, name: &str) -> io::Result<()> {
        self.directory.sync(name)
    }
    fn sync_names(&self) -> io::Result<()> {
        self.unsynced.names.store(0, Ordering::Relaxed);
        self.directory.sync_names()
    }
}

impl Append for SmallFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if let Some(kind) = self.broken {
            return Err(kind.into());
        }
        self.unsynced.writes.fetch_add(1, Ordering::Relaxed);
        let room = self.room.load(Ordering::Relaxed);
        // What fits is written, as a disk does.
        let fits = room.min(bytes.len());
        self.file.write_at(offset, &bytes[..fits])?;
        self.room.fetch_sub(fits, Ordering::Relaxed);
        self.bytes = self.bytes.max(offset as usize + fits);
        if fits < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
    fn sync(&mut self) -> io::Result<()> {
        self.unsynced.writes.store(0, Ordering::Relaxed);
        self.file.sync()
    }
    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        let freed = self.bytes.saturating_sub(bytes as usize);
        self.room.fetch_add(freed, Ordering::Relaxed);
        self.bytes -= freed;
        self.file.set_len(bytes)
    }
}

fn small_disk(
    path: &Path,
    room: usize,
    broken: Option<io::ErrorKind>,
) -> (DeadLetters, Arc<AtomicUsize>) {
    let room = Arc::new(AtomicUsize::new(room));
    let disk = SmallDisk {
        directory: Directory::hold(path).unwrap(),
        room: Arc::clone(&room),
        broken,
        unsynced: Unsynced::default(),
    };
    (
        DeadLetters::with_files(Box::new(disk), 64 * MIB).unwrap(),
        room,
    )
}

#[test]
fn what_is_buried_outlives_a_loss_of_power() {
    let folder = tempfile::tempdir().unwrap();
    let unsynced = Unsynced::default();
    let disk = SmallDisk {
        directory: Directory::hold(folder.path()).unwrap(),
        room: Arc::new(AtomicUsize::new(usize::MAX / 2)),
        broken: None,
        unsynced: unsynced.clone(),
    };
    let dead_letters = DeadLetters::with_files(Box::new(disk), 64 * MIB).unwrap();
    let batch: Vec<Letter> = (0..5).map(|_| letter("a", vec![1; 300_000])).collect();
    // Several writes, and several segments.
    for letters in [&batch[..1], &batch[..2], &batch] {
        dead_letters.bury(letters);
        let left = [&unsynced.names, &unsynced.writes].map(|count| count.load(Ordering::Relaxed));
        assert_eq!(left, [0, 0]);
    }
    assert_eq!(ids(folder.path()).len(), 8);
}

#[test]
fn on_a_full_disk_the_oldest_go() {
    let folder = tempfile::tempdir().unwrap();
    // Segments are of 1 MiB, and the disk is full in the third.
    let (dead_letters, _) = small_disk(folder.path(), 2_500_000, None);
    for id in 0..600 {
        dead_letters.bury(&[letter(&format!("{id:03}"), vec![9; 10_000])]);
    }
    let counts = dead_letters.account().counts;
    assert_eq!((counts.buried, counts.lost), (600, 0));
    // What was written of a letter before the disk was full is cut off again.
    assert_eq!(read(folder.path()).1, 0);
    let left = ids(folder.path());
    assert_eq!(counts.dropped, 600 - left.len() as u64);
    let expected: Vec<String> = (600 - left.len()..600)
        .map(|id| format!("{id:03}"))
        .collect();
    assert_eq!(left, expected);
    assert!(left.len() > 100, "{}", left.len());
}

#[test]
fn where_nothing_can_be_written_letters_are_lost_and_no_files_are_left() {
    let folder = tempfile::tempdir().unwrap();
    let (dead_letters, room) = small_disk(folder.path(), 50, None);
    for _ in 0..10 {
        dead_letters.bury(&[letter("a", *b"x"), letter("b", *b"x")]);
    }
    assert_eq!(dead_letters.account().counts.lost, 20);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    room.store(1000, Ordering::Relaxed);
    dead_letters.bury(&[letter("c", *b"x")]);
    assert_eq!(ids(folder.path()), ["c"]);
    assert_eq!(dead_letters.account().counts.buried, 1);
}

#[test]
fn a_disk_that_fails_otherwise_costs_no_letter_that_is_there() {
    let folder = tempfile::tempdir().unwrap();
    DeadLetters::open(folder.path(), MIB)
        .unwrap()
        .bury(&[letter("old", *b"x")]);
    let broken = Some(io::ErrorKind::ReadOnlyFilesystem);
    let (dead_letters, _) = small_disk(folder.path(), usize::MAX / 2, broken);
    dead_letters.bury(&[letter("new", *b"x")]);
    let counts = dead_letters.account().counts;
    assert_eq!((counts.buried, counts.dropped, counts.lost), (0, 0, 1));
    assert_eq!(ids(folder.path()), ["old"]);
}

proptest! {
    #[test]
    fn any_letter_comes_back(
        id in ".{0,40}", code in ".{0,40}", message in ".{0,200}",
        data in proptest::collection::vec(any::<u8>(), 0..300),
        received_unix_ms: u64, failed_unix_ms: u64, ordinal: u32, salt: u32,
    ) {
        let letter = Letter {
            stream: stream("s"), id, code, message, data: data.into(), received_unix_ms, failed_unix_ms,
        };
        let header = format::Header { number: 1, created_unix_ms: 0, salt };
        let mut bytes = Vec::new();
        header.write(format::MAGIC, &mut bytes);
        format::write_letter(salt, ordinal, &letter, &mut bytes);
        prop_assert!(bytes.len() <= format::HEADER_BYTES + format::letter_max_bytes(&letter));
        let (letters, gaps) = format::letters(&header, &bytes.into());
        prop_assert_eq!(letters, vec![(ordinal, letter)]);
        prop_assert!(gaps.is_empty());
    }

    #[test]
    fn damage_anywhere_costs_what_it_touches_only(
        sizes in proptest::collection::vec(0usize..400, 1..12),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), 1u8..), 0..6),
        insert in proptest::collection::vec(any::<u8>(), 0..30),
        insert_at: prop::sample::Index,
        salt: u32,
    ) {
        let header = format::Header { number: 1, created_unix_ms: 0, salt };
        let mut bytes = Vec::new();
        header.write(format::MAGIC, &mut bytes);
        let mut spans = Vec::new();
        for (ordinal, size) in sizes.iter().enumerate() {
            let start = bytes.len();
            format::write_letter(salt, ordinal as u32, &letter("i", vec![ordinal as u8; *size]), &mut bytes);
            spans.push(start..bytes.len());
        }
        let touched: Vec<usize> = damage
            .iter()
            .map(|(at, _)| format::HEADER_BYTES + at.index(bytes.len() - format::HEADER_BYTES))
            .collect();
        for (at, (_, mask)) in touched.iter().zip(&damage) {
            bytes[*at] ^= mask;
        }
        // Bytes that were never there, at the beginning of some letter.
        let place = spans[insert_at.index(spans.len())].start;
        bytes.splice(place..place, insert.iter().copied());
        let (letters, _) = format::letters(&header, &bytes.into());
        let read: BTreeSet<u32> = letters.iter().map(|(ordinal, _)| *ordinal).collect();
        for (ordinal, span) in spans.iter().enumerate() {
            let whole = !touched.iter().any(|at| span.contains(at));
            prop_assert!(!whole || read.contains(&(ordinal as u32)), "letter {}", ordinal);
        }
        prop_assert!(letters.iter().all(|(ordinal, letter)| letter.data.iter().all(|&byte| byte == *ordinal as u8)));
    }

    #[test]
    fn whatever_stands_in_the_files_reading_ends(log: Vec<u8>, done: Vec<u8>, head: bool) {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = Vec::new();
        if head {
            format::Header { number: 1, created_unix_ms: 0, salt: 5 }.write(format::MAGIC, &mut bytes);
        }
        bytes.extend(log);
        fs::write(folder.path().join("letters-0000000001.log"), bytes).unwrap();
        fs::write(folder.path().join("letters-0000000001.done"), done).unwrap();
        fs::write(folder.path().join("letters-1.log"), "not ours").unwrap();
        let _ = read(folder.path());
        let dead_letters = DeadLetters::open(folder.path(), MIB).unwrap();
        dead_letters.bury(&[letter("a", *b"x")]);
        prop_assert!(ids(folder.path()).contains(&"a".to_owned()));
    }
}
