//! A disk in memory that fails as disks fail. Safe code only; `vfs` connects SQLite to it.
//!
//! The disk keeps apart what a process sees at once (`live`) and what a power loss leaves
//! (`durable`), with every write, truncation, creation and deletion since the last sync between
//! them. A crash is possible at each of those. A killed process leaves `live`. A power loss leaves
//! `durable` and a seeded choice of the rest: whole, torn at sectors or lost, in any combination.
//! The disk promises what SQLite requires: a successful sync is durable, and a write damages
//! nothing beside itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use rand::{Rng, RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::locks::{FileLocks, Level, ShmLocks};

/// Size in bytes of the pieces of a torn write.
const SECTOR: usize = 512;
/// Size in bytes of one region of the log's shared index.
pub const SHM_REGION_BYTES: usize = 32 * 1024;

/// Files by name, as a start finds them.
pub type Image = BTreeMap<String, Vec<u8>>;

/// The end of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// The process is killed; the kernel still writes what it was given.
    Killed,
    /// The machine loses power; unsynced data may be lost.
    PowerLoss,
}

/// The reason of a failed operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskError {
    /// The device failed or is gone.
    Io,
    /// The disk is full.
    Full,
    /// Another connection holds the lock.
    Busy,
    /// The file does not exist.
    Missing,
    /// The file ends before the end of the read; the missing bytes read as zero.
    ShortRead,
}

/// An operation that changes the disk, or a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Act {
    /// A file was created.
    Create,
    /// Bytes were written.
    Write,
    /// A file was truncated.
    Truncate,
    /// A file was synced.
    Sync,
    /// A name was removed.
    Delete,
}

/// Faults to inject. Counts are of operations that change the disk; 1 is the next one.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// The process dies at this operation; every later one fails.
    pub crash_in: Option<(u64, Death)>,
    /// This sync fails once. Its data may be durable or not, and no later sync changes that.
    pub sync_fails_in: Option<u64>,
    /// This write fails once, with none of it written.
    pub write_fails_in: Option<u64>,
    /// This read fails once.
    pub read_fails_in: Option<u64>,
    /// No file can grow.
    pub full: bool,
    /// Syncs succeed and do nothing.
    pub lies: bool,
}

/// A possible crash, with the files that it would leave.
#[derive(Debug)]
pub struct Moment {
    /// The operation that was running, counted from the disk's first.
    pub at: u64,
    /// The kind of the operation.
    pub act: Act,
    /// The end that the process would have had.
    pub death: Death,
    /// The files that the next start would find.
    pub image: Image,
}

#[derive(Debug)]
enum Change {
    Write { at: usize, data: Vec<u8> },
    Truncate { len: usize },
}

#[derive(Debug, Default)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Changes since the last sync.
    pending: Vec<Change>,
    locks: FileLocks,
    shm: Vec<Arc<[AtomicU64]>>,
    shm_locks: ShmLocks,
    shm_users: usize,
}

/// The file behind a name, now and after a power loss.
#[derive(Debug, Default, Clone, Copy)]
struct Entry {
    live: Option<usize>,
    durable: Option<usize>,
}

#[derive(Debug)]
struct State {
    entries: BTreeMap<String, Entry>,
    inodes: Vec<Inode>,
    faults: Faults,
    acts: u64,
    reads: u64,
    next_handle: u64,
    luck: ChaCha8Rng,
    left: Option<Image>,
    /// One in this many operations is recorded as a possible crash; none records none.
    watch: Option<u32>,
    moments: Vec<Moment>,
    trace: u64,
}

/// A simulated disk. The seed, the faults and the operations decide everything about it.
#[derive(Debug)]
pub struct Disk {
    state: Mutex<State>,
}

