//! The directories: whether they can be written, have room, and hold what is whole. A connector that runs goes
//! on meanwhile; without one, the queue is held while it is read.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::Limits;
use super::report::{Step, StepName, Steps};
use super::root;
use crate::dead_letters::Letters;
use crate::files::{Directory, DirectoryError, Files};
use crate::parameters::Parameters;
use crate::queue::disk::{Mend, OfflineError, OfflineQueue};

/// What is written to see whether anything can be: a block of most file systems, in bytes.
const TRIAL_BYTES: usize = 4096;

/// The least room that records can come and go in, in bytes: a file of the queue and the next one.
const LEAST_ROOM_BYTES: u64 = 4 << 20;

const MIB: u64 = 1 << 20;

/// A directory, and what is asked of it.
struct Place {
    name: StepName,
    /// The parameter that names it, and the one that bounds it.
    parameters: (&'static str, &'static str),
    path: PathBuf,
    max_bytes: u64,
}

/// Whether a process of this device holds the directory of the queue: a connector, most likely.
pub(super) fn queue_is_held(parameters: &Parameters) -> bool {
    let held = parameters
        .queue_dir
        .as_deref()
        .map(Directory::hold_existing);
    matches!(held, Some(Err(DirectoryError::InUse { .. })))
}

/// Looks at both directories, side by side: each is read by a thread of its own, as disks can be slow.
pub(super) async fn look(parameters: &Parameters, steps: &Steps, limits: Limits) {
    let queue = parameters.queue_dir.clone().map(|path| Place {
        name: StepName::Queue,
        parameters: ("QUEUE_DIR", "QUEUE_DIR_MAX_BYTES"),
        path,
        max_bytes: parameters.queue_dir_max_bytes,
    });
    let letters = parameters.dead_letter_dir.clone().map(|path| Place {
        name: StepName::DeadLetters,
        parameters: ("DEAD_LETTER_DIR", "DEAD_LETTER_MAX_BYTES"),
        path,
        max_bytes: parameters.dead_letter_max_bytes,
    });
    let in_memory = "QUEUE_DIR is not set: records are held in memory, and a crash loses them";
    let not_kept = "DEAD_LETTER_DIR is not set: records that fail for good are not kept";
    tokio::join!(
        look_at(queue, StepName::Queue, in_memory, steps, limits),
        look_at(letters, StepName::DeadLetters, not_kept, steps, limits),
    );
}

async fn look_at(place: Option<Place>, name: StepName, unset: &str, steps: &Steps, limits: Limits) {
    let Some(place) = place else {
        steps.tell(Step::skipped(name, unset));
        return;
    };
    let path = place.path.display().to_string();
    let looked = tokio::task::spawn_blocking(move || place.look());
    steps.tell(match limits.wait(looked).await {
        Ok(Ok(step)) => step,
        Ok(Err(error)) => Step::failed(name, error.to_string(), "report it, please"),
        // What came before the reading is done by then, unless the disk hangs: both are worth a look.
        Err(_) => Step::skipped(
            name,
            format!(
                "{path} could not be looked through in time: it holds much, or its disk is slow"
            ),
        ),
    });
}

impl Place {
    fn look(&self) -> Step {
        let (name, shown) = (self.name, self.path.display());
        if !self.path.exists() {
            return match make_and_remove(&self.path) {
                Ok(()) => Step::well(
                    name,
                    format!(
                        "{shown} is not there yet, and can be made{}{}",
                        self.room(),
                        root::of_directory(&self.path)
                    ),
                ),
                Err(error) => self.unusable(&error),
            };
        }
        if let Err(error) = self.try_to_write() {
            return self.unusable(&error);
        }
        if let Some(step) = self.too_little_room() {
            return step;
        }
        match name {
            StepName::Queue => self.queue(),
            _ => self.letters(),
        }
    }

    /// Writes and syncs a file of a name that nobody uses, and takes it away.
    fn try_to_write(&self) -> io::Result<()> {
        let file = format!("check-{:016x}.tmp", fastrand::u64(..));
        let path = self.path.join(file);
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let written = file
            .write_all(&[0; TRIAL_BYTES])
            .and_then(|()| file.sync_all());
        let removed = fs::remove_file(&path);
        written.and(removed)
    }

