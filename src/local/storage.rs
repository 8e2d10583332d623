//! Writes what the embedded Firehose endpoint accepts to a folder, in the layout Firehose uses in
//! an S3 bucket, so that the result of a trial can be read with `cat`:
//! `<root>/<stream>/YYYY/MM/DD/HH/<stream>-1-YYYY-MM-DD-HH-MM-SS-<id>`, UTC, records one after the
//! other with nothing between them. Unlike Firehose it does not wait for an object to be full: each
//! call is visible at once.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::{LocalError, locked, random_id};
use crate::utc::Utc;

/// An object that old is left alone and a new one begun.
const OBJECT_AGE: Duration = Duration::from_secs(60);

/// The same for one that large, in bytes. The call that crosses it still goes in whole.
const OBJECT_BYTES: u64 = 5 * 1024 * 1024;

/// The folder and what is open in it.
#[derive(Debug)]
pub(super) struct Storage {
    /// Everything is written below it.
    root: PathBuf,
    /// A lock per stream, so that calls of one stream do not mix and those of another do not wait.
    streams: Mutex<HashMap<String, Arc<Mutex<StreamFolder>>>>,
}

#[derive(Debug, Default)]
struct StreamFolder {
    /// The object that is being appended to, if one is young enough.
    object: Option<Object>,
    /// Whether the last write failed, so that only a change of state is logged.
    failing: bool,
}

#[derive(Debug)]
struct Object {
    /// The file; it is opened anew for each call, so that any number of streams costs no file
    /// handles.
    path: PathBuf,
    /// Decides when it is too old.
    begun: SystemTime,
    /// How much of it is whole: a failed write is cut back to this.
    bytes: u64,
}

impl Storage {
    /// Makes the folder if it is not there.
    pub(super) fn open(root: PathBuf) -> Result<Self, LocalError> {
        match fs::create_dir_all(&root) {
            Ok(()) => Ok(Self {
                root,
                streams: Mutex::default(),
            }),
            Err(error) => Err(LocalError::Storage { path: root, error }),
        }
    }

    /// Appends the records of one call: all of them, or none and an error. Blocks on the disk.
    /// `stream` must be a checked name.
    pub(super) fn append<'a>(
        &self,
        stream: &str,
        records: impl Iterator<Item = &'a Bytes>,
        now: SystemTime,
    ) -> io::Result<()> {
        let data = records.fold(Vec::new(), |mut data, record| {
            data.extend_from_slice(record);
            data
        });
        let folder = Arc::clone(locked(&self.streams).entry(stream.to_owned()).or_default());
        let mut folder = locked(&folder);
        let result = folder.append(&self.root, stream, &data, now);
        folder.report(stream, &result);
        result
    }
}

impl StreamFolder {
    fn append(
        &mut self,
        root: &Path,
        stream: &str,
        data: &[u8],
        now: SystemTime,
    ) -> io::Result<()> {
        let mut object = match self.object.take().filter(|object| object.takes_more(now)) {
            Some(object) => object,
            None => Object::begin(root, stream, now)?,
        };
        let result = object.append(data);
        // An object that could not be cut back to whole records is never touched again.
        if result.is_ok() || object.cut_back().is_ok() {
            self.object = Some(object);
        }
        result
    }

    fn report(&mut self, stream: &str, result: &io::Result<()>) {
        match result {
            Err(error) if !self.failing => {
                tracing::error!(stream, %error, "cannot write accepted records; answering 503 until it works");
            }
            Ok(()) if self.failing => tracing::info!(stream, "writing accepted records again"),
            _ => {}
        }
        self.failing = result.is_err();
    }
}

impl Object {
    fn begin(root: &Path, stream: &str, now: SystemTime) -> io::Result<Self> {
        let time = Utc::from(now);
        let folder = root.join(stream).join(folder(&time));
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{stream}-1-{}-{}", stamp(&time), random_id()));
        Ok(Self {
            path,
            begun: now,
            bytes: 0,
        })
    }

    /// A clock that went back counts as too old: the object's name would be in the future.
    fn takes_more(&self, now: SystemTime) -> bool {
        self.bytes < OBJECT_BYTES
            && now
                .duration_since(self.begun)
                .is_ok_and(|age| age < OBJECT_AGE)
    }

    fn append(&mut self, data: &[u8]) -> io::Result<()> {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)?
            .write_all(data)?;
        self.bytes += data.len() as u64;
        Ok(())
    }

    /// Undoes half a write, so that the records do not show up broken now and whole again when they
    /// are sent once more.
    fn cut_back(&self) -> io::Result<()> {
        if !self.path.exists() {
            return Ok(());
        }
        if self.bytes == 0 {
            return fs::remove_file(&self.path);
        }
        File::options()
            .write(true)
            .open(&self.path)?
            .set_len(self.bytes)
    }
}

