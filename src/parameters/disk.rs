//! The parameters of what is kept on disk: the queue and the dead letters. Their checks against each other
//! and against the memory size are here. The directories are looked at and left as they are: whether they
//! can be written to is found out by whoever opens them.

use std::fs;
use std::io::ErrorKind;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::fault::Problem;
use super::read::{Noted, Reader};
use super::{number, table};
use crate::memory::LEAST_MEMORY_SIZE_ON_DISK_KB;

/// The most that a directory may be given: 1 TiB. Chosen here: beyond it a mistake of units is likelier
/// than a wish.
const MOST_BYTES: u64 = 1 << 40;

/// What the queue's files may take. The least is chosen here: a few segments, each with room for a
/// record of the largest size.
pub(super) const QUEUE_DIR_BYTES: RangeInclusive<u64> = 8 << 20..=MOST_BYTES;

/// What the dead letters may take. The least is chosen here: one record of the largest size, 1,024,000
/// bytes (PutRecord API reference), and what is told about it.
pub(super) const DEAD_LETTER_BYTES: RangeInclusive<u64> = 1 << 20..=MOST_BYTES;

/// The longest commit interval, in milliseconds. Chosen here: the Greengrass broker sends again what is
/// not acknowledged within 5 s.
const MAX_COMMIT_INTERVAL_MS: u64 = 1_000;

/// What [`read`] found; each field is that of [`Parameters`](super::Parameters).
pub(super) struct Disk {
    pub queue_dir: Option<PathBuf>,
    pub queue_dir_max_bytes: u64,
    pub commit_interval: Duration,
    pub dead_letter_dir: Option<PathBuf>,
    pub dead_letter_max_bytes: u64,
}

/// Reads and checks all parameters of the disk. `memory_size_bytes` is absent where it could not be read.
pub(super) fn read(
    reader: &mut Reader<'_>,
    memory_size_bytes: Option<usize>,
) -> Result<Disk, Noted> {
    let queue_dir = reader.optional(&table::QUEUE_DIR, directory);
    // What is set counts here, whether it can be used or not.
    let memory = match &queue_dir {
        Ok(None) => Ok(()),
        _ => enough_memory(reader, memory_size_bytes),
    };
    let queue_dir_max_bytes = number(reader, &table::QUEUE_DIR_MAX_BYTES, QUEUE_DIR_BYTES);
    let commit_interval = number(
        reader,
        &table::COMMIT_INTERVAL_MS,
        0..=MAX_COMMIT_INTERVAL_MS,
    );
    let other = queue_dir.as_ref().ok().and_then(Option::as_deref);
    let dead_letter_dir = reader.optional(&table::DEAD_LETTER_DIR, |text| {
        let path = directory(text)?;
        match other {
            Some(queue_dir) => apart(path, queue_dir).map_err(Problem::from),
            None => Ok(path),
        }
    });
    let dead_letter_max_bytes = number(reader, &table::DEAD_LETTER_MAX_BYTES, DEAD_LETTER_BYTES);
    memory?;
    Ok(Disk {
        queue_dir: queue_dir?,
        queue_dir_max_bytes: queue_dir_max_bytes?,
        commit_interval: Duration::from_millis(commit_interval?),
        dead_letter_dir: dead_letter_dir?,
        dead_letter_max_bytes: dead_letter_max_bytes?,
    })
}

/// Notes a memory size that would do without a queue on disk and does not with one.
fn enough_memory(reader: &mut Reader<'_>, memory_size_bytes: Option<usize>) -> Result<(), Noted> {
    // What could not be read is a fault already.
    let kilobytes = memory_size_bytes.map(|bytes| bytes as u64 / 1024);
    if kilobytes.is_none_or(|kilobytes| kilobytes >= LEAST_MEMORY_SIZE_ON_DISK_KB) {
        return Ok(());
    }
    let shown = reader.text(&table::MEMORY_SIZE)?;
    let problem = format!(
        "it is too small for a queue on disk (QUEUE_DIR), as records that are being written need memory \
         too: the least then is {LEAST_MEMORY_SIZE_ON_DISK_KB} KB ({} MiB)",
        LEAST_MEMORY_SIZE_ON_DISK_KB / 1024
    );
    Err(reader.fault(&table::MEMORY_SIZE, shown.as_deref(), problem))
}

/// A directory that is there, or that can be made as far as its parent tells.
pub(super) fn directory(text: &str) -> Result<PathBuf, Problem> {
    // It would be created with a name that nobody can type.
    if text.chars().any(char::is_control) {
        return Err(Problem::from(
            "it has a control character in it (a newline, perhaps)".to_owned(),
        ));
    }
    if text.trim() != text {
        return Err(Problem::from("it begins or ends with a space".to_owned()));
    }
    // Without slashes at its end and dots between them, which cannot be created.
    let path: PathBuf = Path::new(text).components().collect();
    match fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => Ok(path),
        Ok(_) => Err(Problem::of_file(
            "it is there, and is not a directory".to_owned(),
        )),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // A link can be there while what it leads to is not.
            if fs::symlink_metadata(&path).is_ok() {
                return Err(Problem::of_file(
                    "it is a link to something that does not exist".to_owned(),
                ));
            }
            is_a_directory(parent(&path)).map_err(Problem::of_file)?;
            Ok(path)
        }
        Err(error) => Err(Problem::of_file(format!("it cannot be looked at: {error}"))),
    }
}

fn is_a_directory(parent: &Path) -> Result<(), String> {
    let shown = parent.display();
    match fs::metadata(parent) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(format!("{shown}, which it would be in, is not a directory")),
        Err(error) => Err(format!(
            "it cannot be created in {shown}: {error}; create that directory first"
        )),
    }
}

/// Where a path is; a name alone is in the working directory.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The directory of the dead letters, if it and the queue's are apart.
fn apart(path: PathBuf, queue_dir: &Path) -> Result<PathBuf, String> {
    // A path that cannot be followed now was found good a moment ago: compare what is written.
    let real = |path: &Path| real(path).unwrap_or_else(|| path.to_owned());
    let (own, queue) = (real(&path), real(queue_dir));
    if own == queue {
        Err("it is QUEUE_DIR as well: each needs a directory of its own".to_owned())
    } else if own.starts_with(&queue) {
        Err("it lies in QUEUE_DIR: put them beside each other".to_owned())
    } else if queue.starts_with(&own) {
        Err("QUEUE_DIR lies in it: put them beside each other".to_owned())
    } else {
        Ok(path)
    }
}

/// A path without links and dots, of a directory that may have to be created.
fn real(path: &Path) -> Option<PathBuf> {
    fs::canonicalize(path).ok().or_else(|| {
        let parent = fs::canonicalize(parent(path)).ok()?;
        Some(parent.join(path.file_name()?))
    })
}
