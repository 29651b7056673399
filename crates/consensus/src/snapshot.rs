//! Snapshots on disk, in chunks: written beside the current one, made current in one batch, deleted when nobody reads
//! them any more.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use trunkline_ports::{Batch, ScanLimit, Storage, StorageError};
use trunkline_types::{GroupId, hash64};
use trunkline_wire::internal as wire;

use crate::convert;
use crate::keys;
use crate::raft::SnapshotMeta;

/// A chunk, on disk and on the wire.
pub(crate) const CHUNK_BYTES: usize = 256 << 10;
/// The largest snapshot that is accepted: it is restored in one piece of memory.
pub(crate) const SNAPSHOT_BYTES_MAX: u64 = 8 << 30;

/// A group's snapshots. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Snapshots(Arc<Shared>);

struct Shared {
    group: GroupId,
    storage: Arc<dyn Storage>,
    inner: Mutex<Inner>,
    /// One becomes current at a time: one that was taken here and one that a leader has sent may meet.
    making_current: tokio::sync::Mutex<()>,
}

struct Inner {
    current: Option<(StoredSnapshot, SnapshotMeta)>,
    /// Numbers with chunks on disk; those that nobody holds and that are not current can go.
    held: BTreeMap<u64, Weak<()>>,
    next: u64,
}

/// A complete snapshot on disk. Its chunks stay as long as a clone of it is held.
#[derive(Clone, Debug)]
pub(crate) struct StoredSnapshot {
    pub(crate) number: u64,
    pub(crate) size: u64,
    pub(crate) chunks: u32,
    pub(crate) checksum: u64,
    hold: Arc<()>,
}

impl fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Snapshots").field(&self.0.group).finish()
    }
}

impl Snapshots {
    /// Finds the current snapshot, and deletes what a crash has left half-written.
    pub(crate) async fn open(group: GroupId, storage: Arc<dyn Storage>) -> Result<Self, StorageError> {
        let row = storage.get(keys::STATE, keys::state(group, keys::State::Snapshot)).await?;
        let current = row.map(decode).transpose()?;
        let number = current.as_ref().map(|(snapshot, _)| snapshot.number);
        let held =
            current.iter().map(|(snapshot, _)| (snapshot.number, Arc::downgrade(&snapshot.hold))).collect();
        let inner = Inner { current, held, next: number.unwrap_or(0) + 1 };
        let snapshots = Self(Arc::new(Shared {
            group,
            storage,
            inner: Mutex::new(inner),
            making_current: tokio::sync::Mutex::default(),
        }));
        snapshots.delete_others(number).await?;
        Ok(snapshots)
    }

