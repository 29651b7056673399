//! Reads: from memory where they stand, else on a bounded pool of blocking threads.

use std::sync::Arc;

use bytes::Bytes;
use rocksdb::{ErrorKind, ReadOptions, ReadTier};
use tokio::sync::OwnedSemaphorePermit;
use trunkline_ports::storage::Row;
use trunkline_ports::{Part, ScanLimit, Space, StorageError};

use super::shared::{Shared, closed};
use crate::error;

/// What a read may do on the async runtime before it goes to the pool: a fraction of a millisecond.
const INLINE_BYTES_MAX: usize = 256 << 10;
const INLINE_ROWS_MAX: usize = 1_024;
const INLINE_SKIPPED_MAX: u64 = 1_024;

/// How far a read may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Memtables and caches, and no more than a little of them.
    Memory,
    Disk,
}

/// Why a read has no result.
#[derive(Debug)]
pub(super) enum Miss {
    /// Within [`Reach::Memory`] it cannot be answered.
    OutOfReach,
    Failed(StorageError),
}

impl From<rocksdb::Error> for Miss {
    fn from(error: rocksdb::Error) -> Self {
        match error.kind() {
            ErrorKind::Incomplete => Self::OutOfReach,
            _ => Self::Failed(error::of_read(&error)),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Direction {
    Ascending,
    Descending,
}

/// Keys in [from, to).
#[derive(Clone, Debug)]
pub(super) struct Range {
    pub(super) from: Bytes,
    pub(super) to: Bytes,
}

impl Range {
    pub(super) fn is_empty(&self) -> bool {
        self.from >= self.to
    }

    /// Whether all its keys, and its end, begin with the same so many bytes; false for 0.
    fn is_within(&self, prefix: u8) -> bool {
        let begin = |key: &Bytes| key.get(..usize::from(prefix)).map(<[u8]>::to_vec);
        prefix > 0 && begin(&self.from).is_some() && begin(&self.from) == begin(&self.to)
    }
}

/// Reads from memory, and where that is not enough, once more from disk.
pub(super) async fn read<T, F>(shared: &Arc<Shared>, act: F) -> Result<T, StorageError>
where
    T: Send + 'static,
    F: Fn(&Shared, Reach) -> Result<T, Miss> + Send + 'static,
{
    match act(shared, Reach::Memory) {
        Ok(result) => {
            shared.metrics.memory_reads.inc();
            return Ok(result);
        }
        Err(Miss::Failed(error)) => return Err(error),
        Err(Miss::OutOfReach) => {}
    }
    shared.metrics.disk_reads.inc();
    let permit = shared.reads.clone().acquire_owned().await.map_err(|_| closed())?;
    on_the_pool(permit, shared.clone(), move |shared| act(shared, Reach::Disk)).await
}

/// Reads from disk at once, beside and not among the others: these wait for one another in the order in which they
/// came, so that each has its turn.
pub(super) async fn replay<T, F>(shared: &Arc<Shared>, act: F) -> Result<T, StorageError>
where
    T: Send + 'static,
    F: FnOnce(&Shared) -> Result<T, Miss> + Send + 'static,
{
    shared.metrics.replays.inc();
    let permit = shared.replays.clone().acquire_owned().await.map_err(|_| closed())?;
    on_the_pool(permit, shared.clone(), act).await
}

async fn on_the_pool<T, F>(
    permit: OwnedSemaphorePermit,
    shared: Arc<Shared>,
    act: F,
) -> Result<T, StorageError>
where
    T: Send + 'static,
    F: FnOnce(&Shared) -> Result<T, Miss> + Send + 'static,
{
    #[allow(clippy::disallowed_methods, reason = "this is the adapter, and the semaphore bounds it")]
    let job = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        act(&shared)
    });
    match job.await {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(Miss::Failed(error))) => Err(error),
        Ok(Err(Miss::OutOfReach)) => Err(StorageError::Failed("a read from disk was incomplete".into())),
        Err(_) => Err(StorageError::Failed("a read from disk was cut short".into())),
    }
}