impl Disk {
    /// A disk that holds these files, synced.
    #[must_use]
    pub fn holding(image: Image, seed: u64) -> Arc<Self> {
        let mut inodes = Vec::new();
        let mut entries = BTreeMap::new();
        for (name, bytes) in image {
            let n = inodes.len();
            inodes.push(Inode { live: bytes.clone(), durable: bytes, ..Inode::default() });
            entries.insert(name, Entry { live: Some(n), durable: Some(n) });
        }
        let state = State {
            entries,
            inodes,
            faults: Faults::default(),
            acts: 0,
            reads: 0,
            next_handle: 1,
            luck: ChaCha8Rng::seed_from_u64(seed),
            left: None,
            watch: None,
            moments: Vec::new(),
            trace: 0xcbf2_9ce4_8422_2325,
        };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// Sets the faults from here on.
    pub fn set_faults(&self, faults: Faults) {
        let mut state = self.state.lock();
        let State { acts, reads, .. } = *state;
        state.faults = Faults {
            crash_in: faults.crash_in.map(|(n, death)| (acts + n, death)),
            sync_fails_in: faults.sync_fails_in.map(|n| acts + n),
            write_fails_in: faults.write_fails_in.map(|n| acts + n),
            read_fails_in: faults.read_fails_in.map(|n| reads + n),
            ..faults
        };
    }

    /// True if a fault that strikes once has not struck yet.
    #[must_use]
    pub fn fault_is_ahead(&self) -> bool {
        let faults = &self.state.lock().faults;
        faults.sync_fails_in.is_some()
            || faults.write_fails_in.is_some()
            || faults.read_fails_in.is_some()
    }

    /// Records one in `one_in` operations as a possible crash; none records none.
    pub fn watch(&self, one_in: Option<u32>) {
        self.state.lock().watch = one_in;
    }

    /// The possible crashes recorded since the last call.
    pub fn moments(&self) -> Vec<Moment> {
        std::mem::take(&mut self.state.lock().moments)
    }

    /// Number of operations that changed the disk.
    #[must_use]
    pub fn acts(&self) -> u64 {
        self.state.lock().acts
    }

    /// A fingerprint of all operations: kinds, files, offsets and lengths, in order.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.state.lock().trace
    }

    /// True if the process died.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.state.lock().left.is_some()
    }

    /// Ends the process if it still runs. Returns the files that the next start finds.
    pub fn end(&self, death: Death) -> Image {
        let mut state = self.state.lock();
        let image = state.left.take().unwrap_or_else(|| state.image(death));
        state.left = Some(Image::new());
        image
    }

    /// The files that the next start would find if the process ended now.
    #[must_use]
    pub fn peek(&self, death: Death) -> Image {
        self.state.lock().image(death)
    }

    /// Opens a file.
    pub fn open(self: &Arc<Self>, name: &str, create: bool) -> Result<Handle, DiskError> {
        let mut state = self.state.lock();
        state.alive()?;
        let known = state.entries.get(name).and_then(|e| e.live);
        let inode = match known {
            Some(inode) => inode,
            None if create => {
                if state.faults.full {
                    return Err(DiskError::Full);
                }
                state.inodes.push(Inode::default());
                let inode = state.inodes.len() - 1;
                state.entries.entry(name.to_owned()).or_default().live = Some(inode);
                state.act(Act::Create, name, 0, 0)?;
                inode
            }
            None => return Err(DiskError::Missing),
        };
        let id = state.next_handle;
        state.next_handle += 1;
        drop(state);
        let (disk, name) = (self.clone(), name.to_owned());
        Ok(Handle { disk, name, inode, id, uses_shm: false })
    }

    /// Removes a name; durably if `sync` is set.
    pub fn delete(&self, name: &str, sync: bool) -> Result<(), DiskError> {
        let mut state = self.state.lock();
        state.alive()?;
        let entry = state.entries.get_mut(name).filter(|e| e.live.is_some());
        entry.ok_or(DiskError::Missing)?.live = None;
        state.act(Act::Delete, name, 0, 0)?;
        if sync && !state.faults.lies {
            state.sync_names();
        }
        Ok(())
    }

    /// True if a file with this name exists.
    #[must_use]
    pub fn exists(&self, name: &str) -> bool {
        self.state.lock().entries.get(name).is_some_and(|e| e.live.is_some())
    }
}

impl State {
    fn alive(&self) -> Result<(), DiskError> {
        if self.left.is_some() { Err(DiskError::Io) } else { Ok(()) }
    }

