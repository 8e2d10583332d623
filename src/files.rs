//! The files of one directory, as far as what must survive a crash goes: create, append, sync, read,
//! remove, rename. An interface, so that tests can record what is done and in which order, and cut it
//! off anywhere.

mod owner;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use owner::Owner;
pub use owner::{ROOT, is_root};

/// The files of one directory. Names are plain file names.
pub trait Files: Send + Sync {
    /// Names and lengths in bytes of all files, in no order.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;

    /// Creates a file that must not exist yet.
    fn create(&self, name: &str) -> io::Result<Box<dyn Append>>;

    /// Opens a file to read.
    fn open(&self, name: &str) -> io::Result<Box<dyn ReadAt>>;

    /// Gives a file another name in the directory.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes what an earlier process wrote to a file outlive a loss of power: that it can be read says
    /// nothing about that.
    fn sync(&self, name: &str) -> io::Result<()>;

    /// Makes what was created, renamed and removed outlive a loss of power.
    fn sync_names(&self) -> io::Result<()>;
}

/// A file that is written to.
pub trait Append: Send {
    /// Writes all of `bytes` at `offset`.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was written outlive a loss of power.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts the file off.
    fn set_len(&mut self, bytes: u64) -> io::Result<()>;
}

/// A file that is read.
pub trait ReadAt: Send {
    /// Reads at `offset` until `buffer` is full or the file ends; says how many bytes there were.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

/// A directory of the operating system, held by this process alone.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// Locked until it is dropped, and synced where names change.
    handle: Held,
    /// Whom the files go to that are made here.
    owner: Option<Owner>,
}

/// A file whose lock, if it has one, ends with this value.
///
/// To close it is not enough (flock(2)): a child that another thread of this process has just begun has a copy of what
/// is open until it becomes another program, and the lock with it.
#[derive(Debug)]
pub struct Held(File);

impl Drop for Held {
    fn drop(&mut self) {
        // Where that fails, the lock goes as the file is closed.
        let _ = self.0.unlock();
    }
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Another process has it.
    #[error(
        "{path} is in use by another process, perhaps a running connector; stop that one first, or use a \
         directory of its own for each"
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// It cannot be made, opened or locked.
    #[error(
        "{path} cannot be used: {source}; it must be a directory that this user can read and write"
    )]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

impl Directory {
    /// Opens the directory, made where it is missing, and locks it.
    ///
    /// # Errors
    /// Where it cannot be used, or another process has it.
    pub fn hold(path: &Path) -> Result<Self, DirectoryError> {
        let unusable = |source| DirectoryError::Unusable {
            path: path.to_owned(),
            source,
        };
        if !path.exists() {
            // What is in it is nobody else's business.
            let made = DirBuilder::new().mode(0o700).create(path);
            made.map_err(unusable)?;
            sync_parent(path).map_err(unusable)?;
        }
        Self::hold_existing(path)
    }

    /// The same for a directory that must be there.
    ///
    /// # Errors
    /// As for [`Directory::hold`].
    pub fn hold_existing(path: &Path) -> Result<Self, DirectoryError> {
        let directory = Self::look_into(path)?;
        // The directory itself is locked, not a file in it: that works on a full disk as well.
        match directory.handle.0.try_lock() {
            Ok(()) => Ok(directory),
            Err(fs::TryLockError::WouldBlock) => Err(DirectoryError::InUse {
                path: path.to_owned(),
            }),
            Err(fs::TryLockError::Error(source)) => Err(DirectoryError::Unusable {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Opens a directory that must be there without locking it, to look at what another process
    /// may be writing.
    ///
    /// # Errors
    /// Where it is none or cannot be read.
    pub fn look_into(path: &Path) -> Result<Self, DirectoryError> {
        let open = || {
            let handle = File::open(path)?;
            if handle.metadata()?.is_dir() {
                Ok(handle)
            } else {
                Err(io::ErrorKind::NotADirectory.into())
            }
        };
        match open() {
            Ok(handle) => Ok(Directory {
                path: path.to_owned(),
                handle: Held(handle),
                owner: Owner::of(path),
            }),
            Err(source) => Err(DirectoryError::Unusable {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Locks a file in it, made where it is missing, until what is given back is dropped.
    /// `None`: another process has it.
    ///
    /// # Errors
    /// Where it cannot be made or locked.
    pub fn lock_file(&self, name: &str) -> io::Result<Option<Held>> {
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.path.join(name))?;
        self.give(&file, name);
        match file.try_lock() {
            Ok(()) => Ok(Some(Held(file))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(source)) => Err(source),
        }
    }

    fn give(&self, file: &File, name: &str) {
        if let Some(owner) = self.owner {
            owner.give(file, name);
        }
    }
}

/// A directory that was just made is an entry of the one above.
fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

impl Files for Directory {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            // A file may go while the directory is read, and names that are not text are not ours.
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                files.push((name, metadata.len()));
            }
        }
        Ok(files)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Append>> {
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.path.join(name))?;
        self.give(&file, name);
        Ok(Box::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadAt>> {
        Ok(Box::new(File::open(self.path.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        File::open(self.path.join(name))?.sync_data()
    }

    fn sync_names(&self) -> io::Result<()> {
        self.handle.0.sync_all()
    }
}

impl Append for File {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        File::set_len(self, bytes)
    }
}

impl ReadAt for File {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match FileExt::read_at(self, &mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, chown};

    /// Of the file and the lock that are made in a directory of this user, where this user has a file or not.
    fn owners(of_directory: u32, of_file: Option<u32>) -> [u32; 2] {
        let folder = tempfile::tempdir().unwrap();
        if let Some(uid) = of_file {
            fs::write(folder.path().join("there"), "").unwrap();
            chown(folder.path().join("there"), Some(uid), None).unwrap();
        }
        chown(folder.path(), Some(of_directory), None).unwrap();
        let directory = Directory::hold(folder.path()).unwrap();
        directory.create("made").unwrap();
        directory.lock_file("lock").unwrap();
        ["made", "lock"].map(|name| folder.path().join(name).metadata().unwrap().uid())
    }

    #[test]
    fn a_lock_ends_though_a_child_that_just_began_has_the_file_open() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::hold(folder.path()).unwrap();
        let lock = directory.lock_file("lock").unwrap().unwrap();
        let of_child = [&directory.handle, &lock].map(|held| held.0.try_clone().unwrap());
        assert!(directory.lock_file("lock").unwrap().is_none());
        assert!(Directory::hold(folder.path()).is_err());
        drop((lock, directory));
        let directory = Directory::hold(folder.path()).unwrap();
        assert!(directory.lock_file("lock").unwrap().is_some());
        drop(of_child);
    }

    #[test]
    fn what_root_makes_belongs_to_whoever_has_the_directory() {
        let own = rustix::process::geteuid().as_raw();
        assert_eq!(owners(own, Some(own)), [own, own]);
        // Nobody else can give a directory away, to see what becomes of it.
        if is_root() {
            assert_eq!(owners(4242, None), [4242, 4242]);
            assert_eq!(owners(4242, Some(ROOT)), [4242, 4242]);
            assert_eq!(owners(ROOT, Some(4343)), [4343, 4343]);
        }
    }
}
