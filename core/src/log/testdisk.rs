//! A pretended disk for the store's tests: live bytes and durable bytes apart.
//!
//! What it models: a file is its bytes and a queue of writes not yet durable; a directory
//! is its names and a queue of changes not yet durable. A power cut keeps, drops, tears
//! (by 512-byte sectors) or reorders what is queued. A sync that fails drops or keeps at
//! random and leaves the live bytes clean, so that a later sync changes nothing (row D5).
//! What it does not model: time, and operations half done (a cut falls between two).

use crate::base::disk::{DiskError, DiskOp, DiskValue};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

const SECTOR: usize = 512;

/// A small generator (splitmix64).
#[derive(Clone, Debug)]
pub struct Prng(pub u64);

impl Prng {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// What a power cut does to what is not durable.
#[derive(Clone, Debug)]
pub enum Cut {
    /// Everything had reached the platter after all.
    Keep,
    /// Nothing had.
    Drop,
    /// Chance decides for each operation, and each sector of a torn one.
    Mix(Prng),
}

/// What happens to one operation instead of success.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The device fails; a write may be half done, a sync drops what it likes.
    Io,
    /// No space; a write may be half done.
    NoSpace,
}

#[derive(Clone, Debug)]
enum FileOp {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

#[derive(Clone, Debug)]
enum DirOp {
    Link(String, usize),
    Unlink(String),
    Rename(String, String, usize),
}

#[derive(Clone, Debug, Default)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<FileOp>,
}

/// The disk of one server.
#[derive(Clone, Debug)]
pub struct TestDisk {
    inodes: Vec<Inode>,
    live: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    pending: Vec<DirOp>,
    unreadable: BTreeSet<(usize, usize)>,
    chance: Prng,
    /// Operations carried out so far.
    pub executed: u64,
    /// Faults by the number of the operation they strike.
    pub faults: BTreeMap<u64, Fault>,
    /// While true, whatever needs room fails.
    pub full: bool,
    /// While true, syncs promise and do nothing (a broken store's mistake, or row D14).
    pub lying_syncs: bool,
    /// While true, directory syncs promise and do nothing.
    pub lying_dir_syncs: bool,
}

impl TestDisk {
    /// An empty disk.
    pub fn new(seed: u64) -> TestDisk {
        TestDisk {
            inodes: Vec::new(),
            live: BTreeMap::new(),
            durable: BTreeMap::new(),
            pending: Vec::new(),
            unreadable: BTreeSet::new(),
            chance: Prng(seed),
            executed: 0,
            faults: BTreeMap::new(),
            full: false,
            lying_syncs: false,
            lying_dir_syncs: false,
        }
    }

    /// Carries out one operation.
    pub fn execute(&mut self, op: &DiskOp) -> Result<DiskValue, DiskError> {
        let fault = self.faults.remove(&self.executed);
        self.executed += 1;
        let needs_room = matches!(op, DiskOp::Create { .. } | DiskOp::Write { .. });
        match fault {
            Some(Fault::Io) => self.fail(op, DiskError::Io),
            Some(Fault::NoSpace) => self.fail(op, DiskError::NoSpace),
            None if self.full && needs_room => self.fail(op, DiskError::NoSpace),
            None => self.succeed(op),
        }
    }

    /// Names and lengths.
    pub fn listing(&self) -> Vec<(String, u64)> {
        let len = |inode: &usize| self.inodes[*inode].live.len() as u64;
        self.live.iter().map(|(n, i)| (n.clone(), len(i))).collect()
    }

    /// The live bytes of a file.
    pub fn bytes(&self, file: &str) -> Vec<u8> {
        self.inodes[self.live[file]].live.clone()
    }

    /// Puts bytes in place, durably, behind the store's back.
    pub fn plant(&mut self, file: &str, bytes: Vec<u8>) {
        let inode = *self.live.entry(file.into()).or_insert_with(|| {
            self.inodes.push(Inode::default());
            self.inodes.len() - 1
        });
        self.durable.insert(file.into(), inode);
        self.inodes[inode] = Inode {
            durable: bytes.clone(),
            live: bytes,
            pending: Vec::new(),
        };
    }

    /// Removes a file, durably, behind the store's back.
    pub fn lose(&mut self, file: &str) {
        self.live.remove(file);
        self.durable.remove(file);
    }

    /// Makes a sector of a file unreadable.
    pub fn spoil(&mut self, file: &str, sector: usize) {
        self.unreadable.insert((self.live[file], sector));
    }

    /// The power goes and comes back.
    pub fn power_cut(&mut self, mut cut: Cut) {
        for op in std::mem::take(&mut self.pending) {
            if survives(&mut cut) {
                apply_dir(&mut self.durable, &op);
            }
        }
        for inode in &mut self.inodes {
            let mut pending = std::mem::take(&mut inode.pending);
            if let Cut::Mix(chance) = &mut cut {
                shuffle(&mut pending, chance);
            }
            for op in pending {
                match &mut cut {
                    Cut::Keep => apply(&mut inode.durable, &op),
                    Cut::Drop => {}
                    Cut::Mix(chance) => apply_some(&mut inode.durable, &op, chance),
                }
            }
            inode.live = inode.durable.clone();
        }
        self.live = self.durable.clone();
    }

