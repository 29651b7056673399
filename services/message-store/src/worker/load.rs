//! What is read from disk on the worker's behalf: a bounded number at a time, each with a bounded answer.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use trunkline_ordering::group::OrderedRun;
use trunkline_ordering::store::{Chunk, IndexRun, LogNo, Run, Void};
use trunkline_ports::{ScanLimit, Storage, StorageError};
use trunkline_types::{NodeId, TopicId, checksum};
use trunkline_wire::internal::Record;

use super::Worker;
use crate::keys;

const LOADS_MAX: usize = 32;
/// Rows of an index or of runs read at a time.
const ROWS_MAX: usize = 512;
/// Bytes of records read at a time to be counted.
const SIZES_BYTES: usize = 1 << 20;

/// What was read.
#[derive(Debug)]
pub(crate) enum Loaded {
    Index {
        topic: TopicId,
        runs: Vec<IndexRun>,
    },
    Runs {
        log: LogNo,
        runs: Vec<(u64, Run)>,
    },
    Records {
        node: NodeId,
        stream: u64,
        log: LogNo,
        from: u64,
        records: Vec<Record>,
        damaged: bool,
    },
    /// Runs of the index of a topic that has something to leave the disk, and whether there are no more.
    Page {
        topic: TopicId,
        runs: Vec<IndexRun>,
        all: bool,
    },
    /// Records that are no message; `next`: where there are more.
    Voids {
        voids: Vec<(LogNo, u64, Void)>,
        next: Option<Bytes>,
    },
    Orders {
        log: LogNo,
        orders: Orders,
        why: OrdersFor,
    },
    /// Chunks of a topic that were counted before.
    Chunks {
        topic: TopicId,
        chunks: Vec<Chunk>,
    },
    /// The bytes of a topic's messages from an ID on.
    Sizes {
        topic: TopicId,
        from: u64,
        bytes: Vec<u64>,
    },
    Failed(StorageError),
}

/// What became of a log's records, as it is on disk.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// By first sequence, consecutive.
    pub(crate) runs: Vec<(u64, OrderedRun)>,
    pub(crate) voids: BTreeMap<u64, Void>,
    /// Where writes of the log's records began, as far as that is still kept; from the first on.
    pub(crate) writes: Vec<u64>,
}

/// Why a log's ordered runs are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OrdersFor {
    /// What is gone at its begin is to be kept as one row.
    Prefix,
    /// A holder says that records up to here are gone.
    Skip { until: u64 },
    /// A follower wants a record from here on that is not there.
    Serve { node: NodeId, stream: u64, from: u64 },
}

/// Reads that are under way, and those that wait.
pub(crate) struct Loads {
    storage: Arc<dyn Storage>,
    under_way: FuturesUnordered<BoxFuture<'static, Loaded>>,
    waiting: VecDeque<BoxFuture<'static, Loaded>>,
}

impl fmt::Debug for Loads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loads").field("under_way", &self.under_way.len()).finish_non_exhaustive()
    }
}

impl Loads {
    pub(crate) fn new(storage: Arc<dyn Storage>) -> Self {
        Self { storage, under_way: FuturesUnordered::new(), waiting: VecDeque::new() }
    }

