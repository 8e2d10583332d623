//! A file of the queue as a failing disk may leave it: a start takes out of it what is whole, ends, and the next
//! start finds the same.
//!
//! The first byte chooses: odd, and the rest is the file as it is; even, and it is entries, each a kind, a
//! length in two bytes and a body, that get checksums as they should be, so that what is behind these is
//! looked at too.

use std::fs;
use std::path::Path;

use kinesis_edge::framing::{ENTRY_HEADER_BYTES, Header, seal};
use kinesis_edge::queue::disk::{Mend, OfflineQueue, Wanted};

/// What a file of the queue begins with.
const MAGIC: [u8; 6] = *b"KEDGEQ";

/// The first file of a queue.
const FILE: &str = "queue-0000000001.log";

const ALL: Wanted = Wanted {
    records: usize::MAX,
    bytes: usize::MAX,
};

/// A record and its id.
type Record = (Vec<u8>, Vec<u8>);

/// What a queue holds.
#[derive(Debug, PartialEq, Eq)]
struct Holds {
    /// By stream.
    records: Vec<(String, Vec<Record>)>,
    /// Places that are damaged.
    damaged: usize,
}

/// Reads the bytes as a queue, mends it, and reads it again.
pub fn check(bytes: &[u8]) {
    let Some((choice, rest)) = bytes.split_first() else {
        return;
    };
    let file = if choice % 2 == 1 {
        rest.to_vec()
    } else {
        sealed(rest)
    };
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join(FILE), file).expect("it can be written");

    let found = look(folder.path(), Mend::No);
    assert_eq!(
        found,
        look(folder.path(), Mend::No),
        "looking changes nothing"
    );
    let started = look(folder.path(), Mend::Yes);
    assert_eq!(
        found.records, started.records,
        "a start finds what is there"
    );
    let mut queue = open(folder.path(), Mend::Yes);
    queue.repair(&mut |_, _| {}).expect("it can be mended");
    queue.close().expect("it can be ended");
    let mended = look(folder.path(), Mend::No);
    assert_eq!(mended.damaged, 0, "what was mended is whole");
    let mut all = (found.records, mended.records);
    // What is moved out of a damaged file may stand in another order.
    for records in [&mut all.0, &mut all.1] {
        records.iter_mut().for_each(|(_, records)| records.sort());
    }
    assert_eq!(all.0, all.1, "mending loses nothing");
}

fn open(path: &Path, mend: Mend) -> OfflineQueue {
    OfflineQueue::open(path, mend, &mut |_, _| {}).expect("the folder can be read")
}

fn look(path: &Path, mend: Mend) -> Holds {
    let queue = open(path, mend);
    let streams = queue.overview().expect("the folder can be listed").streams;
    let records = streams.into_iter().map(|stream| {
        let load = queue.load(&queue.stream(&stream.arn), ALL);
        let load = load.expect("the file can be read");
        let counts = (load.records.len(), load.lost);
        assert_eq!(counts, (stream.records, 0), "what is counted is read");
        let records = load.records.into_iter();
        let records = records.map(|record| (record.data.to_vec(), record.id.to_vec()));
        (stream.arn.as_str().to_owned(), records.collect())
    });
    Holds {
        records: records.collect(),
        damaged: queue.recovery().damage.places,
    }
}

/// A file with these entries.
fn sealed(mut rest: &[u8]) -> Vec<u8> {
    let header = Header {
        number: 1,
        created_unix_ms: 1_700_000_000_000,
        salt: 7,
    };
    let mut file = Vec::new();
    header.write(MAGIC, &mut file);
    while let [kind, low, high, behind @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(behind.len());
        let (body, next) = behind.split_at(length);
        let mut entry = vec![0; ENTRY_HEADER_BYTES];
        entry.extend_from_slice(body);
        seal(header.salt, *kind, &mut entry);
        file.extend_from_slice(&entry);
        rest = next;
    }
    // What does not make an entry is the end of a file that was cut off.
    file.extend_from_slice(rest);
    file
}
