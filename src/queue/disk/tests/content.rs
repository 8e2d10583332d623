//! What is in the directory in memory, what of it is synced, and what may be left after a loss of
//! power.

use std::collections::BTreeMap;
use std::io;

use fastrand::Rng;

use super::disk::{Fault, check};

#[derive(Debug, Clone, Default)]
pub struct Inode {
    /// As processes see it.
    pub now: Vec<u8>,
    /// As it is on the medium.
    pub synced: Vec<u8>,
    /// What was done since.
    pub pending: Vec<Change>,
}

#[derive(Debug, Clone)]
pub enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

#[derive(Debug, Clone)]
pub enum NameChange {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

/// What is in the directory, in memory and on the medium.
#[derive(Debug, Clone, Default)]
pub struct Content {
    pub inodes: Vec<Inode>,
    pub names: BTreeMap<String, usize>,
    pub synced_names: BTreeMap<String, usize>,
    pub pending_names: Vec<NameChange>,
}

impl Content {
    pub fn bytes(&self) -> u64 {
        let inodes = self.names.values();
        inodes.map(|&id| self.inodes[id].now.len() as u64).sum()
    }

    pub fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    pub fn file(&self, name: &str) -> &[u8] {
        &self.inodes[self.names[name]].now
    }

    /// Puts a file there, or something else in its place, synced.
    pub fn put(&mut self, name: &str, bytes: &[u8]) {
        self.inodes.push(Inode {
            now: bytes.to_vec(),
            synced: bytes.to_vec(),
            pending: Vec::new(),
        });
        let id = self.inodes.len() - 1;
        self.names.insert(name.to_owned(), id);
        self.synced_names.insert(name.to_owned(), id);
    }

    pub fn delete(&mut self, name: &str) {
        self.names.remove(name);
        self.synced_names.remove(name);
    }

    /// What may be left after a loss of power: all that was not synced is gone (`keep` 0), all is
    /// there (1), or whatever chance leaves.
    pub fn after_power_cut(&self, keep: usize, random: &mut Rng) -> Content {
        let kept = |random: &mut Rng| match keep {
            0 => false,
            1 => true,
            _ => random.bool(),
        };
        let mut names = self.synced_names.clone();
        for change in &self.pending_names {
            if !kept(random) {
                continue;
            }
            match change {
                NameChange::Create(name, id) => {
                    names.insert(name.clone(), *id);
                }
                NameChange::Rename(from, to) => {
                    if let Some(id) = names.remove(from) {
                        names.insert(to.clone(), id);
                    }
                }
                NameChange::Remove(name) => {
                    names.remove(name);
                }
            }
        }
        let mut left = Content::default();
        for (name, id) in names {
            left.put(&name, &self.inodes[id].after_power_cut(keep, random));
        }
        left
    }
}

impl Inode {
    pub fn sync(&mut self, fault: Option<Fault>) -> io::Result<()> {
        match fault {
            None => self.synced = self.now.clone(),
            Some(fault) if fault.keeps == 0 => self.now = self.synced.clone(),
            Some(fault) => return Err(fault.error()),
        }
        self.pending.clear();
        check(fault)
    }

    fn after_power_cut(&self, keep: usize, random: &mut Rng) -> Vec<u8> {
        if keep == 1 {
            return self.now.clone();
        }
        let mut bytes = self.synced.clone();
        if keep == 0 {
            return bytes;
        }
        for change in &self.pending {
            match (change, random.u8(..6)) {
                (_, 0 | 1) => {}
                (Change::SetLen(length), _) => bytes.resize(*length as usize, 0),
                (Change::Write(at, data), 2 | 3) => put_at(&mut bytes, *at, data),
                // The length arrived and the data did not.
                (Change::Write(at, data), 4) => {
                    let end = *at as usize + data.len();
                    bytes.resize(bytes.len().max(end), 0);
                }
                // Some of it arrived.
                (Change::Write(at, data), _) => {
                    let mut part = data.clone();
                    for sector in part.chunks_mut(64) {
                        if random.bool() {
                            sector.fill(0);
                        }
                    }
                    if random.bool() {
                        part.truncate(random.usize(..=part.len()));
                    }
                    put_at(&mut bytes, *at, &part);
                }
            }
        }
        bytes
    }
}

pub fn put_at(bytes: &mut Vec<u8>, at: u64, data: &[u8]) {
    let (at, end) = (at as usize, at as usize + data.len());
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[at..end].copy_from_slice(data);
}
