//! An ordered key-value store: one order of writes, an answer after fsync.

use bytes::Bytes;
use futures::future::BoxFuture;
use thiserror::Error;

/// A named keyspace (a column family of RocksDB). Each role names its own; all exist from the first open on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Space {
    pub name: &'static str,
    /// Values are payloads: kept in blob files, written once, and cached by nobody below the service.
    pub blobs: bool,
    /// Keys that begin with the same so many bytes belong together: a scan among them does not touch the disk for
    /// what has none of them. 0: no such thing.
    pub prefix: u8,
}

impl Space {
    pub const fn new(name: &'static str) -> Self {
        Self { name, blobs: false, prefix: 0 }
    }

    pub const fn of_payloads(name: &'static str) -> Self {
        Self { name, blobs: true, prefix: 0 }
    }

    #[must_use]
    pub const fn with_prefix(self, bytes: u8) -> Self {
        Self { prefix: bytes, ..self }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Put(Space, Bytes, Bytes),
    Delete(Space, Bytes),
    /// Keys in [from, to).
    DeleteRange(Space, Bytes, Bytes),
}

/// Changes that are applied all or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub changes: Vec<Change>,
}

impl Batch {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub fn put(&mut self, space: Space, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.changes.push(Change::Put(space, key.into(), value.into()));
    }

    pub fn delete(&mut self, space: Space, key: impl Into<Bytes>) {
        self.changes.push(Change::Delete(space, key.into()));
    }

    pub fn delete_range(&mut self, space: Space, from: impl Into<Bytes>, to: impl Into<Bytes>) {
        self.changes.push(Change::DeleteRange(space, from.into(), to.into()));
    }
}

/// How much one scan returns at most. At least one row comes, whatever its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanLimit {
    pub rows: usize,
    pub bytes: usize,
}

impl ScanLimit {
    pub const fn rows(rows: usize) -> Self {
        Self { rows, bytes: usize::MAX }
    }
}

/// The first rows with keys in [from, to), at most so many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub from: Bytes,
    pub to: Bytes,
    pub rows: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StorageError {
    /// Refused before anything was written: the disk is below its reserve.
    #[error("the disk is full: {0}")]
    Full(String),
    /// A write or fsync failed; what was written is unknown. The process is ending: nothing is retried.
    #[error("the disk failed: {0}")]
    Failed(String),
    /// What is on disk does not fit its checksum.
    #[error("corrupt: {0}")]
    Corrupt(String),
}

pub type Row = (Bytes, Bytes);

/// One node's store.
///
/// - Batches are applied in the order in which `write` was *called*; each is atomic.
/// - The future of `write` resolves once the batch and all before it are on disk (fsync). Batches that wait together
///   share one fsync. Dropping the future does not take the batch back.
/// - A read sees every batch whose `write` has resolved, and possibly later ones.
/// - After a crash a prefix of the batches is there, at least all that had resolved.
pub trait Storage: Send + Sync + 'static {
    fn write(&self, batch: Batch) -> BoxFuture<'static, Result<(), StorageError>>;

    fn get(&self, space: Space, key: Bytes) -> BoxFuture<'static, Result<Option<Bytes>, StorageError>>;

    /// Rows with keys in [from, to), ascending.
    fn scan(
        &self,
        space: Space,
        from: Bytes,
        to: Bytes,
        limit: ScanLimit,
    ) -> BoxFuture<'static, Result<Vec<Row>, StorageError>>;

    /// Rows with keys in [from, to), descending from `to`.
    fn scan_back(
        &self,
        space: Space,
        from: Bytes,
        to: Bytes,
        limit: ScanLimit,
    ) -> BoxFuture<'static, Result<Vec<Row>, StorageError>>;

    /// Rows of several parts, one part after the other, within one limit that may cut short any of them: for who reads
    /// much that is old, and once. It waits for its like and holds up nobody else, and what it has read stays in no
    /// cache.
    fn replay(
        &self,
        space: Space,
        parts: Vec<Part>,
        limit: ScanLimit,
    ) -> BoxFuture<'static, Result<Vec<Row>, StorageError>> {
        let scan = |part: Part| {
            let rows = part.rows.min(limit.rows);
            self.scan(space, part.from, part.to, ScanLimit { rows, ..limit })
        };
        let scans: Vec<_> = parts.into_iter().map(scan).collect();
        Box::pin(async move {
            let (mut rows, mut bytes) = (Vec::new(), 0_usize);
            for scan in scans {
                for (key, value) in scan.await? {
                    bytes = bytes.saturating_add(key.len() + value.len());
                    let is_full = rows.len() >= limit.rows || bytes > limit.bytes;
                    if is_full && !rows.is_empty() {
                        return Ok(rows);
                    }
                    rows.push((key, value));
                }
            }
            Ok(rows)
        })
    }

    /// Whether new pushes fit above the disk reserve; Follow and Raft may go on below it.
    fn has_room(&self) -> bool;
}