    /// The next that has ended; `None` while there is none. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Loaded> {
        while self.under_way.len() < LOADS_MAX
            && let Some(load) = self.waiting.pop_front()
        {
            self.under_way.push(load);
        }
        if self.under_way.is_empty() {
            return futures::future::pending().await;
        }
        self.under_way.next().await
    }

    /// Index runs of a topic, from the one that has `from` on.
    pub(crate) fn index(&mut self, topic: TopicId, from: u64) {
        let storage = self.storage.clone();
        self.push(async move {
            let runs = index_runs(&*storage, topic, from, u64::MAX, ROWS_MAX).await?;
            Ok(Loaded::Index { topic, runs })
        });
    }

    /// What the records of a log from `from` on are.
    pub(crate) fn runs(&mut self, log: LogNo, from: u64) {
        let storage = self.storage.clone();
        self.push(async move {
            let before = storage
                .scan_back(keys::RUNS, keys::place(log, 0), keys::place(log, from), ScanLimit::rows(1))
                .await?;
            let limit = ScanLimit::rows(ROWS_MAX);
            let after = storage.scan(keys::RUNS, keys::place(log, from), keys::place_end(log), limit).await?;
            let mut runs = Vec::new();
            for (key, value) in before.into_iter().chain(after) {
                let (_, mut seq) = keys::place_of(&key).ok_or_else(|| corrupt("runs"))?;
                for run in keys::runs(&value).ok_or_else(|| corrupt("runs"))? {
                    runs.push((seq, run));
                    seq += run.count;
                }
            }
            Ok(Loaded::Runs { log, runs })
        });
    }

    /// Records [from, until) of a log, about `bytes` of them, for a follower.
    pub(crate) fn records(
        &mut self,
        node: NodeId,
        stream: u64,
        log: LogNo,
        from: u64,
        until: u64,
        bytes: usize,
    ) {
        let storage = self.storage.clone();
        self.push(async move {
            let limit = ScanLimit { rows: ROWS_MAX, bytes };
            let (records, damaged) = records(&*storage, log, from, until, limit).await?;
            Ok(Loaded::Records { node, stream, log, from, records, damaged })
        });
    }

    /// The next index runs of a topic, from the one that has `from` on.
    pub(crate) fn page(&mut self, topic: TopicId, from: u64) {
        let storage = self.storage.clone();
        self.push(async move {
            let runs = index_runs(&*storage, topic, from, u64::MAX, ROWS_MAX).await?;
            let all = runs.len() < ROWS_MAX - 1;
            Ok(Loaded::Page { topic, runs, all })
        });
    }

    /// Records that are no message, of all logs, from this key on.
    pub(crate) fn voids(&mut self, from: Bytes) {
        let storage = self.storage.clone();
        self.push(async move {
            let end = Bytes::from_static(&[0xff; 16]);
            let rows = storage.scan(keys::VOIDS, from, end, ScanLimit::rows(ROWS_MAX)).await?;
            let next = rows.last().filter(|_| rows.len() == ROWS_MAX);
            let next = next.map(|(last, _)| [&last[..], &[0]].concat().into());
            let voids = rows.iter().map(|(key, value)| {
                let ((log, seq), void) = keys::place_of(key).zip(keys::void(value))?;
                Some((log, seq, void))
            });
            let voids = voids.collect::<Option<_>>().ok_or_else(|| corrupt("voids"))?;
            Ok(Loaded::Voids { voids, next })
        });
    }

    /// What became of a log's records from `from` on.
    pub(crate) fn orders(&mut self, log: LogNo, from: u64, why: OrdersFor) {
        let storage = self.storage.clone();
        self.push(async move {
            let orders = orders(&*storage, log, from, why == OrdersFor::Prefix).await?;
            Ok(Loaded::Orders { log, orders, why })
        });
    }

    /// Chunks of a topic that were counted before.
    pub(crate) fn chunks(&mut self, topic: TopicId) {
        let storage = self.storage.clone();
        self.push(async move {
            let (from, to) = (keys::id_key(topic, 0), keys::id_key(topic, u64::MAX));
            let rows = storage.scan(keys::SIZES, from, to, ScanLimit::rows(usize::MAX)).await?;
            let chunks = rows.iter().map(|(key, value)| keys::chunk(key, value)).collect::<Option<_>>();
            Ok(Loaded::Chunks { topic, chunks: chunks.ok_or_else(|| corrupt("sizes"))? })
        });
    }

    /// The bytes of messages [from, until) of a topic: at least one's, however it is; one that cannot be read has none.
    pub(crate) fn sizes(&mut self, topic: TopicId, from: u64, until: u64) {
        let storage = self.storage.clone();
        self.push(async move {
            let (mut bytes, mut next) = (Vec::new(), from);
            for run in index_runs(&*storage, topic, from, until, ROWS_MAX).await? {
                if run.first > next || run.end() <= next || bytes.len() >= ROWS_MAX {
                    break;
                }
                let end = run.end().min(until);
                let limit = ScanLimit { rows: ROWS_MAX, bytes: SIZES_BYTES };
                let (seq, count) = (run.seq_of(next), end - next);
                let (records, damaged) = records(&*storage, run.log, seq, seq + count, limit).await?;
                bytes.extend(records.iter().map(|record| record.body.len() as u64));
                bytes.extend(damaged.then_some(0));
                next = from + bytes.len() as u64;
                if next < end {
                    break;
                }
            }
            Ok(Loaded::Sizes { topic, from, bytes })
        });
    }

    fn push(&mut self, load: impl Future<Output = Result<Loaded, StorageError>> + Send + 'static) {
        self.waiting.push_back(Box::pin(async move { load.await.unwrap_or_else(Loaded::Failed) }));
    }
}

async fn orders(
    storage: &dyn Storage,
    log: LogNo,
    from: u64,
    with_writes: bool,
) -> Result<Orders, StorageError> {
    let (begin, end) = (keys::place(log, 0), keys::place_end(log));
    let behind = keys::place(log, from.saturating_add(1));
    let mut rows = storage.scan_back(keys::ORDERS, begin.clone(), behind.clone(), ScanLimit::rows(1)).await?;
    rows.extend(storage.scan(keys::ORDERS, behind, end.clone(), ScanLimit::rows(ROWS_MAX)).await?);
    let run = |(key, value): &(Bytes, Bytes)| Some((keys::place_of(key)?.1, keys::order_run(value)?));
    let runs: Option<Vec<(u64, OrderedRun)>> = rows.iter().map(run).collect();
    let runs = runs.ok_or_else(|| corrupt("orders"))?;
    let Some(until) = runs.last().map(|(seq, run)| seq + run.count) else { return Ok(Orders::default()) };
    let until = keys::place(log, until);
    let first = keys::place(log, runs[0].0);
    let rows = storage.scan(keys::VOIDS, first, until, ScanLimit::rows(usize::MAX)).await?;
    let void = |(key, value): &(Bytes, Bytes)| Some((keys::place_of(key)?.1, keys::void(value)?));
    let voids = rows.iter().map(void).collect::<Option<_>>().ok_or_else(|| corrupt("voids"))?;
    let mut writes = Vec::new();
    if with_writes {
        let rows = storage.scan(keys::RUNS, begin, end, ScanLimit::rows(ROWS_MAX)).await?;
        let places = rows.iter().map(|(key, _)| Some(keys::place_of(key)?.1));
        writes = places.collect::<Option<_>>().ok_or_else(|| corrupt("runs"))?;
    }
    Ok(Orders { runs, voids, writes })
}

