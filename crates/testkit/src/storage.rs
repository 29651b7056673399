//! The storage port in memory, with the one failure that memory does not have: what was not synced is lost.

mod rows;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::time::Instant;
use trunkline_ports::storage::{Change, Row};
use trunkline_ports::{Batch, ScanLimit, Space, Storage, StorageError};

use crate::process::SimulatedProcess;
use crate::random::Random;
use rows::{Rows, Undo, apply, between, flipped, take, take_back};

/// When a read sees a batch: both are allowed by the port's contract.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Visibility {
    /// As soon as `write` was called.
    #[default]
    AtOnce,
    /// Once it is on disk.
    AtSync,
}

/// What becomes of a row that a disk spoils.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The last bit of its value has flipped, and nobody below the service notices.
    Flipped,
    /// It is there, and reads that meet it fail.
    Unreadable,
    Lost,
}

/// Hears of each change at the moment it is on disk.
type Watcher = Arc<dyn Fn(&Change) + Send + Sync>;

/// A handle on a disk, for one start of its process. Cheap to clone; after [`MemoryStorage::crash`] this handle and
/// its clones fail, and [`MemoryStorage::reopen`] gives one that works.
#[derive(Clone, Debug)]
pub struct MemoryStorage {
    disk: Arc<Mutex<Disk>>,
    opened: u64,
}

/// A batch on its way to the disk.
struct Pending {
    on_disk_at: Instant,
    batch: Batch,
    /// What takes it back, where reads see it already.
    undo: Vec<Undo>,
}

struct Disk {
    /// What reads see: where that is at once, what is pending, too.
    rows: Rows,
    unreadable: BTreeSet<(Space, Bytes)>,
    /// Written and not yet on disk, in call order.
    pending: VecDeque<Pending>,
    visibility: Visibility,
    sync_latency: Duration,
    sync_starts: Option<Instant>,
    sync_ends: Option<Instant>,
    opened: u64,
    has_room: bool,
    syncs: u64,
    watcher: Option<Watcher>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk")
            .field("opened", &self.opened)
            .field("syncs", &self.syncs)
            .finish_non_exhaustive()
    }
}

impl Default for MemoryStorage {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStorage {
    /// An empty disk that syncs at once.
    pub fn new() -> Self {
        let disk = Disk {
            rows: Rows::default(),
            unreadable: BTreeSet::new(),
            pending: VecDeque::new(),
            visibility: Visibility::AtOnce,
            sync_latency: Duration::ZERO,
            sync_starts: None,
            sync_ends: None,
            opened: 0,
            has_room: true,
            syncs: 0,
            watcher: None,
        };
        Self { disk: Arc::new(Mutex::new(disk)), opened: 0 }
    }

    /// From now on an fsync takes so long; what waits meanwhile shares the next one. tokio's clock has steps of 1 ms.
    #[must_use]
    pub fn with_sync_latency(self, latency: Duration) -> Self {
        self.disk().sync_latency = latency;
        self
    }

    #[must_use]
    pub fn with_visibility(self, visibility: Visibility) -> Self {
        self.disk().visibility = visibility;
        self
    }

    /// From now on `watcher` hears of each change that is on disk, no later than the next [`MemoryStorage::settle`]
    /// after it is. It must not touch this storage.
    pub fn watch_disk(&self, watcher: impl Fn(&Change) + Send + Sync + 'static) {
        self.disk().watcher = Some(Arc::new(watcher));
    }

    /// What has been synced by now counts as on disk.
    pub fn settle(&self) {
        self.disk().settle(Instant::now());
    }

    pub fn set_has_room(&self, has_room: bool) {
        self.disk().has_room = has_room;
    }

    /// Crashes with `process`, at the same moment.
    pub fn belongs_to(&self, process: &SimulatedProcess, random: Random) {
        let storage = self.clone();
        process.on_end(move || storage.crash(&random));
    }

    /// Keeps what is on disk and any prefix of what was still on its way there.
    pub fn crash(&self, random: &Random) {
        let mut disk = self.disk();
        if disk.opened != self.opened {
            return;
        }
        disk.settle(Instant::now());
        let kept = random.below(disk.pending.len() as u64 + 1);
        let lost = disk.pending.split_off(usize::try_from(kept).unwrap_or(0));
        lost.into_iter().rev().for_each(|pending| take_back(&mut disk.rows, &pending.batch, pending.undo));
        while let Some(pending) = disk.pending.pop_front() {
            disk.is_on_disk(pending.batch);
        }
        (disk.sync_starts, disk.sync_ends) = (None, None);
        disk.opened += 1;
    }

    /// A handle for the next start of the process, on what is there.
    #[must_use]
    pub fn reopen(&self) -> Self {
        let opened = self.disk().opened;
        Self { disk: self.disk.clone(), opened }
    }

    /// A disk of its own with what this one has on it now: a clone, a backup.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        let mut disk = self.disk();
        disk.settle(Instant::now());
        let other = Self::new().with_sync_latency(disk.sync_latency).with_visibility(disk.visibility);
        let mut rows = disk.rows.clone();
        for pending in disk.pending.iter().rev() {
            take_back(&mut rows, &pending.batch, pending.undo.clone());
        }
        other.disk().rows = rows;
        other
    }

    /// Loses everything: a disk that was replaced.
    pub fn wipe(&self) {
        let mut disk = self.disk();
        disk.pending.clear();
        disk.rows.clear();
    }

