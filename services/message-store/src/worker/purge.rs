//! What is kept no more leaves the disk, a page at a time: records and index of trimmed and deleted topics, records that
//! are no message; what was decided of them is merged into one row at a log's begin. Then the disk gets its room back.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use trunkline_ordering::group::OrderedRun;
use trunkline_ordering::store::{GONE, IndexRun, LogNo, Void};
use trunkline_ports::{Batch, Storage};
use trunkline_types::TopicId;

use super::Worker;
use super::load::{Orders, OrdersFor};
use crate::handle::Input;
use crate::keys::{self, TopicRow};

/// Logs whose ranges are given back by themselves; beyond that, the whole space is.
const RANGES_MAX: usize = 256;
/// Rows at a log's begin that are worth to be merged.
const MERGE_MIN: usize = 2;

/// What is to leave the disk: one page is under way at a time.
pub(crate) struct Purges {
    storage: Arc<dyn Storage>,
    topics: BTreeSet<TopicId>,
    voids: bool,
    /// Logs of which something has gone.
    logs: BTreeSet<LogNo>,
    is_busy: bool,
    interval: Duration,
    /// Of each log, what has left since room was last given back.
    left: BTreeMap<LogNo, (u64, u64)>,
    reclaimed_at: Option<Instant>,
    reclaims: bool,
}

impl fmt::Debug for Purges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Purges").field("topics", &self.topics.len()).finish_non_exhaustive()
    }
}

impl Purges {
    pub(super) fn new(storage: Arc<dyn Storage>, interval: Duration) -> Self {
        Self {
            storage,
            topics: BTreeSet::new(),
            voids: false,
            logs: BTreeSet::new(),
            is_busy: false,
            interval,
            left: BTreeMap::new(),
            reclaimed_at: None,
            reclaims: false,
        }
    }

    /// Something of the topic is kept no more.
    pub(super) fn topic(&mut self, topic: TopicId) {
        self.topics.insert(topic);
    }

    /// Records that are no message may go.
    pub(super) fn voids(&mut self) {
        self.voids = true;
    }

    fn left(&mut self, log: LogNo, from: u64, to: u64) {
        self.logs.insert(log);
        let left = self.left.entry(log).or_insert((from, to));
        *left = (left.0.min(from), left.1.max(to));
    }
}

impl Worker {
    /// Begins the next page.
    pub(super) fn step_purges(&mut self) {
        if self.purges.is_busy {
            return;
        }
        while let Some(topic) = self.purges.topics.pop_first() {
            if self.catalog.may_purge(topic) {
                let from = self.catalog.topic(topic).map_or(1, |topic| topic.purged);
                self.purges.is_busy = true;
                return self.loads.page(topic, from);
            }
        }
        if std::mem::take(&mut self.purges.voids) {
            self.purges.is_busy = true;
            self.loads.voids(Bytes::new());
        } else if let Some(log) = self.purges.logs.pop_first() {
            self.purges.is_busy = true;
            self.loads.orders(log, 1, OrdersFor::Prefix);
        }
    }

    pub(super) fn purge_page(&mut self, topic: TopicId, runs: &[IndexRun], all: bool) {
        self.purges.is_busy = false;
        let Some(page) = self.catalog.purge(topic, runs, all) else { return };
        for (log, range) in &page.records {
            self.metrics.purged.inc_by(range.end - range.start);
            self.purges.left(*log, range.start, range.end);
        }
        let purged = self.catalog.topic(topic).map(|topic| (topic.earliest(), topic.purged));
        self.commit.purge(|batch| {
            for (log, range) in &page.records {
                delete_records(batch, *log, range.start, range.end);
            }
            let index_end = if page.whole { u64::MAX } else { page.index_below };
            batch.delete_range(keys::INDEX, keys::id_key(topic, 0), keys::id_key(topic, index_end));
            match purged {
                Some((earliest, purged)) => {
                    batch.put(keys::TRIMS, keys::topic_key(topic), keys::pair_value(earliest, purged));
                }
                None => delete_topic(batch, topic),
            }
        });
        if page.more {
            self.purges.topic(topic);
        }
        if page.whole {
            self.sizes.forget(topic);
            tracing::debug!(%topic, "nothing is left of a deleted topic");
        }
    }

