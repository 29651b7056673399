//! Reads from disk, beside the worker: older messages, and what became of a record.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use trunkline_ordering::group::OrderedRun;
use trunkline_ordering::store::{GONE, IndexRun, LogNo};
use trunkline_ports::{ScanLimit, Storage, StorageError};
use trunkline_types::{LogName, Produced, TopicId};
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

/// Messages from disk, to what was found in memory: IDs from the response's first up to the watermark.
pub(crate) async fn read(
    storage: &dyn Storage,
    repairs: &Repairs,
    request: ReadRequest,
    mut response: ReadResponse,
    known: Vec<IndexRun>,
) -> Result<ReadResponse, Status> {
    // Below the earliest there is nothing to read.
    let request = &ReadRequest { from: response.first_id, ..request };
    let watermark = response.watermark;
    let (messages, bytes_max) = bounds(request);
    let until = (watermark + 1).min(request.from.saturating_add(messages as u64));
    let runs = index(storage, request, until, messages, known).await.map_err(|e| failed(&e))?;
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
                // Trimmed since the worker has answered: the next read hears of it.
                if repairs.earliest(TopicId(request.topic_id)).await.is_none_or(|earliest| next < earliest) {
                    return Ok(response);
                }
                let record = repairs.repair(run.log, run.seq_of(next)).await;
                response.records.push(record.map_err(|error| not_repaired(error, request.topic_id, next))?);
            }
            return Ok(response);
        }
    }
    Ok(response)
}

fn not_repaired(error: RepairError, topic: u64, id: u64) -> Status {
    let what = format!("message {id} of topic {topic}: {error}");
    match error {
        RepairError::Lost => Status::data_loss(what),
        RepairError::Busy => status::overloaded(what, RETRY_AFTER),
        RepairError::Gone | RepairError::Unreachable => status::unavailable(reason::UNREACHABLE, what),
    }
}

/// Index runs from the request's first ID on: those that are `known`, or from disk, where they may be on their way.
async fn index(
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

/// What became of a record, as far as this store's disk knows. `earliest`: the first ID of its topic that is there.
pub(crate) async fn resolve(
    storage: &dyn Storage,
    request: &ResolveRequest,
    at: Location,
    earliest: Option<u64>,
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
        && let Some(one) = ordered_as(storage, at.log, seq).await.map_err(|e| failed(&e))?
    {
        // Of what is gone it is not known what it was; what is left of a deleted topic is that it is.
        let is_gone = one.topic == GONE;
        response.decided = !is_gone || earliest.is_none();
        response.message_id = one.first_id;
        let is_before = one.first_id > 0 && earliest.is_some_and(|earliest| one.first_id < earliest);
        response.expired = is_before || (is_gone && earliest.is_some());
        if let Some(of) = one.produced.filter(|_| one.is_duplicate()) {
            let first = first_of(storage, one.topic, of).await.map_err(|e| failed(&e))?;
            (response.duplicate, response.on_disk) = (true, first.is_some_and(|(_, on_disk)| on_disk));
            response.message_id = first.map_or(0, |(id, _)| id);
        }
    }
    Ok(response)
}

/// The ID of the message that has this name, and whether it is on disk here; `None`: its producer is not known any more.
async fn first_of(
    storage: &dyn Storage,
    topic: TopicId,
    of: Produced,
) -> Result<Option<(u64, bool)>, StorageError> {
    let from = keys::sequence_key(topic, &Produced { sequence: 0, ..of });
    let to = keys::sequence_key(topic, &of.plus(1));
    let rows = storage.scan_back(keys::SEQUENCES, from, to, ScanLimit::rows(1)).await?;
    let Some((key, value)) = rows.first() else { return Ok(None) };
    let (_, first) = keys::sequence_of(key).ok_or_else(|| load::corrupt("sequences"))?;
    let (first_id, count) = keys::pair(value).ok_or_else(|| load::corrupt("sequences"))?;
    let nth = of.sequence - first.sequence;
    if nth >= count {
        return Ok(None);
    }
    let id = first_id + nth;
    let runs = load::index_runs(storage, topic, id, id + 1, 1).await?;
    let on_disk = match runs.first().filter(|run| run.first <= id && id < run.end()) {
        Some(run) => storage.get(keys::RECORDS, keys::place(run.log, run.seq_of(id))).await?.is_some(),
        None => false,
    };
    Ok(Some((id, on_disk)))
}

/// What was decided of one record, as a run of it alone.
async fn ordered_as(storage: &dyn Storage, log: LogNo, seq: u64) -> Result<Option<OrderedRun>, StorageError> {
    let (from, to): (Bytes, Bytes) = (keys::place(log, 0), keys::place(log, seq + 1));
    let rows = storage.scan_back(keys::ORDERS, from, to, ScanLimit::rows(1)).await?;
    let Some((key, value)) = rows.first() else { return Ok(None) };
    let (_, first) = keys::place_of(key).ok_or_else(|| load::corrupt("orders"))?;
    let run = keys::order_run(value).ok_or_else(|| load::corrupt("orders"))?;
    let nth = seq - first;
    if nth >= run.count {
        return Ok(None);
    }
    let first_id = if run.first_id == 0 { 0 } else { run.first_id + nth };
    Ok(Some(OrderedRun { first_id, count: 1, produced: run.produced.map(|of| of.plus(nth)), ..run }))
}