/// The folder of a moment, below that of its stream.
fn folder(time: &Utc) -> PathBuf {
    let Utc {
        year,
        month,
        day,
        hour,
        ..
    } = time;
    format!("{year:04}/{month:02}/{day:02}/{hour:02}").into()
}

/// A moment as the name of an object has it.
fn stamp(time: &Utc) -> String {
    let Utc {
        year,
        month,
        day,
        hour,
        minute,
        second,
        ..
    } = time;
    format!("{year:04}-{month:02}-{day:02}-{hour:02}-{minute:02}-{second:02}")
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    /// 2026-11-20 09:08:07 UTC.
    const NOON: u64 = 1_795_165_687;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn write(storage: &Storage, records: &[&'static [u8]], now: SystemTime) -> io::Result<()> {
        let records: Vec<Bytes> = records
            .iter()
            .map(|record| Bytes::from_static(record))
            .collect();
        storage.append("s", records.iter(), now)
    }

    /// The objects of one hour, by name, which is by age.
    fn objects(folder: &Path) -> Vec<(String, Vec<u8>)> {
        let mut objects: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                (
                    entry.file_name().into_string().unwrap(),
                    fs::read(entry.path()).unwrap(),
                )
            })
            .collect();
        objects.sort();
        objects
    }

    #[test]
    fn records_are_joined_in_one_object_until_it_is_a_minute_old() {
        let root = tempfile::tempdir().unwrap();
        let storage = Storage::open(root.path().join("made/when/missing")).unwrap();
        write(&storage, &[b"a\n", b"b"], at(NOON)).unwrap();
        write(&storage, &[b"c"], at(NOON + 59)).unwrap();
        write(&storage, &[b"d"], at(NOON + 60)).unwrap();

        let objects = objects(&root.path().join("made/when/missing/s/2026/11/20/09"));
        let contents: Vec<&[u8]> = objects
            .iter()
            .map(|(_, content)| content.as_slice())
            .collect();
        assert_eq!(contents, [b"a\nbc".as_slice(), b"d"]);
        assert!(
            objects[0].0.starts_with("s-1-2026-11-20-09-08-07-"),
            "{}",
            objects[0].0
        );
        assert_eq!(objects[0].0.len(), "s-1-2026-11-20-09-08-07-".len() + 36);
    }

    #[test]
    fn a_new_object_is_begun_after_5_mebibytes_and_when_the_clock_went_back() {
        let root = tempfile::tempdir().unwrap();
        let storage = Storage::open(root.path().to_owned()).unwrap();
        let large = Bytes::from(vec![b'x'; OBJECT_BYTES as usize]);
        storage.append("s", [&large].into_iter(), at(NOON)).unwrap();
        write(&storage, &[b"after"], at(NOON + 1)).unwrap();
        write(&storage, &[b"before"], at(NOON - 1)).unwrap();
        assert_eq!(objects(&root.path().join("s/2026/11/20/09")).len(), 3);
    }

    #[test]
    fn a_failed_write_leaves_nothing_and_works_again_later() {
        let root = tempfile::tempdir().unwrap();
        let storage = Storage::open(root.path().to_owned()).unwrap();
        // A file where the stream's folder should be: fails for every user, root too.
        fs::write(root.path().join("s"), "").unwrap();
        write(&storage, &[b"a"], at(NOON)).unwrap_err();
        write(&storage, &[b"a"], at(NOON)).unwrap_err();
        fs::remove_file(root.path().join("s")).unwrap();
        write(&storage, &[b"a"], at(NOON)).unwrap();
        assert_eq!(objects(&root.path().join("s/2026/11/20/09")).len(), 1);
    }

    #[test]
    fn half_a_write_is_cut_back_to_whole_records() {
        let root = tempfile::tempdir().unwrap();
        let mut object = Object::begin(root.path(), "s", at(NOON)).unwrap();
        object.append(b"whole").unwrap();
        fs::write(&object.path, "wholehal").unwrap();
        object.cut_back().unwrap();
        assert_eq!(fs::read(&object.path).unwrap(), b"whole");

        object.bytes = 0;
        object.cut_back().unwrap();
        assert!(!object.path.exists());
        object.cut_back().unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        let message = Storage::open(file.join("below")).unwrap_err().to_string();
        assert!(message.contains("file/below"), "{message}");
    }
}