    pub(super) fn purge_voids(&mut self, voids: &[(LogNo, u64, Void)], next: Option<Bytes>) {
        self.purges.is_busy = false;
        for &(log, seq, void) in voids {
            if void.index > self.catalog.everywhere(void.group) {
                continue;
            }
            self.metrics.purged.inc_by(void.count);
            self.purges.left(log, seq, seq + void.count);
            self.commit.purge(|batch| {
                delete_records(batch, log, seq, seq + void.count);
                batch.delete(keys::VOIDS, keys::place(log, seq));
            });
        }
        if let Some(next) = next {
            self.purges.is_busy = true;
            self.loads.voids(next);
        }
    }

    /// One row stands for all that is gone at a log's begin, and what was written there is not told apart any more.
    pub(super) fn merge_prefix(&mut self, log: LogNo, orders: &Orders) {
        self.purges.is_busy = false;
        let end = self.catalog.gone_until(1, &orders.runs, &orders.voids);
        let merged =
            orders.runs.iter().take_while(|(seq, run)| seq + run.count <= end && !self.has_receipts(run));
        let (rows, end) = merged.fold((0, 1), |(rows, _), (seq, run)| (rows + 1, seq + run.count));
        if rows < MERGE_MIN {
            return;
        }
        // The row of the last write stays: by it a restart finds how far the log reaches.
        let write = orders.writes.iter().copied().take_while(|write| *write < end).last().unwrap_or(0);
        let gone = OrderedRun { topic: GONE, first_id: 0, count: end - 1, produced: None };
        self.commit.purge(|batch| {
            batch.delete_range(keys::ORDERS, keys::place(log, 0), keys::place(log, end));
            batch.put(keys::ORDERS, keys::place(log, 1), keys::order_value(&gone));
            batch.delete_range(keys::RUNS, keys::place(log, 0), keys::place(log, write));
        });
        self.purges.logs.insert(log); // There may be more.
    }

    /// Of a duplicate it is said, as long as its producer is known, which message is the first.
    fn has_receipts(&self, run: &OrderedRun) -> bool {
        let of = run.produced.filter(|_| run.is_duplicate());
        of.is_some_and(|of| self.catalog.producers().sequences(run.topic, &of.producer).is_some())
    }

    /// Once in a while, when nothing more is to leave: the disk gets its room back.
    pub(super) fn reclaim_room(&mut self) {
        let purges = &mut self.purges;
        let is_early = purges.reclaimed_at.is_some_and(|at| at.elapsed() < purges.interval);
        let leaves = purges.is_busy || purges.voids || !purges.topics.is_empty();
        if purges.reclaims || purges.left.is_empty() || is_early || leaves {
            return;
        }
        let left = std::mem::take(&mut purges.left);
        let ranges = if left.len() > RANGES_MAX {
            vec![(Bytes::new(), Bytes::from_static(&[0xff; 16]))]
        } else {
            left.into_iter().map(|(log, (from, to))| (keys::place(log, from), keys::place(log, to))).collect()
        };
        (purges.reclaims, purges.reclaimed_at) = (true, Some(Instant::now()));
        let (storage, handle) = (purges.storage.clone(), self.handle.clone());
        let reclaim = async move {
            let reclaimed = storage.reclaim(keys::RECORDS, ranges).await;
            let bytes = reclaimed.unwrap_or_else(|error| {
                tracing::debug!(%error, "room is not given back");
                0
            });
            let _ = handle.tell(Input::Reclaimed { bytes }).await;
        };
        self.host.process.spawn("store-reclaim", reclaim);
    }

    pub(super) fn reclaimed(&mut self, bytes: u64) {
        self.purges.reclaims = false;
        self.metrics.reclaimed_bytes.inc_by(bytes);
    }
}

fn delete_records(batch: &mut Batch, log: LogNo, from: u64, to: u64) {
    // A range costs every later read of its surroundings a little, one row does not.
    if to == from + 1 {
        batch.delete(keys::RECORDS, keys::place(log, from));
    } else {
        batch.delete_range(keys::RECORDS, keys::place(log, from), keys::place(log, to));
    }
}

/// All that is left of a topic is that it is deleted.
fn delete_topic(batch: &mut Batch, topic: TopicId) {
    for space in [keys::TRIMS, keys::MARKS] {
        batch.delete(space, keys::topic_key(topic));
    }
    batch.delete_range(keys::SIZES, keys::id_key(topic, 0), keys::id_key(topic, u64::MAX));
    let row = TopicRow { name: String::new(), options: Vec::new(), deleted_at: Some(0), gone: true };
    batch.put(keys::TOPICS, keys::topic_key(topic), keys::encode(&row));
}
