//! Group commit: what came since the last write begins goes to disk as one batch. Several writes may be under way;
//! they end in order. A failed one ends the process. Rows of the index wait a little for records to go with: what they
//! say is committed, so nobody waits for them. Records of other datacenters wait a little too: beside the way that they
//! have come it does not matter to who waits for them (ORDERED, EVERYWHERE, and LOCAL where the sibling is down).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;
use trunkline_ordering::store::{Catalog, LogNo, Row, Settled};
use trunkline_ports::{Batch, Storage, StorageError};
use trunkline_types::limits::GROUP_COMMIT_BYTES_MAX;
use trunkline_types::{Boot, LogName, NodeId, TopicId};
use trunkline_wire::Status;
use trunkline_wire::internal::Record;

use crate::copy_index::Snapshot;
use crate::keys;
use crate::worker::TICK;

/// Writes under way at a time; more are gathered into the next batch.
const WRITES_MAX: usize = 4;
/// So long rows of the index wait for records to be written with: one fsync for both.
const ROWS_DELAY: Duration = Duration::from_millis(20);

/// What is told once a batch is on disk.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Up to where records of each log are on disk by this batch.
    pub(crate) ends: BTreeMap<LogNo, u64>,
    pub(crate) settled: Vec<Settled>,
    pub(crate) snapshots: Vec<(Snapshot, oneshot::Sender<Result<Snapshot, Status>>)>,
    /// Who waits for the rows that were gathered before.
    pub(crate) told: Vec<oneshot::Sender<()>>,
    /// Records that were written again, and who waits for it.
    pub(crate) rewritten: Vec<(LogName, oneshot::Sender<()>)>,
    pub(crate) bytes: usize,
    /// Room that the records took while they waited.
    permits: Vec<OwnedSemaphorePermit>,
}

#[derive(Debug, Default)]
struct Gathering {
    batch: Batch,
    written: Written,
    /// First sequence and runs of (topic, count) by log.
    runs: BTreeMap<LogNo, (u64, Vec<(u64, u64)>)>,
    marks: BTreeSet<TopicId>,
    /// Somebody waits for it: it is written at once.
    urgent: bool,
    /// Has records of other datacenters.
    far: bool,
    /// Rows alone are written after a while, where no records come.
    due: Option<Instant>,
}

/// The writer of one store.
pub(crate) struct Commit {
    storage: Arc<dyn Storage>,
    gathering: Gathering,
    sealed: VecDeque<(Batch, Written)>,
    under_way: VecDeque<Written>,
    writes: FuturesOrdered<BoxFuture<'static, Result<(), StorageError>>>,
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commit").field("under_way", &self.under_way.len()).finish_non_exhaustive()
    }
}

impl Commit {
    pub(crate) fn new(storage: Arc<dyn Storage>) -> Self {
        Self {
            storage,
            gathering: Gathering::default(),
            sealed: VecDeque::new(),
            under_way: VecDeque::new(),
            writes: FuturesOrdered::new(),
        }
    }

    /// A record that was accepted. `near`: pushed in this datacenter.
    pub(crate) fn record(&mut self, log: LogNo, seq: u64, record: &Record, near: bool) {
        let value = keys::record_value(record);
        let gathering = &mut self.gathering;
        gathering.urgent |= near;
        gathering.far |= !near;
        gathering.written.bytes += value.len();
        gathering.batch.put(keys::RECORDS, keys::place(log, seq), value);
        gathering.written.ends.insert(log, seq + 1);
        let (_, runs) = gathering.runs.entry(log).or_insert((seq, Vec::new()));
        match runs.last_mut() {
            Some((topic, count)) if *topic == record.topic_id => *count += 1,
            _ => runs.push((record.topic_id, 1)),
        }
    }

    /// A record that was on disk before, and could not be read.
    pub(crate) fn rewrite(
        &mut self,
        log: LogNo,
        seq: u64,
        record: &Record,
        told: (LogName, oneshot::Sender<()>),
    ) {
        let value = keys::record_value(record);
        self.gathering.urgent = true;
        self.gathering.written.bytes += value.len();
        self.gathering.batch.put(keys::RECORDS, keys::place(log, seq), value);
        self.gathering.written.rewritten.push(told);
    }

    /// Room taken by what was gathered: given back when it is on disk, at once where nothing was.
    pub(crate) fn hold(&mut self, permit: OwnedSemaphorePermit) {
        if !self.gathering.batch.is_empty() {
            self.gathering.written.permits.push(permit);
        }
    }

    pub(crate) fn settle(&mut self, settled: Vec<Settled>) {
        self.gathering.written.settled.extend(settled);
    }

    /// Tells a snapshot once everything that was gathered so far is on disk.
    pub(crate) fn tell_after(
        &mut self,
        snapshot: Snapshot,
        reply: oneshot::Sender<Result<Snapshot, Status>>,
    ) {
        self.barrier();
        self.gathering.written.snapshots.push((snapshot, reply));
    }

    /// Tells when everything that was gathered so far is on disk.
    pub(crate) fn when_on_disk(&mut self, reply: oneshot::Sender<()>) {
        self.barrier();
        self.gathering.written.told.push(reply);
    }

