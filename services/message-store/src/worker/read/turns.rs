//! Turns at the disk: so many reads of one stream are there at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use trunkline_types::limits::READS_AT_DISK_MAX;

/// The turns of one stream. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Turns {
    taken: Arc<AtomicUsize>,
    /// Wakes the worker when one is given back.
    wake: Arc<Notify>,
}

/// Given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn(Turns);

impl Turns {
    pub(super) fn new(wake: Arc<Notify>) -> Self {
        Self { taken: Arc::default(), wake }
    }

    pub(super) fn is_free(&self) -> bool {
        self.taken.load(Ordering::SeqCst) < READS_AT_DISK_MAX
    }

    /// For the worker alone, which so never takes more than there are.
    pub(super) fn take(&self) -> Option<Turn> {
        self.is_free().then(|| {
            self.taken.fetch_add(1, Ordering::SeqCst);
            Turn(self.clone())
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::SeqCst);
        self.0.wake.notify_one();
    }
}