    async fn delete_others(&self, current: Option<u64>) -> Result<(), StorageError> {
        let group = self.0.group;
        let all = (keys::chunk(group, 0, 0), keys::chunk(group, u64::MAX, 0));
        let ranges = match current {
            None => vec![all],
            Some(number) => {
                let (own, after) = (keys::chunk(group, number, 0), keys::chunk(group, number + 1, 0));
                vec![(all.0, own), (after, all.1)]
            }
        };
        let mut batch = Batch::new();
        for (from, to) in ranges {
            let rows =
                self.0.storage.scan(keys::SNAPSHOTS, from.clone(), to.clone(), ScanLimit::rows(1)).await?;
            if !rows.is_empty() {
                batch.delete_range(keys::SNAPSHOTS, from, to);
            }
        }
        if batch.is_empty() { Ok(()) } else { self.0.storage.write(batch).await }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn current(&self) -> Option<(StoredSnapshot, SnapshotMeta)> {
        self.inner().current.clone()
    }

    /// Begins a snapshot; nothing of it counts until [`Snapshots::make_current`].
    pub(crate) fn begin(&self) -> SnapshotWriter {
        let mut inner = self.inner();
        let (number, hold) = (inner.next, Arc::new(()));
        inner.next += 1;
        inner.held.insert(number, Arc::downgrade(&hold));
        SnapshotWriter {
            snapshots: self.clone(),
            written: StoredSnapshot { number, size: 0, chunks: 0, checksum: 0, hold },
            pending: BytesMut::new(),
            checksums: Vec::new(),
        }
    }

    /// From now on this is the one that is read and restored, unless a newer one is already.
    pub(crate) async fn make_current(
        &self,
        snapshot: StoredSnapshot,
        meta: SnapshotMeta,
    ) -> Result<(), StorageError> {
        let _one_at_a_time = self.0.making_current.lock().await;
        let is_newer = |(current, of): &(StoredSnapshot, SnapshotMeta)| {
            current.number == snapshot.number || of.last_log_id > meta.last_log_id
        };
        if self.inner().current.as_ref().is_some_and(is_newer) {
            return Ok(());
        }
        let mut batch = Batch::new();
        batch.put(keys::STATE, keys::state(self.0.group, keys::State::Snapshot), encode(&snapshot, &meta));
        self.0.storage.write(batch).await?;
        self.inner().current = Some((snapshot, meta));
        self.sweep().await
    }

    /// Deletes what is not current and not held.
    async fn sweep(&self) -> Result<(), StorageError> {
        let mut batch = Batch::new();
        {
            let mut inner = self.inner();
            let current = inner.current.as_ref().map(|(snapshot, _)| snapshot.number);
            inner.held.retain(|&number, hold| {
                let keep = Some(number) == current || hold.strong_count() > 0;
                if !keep {
                    let (from, to) =
                        (keys::chunk(self.0.group, number, 0), keys::chunk(self.0.group, number + 1, 0));
                    batch.delete_range(keys::SNAPSHOTS, from, to);
                }
                keep
            });
        }
        if batch.is_empty() { Ok(()) } else { self.0.storage.write(batch).await }
    }

    /// One chunk. `None` where it is not there (any more).
    pub(crate) async fn chunk(
        &self,
        snapshot: &StoredSnapshot,
        chunk: u32,
    ) -> Result<Option<Bytes>, StorageError> {
        let key = keys::chunk(self.0.group, snapshot.number, chunk);
        self.0.storage.get(keys::SNAPSHOTS, key).await
    }

    /// All of it, checked.
    pub(crate) async fn read(&self, snapshot: &StoredSnapshot) -> Result<Bytes, StorageError> {
        let corrupt = |what: &str| StorageError::Corrupt(format!("snapshot {}: {what}", snapshot.number));
        let mut bytes =
            BytesMut::with_capacity(usize::try_from(snapshot.size).map_err(|_| corrupt("its size"))?);
        let mut checksums = Vec::new();
        for number in 0..snapshot.chunks {
            let chunk = self.chunk(snapshot, number).await?.ok_or_else(|| corrupt("a chunk is missing"))?;
            checksums.extend(hash64(&chunk).to_be_bytes());
            bytes.extend_from_slice(&chunk);
        }
        if bytes.len() as u64 != snapshot.size || hash64(&checksums) != snapshot.checksum {
            return Err(corrupt("its checksum"));
        }
        Ok(bytes.freeze())
    }
}

/// Writes one snapshot, a chunk at a time.
pub(crate) struct SnapshotWriter {
    snapshots: Snapshots,
    written: StoredSnapshot,
    pending: BytesMut,
    checksums: Vec<u8>,
}

impl SnapshotWriter {
    /// Adds bytes; resolves when every whole chunk of them is on disk.
    pub(crate) async fn push(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        for part in bytes.chunks(CHUNK_BYTES) {
            self.pending.extend_from_slice(part);
            while self.pending.len() >= CHUNK_BYTES {
                let chunk = self.pending.split_to(CHUNK_BYTES).freeze();
                self.write(chunk).await?;
            }
        }
        Ok(())
    }

    async fn write(&mut self, chunk: Bytes) -> Result<(), StorageError> {
        self.checksums.extend(hash64(&chunk).to_be_bytes());
        self.written.size += chunk.len() as u64;
        let key = keys::chunk(self.snapshots.0.group, self.written.number, self.written.chunks);
        self.written.chunks += 1;
        let mut batch = Batch::new();
        batch.put(keys::SNAPSHOTS, key, chunk);
        self.snapshots.0.storage.write(batch).await
    }

    /// The whole, on disk.
    pub(crate) async fn finish(mut self) -> Result<StoredSnapshot, StorageError> {
        let rest = self.pending.split().freeze();
        if !rest.is_empty() {
            self.write(rest).await?;
        }
        self.written.checksum = hash64(&self.checksums);
        Ok(self.written)
    }
}

fn encode(snapshot: &StoredSnapshot, meta: &SnapshotMeta) -> Vec<u8> {
    let message = wire::RaftSnapshot {
        size: snapshot.size,
        checksum: snapshot.checksum,
        chunks: snapshot.chunks,
        number: snapshot.number,
        ..convert::from_snapshot_meta(meta)
    };
    message.encode_to_vec()
}

fn decode(row: Bytes) -> Result<(StoredSnapshot, SnapshotMeta), StorageError> {
    let corrupt = || StorageError::Corrupt("the description of a snapshot".to_owned());
    let message = wire::RaftSnapshot::decode(row).map_err(|_| corrupt())?;
    let meta = convert::to_snapshot_meta(&message).map_err(|_| corrupt())?;
    let snapshot = StoredSnapshot {
        number: message.number,
        size: message.size,
        chunks: message.chunks,
        checksum: message.checksum,
        hold: Arc::new(()),
    };
    Ok((snapshot, meta))
}