    /// Counts an operation whose change is already pending, and ends the process if this is its
    /// last.
    fn act(&mut self, act: Act, name: &str, at: usize, len: usize) -> Result<(), DiskError> {
        self.acts += 1;
        let numbers = [act as usize, at, len];
        for byte in name.bytes().chain(numbers.iter().flat_map(|n| n.to_le_bytes())) {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if let Some(one_in) = self.watch
            && self.luck.random_range(0..one_in) == 0
        {
            let death = if self.luck.random_bool(0.2) { Death::Killed } else { Death::PowerLoss };
            let image = self.image(death);
            self.moments.push(Moment { at: self.acts, act, death, image });
        }
        match self.faults.crash_in {
            Some((at, death)) if self.acts >= at => {
                self.left = Some(self.image(death));
                Err(DiskError::Io)
            }
            _ => Ok(()),
        }
    }

    fn sync_names(&mut self) {
        self.entries.retain(|_, entry| {
            entry.durable = entry.live;
            entry.live.is_some()
        });
    }

    fn image(&mut self, death: Death) -> Image {
        let mut image = Image::new();
        let luck = Luck::draw(&mut self.luck);
        for (name, entry) in &self.entries {
            let inode = match death {
                Death::Killed => entry.live,
                Death::PowerLoss if luck.keeps_name(&mut self.luck) => entry.live,
                Death::PowerLoss => entry.durable,
            };
            let Some(inode) = inode else { continue };
            let inode = &self.inodes[inode];
            let bytes = match death {
                Death::Killed => inode.live.clone(),
                Death::PowerLoss => inode.survive(luck, &mut self.luck),
            };
            image.insert(name.clone(), bytes);
        }
        image
    }
}

/// The fate of unsynced writes at a power loss.
#[derive(Debug, Clone, Copy)]
enum Luck {
    AllLost,
    AllKept,
    /// The first ones are kept, the last of them torn: as if written in order.
    Prefix,
    /// Each is kept or lost on its own, some torn: as if written in any order.
    Any,
}

impl Luck {
    fn draw(random: &mut impl Rng) -> Self {
        match random.random_range(0..8) {
            0 => Self::AllLost,
            1 => Self::AllKept,
            2..5 => Self::Prefix,
            _ => Self::Any,
        }
    }

    fn keeps_name(self, random: &mut impl Rng) -> bool {
        match self {
            Self::AllLost => false,
            Self::AllKept => true,
            Self::Prefix | Self::Any => random.random(),
        }
    }
}

impl Inode {
    /// The files after a power loss.
    fn survive(&self, luck: Luck, random: &mut impl Rng) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        let stop = random.random_range(0..=self.pending.len());
        for (n, change) in self.pending.iter().enumerate() {
            let (kept, torn) = match luck {
                Luck::AllLost => (false, false),
                Luck::AllKept => (true, false),
                Luck::Prefix => (n <= stop, n == stop),
                Luck::Any => (random.random_bool(0.6), random.random_bool(0.2)),
            };
            if kept {
                change.apply(&mut bytes, torn.then_some(&mut *random));
            }
        }
        bytes
    }

    fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable, None::<&mut ChaCha8Rng>);
        }
    }
}

impl Change {
    /// Applies a change; with `torn`, only some of its sectors.
    fn apply(&self, to: &mut Vec<u8>, torn: Option<&mut impl Rng>) {
        match self {
            Self::Truncate { len } => to.truncate(*len),
            Self::Write { at, data } => match torn {
                None => put(to, *at, data),
                Some(random) => {
                    let mut from = 0;
                    while from < data.len() {
                        let end = ((at + from) / SECTOR + 1) * SECTOR - at;
                        let end = end.min(data.len());
                        if random.random() {
                            put(to, at + from, &data[from..end]);
                        }
                        from = end;
                    }
                }
            },
        }
    }
}

fn put(to: &mut Vec<u8>, at: usize, data: &[u8]) {
    if to.len() < at + data.len() {
        to.resize(at + data.len(), 0);
    }
    to[at..at + data.len()].copy_from_slice(data);
}

/// An open file.
#[derive(Debug)]
pub struct Handle {
    disk: Arc<Disk>,
    name: String,
    inode: usize,
    id: u64,
    uses_shm: bool,
}

impl Handle {
    /// Reads bytes from `at` into `to`. Bytes past the end are zero and reported as missing.
    pub fn read(&self, at: usize, to: &mut [u8]) -> Result<(), DiskError> {
        let mut state = self.disk.state.lock();
        state.alive()?;
        state.reads += 1;
        if state.faults.read_fails_in.is_some_and(|n| state.reads >= n) {
            state.faults.read_fails_in = None;
            return Err(DiskError::Io);
        }
        let live = &state.inodes[self.inode].live;
        let there = live.get(at..).unwrap_or_default();
        let n = there.len().min(to.len());
        to[..n].copy_from_slice(&there[..n]);
        to[n..].fill(0);
        if n < to.len() { Err(DiskError::ShortRead) } else { Ok(()) }
    }

