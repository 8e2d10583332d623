//! A directory in memory that knows what is synced: it fails where it is told to, and shows what may
//! be left of it after a loss of power.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use super::content::{Change, Content, Inode, NameChange, put_at};
use crate::files::{Append, Files, ReadAt};

/// What is done to the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Create,
    Write,
    Sync,
    SetLen,
    Rename,
    Remove,
    SyncNames,
    /// Not recorded: it changes nothing.
    Read,
}

/// How an operation fails.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// Number of the error.
    pub errno: i32,
    /// Of a write, how many bytes arrive all the same; of a sync, whether what was not synced stays
    /// (more than 0) or is lost.
    pub keeps: usize,
}

pub const EIO: i32 = 5;
pub const ENOSPC: i32 = 28;
pub const EROFS: i32 = 30;

type Watch = Box<dyn FnMut(&Content) + Send>;
type Judge = Box<dyn FnMut(Op, &str) -> Option<Fault> + Send>;

#[derive(Default)]
struct Inner {
    content: Content,
    /// What was done, in order.
    log: Vec<(Op, String)>,
    judge: Option<Judge>,
    /// Most bytes of all files.
    capacity: Option<u64>,
    /// Told of the content before each operation that changes something.
    watch: Option<Watch>,
    /// The most bytes that all files had.
    peak_bytes: u64,
    /// All bytes that were ever written.
    written_bytes: u64,
}

/// The directory. Clones share it.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<Inner>>);

impl Disk {
    pub fn holding(content: Content) -> Self {
        let disk = Disk::default();
        disk.lock().content = content;
        disk
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// Says of each operation whether it fails.
    pub fn judge(&self, judge: impl FnMut(Op, &str) -> Option<Fault> + Send + 'static) {
        self.lock().judge = Some(Box::new(judge));
    }

    /// Every operation of these kinds fails.
    pub fn fail(&self, ops: &'static [Op], errno: i32) {
        self.judge(move |op, _| ops.contains(&op).then_some(Fault { errno, keeps: 0 }));
    }

    pub fn work_again(&self) {
        self.lock().judge = None;
    }

    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    pub fn watch(&self, watch: impl FnMut(&Content) + Send + 'static) {
        self.lock().watch = Some(Box::new(watch));
    }

    pub fn unwatch(&self) {
        self.lock().watch = None;
    }

    pub fn log(&self) -> Vec<(Op, String)> {
        self.lock().log.clone()
    }

    pub fn content(&self) -> Content {
        self.lock().content.clone()
    }

    pub fn set_content(&self, content: Content) {
        self.lock().content = content;
    }

    pub fn bytes(&self) -> u64 {
        self.lock().content.bytes()
    }

    pub fn written_bytes(&self) -> u64 {
        self.lock().written_bytes
    }

    pub fn peak_bytes(&self) -> u64 {
        self.lock().peak_bytes
    }

    pub fn names(&self) -> Vec<String> {
        self.lock().content.names.keys().cloned().collect()
    }

    fn enter(&self, op: Op, name: &str) -> (MutexGuard<'_, Inner>, Option<Fault>) {
        let mut inner = self.lock();
        if op != Op::Read {
            let inner = &mut *inner;
            if let Some(watch) = &mut inner.watch {
                watch(&inner.content);
            }
            inner.log.push((op, name.to_owned()));
        }
        let fault = inner.judge.as_mut().and_then(|judge| judge(op, name));
        (inner, fault)
    }
}

impl Fault {
    pub fn error(self) -> io::Error {
        io::Error::from_raw_os_error(self.errno)
    }
}

pub fn check(fault: Option<Fault>) -> io::Result<()> {
    fault.map_or(Ok(()), |fault| Err(fault.error()))
}

impl Files for Disk {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let inner = self.lock();
        let content = &inner.content;
        let length = |id: &usize| content.inodes[*id].now.len() as u64;
        let names = content.names.iter();
        Ok(names.map(|(name, id)| (name.clone(), length(id))).collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Append>> {
        let (mut inner, fault) = self.enter(Op::Create, name);
        check(fault)?;
        let content = &mut inner.content;
        if content.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        content.inodes.push(Inode::default());
        let id = content.inodes.len() - 1;
        content.names.insert(name.to_owned(), id);
        let created = NameChange::Create(name.to_owned(), id);
        content.pending_names.push(created);
        Ok(Box::new(Writing {
            disk: self.clone(),
            name: name.to_owned(),
            id,
        }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadAt>> {
        let (inner, fault) = self.enter(Op::Read, name);
        check(fault)?;
        match inner.content.names.get(name) {
            Some(&id) => Ok(Box::new(Reading(self.clone(), id))),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (mut inner, fault) = self.enter(Op::Rename, from);
        check(fault)?;
        let content = &mut inner.content;
        let id = content.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        content.names.insert(to.to_owned(), id);
        let renamed = NameChange::Rename(from.to_owned(), to.to_owned());
        content.pending_names.push(renamed);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let (mut inner, fault) = self.enter(Op::Remove, name);
        check(fault)?;
        let content = &mut inner.content;
        content.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        let removed = NameChange::Remove(name.to_owned());
        content.pending_names.push(removed);
        Ok(())
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        let (mut inner, fault) = self.enter(Op::Sync, name);
        let content = &mut inner.content;
        let id = *content.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        content.inodes[id].sync(fault)
    }

    fn sync_names(&self) -> io::Result<()> {
        let (mut inner, fault) = self.enter(Op::SyncNames, "");
        check(fault)?;
        let content = &mut inner.content;
        content.synced_names = content.names.clone();
        content.pending_names.clear();
        Ok(())
    }
}

struct Writing {
    disk: Disk,
    name: String,
    id: usize,
}

impl Writing {
    /// As much as there is room for, and whether that was all.
    fn put(&self, inner: &mut Inner, offset: u64, bytes: &[u8]) -> bool {
        let used = inner.content.bytes();
        let inode = &mut inner.content.inodes[self.id];
        let end = offset + bytes.len() as u64;
        let grows = end.saturating_sub(inode.now.len() as u64);
        let lacking = match inner.capacity {
            Some(capacity) => (used + grows).saturating_sub(capacity),
            None => 0,
        };
        let fits = bytes.len() - (lacking as usize).min(bytes.len());
        put_at(&mut inode.now, offset, &bytes[..fits]);
        inode
            .pending
            .push(Change::Write(offset, bytes[..fits].to_vec()));
        inner.written_bytes += fits as u64;
        inner.peak_bytes = inner.peak_bytes.max(inner.content.bytes());
        lacking == 0
    }
}

impl Append for Writing {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (mut inner, fault) = self.disk.enter(Op::Write, &self.name);
        let kept = fault.map_or(bytes.len(), |fault| fault.keeps.min(bytes.len()));
        let whole = self.put(&mut inner, offset, &bytes[..kept]);
        check(fault)?;
        let full = Fault {
            errno: ENOSPC,
            keeps: 0,
        };
        check((!whole).then_some(full))
    }

    fn sync(&mut self) -> io::Result<()> {
        let (mut inner, fault) = self.disk.enter(Op::Sync, &self.name);
        inner.content.inodes[self.id].sync(fault)
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        let (mut inner, fault) = self.disk.enter(Op::SetLen, &self.name);
        check(fault)?;
        let inode = &mut inner.content.inodes[self.id];
        inode.now.resize(bytes as usize, 0);
        inode.pending.push(Change::SetLen(bytes));
        Ok(())
    }
}

struct Reading(Disk, usize);

impl ReadAt for Reading {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let inner = self.0.lock();
        let bytes = &inner.content.inodes[self.1].now;
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}
