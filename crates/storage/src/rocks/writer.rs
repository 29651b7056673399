//! The one thread that writes: takes all that waits, one write, one fsync, answers in order.
//!
//! While it syncs, the next group gathers: the more load, the larger the groups, with no timer to tune.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rocksdb::{DB, WriteBatch, WriteOptions};
use tokio::time::Instant;
use trunkline_ports::storage::Change;
use trunkline_ports::{Space, StorageError};
use trunkline_types::limits::GROUP_COMMIT_BYTES_MAX;

use super::intake::{Job, Taken};
use super::metrics::Reads;
use super::room;
use super::shared::Shared;

pub(super) fn start(shared: Arc<Shared>) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name("storage-writer".into()).spawn(move || run(&shared))
}

fn run(shared: &Shared) {
    let _alarm = Alarm(shared);
    let mut looked = Instant::now();
    loop {
        match shared.intake.take(GROUP_COMMIT_BYTES_MAX, room::CHECK_INTERVAL) {
            Taken::Group(jobs) => {
                if let Err(why) = commit(shared, &jobs) {
                    shared.fail(&why);
                    answer(jobs, &Err(StorageError::Failed(why)));
                    return;
                }
                answer(jobs, &Ok(()));
            }
            Taken::Nothing => {}
            Taken::End => return,
        }
        if looked.elapsed() >= room::CHECK_INTERVAL {
            shared.room.look();
            shared.metrics.free.set(i64::try_from(shared.room.free()).unwrap_or(i64::MAX));
            shared.metrics.told(Reads::of(&shared.tuning));
            looked = Instant::now();
        }
        shared.metrics.waiting.set(i64::try_from(shared.intake.bytes()).unwrap_or(i64::MAX));
    }
}

/// Writes the jobs' changes as one record of the log, and syncs it. `Err` says why; what was written is unknown.
fn commit(shared: &Shared, jobs: &[Job]) -> Result<(), String> {
    let began = Instant::now();
    let bytes: usize = jobs.iter().map(|job| job.bytes).sum();
    let written = shared.with(|database| write(database, jobs, bytes)).map_err(|error| error.to_string())?;
    written.map_err(|error| format!("the store cannot be written: {error}"))?;
    shared.metrics.commit.observe(began.elapsed().as_secs_f64());
    shared.metrics.group.observe(count(jobs.len()));
    shared.metrics.batches.inc_by(u64::try_from(jobs.len()).unwrap_or(u64::MAX));
    shared.metrics.bytes.inc_by(u64::try_from(bytes).unwrap_or(u64::MAX));
    Ok(())
}

fn write(database: &DB, jobs: &[Job], bytes: usize) -> Result<(), rocksdb::Error> {
    let mut batch = WriteBatch::with_capacity_bytes(bytes);
    for change in jobs.iter().flat_map(|job| &job.batch.changes) {
        add(&mut batch, database, change);
    }
    if batch.is_empty() {
        // Everything before is on disk already: that is what its answer says.
        return Ok(());
    }
    let mut durable = WriteOptions::default();
    durable.set_sync(true);
    database.write_opt(batch, &durable)
}

fn add(batch: &mut WriteBatch, database: &DB, change: &Change) {
    let family =
        |space: &Space| database.cf_handle(space.name).expect("every space was opened with the store");
    match change {
        Change::Put(space, key, value) => batch.put_cf(&family(space), key, value),
        Change::Delete(space, key) => batch.delete_cf(&family(space), key),
        // RocksDB would take a range that ends before it begins for an error of the whole group.
        Change::DeleteRange(_, from, to) if from >= to => {}
        Change::DeleteRange(space, from, to) => batch.delete_range_cf(&family(space), from, to),
    }
}

fn answer(jobs: Vec<Job>, outcome: &Result<(), StorageError>) {
    for job in jobs {
        // Who no longer waits need not know.
        let _ = job.done.send(outcome.clone());
    }
}

#[allow(clippy::cast_precision_loss, reason = "a group has far fewer than 2^52 batches")]
fn count(number: usize) -> f64 {
    number as f64
}

/// A writer that ends by a panic takes the store with it, instead of leaving its callers to wait for ever.
struct Alarm<'a>(&'a Shared);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail("the storage writer panicked");
        }
    }
}