    fn succeed(&mut self, op: &DiskOp) -> Result<DiskValue, DiskError> {
        match op {
            DiskOp::Create { file } => {
                if self.live.contains_key(file) {
                    return Err(DiskError::Exists);
                }
                let inode = self.inodes.len();
                self.inodes.push(Inode::default());
                self.change_dir(DirOp::Link(file.clone(), inode));
            }
            DiskOp::Write { file, offset, data } => {
                let write = FileOp::Write(*offset as usize, data.to_vec());
                self.change(file, write)?;
            }
            DiskOp::Truncate { file, len } => {
                self.change(file, FileOp::Truncate(*len as usize))?;
            }
            DiskOp::Sync { file } => {
                let inode = self.find(file)?;
                if !self.lying_syncs {
                    let inode = &mut self.inodes[inode];
                    for op in std::mem::take(&mut inode.pending) {
                        apply(&mut inode.durable, &op);
                    }
                }
            }
            DiskOp::Rename { from, to } => {
                let inode = self.find(from)?;
                self.change_dir(DirOp::Rename(from.clone(), to.clone(), inode));
            }
            DiskOp::Delete { file } => {
                self.find(file)?;
                self.change_dir(DirOp::Unlink(file.clone()));
            }
            DiskOp::SyncDir => {
                if !self.lying_dir_syncs {
                    for op in std::mem::take(&mut self.pending) {
                        apply_dir(&mut self.durable, &op);
                    }
                }
            }
            DiskOp::Read { file, offset, len } => return self.read(file, *offset, *len),
            DiskOp::List => return Ok(DiskValue::Listing(self.listing())),
        }
        Ok(DiskValue::Done)
    }

    /// What a failed operation may have done all the same.
    fn fail(&mut self, op: &DiskOp, error: DiskError) -> Result<DiskValue, DiskError> {
        match op {
            DiskOp::Write { file, offset, data } => {
                let part = self.chance.below(data.len() as u64 + 1) as usize;
                let write = FileOp::Write(*offset as usize, data[..part].to_vec());
                self.change(file, write)?;
            }
            DiskOp::Sync { file } => {
                let inode = self.find(file)?;
                let inode = &mut self.inodes[inode];
                for op in std::mem::take(&mut inode.pending) {
                    apply_some(&mut inode.durable, &op, &mut self.chance);
                }
            }
            DiskOp::SyncDir => {
                let mut cut = Cut::Mix(self.chance.clone());
                self.chance.next();
                for op in std::mem::take(&mut self.pending) {
                    if survives(&mut cut) {
                        apply_dir(&mut self.durable, &op);
                    }
                }
            }
            DiskOp::Create { .. }
            | DiskOp::Truncate { .. }
            | DiskOp::Rename { .. }
            | DiskOp::Delete { .. }
            | DiskOp::Read { .. }
            | DiskOp::List => {}
        }
        Err(error)
    }

    fn read(&self, file: &str, offset: u64, len: u64) -> Result<DiskValue, DiskError> {
        let inode = self.find(file)?;
        let bytes = &self.inodes[inode].live;
        let from = bytes.len().min(offset as usize);
        let to = bytes.len().min((offset + len) as usize);
        let mut sectors = from / SECTOR..to.div_ceil(SECTOR);
        if sectors.any(|s| self.unreadable.contains(&(inode, s))) {
            return Err(DiskError::Io);
        }
        Ok(DiskValue::Bytes(Bytes::copy_from_slice(&bytes[from..to])))
    }

    fn find(&self, file: &str) -> Result<usize, DiskError> {
        self.live.get(file).copied().ok_or(DiskError::NotFound)
    }

    fn change(&mut self, file: &str, op: FileOp) -> Result<(), DiskError> {
        let inode = self.find(file)?;
        apply(&mut self.inodes[inode].live, &op);
        self.inodes[inode].pending.push(op);
        Ok(())
    }

    fn change_dir(&mut self, op: DirOp) {
        apply_dir(&mut self.live, &op);
        self.pending.push(op);
    }
}

fn survives(cut: &mut Cut) -> bool {
    match cut {
        Cut::Keep => true,
        Cut::Drop => false,
        Cut::Mix(chance) => chance.below(2) == 0,
    }
}

fn apply_dir(names: &mut BTreeMap<String, usize>, op: &DirOp) {
    match op {
        DirOp::Link(name, inode) => {
            names.insert(name.clone(), *inode);
        }
        DirOp::Unlink(name) => {
            names.remove(name);
        }
        DirOp::Rename(from, to, inode) => {
            names.remove(from);
            names.insert(to.clone(), *inode);
        }
    }
}

fn apply(bytes: &mut Vec<u8>, op: &FileOp) {
    match op {
        FileOp::Write(offset, data) => {
            let end = offset + data.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*offset..end].copy_from_slice(data);
        }
        FileOp::Truncate(len) => bytes.resize(*len, 0),
    }
}

/// Applies an operation, or not, or some sectors of it.
fn apply_some(bytes: &mut Vec<u8>, op: &FileOp, chance: &mut Prng) {
    match (chance.below(3), op) {
        (0, _) => {}
        (1, _) | (_, FileOp::Truncate(_)) => apply(bytes, op),
        (_, FileOp::Write(offset, data)) => {
            let mut at = 0;
            while at < data.len() {
                let next = ((offset + at) / SECTOR + 1) * SECTOR - offset;
                let next = next.min(data.len());
                if chance.below(2) == 0 {
                    apply(bytes, &FileOp::Write(offset + at, data[at..next].to_vec()));
                }
                at = next;
            }
        }
    }
}

fn shuffle<T>(items: &mut [T], chance: &mut Prng) {
    for i in (1..items.len()).rev() {
        items.swap(i, chance.below(i as u64 + 1) as usize);
    }
}
