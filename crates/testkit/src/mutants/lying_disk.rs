//! A disk that says "written" at once and writes later.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::time::Instant;
use trunkline_ports::storage::Row;
use trunkline_ports::{Batch, ScanLimit, Space, Storage, StorageError};

/// What is written goes to the disk with the first call that comes so much later; or with a read, which must see it.
pub(super) struct LyingDisk {
    inner: Arc<dyn Storage>,
    late: Duration,
    cached: Mutex<VecDeque<(Instant, Batch)>>,
}

impl LyingDisk {
    pub(super) fn new(inner: Arc<dyn Storage>, late: Duration) -> Self {
        Self { inner, late, cached: Mutex::default() }
    }

    fn write_back(&self, before: Instant) {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        while cached.front().is_some_and(|(at, _)| *at <= before) {
            let Some((_, batch)) = cached.pop_front() else { return };
            // Called is written; when that will be on disk nobody here asks.
            drop(self.inner.write(batch));
        }
    }

    fn write_all_back(&self) {
        self.write_back(Instant::now());
    }
}

impl Storage for LyingDisk {
    fn write(&self, batch: Batch) -> BoxFuture<'static, Result<(), StorageError>> {
        let now = Instant::now();
        self.cached.lock().unwrap_or_else(PoisonError::into_inner).push_back((now, batch));
        if let Some(before) = now.checked_sub(self.late) {
            self.write_back(before);
        }
        std::future::ready(Ok(())).boxed()
    }

    fn get(&self, space: Space, key: Bytes) -> BoxFuture<'static, Result<Option<Bytes>, StorageError>> {
        self.write_all_back();
        self.inner.get(space, key)
    }

    fn scan(
        &self,
        space: Space,
        from: Bytes,
        to: Bytes,
        limit: ScanLimit,
    ) -> BoxFuture<'static, Result<Vec<Row>, StorageError>> {
        self.write_all_back();
        self.inner.scan(space, from, to, limit)
    }

    fn scan_back(
        &self,
        space: Space,
        from: Bytes,
        to: Bytes,
        limit: ScanLimit,
    ) -> BoxFuture<'static, Result<Vec<Row>, StorageError>> {
        self.write_all_back();
        self.inner.scan_back(space, from, to, limit)
    }

    fn has_room(&self) -> bool {
        self.inner.has_room()
    }
}