    fn unusable(&self, error: &io::Error) -> Step {
        let message = format!("{} ({}): {error}", self.path.display(), self.parameters.0);
        let advice = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => format!(
                "the disk is full: make room, or lower {}; until then nothing is taken in",
                self.parameters.1
            ),
            io::ErrorKind::ReadOnlyFilesystem => {
                "mount the file system for writing, or name a directory on another one".to_owned()
            }
            _ => format!(
                "let the user that runs the connector read and write it: chown, chmod; or change {}",
                self.parameters.0
            ),
        };
        Step::failed(self.name, message, advice)
    }

    /// Bytes that are free, for whoever is not root, and those that its files take already.
    fn free_and_taken(&self) -> Option<(u64, u64)> {
        let there = if self.path.exists() {
            self.path.as_path()
        } else {
            self.path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty())
                .unwrap_or(Path::new("."))
        };
        let disk = rustix::fs::statvfs(there).ok()?;
        let files = Directory::look_into(&self.path).and_then(|directory| {
            directory.list().map_err(|source| DirectoryError::Unusable {
                path: self.path.clone(),
                source,
            })
        });
        let taken = files
            .unwrap_or_default()
            .iter()
            .map(|(_, bytes)| bytes)
            .sum();
        Some((disk.f_bavail.saturating_mul(disk.f_frsize), taken))
    }

    fn too_little_room(&self) -> Option<Step> {
        let (free, taken) = self.free_and_taken()?;
        // What is full because of its own bound makes room for itself.
        if free >= LEAST_ROOM_BYTES || taken >= self.max_bytes {
            return None;
        }
        let message = format!(
            "{} ({}): {} KiB are free on its disk",
            self.path.display(),
            self.parameters.0,
            free / 1024
        );
        let advice = format!(
            "the disk is nearly full: make room, or lower {}; a full one takes nothing in",
            self.parameters.1
        );
        Some(Step::failed(self.name, message, advice))
    }

    /// What to know about the room that there is.
    fn room(&self) -> String {
        let Some((free, taken)) = self.free_and_taken() else {
            return String::new();
        };
        let free_mib = free / MIB;
        if free.saturating_add(taken) < self.max_bytes {
            return format!(
                "; {free_mib} MiB are free, less than {} allows ({} MiB): the disk will be full first",
                self.parameters.1,
                self.max_bytes / MIB
            );
        }
        format!("; {free_mib} MiB are free")
    }

    fn queue(&self) -> Step {
        let (name, shown) = (self.name, self.path.display());
        let queue = match OfflineQueue::open(&self.path, Mend::No, &mut |_, _| {}) {
            Ok(queue) => queue,
            Err(OfflineError::Directory(DirectoryError::InUse { .. })) => {
                let message = format!(
                    "{shown} can be written; a running connector holds it, so what is in it was not read{}",
                    self.room()
                );
                return Step::well(name, message);
            }
            Err(error) => {
                let advice = "let the user that runs the connector read and write it: chown, chmod";
                return Step::failed(name, error.to_string(), advice);
            }
        };
        let recovery = queue.recovery();
        if recovery.is_damaged() {
            let message = format!(
                "{shown}: parts are damaged ({} bytes in {} places, {} missing or unusable files); {} records are whole",
                recovery.damage.bytes,
                recovery.damage.places,
                recovery.missing_segments + recovery.unusable_files,
                recovery.records
            );
            let advice = format!(
                "see `kinesis-edge queue ls {shown}`; `queue repair` sets damaged files aside, and so does a start"
            );
            return Step::failed(name, message, advice);
        }
        let message = format!(
            "{shown} can be written, and is intact; {} records wait{}{}",
            recovery.records,
            self.room(),
            root::of_directory(&self.path)
        );
        Step::well(name, message)
    }

    fn letters(&self) -> Step {
        let (name, shown) = (self.name, self.path.display());
        let looked = Letters::look_into(&self.path).and_then(|letters| {
            let numbers = letters
                .segments()
                .map_err(|source| DirectoryError::Unusable {
                    path: self.path.clone(),
                    source,
                })?;
            Ok((letters, numbers))
        });
        let (letters, numbers) = match looked {
            Ok(looked) => looked,
            Err(error) => {
                return Step::failed(
                    name,
                    error.to_string(),
                    "let the user that runs the connector read and write it",
                );
            }
        };
        let (mut kept, mut damaged) = (0, Vec::new());
        for &number in &numbers {
            let Some(segment) = letters.read(number, numbers.last() == Some(&number)) else {
                continue;
            };
            kept += segment.letters.iter().filter(|stored| !stored.done).count();
            damaged.extend(segment.damage.map(|damage| damage.file));
        }
        if !damaged.is_empty() {
            let message = format!(
                "{shown}: damage in {}; {kept} letters are whole",
                damaged.join(", ")
            );
            let advice = format!(
                "see `kinesis-edge dead-letters ls {shown}`; send what is whole with `replay`"
            );
            return Step::failed(name, message, advice);
        }
        let message = format!(
            "{shown} can be written, and is intact; {kept} letters wait{}{}",
            self.room(),
            root::of_directory(&self.path)
        );
        Step::well(name, message)
    }
}

/// Whether a directory can be made: it is left to the connector, whose user may be another.
fn make_and_remove(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    fs::remove_dir(path)
}