    /// Writes bytes; they are visible to the process at once.
    pub fn write(&self, at: usize, data: &[u8]) -> Result<(), DiskError> {
        let mut state = self.disk.state.lock();
        state.alive()?;
        if state.faults.write_fails_in.is_some_and(|n| state.acts + 1 >= n) {
            state.faults.write_fails_in = None;
            return Err(DiskError::Io);
        }
        let full = state.faults.full;
        let inode = &mut state.inodes[self.inode];
        if full && at + data.len() > inode.live.len() {
            return Err(DiskError::Full);
        }
        put(&mut inode.live, at, data);
        inode.pending.push(Change::Write { at, data: data.to_vec() });
        state.act(Act::Write, &self.name, at, data.len())
    }

    /// Truncates the file.
    pub fn truncate(&self, len: usize) -> Result<(), DiskError> {
        let mut state = self.disk.state.lock();
        state.alive()?;
        let inode = &mut state.inodes[self.inode];
        inode.live.truncate(len);
        inode.pending.push(Change::Truncate { len });
        state.act(Act::Truncate, &self.name, len, 0)
    }

    /// Makes all writes of the file durable, and its name.
    pub fn sync(&self) -> Result<(), DiskError> {
        let mut state = self.disk.state.lock();
        state.alive()?;
        state.act(Act::Sync, &self.name, 0, 0)?;
        if state.faults.sync_fails_in.is_some_and(|n| state.acts >= n) {
            state.faults.sync_fails_in = None;
            let luck = Luck::draw(&mut state.luck);
            let State { inodes, luck: random, .. } = &mut *state;
            let inode = &mut inodes[self.inode];
            inode.durable = inode.survive(luck, random);
            inode.pending.clear();
            return Err(DiskError::Io);
        }
        if !state.faults.lies {
            state.inodes[self.inode].sync();
            state.sync_names();
        }
        Ok(())
    }

    /// Size of the file in bytes.
    pub fn size(&self) -> Result<usize, DiskError> {
        let state = self.disk.state.lock();
        state.alive()?;
        Ok(state.inodes[self.inode].live.len())
    }

    /// Raises the lock to this level.
    pub fn lock(&self, level: Level) -> Result<(), DiskError> {
        let mut state = self.disk.state.lock();
        let locked = state.inodes[self.inode].locks.lock(self.id, level);
        if locked { Ok(()) } else { Err(DiskError::Busy) }
    }

    /// Lowers the lock to this level.
    pub fn unlock(&self, level: Level) {
        self.disk.state.lock().inodes[self.inode].locks.unlock(self.id, level);
    }

    /// True if a connection holds the reserved lock.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.disk.state.lock().inodes[self.inode].locks.is_reserved()
    }

    /// A region of the shared index, created if it is missing and `extend` is set.
    pub fn shm_region(&mut self, n: usize, extend: bool) -> Option<Arc<[AtomicU64]>> {
        let mut state = self.disk.state.lock();
        let inode = &mut state.inodes[self.inode];
        if !self.uses_shm {
            inode.shm_users += 1;
            self.uses_shm = true;
        }
        while extend && inode.shm.len() <= n {
            inode.shm.push((0..SHM_REGION_BYTES / 8).map(|_| AtomicU64::new(0)).collect());
        }
        inode.shm.get(n).cloned()
    }

    /// Takes locks `first..first + n` of the index, shared or exclusive.
    pub fn shm_lock(&self, first: usize, n: usize, alone: bool) -> Result<(), DiskError> {
        let mut state = self.disk.state.lock();
        let locked = state.inodes[self.inode].shm_locks.lock(self.id, first, n, alone);
        if locked { Ok(()) } else { Err(DiskError::Busy) }
    }

    /// Releases locks of the index.
    pub fn shm_unlock(&self, first: usize, n: usize) {
        self.disk.state.lock().inodes[self.inode].shm_locks.unlock(self.id, first, n);
    }

    /// Unmaps the index; its last user removes it.
    pub fn shm_unmap(&mut self) {
        if std::mem::take(&mut self.uses_shm) {
            let mut state = self.disk.state.lock();
            let inode = &mut state.inodes[self.inode];
            inode.shm_users -= 1;
            if inode.shm_users == 0 {
                inode.shm.clear();
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shm_unmap();
        let mut state = self.disk.state.lock();
        let inode = &mut state.inodes[self.inode];
        inode.locks.unlock(self.id, Level::None);
        inode.shm_locks.unlock_all(self.id);
    }
}
