//! What is read from disk on the worker's behalf: a bounded number at a time, each with a bounded answer.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use trunkline_ordering::store::{IndexRun, LogNo};
use trunkline_ports::{Part, ScanLimit, Storage, StorageError};
use trunkline_types::{NodeId, TopicId, checksum};
use trunkline_wire::internal::Record;

use super::Worker;
use crate::keys;

const LOADS_MAX: usize = 32;
/// Rows of an index or of runs read at a time.
const ROWS_MAX: usize = 512;

/// What was read.
#[derive(Debug)]
pub(crate) enum Loaded {
    Index { topic: TopicId, runs: Vec<IndexRun> },
    Runs { log: LogNo, runs: Vec<(u64, TopicId, u64)> },
    Records { node: NodeId, stream: u64, log: LogNo, from: u64, records: Vec<Record>, damaged: bool },
    Failed(StorageError),
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
                for (topic, count) in keys::runs(&value).ok_or_else(|| corrupt("runs"))? {
                    runs.push((seq, TopicId(topic), count));
                    seq += count;
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

    fn push(&mut self, load: impl Future<Output = Result<Loaded, StorageError>> + Send + 'static) {
        self.waiting.push_back(Box::pin(async move { load.await.unwrap_or_else(Loaded::Failed) }));
    }
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

/// Records of several runs, one run after the other, all of which are on disk, within a limit: as many as are sound. None
/// where the first one is not.
pub(crate) async fn replay(
    storage: &dyn Storage,
    runs: &[(LogNo, Range<u64>)],
    limit: ScanLimit,
) -> Result<Vec<Record>, StorageError> {
    let part = |(log, seqs): &(LogNo, Range<u64>)| Part {
        from: keys::place(*log, seqs.start),
        to: keys::place(*log, seqs.end),
        rows: usize::try_from(seqs.end - seqs.start).unwrap_or(usize::MAX),
    };
    let rows = match storage.replay(keys::RECORDS, runs.iter().map(part).collect(), limit).await {
        // Somewhere in it: the first run, then, as far as it goes.
        Err(StorageError::Corrupt(_)) => {
            let Some((log, seqs)) = runs.first() else { return Ok(Vec::new()) };
            return Ok(one_by_one(storage, *log, seqs.clone(), limit).await?.0);
        }
        rows => rows?,
    };
    let places = runs.iter().flat_map(|(log, seqs)| seqs.clone().map(|seq| (*log, seq)));
    let is_next = |(place, (key, _)): &((LogNo, u64), (Bytes, Bytes))| keys::place_of(key) == Some(*place);
    let next = places.zip(rows).take_while(is_next);
    Ok(next.map_while(|(_, (_, value))| sound(value)).collect())
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
                    self.repairs.in_background(log, from + records.len() as u64);
                }
                self.records_loaded(node, stream, log, from, records);
            }
            Loaded::Failed(error) => {
                tracing::error!(%error, "a read failed");
                self.host.process.fail(&format!("the store cannot read: {error}"));
            }
        }
        self.effects = effects;
    }
}
