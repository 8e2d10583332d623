//! Whatever is wrong with the files, a start works, and what is whole is delivered.

use std::sync::Arc;
use std::time::Duration;

use super::content::Content;
use super::disk::Disk;
use super::rig::{ALL, Book, Rig, SMALL, arn, clock, number};
use crate::files::{Directory, Files};
use crate::framing::crc;
use crate::framing::{HEADER_BYTES, Header};
use crate::queue::MemoryBudget;
use crate::queue::disk::format::{Entry, EntryWriter, MAGIC, RecordEntry, RecordKey};
use crate::queue::disk::recover::Mend;
use crate::queue::disk::segment::file_name;
use crate::queue::disk::state::lock;
use crate::queue::disk::thread::Thread;
use crate::queue::disk::{Bounds, DiskQueue};

const BOUNDS: Bounds = Bounds {
    segment_bytes: 800,
    ..SMALL
};

/// Where a record stands that is not finished.
#[derive(Debug, Clone)]
struct Stands {
    number: usize,
    file: String,
    from: usize,
    to: usize,
}

/// A small queue, and where its records stand.
struct Sample {
    content: Content,
    book: Book,
    stands: Vec<Stands>,
    files: Vec<String>,
}

impl Sample {
    fn new() -> Self {
        let mut rig = Rig::open(Disk::default(), BOUNDS);
        for round in 0..8 {
            for record in 0..3 {
                rig.push((round + record) % 3, 20 + 15 * record, 2).unwrap();
            }
            rig.step(false).unwrap();
            if round == 5 {
                rig.load_all();
                for number in [0, 1, 4, 8, 9, 13] {
                    rig.finish_number(number);
                }
                rig.unload_all();
                rig.step(true).unwrap();
            }
        }
        // The process is killed: the last segment is not ended.
        let mut rig = rig.reopen(false);
        let content = rig.files.content();
        rig.load_all();
        let stands = rig.loaded.iter().map(|(_, record)| Stands {
            number: number(&record.id),
            file: file_name(record.place.segment),
            from: record.place.offset as usize,
            to: (record.place.offset + record.place.bytes) as usize,
        });
        let sample = Sample {
            stands: stands.collect(),
            files: content.names(),
            book: rig.book.clone(),
            content,
        };
        assert!(sample.files.len() > 2 && sample.stands.len() == 18);
        sample
    }

    fn last(&self) -> &str {
        self.files.last().unwrap()
    }

