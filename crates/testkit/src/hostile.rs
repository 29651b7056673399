//! A storage that goes wrong when told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use trunkline_ports::storage::Row;
use trunkline_ports::{Batch, ScanLimit, Space, Storage, StorageError};

/// What goes wrong. Clones steer the same storage.
#[derive(Clone, Debug)]
pub struct Faults(Arc<Switches>);

#[derive(Debug)]
struct Switches {
    /// Writes that still succeed before one fails; negative: none fails.
    writes_until_failure: AtomicI64,
    full: AtomicBool,
    corrupt: AtomicBool,
}

impl Default for Faults {
    fn default() -> Self {
        let switches = Switches {
            writes_until_failure: AtomicI64::new(-1),
            full: AtomicBool::new(false),
            corrupt: AtomicBool::new(false),
        };
        Self(Arc::new(switches))
    }
}

impl Faults {
    /// The write after the next `succeed` ones fails, and so do all after it: the disk is gone.
    pub fn fail_writes_after(&self, succeed: u32) {
        self.0.writes_until_failure.store(succeed.into(), Ordering::Relaxed);
    }

    /// Writes are refused before anything is written.
    pub fn set_full(&self, full: bool) {
        self.0.full.store(full, Ordering::Relaxed);
    }

    /// Every read answers that a checksum does not fit.
    pub fn set_corrupt(&self, corrupt: bool) {
        self.0.corrupt.store(corrupt, Ordering::Relaxed);
    }

    fn on_write(&self) -> Result<(), StorageError> {
        if self.0.full.load(Ordering::Relaxed) {
            return Err(StorageError::Full("no room, as the test has it".to_owned()));
        }
        match self.0.writes_until_failure.load(Ordering::Relaxed) {
            0 => Err(StorageError::Failed("fsync failed, as the test has it".to_owned())),
            left if left > 0 => {
                self.0.writes_until_failure.store(left - 1, Ordering::Relaxed);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn on_read(&self) -> Result<(), StorageError> {
        if self.0.corrupt.load(Ordering::Relaxed) {
            return Err(StorageError::Corrupt("a bit has flipped, as the test has it".to_owned()));
        }
        Ok(())
    }
}

/// Another storage with [`Faults`] in front of it.
#[derive(Clone, Debug)]
pub struct HostileStorage<S> {
    inner: S,
    faults: Faults,
}

impl<S: Storage> HostileStorage<S> {
    pub fn new(inner: S) -> (Self, Faults) {
        let faults = Faults::default();
        (Self { inner, faults: faults.clone() }, faults)
    }
}

impl<S: Storage> Storage for HostileStorage<S> {
    fn write(&self, batch: Batch) -> BoxFuture<'static, Result<(), StorageError>> {
        match self.faults.on_write() {
            Ok(()) => self.inner.write(batch),
            Err(error) => std::future::ready(Err(error)).boxed(),
        }
    }

    fn get(&self, space: Space, key: Bytes) -> BoxFuture<'static, Result<Option<Bytes>, StorageError>> {
        match self.faults.on_read() {
            Ok(()) => self.inner.get(space, key),
            Err(error) => std::future::ready(Err(error)).boxed(),
        }
    }

    fn scan(
        &self,
        space: Space,
        from: Bytes,
        to: Bytes,
        limit: ScanLimit,
    ) -> BoxFuture<'static, Result<Vec<Row>, StorageError>> {
        match self.faults.on_read() {
            Ok(()) => self.inner.scan(space, from, to, limit),
            Err(error) => std::future::ready(Err(error)).boxed(),
        }
    }

    fn scan_back(
        &self,
        space: Space,
        from: Bytes,
        to: Bytes,
        limit: ScanLimit,
    ) -> BoxFuture<'static, Result<Vec<Row>, StorageError>> {
        match self.faults.on_read() {
            Ok(()) => self.inner.scan_back(space, from, to, limit),
            Err(error) => std::future::ready(Err(error)).boxed(),
        }
    }

    fn has_room(&self) -> bool {
        !self.faults.0.full.load(Ordering::Relaxed) && self.inner.has_room()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    #[tokio::test]
    async fn a_disk_fails_when_told_to_and_not_before() {
        const SPACE: Space = Space::new("test");
        let (storage, faults) = HostileStorage::new(MemoryStorage::new());
        let mut batch = Batch::new();
        batch.put(SPACE, &b"k"[..], &b"v"[..]);
        assert_eq!(storage.write(batch.clone()).await, Ok(()));
        faults.set_full(true);
        assert!(matches!(storage.write(batch.clone()).await, Err(StorageError::Full(_))));
        assert!(!storage.has_room());
        faults.set_full(false);
        faults.fail_writes_after(1);
        assert_eq!(storage.write(batch.clone()).await, Ok(()));
        assert!(matches!(storage.write(batch.clone()).await, Err(StorageError::Failed(_))));
        assert!(
            matches!(storage.write(batch).await, Err(StorageError::Failed(_))),
            "never retried with success"
        );
        faults.set_corrupt(true);
        assert!(matches!(storage.get(SPACE, Bytes::from_static(b"k")).await, Err(StorageError::Corrupt(_))));
    }
}
