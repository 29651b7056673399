//! What the handle, the writer and the readers of one store share.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use rocksdb::DB;
use tokio::sync::Semaphore;
use trunkline_ports::{Process, Space, StorageError};

use super::intake::Intake;
use super::metrics::Metrics;
use super::room::Room;

pub(super) struct Shared {
    /// `None` once closed. Whoever reads or writes holds the lock for that long, so that closing waits for them.
    database: RwLock<Option<DB>>,
    pub(super) spaces: Vec<Space>,
    pub(super) intake: Intake,
    pub(super) room: Room,
    pub(super) metrics: Metrics,
    /// Reads that may be at the disk at a time.
    pub(super) reads: Arc<Semaphore>,
    failed: OnceLock<String>,
    process: Process,
}

impl Shared {
    pub(super) fn new(
        database: DB,
        spaces: &[Space],
        intake: Intake,
        room: Room,
        parallel_reads: u32,
        process: Process,
    ) -> Self {
        Self {
            database: RwLock::new(Some(database)),
            spaces: spaces.to_vec(),
            intake,
            room,
            metrics: Metrics::default(),
            reads: Arc::new(Semaphore::new(usize::try_from(parallel_reads).unwrap_or(usize::MAX))),
            failed: OnceLock::new(),
            process,
        }
    }

    /// A space that was not named at open is a mistake of the caller's code.
    pub(super) fn check(&self, space: Space) {
        assert!(
            self.spaces.contains(&space),
            "space {:?} was not named when the store was opened",
            space.name
        );
    }

    pub(super) fn with<T>(&self, act: impl FnOnce(&DB) -> T) -> Result<T, StorageError> {
        if self.failed.get().is_some() {
            return Err(self.why_not());
        }
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        database.as_ref().map(act).ok_or_else(closed)
    }

    /// Closes the database when nobody uses it any more, which reads and the writer's last group end soon. What gives room
    /// back is cut short.
    pub(super) fn shut(&self) {
        if let Some(database) = self.database.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
            database.cancel_all_background_work(false);
        }
        drop(self.database.write().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// What is on disk is unknown: nobody is answered anything else from now on, and the process ends. It is told
    /// first, so that nobody acts on the answers.
    pub(super) fn fail(&self, why: &str) {
        if self.failed.set(why.to_owned()).is_ok() {
            self.process.fail(why);
        }
        for job in self.intake.abandon() {
            // Who no longer waits need not know.
            let _ = job.done.send(Err(self.why_not()));
        }
    }

    /// Why calls are refused.
    pub(super) fn why_not(&self) -> StorageError {
        self.failed.get().map_or_else(closed, |why| StorageError::Failed(why.clone()))
    }
}

pub(super) fn closed() -> StorageError {
    StorageError::Failed("the store is closed".into())
}
