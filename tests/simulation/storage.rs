//! The disk as one run of the connector sees it: whatever it does after it was killed has no effect, and it may be
//! killed in the middle of an operation.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kinesis_edge::files::{Append, Files, ReadAt};

use crate::disk::{Disk, EIO, ENOSPC, EROFS, Fault, Op};
use crate::plan::{DiskFault, at};
use crate::world::{Life, World};

/// The files of a directory during one run.
#[derive(Clone)]
pub struct Storage {
    pub disk: Disk,
    pub life: Arc<Life>,
    pub world: Arc<World>,
    /// The operation at which the run is killed.
    pub killed_at: Option<usize>,
}

/// Has the disk fail when the plan says so.
pub fn be_faulty(disk: &Disk, world: &Arc<World>) {
    let world = Arc::clone(world);
    disk.judge(move |op, _| {
        if world.is_calm() {
            return None;
        }
        let fault = *at(&world.plan.disk, world.start.elapsed())?;
        let (errno, keeps) = match (fault, op) {
            (DiskFault::Sync, Op::Sync | Op::SyncNames) => {
                (EIO, world.dice(|dice| dice.usize(..2)))
            }
            (DiskFault::Write, Op::Write) => (EIO, world.dice(|dice| dice.usize(..300))),
            (DiskFault::Full, Op::Write | Op::Create) => (ENOSPC, 0),
            (
                DiskFault::ReadOnly,
                Op::Create | Op::Write | Op::Remove | Op::Rename | Op::SetLen | Op::SyncNames,
            ) => (EROFS, 0),
            (DiskFault::Read, Op::Read) => (EIO, 0),
            _ => return None,
        };
        world.say(format_args!("disk: {op:?} fails"));
        Some(Fault { errno, keeps })
    });
}

fn dead() -> io::Error {
    io::Error::from_raw_os_error(EIO)
}

impl Storage {
    /// An operation that changes something; the killing one has its effect or not, and nobody sees the result.
    fn change<T>(&self, operate: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if self.life.is_over() {
            return Err(dead());
        }
        let operation = self.life.disk_operations.fetch_add(1, Ordering::Relaxed);
        if self.killed_at == Some(operation) {
            self.world
                .say(format_args!("disk: killed at operation {operation}"));
            self.life.kill();
            if self.world.dice(|dice| dice.bool()) {
                let _ = operate();
            }
            return Err(dead());
        }
        operate()
    }

    fn look<T>(&self, operate: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self.life.is_over() {
            true => Err(dead()),
            false => operate(),
        }
    }
}

impl Files for Storage {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        self.look(|| self.disk.list())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Append>> {
        let file = self.change(|| self.disk.create(name))?;
        Ok(Box::new(Writing(self.clone(), file)))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadAt>> {
        self.look(|| self.disk.open(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(|| self.disk.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change(|| self.disk.remove(name))
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        self.change(|| Files::sync(&self.disk, name))
    }

    fn sync_names(&self) -> io::Result<()> {
        self.change(|| self.disk.sync_names())
    }
}

struct Writing(Storage, Box<dyn Append>);

impl Append for Writing {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let Writing(storage, file) = self;
        storage.change(|| file.write_at(offset, bytes))
    }

    fn sync(&mut self) -> io::Result<()> {
        let Writing(storage, file) = self;
        storage.change(|| file.sync())
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        let Writing(storage, file) = self;
        storage.change(|| file.set_len(bytes))
    }
}