pub(crate) fn corrupt(space: &str) -> StorageError {
    StorageError::Corrupt(format!("a row of {space}"))
}

/// Index runs of [from, until) of a topic, from the one that has `from` on, at most `max`.
pub(crate) async fn index_runs(
    storage: &dyn Storage,
    topic: TopicId,
    from: u64,
    until: u64,
    max: usize,
) -> Result<Vec<IndexRun>, StorageError> {
    let first = (keys::id_key(topic, 0), keys::id_key(topic, from.saturating_add(1)));
    let mut rows = storage.scan_back(keys::INDEX, first.0, first.1.clone(), ScanLimit::rows(1)).await?;
    if max > 1 {
        let end = keys::id_key(topic, until);
        rows.extend(storage.scan(keys::INDEX, first.1, end, ScanLimit::rows(max - 1)).await?);
    }
    let run = |(key, value): &(Bytes, Bytes)| keys::index_run(key, value).ok_or_else(|| corrupt("index"));
    rows.iter().map(run).collect()
}

/// Consecutive records [from, until) of a log, all of which are on disk, within a limit: as many as are sound, and
/// whether the one behind them is not.
pub(crate) async fn records(
    storage: &dyn Storage,
    log: LogNo,
    from: u64,
    until: u64,
    limit: ScanLimit,
) -> Result<(Vec<Record>, bool), StorageError> {
    let rows = match storage.scan(keys::RECORDS, keys::place(log, from), keys::place(log, until), limit).await
    {
        // Some of it cannot be read: as far as it goes, then.
        Err(StorageError::Corrupt(_)) => return one_by_one(storage, log, from..until, limit).await,
        rows => rows?,
    };
    let mut records = Vec::with_capacity(rows.len());
    for (seq, (key, value)) in (from..until).zip(rows) {
        match sound(value).filter(|_| keys::place_of(&key) == Some((log, seq))) {
            Some(record) => records.push(record),
            None => return Ok((records, true)),
        }
    }
    // At least one row comes if there is one.
    let damaged = records.is_empty() && from < until;
    Ok((records, damaged))
}

async fn one_by_one(
    storage: &dyn Storage,
    log: LogNo,
    range: Range<u64>,
    limit: ScanLimit,
) -> Result<(Vec<Record>, bool), StorageError> {
    let (mut records, mut bytes) = (Vec::new(), 0);
    for seq in range.take(limit.rows) {
        let value = match storage.get(keys::RECORDS, keys::place(log, seq)).await {
            Err(StorageError::Corrupt(_)) => None,
            value => value?,
        };
        let Some(record) = value.and_then(sound) else { return Ok((records, true)) };
        bytes += record.body.len();
        if bytes > limit.bytes && !records.is_empty() {
            break;
        }
        records.push(record);
    }
    Ok((records, false))
}

fn sound(value: Bytes) -> Option<Record> {
    keys::record(value).filter(|record| checksum(&record.body) == record.checksum)
}

impl Worker {
    pub(super) fn on_loaded(&mut self, loaded: Loaded) {
        let mut effects = std::mem::take(&mut self.effects);
        match loaded {
            Loaded::Index { topic, runs } => self.catalog.index_loaded(topic, runs, &mut effects),
            Loaded::Runs { log, runs } => self.catalog.runs_loaded(log, &runs, &mut effects),
            Loaded::Records { node, stream, log, from, records, damaged } => {
                if damaged {
                    // Gone, perhaps, and not damaged at all.
                    let from = from + records.len() as u64;
                    self.loads.orders(log, from, OrdersFor::Serve { node, stream, from });
                }
                self.records_loaded(node, stream, log, from, records);
            }
            Loaded::Page { topic, runs, all } => self.purge_page(topic, &runs, all),
            Loaded::Voids { voids, next } => self.purge_voids(&voids, next),
            Loaded::Orders { log, orders, why } => match why {
                OrdersFor::Prefix => self.merge_prefix(log, &orders),
                OrdersFor::Skip { until } => self.skip(log, until, &orders),
                OrdersFor::Serve { node, stream, from } => {
                    self.serve_what_is_gone(node, stream, log, from, &orders);
                }
            },
            Loaded::Chunks { topic, chunks } => self.chunks_loaded(topic, chunks),
            Loaded::Sizes { topic, from, bytes } => self.sizes_loaded(topic, from, &bytes),
            Loaded::Failed(error) => {
                tracing::error!(%error, "a read failed");
                self.host.process.fail(&format!("the store cannot read: {error}"));
            }
        }
        self.effects = effects;
    }
}
