//! Reads from disk, beside the worker: older messages, and what became of a record.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use trunkline_ordering::store::{IndexRun, LogNo};
use trunkline_ports::{ScanLimit, Storage, StorageError};
use trunkline_types::{LogName, TopicId};
use trunkline_wire::Status;
use trunkline_wire::internal::{ReadRequest, ReadResponse, ResolveRequest, ResolveResponse};
use trunkline_wire::status::{self, reason};

use crate::handle::Location;
use crate::keys;
use crate::repair::{RepairError, Repairs};
use crate::worker::load;
use crate::worker::read::bounds;

/// Runs fetched at the same time by one read.
const FETCHES: usize = 8;
/// Rows of the index come to disk a little after they are told.
const LATE: Duration = Duration::from_millis(10);
const LATE_MAX: usize = 10;
/// After which a read may try again that found too many records waiting for their repair.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// Bytes of one fetch; a single larger record comes alone.
const FETCH_BYTES: usize = 1 << 20;

pub(crate) fn failed(error: &StorageError) -> Status {
    match error {
        StorageError::Corrupt(what) => Status::data_loss(format!("corrupt: {what}")),
        StorageError::Full(_) | StorageError::Failed(_) => Status::unavailable(error.to_string()),
    }
}

/// Messages from disk: IDs from the request's first up to `watermark`.
pub(crate) async fn read(
    storage: &dyn Storage,
    repairs: &Repairs,
    request: &ReadRequest,
    watermark: u64,
    indexed: u64,
    known: Vec<IndexRun>,
) -> Result<ReadResponse, Status> {
    let (messages, bytes_max) = bounds(request);
    let until = (watermark + 1).min(request.from.saturating_add(messages as u64));
    let runs = index(storage, request, until, messages, known).await.map_err(|e| failed(&e))?;
    let mut response =
        ReadResponse { first_id: request.from, watermark, indexed, earliest: 1, ..ReadResponse::default() };
    let mut next = request.from;
    let wanted: Vec<(u64, IndexRun)> = runs
        .into_iter()
        .filter(|run| run.end() > request.from && run.first < until)
        .map(|run| (run.first.max(request.from), run))
        .collect();
    let fetch = |(first, run): (u64, IndexRun)| async move {
        let count = run.end().min(until) - first;
        let seq = run.seq_of(first);
        let limit = ScanLimit { rows: messages, bytes: FETCH_BYTES };
        let read = load::records(storage, run.log, seq, seq + count, limit).await;
        (first, run, read)
    };
    let mut fetched = futures::stream::iter(wanted).map(fetch).buffered(FETCHES);
    let mut bytes = 0;
    while let Some((first, run, read)) = fetched.next().await {
        // A gap in the index, or a run that was cut short by the limit: the rest is for the next read.
        if first != next {
            break;
        }
        let (records, damaged) = read.map_err(|e| failed(&e))?;
        for record in records {
            bytes += record.body.len();
            if bytes > bytes_max && !response.records.is_empty() {
                return Ok(response);
            }
            response.records.push(record);
            next += 1;
        }
        if damaged {
            // What is sound is answered at once; the next read begins with what is not.
            if response.records.is_empty() {
                let record = repairs.repair(run.log, run.seq_of(next)).await;
                response.records.push(record.map_err(|error| {
                    not_repaired(error, &format!("message {next} of topic {}", request.topic_id))
                })?);
            }
            return Ok(response);
        }
    }
    Ok(response)
}

pub(crate) fn not_repaired(error: RepairError, what: &str) -> Status {
    let what = format!("{what}: {error}");
    match error {
        RepairError::Lost => Status::data_loss(what),
        RepairError::Busy => status::overloaded(what, RETRY_AFTER),
        RepairError::Gone | RepairError::Unreachable => status::unavailable(reason::UNREACHABLE, what),
    }
}

/// Index runs from the request's first ID on: those that are `known`, or from disk, where they may be on their way.
pub(crate) async fn index(
    storage: &dyn Storage,
    request: &ReadRequest,
    until: u64,
    max: usize,
    known: Vec<IndexRun>,
) -> Result<Vec<IndexRun>, StorageError> {
    let covers =
        |runs: &[IndexRun]| runs.iter().any(|run| run.first <= request.from && request.from < run.end());
    let mut runs = known;
    for _ in 0..LATE_MAX {
        if covers(&runs) {
            break;
        }
        runs = load::index_runs(storage, TopicId(request.topic_id), request.from, until, max).await?;
        if !covers(&runs) {
            tokio::time::sleep(LATE).await;
        }
    }
    Ok(runs)
}

/// Where a log is that is closed, complete, and so not in memory any more.
pub(crate) async fn locate_closed(storage: &dyn Storage, log: &LogName) -> Result<Option<Location>, Status> {
    let row = storage.get(keys::CLOSED, keys::name_key(log)).await.map_err(|e| failed(&e))?;
    let Some(row) = row else { return Ok(None) };
    let (log, end) = keys::closed(&row).ok_or_else(|| failed(&load::corrupt("closed")))?;
    Ok(Some(Location { log, durable: end, ordered: end, closed: Some(end) }))
}

/// What became of a record, as far as this store's disk knows.
pub(crate) async fn resolve(
    storage: &dyn Storage,
    request: &ResolveRequest,
    at: Location,
) -> Result<ResolveResponse, Status> {
    let seq = request.sequence;
    let mut response =
        ResolveResponse { beyond_end: at.closed.is_some_and(|end| seq >= end), ..ResolveResponse::default() };
    if seq < at.durable {
        let value = storage.get(keys::RECORDS, keys::place(at.log, seq)).await.map_err(|e| failed(&e))?;
        let record = value.and_then(keys::record);
        response.on_disk = record
            .is_some_and(|record| record.checksum == request.checksum && record.topic_id == request.topic_id);
    }
    if seq < at.ordered
        && let Some(id) = ordered_as(storage, at.log, seq).await.map_err(|e| failed(&e))?
    {
        (response.decided, response.message_id) = (true, id);
    }
    Ok(response)
}

async fn ordered_as(storage: &dyn Storage, log: LogNo, seq: u64) -> Result<Option<u64>, StorageError> {
    let (from, to): (Bytes, Bytes) = (keys::place(log, 0), keys::place(log, seq + 1));
    let rows = storage.scan_back(keys::ORDERS, from, to, ScanLimit::rows(1)).await?;
    let Some((key, value)) = rows.first() else { return Ok(None) };
    let (_, first) = keys::place_of(key).ok_or_else(|| load::corrupt("orders"))?;
    let run = keys::order_run(value).ok_or_else(|| load::corrupt("orders"))?;
    if seq >= first + run.count {
        return Ok(None);
    }
    Ok(Some(if run.first_id == 0 { 0 } else { run.first_id + (seq - first) }))
}