    /// Spoils the rows of a space with `part` in their values, until they are written again. How many they are.
    pub fn damage(&self, space: Space, part: &[u8], damage: Damage) -> usize {
        let mut disk = self.disk();
        disk.settle(Instant::now());
        let has = |value: &Bytes| value.windows(part.len()).any(|window| window == part);
        let rows = disk.rows.get(&space).into_iter().flatten();
        let keys: Vec<Bytes> = rows.filter(|(_, value)| has(value)).map(|(key, _)| key.clone()).collect();
        for key in &keys {
            let Disk { rows, unreadable, .. } = &mut *disk;
            let rows = rows.entry(space).or_default();
            match damage {
                Damage::Flipped => drop(rows.get_mut(key).map(|value| *value = flipped(value))),
                Damage::Lost => drop(rows.remove(key)),
                Damage::Unreadable => drop(unreadable.insert((space, key.clone()))),
            }
        }
        keys.len()
    }

    /// How many fsyncs were begun.
    pub fn syncs(&self) -> u64 {
        self.disk().syncs
    }

    /// Rows that reads see in a space now.
    pub fn len(&self, space: Space) -> usize {
        let mut disk = self.disk();
        disk.settle(Instant::now());
        disk.rows.get(&space).map_or(0, BTreeMap::len)
    }

    pub fn is_empty(&self, space: Space) -> bool {
        self.len(space) == 0
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a read came to, unless it met a row that cannot be read.
    fn met(&self, space: Space, rows: Vec<Row>) -> Result<Vec<Row>, StorageError> {
        let unreadable = &self.disk().unreadable;
        if unreadable.is_empty() {
            return Ok(rows);
        }
        match rows.iter().find(|(key, _)| unreadable.contains(&(space, key.clone()))) {
            Some((key, _)) => Err(StorageError::Corrupt(format!("{} {key:x}", space.name))),
            None => Ok(rows),
        }
    }

    fn read<T>(&self, read: impl FnOnce(&Rows) -> T) -> Result<T, StorageError> {
        let mut disk = self.disk();
        if disk.opened != self.opened {
            return Err(crashed());
        }
        disk.settle(Instant::now());
        Ok(read(&disk.rows))
    }
}

impl Disk {
    /// When a batch that is written now will be on disk: with the first fsync that has not begun.
    fn on_disk_at(&mut self, now: Instant) -> Instant {
        match (self.sync_starts, self.sync_ends) {
            (Some(starts), Some(ends)) if starts >= now && self.syncs > 0 => ends,
            (_, last) => {
                let starts = last.map_or(now, |last| last.max(now));
                let ends = starts + self.sync_latency;
                (self.sync_starts, self.sync_ends) = (Some(starts), Some(ends));
                self.syncs += 1;
                ends
            }
        }
    }

    fn settle(&mut self, now: Instant) {
        while self.pending.front().is_some_and(|pending| pending.on_disk_at <= now) {
            if let Some(pending) = self.pending.pop_front() {
                self.is_on_disk(pending.batch);
            }
        }
    }

    fn is_on_disk(&mut self, batch: Batch) {
        if let Some(watcher) = &self.watcher {
            batch.changes.iter().for_each(|change| watcher(change));
        }
        if self.visibility == Visibility::AtSync {
            apply(&mut self.rows, &batch);
        }
    }
}

fn crashed() -> StorageError {
    StorageError::Failed("the process has crashed".to_owned())
}

impl Storage for MemoryStorage {
    fn write(&self, batch: Batch) -> BoxFuture<'static, Result<(), StorageError>> {
        let now = Instant::now();
        let mut disk = self.disk();
        if disk.opened != self.opened {
            return std::future::ready(Err(crashed())).boxed();
        }
        disk.settle(now);
        let at = disk.on_disk_at(now);
        if !disk.unreadable.is_empty() {
            for change in &batch.changes {
                if let Change::Put(space, key, _) = change {
                    disk.unreadable.remove(&(*space, key.clone()));
                }
            }
        }
        let undo = match disk.visibility {
            Visibility::AtOnce => apply(&mut disk.rows, &batch),
            Visibility::AtSync => Vec::new(),
        };
        if at <= now && disk.pending.is_empty() {
            disk.is_on_disk(batch);
            return std::future::ready(Ok(())).boxed();
        }
        disk.pending.push_back(Pending { on_disk_at: at, batch, undo });
        drop(disk);
        let storage = self.clone();
        async move {
            tokio::time::sleep_until(at).await;
            storage.read(|_| ())
        }
        .boxed()
    }

    fn get(&self, space: Space, key: Bytes) -> BoxFuture<'static, Result<Option<Bytes>, StorageError>> {
        let row = |rows: &Rows| Some((key.clone(), rows.get(&space)?.get(&key)?.clone()));
        let found = self.read(|rows| Vec::from_iter(row(rows))).and_then(|rows| self.met(space, rows));
        std::future::ready(found.map(|rows| rows.into_iter().next().map(|(_, value)| value))).boxed()
    }

    fn scan(
        &self,
        space: Space,
        from: Bytes,
        to: Bytes,
        limit: ScanLimit,
    ) -> BoxFuture<'static, Result<Vec<Row>, StorageError>> {
        let found = self.read(|rows| {
            rows.get(&space).map(|rows| take(between(rows, &from, &to), limit)).unwrap_or_default()
        });
        std::future::ready(found.and_then(|rows| self.met(space, rows))).boxed()
    }

    fn scan_back(
        &self,
        space: Space,
        from: Bytes,
        to: Bytes,
        limit: ScanLimit,
    ) -> BoxFuture<'static, Result<Vec<Row>, StorageError>> {
        let found = self.read(|rows| {
            rows.get(&space).map(|rows| take(between(rows, &from, &to).rev(), limit)).unwrap_or_default()
        });
        std::future::ready(found.and_then(|rows| self.met(space, rows))).boxed()
    }

    fn has_room(&self) -> bool {
        self.disk().has_room
    }
}