    /// Numbers of the records that stand whole in `file` where only `from..to` is touched.
    fn whole(&self, file: &str, from: usize, to: usize) -> Vec<usize> {
        let whole =
            |stands: &&Stands| stands.file != file || stands.to <= from || stands.from >= to;
        let mut numbers: Vec<_> = self.stands.iter().filter(whole).map(|s| s.number).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Starts on it: at least these records are there, and nothing that was never pushed; then all are
    /// delivered and the queue goes on.
    fn works(&self, content: Content, expected: &[usize], what: &str) -> Rig {
        let mut rig = Rig::open(Disk::holding(content), BOUNDS);
        let mut left = 5_000;
        rig.files.judge(move |_, _| {
            left -= 1;
            assert!(left > 0, "it does not end");
            None
        });
        rig.book = self.book.clone();
        rig.next = 100;
        assert_eq!(rig.load_all(), 0, "{what}");
        let found = rig.numbers();
        let missing = expected.iter().find(|number| !found.contains(number));
        assert_eq!(missing, None, "{what}: {found:?} of {expected:?}");
        for pair in found.windows(2) {
            assert!(pair[0] != pair[1], "{what}: {} twice", pair[0]);
        }
        rig.finish_all();
        let _ = rig.step(true);
        rig.step(true).unwrap();
        let new = rig.push(0, 30, 0).unwrap();
        rig.step(false).unwrap();
        let recovery = rig.recovery.clone();
        let mut rig = rig.reopen(true);
        rig.load_all();
        assert_eq!(rig.numbers(), [new], "{what}");
        assert!(!rig.recovery.damage.is_real(), "{what}: damage stays");
        rig.recovery = recovery;
        rig
    }

    /// The same with one file changed.
    fn changed(
        &self,
        file: &str,
        expected: &[usize],
        what: &str,
        change: impl FnOnce(&mut Vec<u8>),
    ) -> Rig {
        let mut bytes = self.content.file(file).to_vec();
        change(&mut bytes);
        let mut content = self.content.clone();
        content.put(file, &bytes);
        self.works(content, expected, &format!("{file}, {what}"))
    }
}

fn set_aside(rig: &Rig, file: &str) -> bool {
    rig.files.names().contains(&format!("{file}.damaged"))
}

#[test]
fn the_newest_segment_may_be_cut_off_anywhere() {
    let sample = Sample::new();
    let file = sample.last();
    for length in 0..sample.content.file(file).len() {
        let whole = sample.whole(file, length, usize::MAX);
        let rig = sample.changed(file, &whole, &format!("{length} bytes left"), |bytes| {
            bytes.truncate(length);
        });
        // A write that was under way is no damage; less than a header is no segment.
        assert_eq!(rig.recovery.damage.places, 0);
        assert_eq!(
            rig.recovery.unusable_files,
            usize::from((1..32).contains(&length))
        );
        assert_eq!(set_aside(&rig, file), (1..32).contains(&length));
    }
}

#[test]
fn any_byte_may_be_wrong() {
    let sample = Sample::new();
    let masks = [0x01, 0x80, 0xff];
    for file in &sample.files {
        for at in 0..sample.content.file(file).len() {
            let whole = sample.whole(file, at, at + 1);
            let mask = masks[at % 3];
            let rig = sample.changed(file, &whole, &format!("byte {at} ^ {mask}"), |bytes| {
                bytes[at] ^= mask;
            });
            let damage = rig.recovery.damage;
            // The header is there twice.
            let seen = damage.places > 0 || damage.torn_bytes > 0 || at < HEADER_BYTES;
            assert!(seen, "{file}, byte {at}: {damage:?}");
            assert_eq!(set_aside(&rig, file), damage.is_real(), "{file}, byte {at}");
        }
    }
}

#[test]
fn a_byte_may_be_missing_anywhere() {
    let sample = Sample::new();
    for file in &sample.files {
        for at in (HEADER_BYTES..sample.content.file(file).len()).step_by(3) {
            // Of several equal bytes any may be the one that is missing.
            let bytes = sample.content.file(file);
            let same = bytes[at..].iter().take_while(|&&byte| byte == bytes[at]);
            let whole = sample.whole(file, at, at + same.count() + 1);
            sample.changed(file, &whole, &format!("without byte {at}"), |bytes| {
                bytes.remove(at);
            });
        }
    }
}

#[test]
fn a_record_may_stand_twice() {
    let sample = Sample::new();
    for stands in &sample.stands {
        let bytes = sample.content.file(&stands.file).to_vec();
        let copy = &bytes[stands.from..stands.to];
        let of_file = || sample.stands.iter().filter(|at| at.file == stands.file);
        for at in of_file().flat_map(|stands| [stands.from, stands.to]) {
            let what = format!("{} again at {at}", stands.number);
            // What is put between others takes nothing away; what is put over others, all that it hides.
            let all = sample.whole("", 0, 0);
            let rig = sample.changed(&stands.file, &all, &what, |bytes| {
                bytes.splice(at..at, copy.iter().copied());
            });
            // Before its stream is told it is nobody's.
            let recovery = &rig.recovery;
            let seen = recovery.damage.places + recovery.nobodys_records;
            assert_eq!(seen, 1, "{what}");
            let whole = sample.whole(&stands.file, at, at + copy.len());
            sample.changed(
                &stands.file,
                &whole,
                &format!("over others, {what}"),
                |bytes| {
                    let to = bytes.len().min(at + copy.len());
                    bytes.splice(at..to, copy.iter().copied());
                },
            );
        }
    }
}

#[test]
fn any_file_may_be_missing_or_be_something_else() {
    let sample = Sample::new();
    for file in &sample.files {
        let others = sample.whole(file, 0, usize::MAX);
        let mut content = sample.content.clone();
        content.delete(file);
        let rig = sample.works(content, &others, &format!("without {file}"));
        // Nothing says that the newest was ever there.
        let is_newest = sample.files.last() == Some(file);
        assert_eq!(rig.recovery.missing_segments, usize::from(!is_newest));
        let length = sample.content.file(file).len();
        for (what, bytes) in [
            ("zeros", vec![0; length]),
            ("garbage", super::rig::data(7, length).to_vec()),
            ("nothing", Vec::new()),
            ("one byte", vec![b'K']),
        ] {
            let is_empty = bytes.is_empty();
            let rig = sample.changed(file, &others, what, |content| *content = bytes);
            assert_eq!(set_aside(&rig, file), !is_empty, "{file}, {what}");
            assert_eq!(rig.recovery.unusable_files, usize::from(!is_empty));
        }
    }
}

#[test]
fn a_copy_under_another_number_is_set_aside() {
    let sample = Sample::new();
    let all = sample.whole("", 0, 0);
    for file in &sample.files {
        for number in [0, 77, u64::MAX / 2 - 1] {
            let mut content = sample.content.clone();
            let bytes = content.file(file).to_vec();
            content.put(&file_name(number), &bytes);
            let rig = sample.works(content, &all, &format!("{file} as {number}"));
            assert!(set_aside(&rig, &file_name(number)));
        }
    }
}

#[test]
fn a_file_of_a_later_version_is_left_alone() {
    let sample = Sample::new();
    for file in &sample.files {
        let others = sample.whole(file, 0, usize::MAX);
        let mut later = sample.content.file(file).to_vec();
        for copy in later[..HEADER_BYTES].chunks_mut(HEADER_BYTES / 2) {
            copy[6] = 2;
            let sum = crc(0, &[&copy[..28]]).to_le_bytes();
            copy[28..].copy_from_slice(&sum);
        }
        let rig = sample.changed(file, &others, "of version 2", |bytes| {
            *bytes = later.clone()
        });
        assert_eq!(rig.recovery.unusable_files, 1);
        assert_eq!(rig.files.content().file(file), later);
    }
}

#[test]
fn a_directory_may_stand_in_the_way() {
    let sample = Sample::new();
    for file in &sample.files {
        let dir = tempfile::tempdir().unwrap();
        for name in &sample.files {
            std::fs::write(dir.path().join(name), sample.content.file(name)).unwrap();
        }
        std::fs::remove_file(dir.path().join(file)).unwrap();
        std::fs::create_dir(dir.path().join(file)).unwrap();
        let files: Arc<dyn Files> = Arc::new(Directory::hold(dir.path()).unwrap());
        let room = Arc::default();
        let opened = DiskQueue::open_bounded(
            files,
            BOUNDS,
            Duration::ZERO,
            Mend::Yes,
            clock(),
            room,
            &mut |_, _| {},
        );
        let (queue, _, mut thread) = opened.unwrap();
        let share = MemoryBudget::new(usize::MAX / 8).share();
        let mut found = Vec::new();
        for stream in 0..3 {
            let stream = queue.stream(&arn(stream));
            let load = stream.load(&share, ALL).unwrap();
            found.extend(load.records.iter().map(|record| number(&record.id)));
            let places: Vec<_> = load.records.iter().map(|record| record.place).collect();
            stream.finish(&places);
        }
        for number in sample.whole(file, 0, usize::MAX) {
            assert!(found.contains(&number), "{file}: {number}");
        }
        // Its number may be the next.
        let step = |thread: &mut Thread| {
            let group = lock(&queue.inner.state).take_group(10, 1000);
            thread.step(group, true)
        };
        let _ = step(&mut thread);
        step(&mut thread).unwrap();
    }
}

#[test]
fn what_is_damaged_while_it_is_used_is_given_up_and_set_aside() {
    let mut rig = Rig::open(Disk::default(), BOUNDS);
    for _ in 0..10 {
        rig.push(0, 100, 0).unwrap();
        rig.push(1, 100, 0).unwrap();
        rig.step(false).unwrap();
    }
    let mut content = rig.files.content();
    let first = file_name(1);
    let mut bytes = content.file(&first).to_vec();
    bytes[300] ^= 1;
    content.put(&first, &bytes);
    rig.files.set_content(content);
    assert_eq!(rig.load_all(), 1);
    assert_eq!(rig.loaded.len(), 19);
    rig.finish_all();
    rig.step(true).unwrap();
    rig.step(true).unwrap();
    assert!(set_aside(&rig, &first), "{:?}", rig.files.names());
    assert_eq!(
        rig.stream(0).depth().held() + rig.stream(1).depth().held(),
        0
    );
    // What was lost takes no room any more.
    assert_eq!(rig.stream(0).depth().disk_bytes(), 0);
    assert_eq!(rig.stream(1).depth().disk_bytes(), 0);
}

#[test]
fn a_copy_that_is_nobodys_replaces_nothing() {
    let mut rig = Rig::open(Disk::default(), BOUNDS);
    rig.push(0, 10, 0).unwrap();
    rig.step(false).unwrap();
    let header = Header {
        number: 2,
        created_unix_ms: 7,
        salt: 9,
    };
    let mut bytes = Vec::new();
    header.write(MAGIC, &mut bytes);
    // Where its stream is defined, nothing arrived.
    bytes.resize(bytes.len() + 100, 0);
    let moved = Entry::Moved {
        origin: RecordKey {
            segment: 1,
            ordinal: 0,
        },
        record: RecordEntry {
            stream: 0,
            ordinal: 0,
            received_unix_ms: rig.book[&0].received_unix_ms,
            id: rig.book[&0].id.as_bytes(),
            data: &rig.book[&0].data,
        },
    };
    EntryWriter { header }.write(&moved, &mut bytes);
    let mut content = rig.files.content();
    content.put(&file_name(2), &bytes);
    rig.files.set_content(content);
    let mut rig = rig.reopen(false);
    assert_eq!(rig.recovery.nobodys_records, 1);
    rig.load_all();
    assert_eq!(rig.numbers(), [0]);
}
