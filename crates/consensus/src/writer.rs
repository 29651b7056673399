//! The one writer of a node's Raft log: what groups want on disk, in order, as many as wait in one batch and so in one
//! fsync.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use trunkline_ports::storage::Change;
use trunkline_ports::{Batch, Process, Storage, StorageError};

use crate::keys;

/// Writes that wait before their groups wait too.
const QUEUE_MAX: usize = 4_096;
/// A batch is closed when it has so many bytes, so that one fsync stays short.
const BATCH_BYTES_MAX: usize = 4 << 20;

type Done = Box<dyn FnOnce() + Send>;

struct Write {
    changes: Vec<Change>,
    done: Option<Done>,
}

/// A handle on the writer. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Writer {
    writes: mpsc::Sender<Write>,
    /// Rows that need no fsync of their own: they go with the next batch, the newest of each key.
    lazy: Arc<Mutex<BTreeMap<Bytes, Bytes>>>,
}

impl Writer {
    /// Starts the writer. A write that fails ends the process: what is on disk then is unknown, and is not guessed.
    pub(crate) fn start(storage: Arc<dyn Storage>, process: &Process) -> Self {
        let (writes, queue) = mpsc::channel(QUEUE_MAX);
        let lazy = Arc::new(Mutex::new(BTreeMap::new()));
        let task = run(storage, process.clone(), queue, lazy.clone());
        process.spawn("raft-writer", task);
        Self { writes, lazy }
    }

    /// Queues a write; resolves once it has its place. `done` is called when it is on disk.
    pub(crate) async fn queue(&self, batch: Batch, done: Option<Done>) -> io::Result<()> {
        let write = Write { changes: batch.changes, done };
        self.writes.send(write).await.map_err(|_| stopped())
    }

    /// Resolves when the batch is on disk.
    pub(crate) async fn write(&self, batch: Batch) -> io::Result<()> {
        let (done, on_disk) = oneshot::channel();
        self.queue(
            batch,
            Some(Box::new(move || {
                let _gone = done.send(());
            })),
        )
        .await?;
        on_disk.await.map_err(|_| stopped())
    }

    /// A row of the state space that is to be on disk at some time after now.
    pub(crate) fn write_lazily(&self, key: Bytes, value: Bytes) {
        self.lazy.lock().unwrap_or_else(PoisonError::into_inner).insert(key, value);
    }
}

fn stopped() -> io::Error {
    io::Error::other("the Raft log's writer has stopped")
}

async fn run(
    storage: Arc<dyn Storage>,
    process: Process,
    mut queue: mpsc::Receiver<Write>,
    lazy: Arc<Mutex<BTreeMap<Bytes, Bytes>>>,
) {
    while let Some(first) = queue.recv().await {
        let (batch, done) = gather(first, &mut queue, &lazy);
        match storage.write(batch).await {
            Ok(()) => done.into_iter().for_each(|done| done()),
            Err(error) => return fail(&process, &error),
        }
    }
}

/// Everything that waits, up to a batch's size.
fn gather(
    first: Write,
    queue: &mut mpsc::Receiver<Write>,
    lazy: &Mutex<BTreeMap<Bytes, Bytes>>,
) -> (Batch, Vec<Done>) {
    // Taken first: what a lazy row says of earlier writes (that they are committed) must not be on disk before them, and
    // those are in the queue by now.
    let lazy_rows = std::mem::take(&mut *lazy.lock().unwrap_or_else(PoisonError::into_inner));
    let mut batch = Batch { changes: first.changes };
    let mut done: Vec<Done> = first.done.into_iter().collect();
    let mut bytes: usize = batch.changes.iter().map(size).sum();
    while bytes < BATCH_BYTES_MAX {
        let Ok(next) = queue.try_recv() else {
            lazy_rows.into_iter().for_each(|(key, value)| batch.put(keys::STATE, key, value));
            return (batch, done);
        };
        bytes += next.changes.iter().map(size).sum::<usize>();
        batch.changes.extend(next.changes);
        done.extend(next.done);
    }
    let mut lazy = lazy.lock().unwrap_or_else(PoisonError::into_inner);
    for (key, value) in lazy_rows {
        lazy.entry(key).or_insert(value);
    }
    (batch, done)
}

fn size(change: &Change) -> usize {
    match change {
        Change::Put(_, key, value) => key.len() + value.len(),
        Change::Delete(_, key) => key.len(),
        Change::DeleteRange(_, from, to) => from.len() + to.len(),
    }
}

fn fail(process: &Process, error: &StorageError) {
    tracing::error!(%error, "the Raft log cannot be written; the process ends");
    process.fail(&format!("the Raft log cannot be written: {error}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(size: usize) -> Write {
        let mut batch = Batch::new();
        batch.put(keys::LOG, Bytes::from_static(b"key"), vec![0; size]);
        Write { changes: batch.changes, done: None }
    }

    #[test]
    fn a_lazy_row_goes_to_disk_with_the_last_write_that_waited_and_not_before() {
        let (sender, mut queue) = mpsc::channel(8);
        let lazy = Mutex::new(BTreeMap::from([(Bytes::from_static(b"committed"), Bytes::from_static(b"9"))]));
        for size in [BATCH_BYTES_MAX, 10] {
            assert!(sender.try_send(write(size)).is_ok());
        }
        let (batch, _) = gather(write(10), &mut queue, &lazy);
        assert_eq!(batch.changes.len(), 2, "the batch is full, and one more write waits");
        let first = queue.try_recv().unwrap_or_else(|_| write(0));
        let (batch, _) = gather(first, &mut queue, &lazy);
        assert_eq!(batch.changes.len(), 2);
        assert!(
            matches!(&batch.changes[1], Change::Put(space, key, _) if *space == keys::STATE && key == "committed")
        );
        assert!(lazy.lock().unwrap().is_empty());
    }
}
