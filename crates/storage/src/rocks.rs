//! [`Storage`] on RocksDB: one writer thread per store, a column family per space.

mod intake;
mod metrics;
mod open;
mod reader;
mod room;
mod shared;
mod tuning;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use futures::future::BoxFuture;
use prometheus_client::registry::Registry;
use trunkline_ports::storage::{Change, Row};
use trunkline_ports::{Batch, Part, Process, ScanLimit, Space, Storage, StorageError};
use trunkline_types::limits::STORAGE_QUEUE_BYTES_MAX;

use self::intake::{Intake, Refused};
pub use self::metrics::Reads;
use self::reader::{Direction, Range};
use self::room::Room;
use self::shared::{Shared, closed};
use crate::error::OpenError;
use crate::memory::SharedMemory;
use crate::options::Options;

/// One node's store on disk.
///
/// - A failed write or fsync fails the process ([`Process::fail`]): what it left behind is unknown, so nothing is
///   retried, and every later call answers [`StorageError::Failed`].
/// - [`StorageError::Full`] is never answered: to refuse one batch in the middle and take the next would leave a hole
///   in someone's log. [`Storage::has_room`] says in time that new pushes are to be refused.
/// - Dropping the last handle, or [`RocksStorage::close`], writes what was queued, waits for reads under way and
///   closes the database: its directory can be opened again at once.
pub struct RocksStorage {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for RocksStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksStorage").field("spaces", &self.shared.spaces).finish_non_exhaustive()
    }
}

impl RocksStorage {
    /// Opens or creates the store in the directory `path`. Blocks while the log is replayed: call it before the
    /// runtime has other work, or on a blocking thread.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing was changed, except where the store was new.
    ///
    /// # Panics
    /// If two spaces have one name, or the name that RocksDB reserves.
    pub fn open(
        path: &Path,
        spaces: &[Space],
        options: &Options,
        memory: &SharedMemory,
        process: Process,
    ) -> Result<Arc<Self>, OpenError> {
        let mut names: Vec<_> = spaces.iter().map(|space| space.name).chain([open::OWN_SPACE]).collect();
        names.sort_unstable();
        assert!(
            names.windows(2).all(|pair| pair[0] != pair[1]),
            "each space has a name of its own: {names:?}"
        );

        let database = open::open(path, spaces, options, memory)?;
        let room = Room::new(path, options.disk_reserve);
        let intake = Intake::new(STORAGE_QUEUE_BYTES_MAX);
        let shared = Arc::new(Shared::new(database, spaces, intake, room, options, process));
        let writer = writer::start(shared.clone())
            .map_err(|error| OpenError::Disk { path: path.to_owned(), why: error.to_string() })?;
        Ok(Arc::new(Self { shared, writer: Mutex::new(Some(writer)) }))
    }

    /// Adds this store's metrics, under the prefix `storage`.
    pub fn register(&self, registry: &mut Registry) {
        self.shared.metrics.register(registry);
    }

    /// What reading has cost since the store was opened.
    pub fn reads(&self) -> Reads {
        Reads::of(&self.shared.tuning)
    }

    /// What dropping the last handle does, for when others may still hold one: their calls answer `Failed` from now
    /// on. Blocks for the last fsync. Harmless to repeat.
    pub fn close(&self) {
        self.shared.intake.shut();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A process that is told of a failed write may close the store at once, on the writer's own thread.
        if let Some(writer) = writer.filter(|writer| writer.thread().id() != thread::current().id()) {
            // A panic of the writer has failed the process already.
            let _ = writer.join();
        }
        self.shared.shut();
    }

    fn rows(
        &self,
        space: Space,
        range: Range,
        limit: ScanLimit,
        direction: Direction,
    ) -> BoxFuture<'static, Result<Vec<Row>, StorageError>> {
        self.shared.check(space);
        if range.is_empty() {
            return Box::pin(async { Ok(Vec::new()) });
        }
        let shared = self.shared.clone();
        Box::pin(async move {
            reader::read(&shared, move |shared, reach| {
                reader::rows(shared, space, &range, limit, direction, reach)
            })
            .await
        })
    }
}

impl Drop for RocksStorage {
    fn drop(&mut self) {
        self.close();
    }
}

impl Storage for RocksStorage {
    fn write(&self, batch: Batch) -> BoxFuture<'static, Result<(), StorageError>> {
        for change in &batch.changes {
            let (Change::Put(space, ..) | Change::Delete(space, ..) | Change::DeleteRange(space, ..)) =
                change;
            self.shared.check(*space);
        }
        let refusal = match self.shared.intake.put(batch) {
            Ok(answer) => {
                return Box::pin(async move { answer.await.unwrap_or_else(|_| Err(closed())) });
            }
            Err(Refused::Shut) => self.shared.why_not(),
            Err(Refused::Overrun) => {
                self.shared.fail(&format!("more than {STORAGE_QUEUE_BYTES_MAX} bytes wait for the disk"));
                self.shared.why_not()
            }
        };
        Box::pin(async move { Err(refusal) })
    }

    fn get(&self, space: Space, key: Bytes) -> BoxFuture<'static, Result<Option<Bytes>, StorageError>> {
        self.shared.check(space);
        let shared = self.shared.clone();
        Box::pin(async move {
            reader::read(&shared, move |shared, reach| reader::value(shared, space, &key, reach)).await
        })
    }

    fn scan(
        &self,
        space: Space,
        from: Bytes,
        to: Bytes,
        limit: ScanLimit,
    ) -> BoxFuture<'static, Result<Vec<Row>, StorageError>> {
        self.rows(space, Range { from, to }, limit, Direction::Ascending)
    }

    fn scan_back(
        &self,
        space: Space,
        from: Bytes,
        to: Bytes,
        limit: ScanLimit,
    ) -> BoxFuture<'static, Result<Vec<Row>, StorageError>> {
        self.rows(space, Range { from, to }, limit, Direction::Descending)
    }

    fn replay(
        &self,
        space: Space,
        parts: Vec<Part>,
        limit: ScanLimit,
    ) -> BoxFuture<'static, Result<Vec<Row>, StorageError>> {
        self.shared.check(space);
        let shared = self.shared.clone();
        Box::pin(async move {
            reader::replay(&shared, move |shared| reader::parts(shared, space, &parts, limit)).await
        })
    }

    fn has_room(&self) -> bool {
        self.shared.room.is_enough()
    }
}