pub(super) fn value(shared: &Shared, space: Space, key: &[u8], reach: Reach) -> Result<Option<Bytes>, Miss> {
    shared
        .with(|database| {
            let family = database.cf_handle(space.name).expect("every space was opened with the store");
            let value = database.get_pinned_cf_opt(&family, key, &options(reach))?;
            Ok(value.map(|value| Bytes::copy_from_slice(&value)))
        })
        .map_err(Miss::Failed)?
}

pub(super) fn rows(
    shared: &Shared,
    space: Space,
    range: &Range,
    limit: ScanLimit,
    direction: Direction,
    reach: Reach,
) -> Result<Vec<Row>, Miss> {
    shared
        .with(|database| {
            let family = database.cf_handle(space.name).expect("every space was opened with the store");
            let mut options = options(reach);
            // Filters know prefixes: a range within one need not look at what has none of it.
            options.set_total_order_seek(!range.is_within(space.prefix));
            options.set_iterate_lower_bound(range.from.as_ref());
            options.set_iterate_upper_bound(range.to.as_ref());
            let mut cursor = database.raw_iterator_cf_opt(&family, options);
            match direction {
                Direction::Ascending => cursor.seek_to_first(),
                Direction::Descending => cursor.seek_to_last(),
            }
            let mut taken = Taken::new(limit, reach);
            while let Some((key, value)) = cursor.item() {
                if !taken.add(key, value)? {
                    return Ok(taken.rows);
                }
                match direction {
                    Direction::Ascending => cursor.next(),
                    Direction::Descending => cursor.prev(),
                }
            }
            // An iterator that fails looks like one that has come to its end.
            cursor.status()?;
            Ok(taken.rows)
        })
        .map_err(Miss::Failed)?
}

/// Rows of one part after the other, by one cursor.
pub(super) fn parts(
    shared: &Shared,
    space: Space,
    parts: &[Part],
    limit: ScanLimit,
) -> Result<Vec<Row>, Miss> {
    shared
        .with(|database| {
            let family = database.cf_handle(space.name).expect("every space was opened with the store");
            let mut options = options(Reach::Disk);
            options.fill_cache(false);
            let mut cursor = database.raw_iterator_cf_opt(&family, options);
            let mut taken = Taken::new(limit, Reach::Disk);
            for part in parts {
                cursor.seek(&part.from);
                for row in 1..=part.rows {
                    let Some((key, value)) = cursor.item().filter(|(key, _)| *key < &part.to[..]) else {
                        break;
                    };
                    if !taken.add(key, value)? {
                        return Ok(taken.rows);
                    }
                    // What is behind the last row may be of another's, and large.
                    if row < part.rows {
                        cursor.next();
                    }
                }
                cursor.status()?;
            }
            Ok(taken.rows)
        })
        .map_err(Miss::Failed)?
}

fn options(reach: Reach) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_total_order_seek(true);
    options.set_verify_checksums(true);
    if reach == Reach::Memory {
        options.set_read_tier(ReadTier::BlockCache);
        options.set_max_skippable_internal_keys(INLINE_SKIPPED_MAX);
    }
    options
}

/// The rows of one scan, within its limit and its reach.
struct Taken {
    rows: Vec<Row>,
    bytes: usize,
    limit: ScanLimit,
    reach: Reach,
}

impl Taken {
    fn new(limit: ScanLimit, reach: Reach) -> Self {
        Self { rows: Vec::new(), bytes: 0, limit, reach }
    }

    /// Whether there is room for another row after this one. A row beyond the limit is left.
    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<bool, Miss> {
        let bytes = self.bytes.saturating_add(key.len() + value.len());
        if !self.rows.is_empty() && bytes > self.limit.bytes {
            return Ok(false);
        }
        self.bytes = bytes;
        self.rows.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        if self.rows.len() >= self.limit.rows {
            return Ok(false);
        }
        if self.reach == Reach::Memory && (bytes > INLINE_BYTES_MAX || self.rows.len() > INLINE_ROWS_MAX) {
            return Err(Miss::OutOfReach);
        }
        Ok(true)
    }
}