    /// A row that says what is there already, for what is to be told after it.
    fn barrier(&mut self) {
        self.gathering.batch.put(keys::META, keys::FORMAT_KEY.to_vec(), keys::FORMAT.to_be_bytes().to_vec());
        self.gathering.urgent = true;
    }

    /// A boot of another store: written with what else is.
    pub(crate) fn seen(&mut self, node: NodeId, boot: Boot) {
        self.gathering.batch.put(keys::META, keys::seen_key(node), keys::seen_value(boot));
    }

    /// A topic's next ID or watermark has moved: written with what else is.
    pub(crate) fn mark(&mut self, topic: TopicId) {
        self.gathering.marks.insert(topic);
    }

    /// Rows of the index.
    pub(crate) fn rows(&mut self, catalog: &Catalog, rows: Vec<Row>) {
        for row in rows {
            self.row(catalog, row);
        }
    }

    fn row(&mut self, catalog: &Catalog, row: Row) {
        let batch = &mut self.gathering.batch;
        self.gathering.written.bytes += 64;
        match row {
            Row::Log(no) => {
                let log = catalog.log(no);
                let row = keys::LogRow::new(log.name, log.predecessor, log.closed, log.is_complete());
                batch.put(keys::LOGS, keys::log_key(no), keys::encode(&row));
                if let Some(end) = log.closed.filter(|_| log.is_complete()) {
                    batch.put(keys::CLOSED, keys::name_key(&log.name), keys::closed_value(no, end));
                    // What the records are stands in the index now.
                    batch.delete_range(keys::RUNS, keys::place(no, 0), keys::place_end(no));
                }
            }
            Row::DropBeyond { log, end } => {
                for space in [keys::RECORDS, keys::RUNS] {
                    batch.delete_range(space, keys::place(log, end), keys::place_end(log));
                }
            }
            Row::Number { group, number, log } => {
                batch.put(keys::META, keys::number_key(group, number), keys::number_value(log));
            }
            Row::NumberClosed { group, number } => batch.delete(keys::META, keys::number_key(group, number)),
            Row::Copying { group, upto: Some(upto) } => {
                batch.put(keys::META, keys::copying_key(group), upto.to_be_bytes().to_vec());
            }
            Row::Copying { group, upto: None } => batch.delete(keys::META, keys::copying_key(group)),
            Row::Topic(id) => {
                if let Some(topic) = catalog.topic(id) {
                    let (name, options, deleted) = (topic.name.clone(), topic.options.clone(), topic.deleted);
                    let row = keys::TopicRow { name, options, deleted };
                    batch.put(keys::TOPICS, keys::topic_key(id), keys::encode(&row));
                }
            }
            Row::Mark(id) => self.mark(id),
            Row::Index { topic, run } => {
                batch.put(keys::INDEX, keys::id_key(topic, run.first), keys::index_value(&run));
            }
            Row::Order { log, seq, run } => {
                batch.put(keys::ORDERS, keys::place(log, seq), keys::order_value(&run));
            }
            Row::Time { topic, id, ms } => {
                batch.put(keys::TIMES, keys::id_key(topic, id), keys::time_value(ms));
            }
            Row::Boot { group, node, counter } => {
                batch.put(keys::META, keys::boot_key(group, node), counter.to_be_bytes().to_vec());
            }
            Row::Facts { group, index } => {
                batch.put(keys::META, keys::facts_key(group), index.to_be_bytes().to_vec());
            }
        }
    }

    /// When rows are to be written though no records come.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.gathering.due.filter(|_| self.writes.len() < WRITES_MAX)
    }

    /// Begins writes for what was gathered, as many as may be under way.
    pub(crate) fn flush(&mut self, catalog: &Catalog, now: Instant) {
        if self.gathering.written.bytes >= GROUP_COMMIT_BYTES_MAX {
            self.seal(catalog);
        }
        if !self.gathering.batch.is_empty() {
            let latest = now + if self.gathering.far { TICK } else { ROWS_DELAY };
            self.gathering.due = Some(self.gathering.due.map_or(latest, |due| due.min(latest)));
        }
        while self.writes.len() < WRITES_MAX {
            let ready = self.gathering.urgent || self.gathering.due.is_some_and(|due| due <= now);
            if self.sealed.is_empty() && ready {
                self.seal(catalog);
            }
            let Some((batch, written)) = self.sealed.pop_front() else { return };
            self.writes.push_back(self.storage.write(batch));
            self.under_way.push_back(written);
        }
    }

    fn seal(&mut self, catalog: &Catalog) {
        if self.gathering.batch.is_empty() {
            return;
        }
        let Gathering { mut batch, written, runs, marks, .. } = std::mem::take(&mut self.gathering);
        for (log, (seq, runs)) in runs {
            batch.put(keys::RUNS, keys::place(log, seq), keys::runs_value(&runs));
        }
        for id in marks {
            if let Some(topic) = catalog.topic(id) {
                let value = keys::pair_value(topic.staged_next, topic.watermark() + 1);
                batch.put(keys::MARKS, keys::topic_key(id), value);
            }
        }
        self.sealed.push_back((batch, written));
    }

    /// The next write that has ended. Pending while none is under way. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Written, StorageError> {
        if self.writes.is_empty() {
            return futures::future::pending().await;
        }
        let result = self.writes.next().await.expect("a write is under way");
        let written = self.under_way.pop_front().expect("one for each write");
        result.map(|()| written)
    }
}
