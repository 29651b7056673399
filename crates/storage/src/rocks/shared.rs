//! What the handle, the writer and the readers of one store share.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use rocksdb::DB;
use tokio::sync::Semaphore;
use trunkline_ports::{Process, Space, StorageError};

use super::intake::Intake;
use super::metrics::Metrics;
use super::room::Room;
use crate::options::Options;

pub(super) struct Shared {
    /// `None` once closed. Whoever reads or writes holds the lock for that long, so that closing waits for them.
    database: RwLock<Option<DB>>,
    pub(super) spaces: Vec<Space>,
    pub(super) intake: Intake,
    pub(super) room: Room,
    pub(super) metrics: Metrics,
    /// Reads that may be at the disk at a time.
    pub(super) reads: Arc<Semaphore>,
    /// The same of replays, beside them.
    pub(super) replays: Arc<Semaphore>,
    /// Of the database, for its counters.
    pub(super) tuning: rocksdb::Options,
    failed: OnceLock<String>,
    process: Process,
}

impl Shared {
    pub(super) fn new(
        (database, tuning): (DB, rocksdb::Options),
        spaces: &[Space],
        intake: Intake,
        room: Room,
        options: &Options,
        process: Process,
    ) -> Self {
        let permits = |number: u32| Arc::new(Semaphore::new(usize::try_from(number).unwrap_or(usize::MAX)));
        Self {
            database: RwLock::new(Some(database)),
            spaces: spaces.to_vec(),
            intake,
            room,
            metrics: Metrics::default(),
            reads: permits(options.parallel_reads),
            replays: permits(options.parallel_replays),
            tuning,
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

    /// Closes the database when nobody uses it any more, which reads and the writer's last group end soon.
    pub(super) fn shut(&self) {
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
