//! Large payloads: chunks on disk beside the logs, under a number of this store's own. A payload comes before the
//! record that names it is written, and the two rows that tie them together are written with the record. So what a
//! crash leaves of a payload without its record was never told to be here, and goes at the next start.
//!
//! - [`upload`]: from a push server, to the coordinator. [`fetch`]: from another store, to a follower.
//! - [`serve`]: to pop servers and other stores, also while it is still coming in.
//! - `worker/large.rs` owns which payloads there are; everything here only moves chunks.

pub(crate) mod fetch;
pub(crate) mod serve;
pub(crate) mod upload;

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use trunkline_ordering::store::LogNo;
use trunkline_ports::storage::Row;
use trunkline_ports::{Batch, ScanLimit, Storage, StorageError};
use trunkline_wire::internal::ChunkedPayload;

use crate::keys::{self, PayloadNo};

/// A payload that is on this disk, or on its way there.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) number: PayloadNo,
    pub(crate) what: Arc<ChunkedPayload>,
}

/// The payload of a record that is on disk; `None` where the record is not of a large one.
pub(crate) async fn of_record(
    storage: &dyn Storage,
    log: LogNo,
    seq: u64,
) -> Result<Option<Kept>, StorageError> {
    let Some(row) = storage.get(keys::PAYLOADS, keys::place(log, seq)).await? else { return Ok(None) };
    let (number, what) = keys::payload(&row).ok_or_else(|| crate::worker::load::corrupt("payloads"))?;
    Ok(Some(Kept { number, what: Arc::new(what) }))
}

/// One chunk, if it is sound on disk here.
pub(crate) async fn chunk(storage: &dyn Storage, kept: &Kept, chunk: u32) -> Option<Bytes> {
    let bytes = storage.get(keys::CHUNKS, keys::chunk_key(kept.number, chunk)).await.ok().flatten()?;
    kept.what.is_sound(chunk, &bytes).then_some(bytes)
}

/// Takes away the chunks of a payload. Where its record is written, the row that ties them goes in the same batch.
pub(crate) fn drop_chunks(batch: &mut Batch, payload: PayloadNo) {
    batch.delete_range(keys::CHUNKS, keys::chunk_key(payload, 0), keys::chunks_end(payload));
}

/// Takes away a payload that no record on this disk names.
pub(crate) fn drop_begun(batch: &mut Batch, payload: PayloadNo) {
    drop_chunks(batch, payload);
    batch.delete(keys::META, keys::begun_key(payload));
}

/// The payloads of the records of a log at these places, for [`drop_with_records`].
#[allow(dead_code, reason = "for whoever drops records by trim or deletion; nothing does yet")]
pub(crate) async fn of_places(
    storage: &dyn Storage,
    log: LogNo,
    places: Range<u64>,
) -> Result<Vec<PayloadNo>, StorageError> {
    let (from, to) = (keys::place(log, places.start), keys::place(log, places.end));
    let rows = storage.scan(keys::PAYLOADS, from, to, ScanLimit::rows(usize::MAX)).await?;
    let number = |(_, value): &Row| keys::payload(value).map(|(number, _)| number);
    let numbers: Option<Vec<PayloadNo>> = rows.iter().map(number).collect();
    numbers.ok_or_else(|| crate::worker::load::corrupt("payloads"))
}

/// Takes away what goes with the records of a log at these places, in the batch that drops these.
#[allow(dead_code, reason = "for whoever drops records by trim or deletion; nothing does yet")]
pub(crate) fn drop_with_records(batch: &mut Batch, log: LogNo, places: Range<u64>, payloads: &[PayloadNo]) {
    payloads.iter().for_each(|&payload| drop_chunks(batch, payload));
    batch.delete_range(keys::PAYLOADS, keys::place(log, places.start), keys::place(log, places.end));
}

/// Chunks of one payload on their way to disk, in order.
pub(crate) struct Chunks {
    storage: Arc<dyn Storage>,
    payload: PayloadNo,
    next: u32,
    written: u32,
    writes: FuturesOrdered<BoxFuture<'static, Result<(), StorageError>>>,
}

impl Chunks {
    /// From this chunk on; those before it are on disk.
    pub(crate) fn new(storage: Arc<dyn Storage>, payload: PayloadNo, next: u32) -> Self {
        Self { storage, payload, next, written: next, writes: FuturesOrdered::new() }
    }

    /// The number of the chunk that comes next.
    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    pub(crate) fn written(&self) -> u32 {
        self.written
    }

    pub(crate) fn push(&mut self, bytes: Bytes) {
        let mut batch = Batch::new();
        if self.next == 0 {
            batch.put(keys::META, keys::begun_key(self.payload), Bytes::new());
        }
        batch.put(keys::CHUNKS, keys::chunk_key(self.payload, self.next), bytes);
        self.next += 1;
        self.writes.push_back(self.storage.write(batch));
    }

    /// How many are on disk once one more is. Pending while none is on its way. Cancel safe.
    pub(crate) async fn one_written(&mut self) -> Result<u32, StorageError> {
        match self.writes.next().await {
            None => futures::future::pending().await,
            Some(Err(error)) => Err(error),
            Some(Ok(())) => {
                self.written += 1;
                Ok(self.written)
            }
        }
    }
}
