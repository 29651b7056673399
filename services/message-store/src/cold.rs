//! Reads from disk, beside the worker: older messages, and what became of a record.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
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

/// Rows of the index come to disk a little after they are told.
const LATE: Duration = Duration::from_millis(10);
const LATE_MAX: usize = 10;
/// After which a read may try again that found too many records waiting for their repair.
const RETRY_AFTER: Duration = Duration::from_millis(250);

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
    let places = places(&runs, request.from, until);
    let limit = ScanLimit { rows: messages, bytes: bytes_max };
    response.records = load::replay(storage, &places, limit).await.map_err(|e| failed(&e))?;
    // What is sound is answered at once; the next read begins with what is not.
    if response.records.is_empty()
        && let Some((log, seqs)) = places.first()
    {
        let record = repairs.repair(*log, seqs.start).await;
        response.records.push(record.map_err(|error| not_repaired(error, request.topic_id, request.from))?);
    }
    Ok(response)
}

/// Where the records of [from, until) are, up to the first that the runs do not tell of.
fn places(runs: &[IndexRun], from: u64, until: u64) -> Vec<(LogNo, Range<u64>)> {
    let (mut places, mut next) = (Vec::new(), from);
    for run in runs.iter().filter(|run| run.end() > from) {
        if run.first > next || next >= until {
            break;
        }
        let seq = run.seq_of(next);
        let end = run.end().min(until);
        places.push((run.log, seq..seq + (end - next)));
        next = end;
    }
    places
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_ids_asked_for_up_to_a_gap() {
        let run = |first, log, seq, count| IndexRun { first, log: LogNo(log), seq, count };
        let runs = [run(1, 1, 10, 5), run(6, 2, 3, 1), run(7, 1, 15, 4), run(20, 1, 19, 4)];
        let places = |from, until| {
            let places = places(&runs, from, until);
            places.into_iter().map(|(log, seqs)| (log.0, seqs.start, seqs.end)).collect::<Vec<_>>()
        };
        assert_eq!(places(3, 9), [(1, 12, 15), (2, 3, 4), (1, 15, 17)]);
        assert_eq!(places(7, 8), [(1, 15, 16)]);
        assert_eq!(places(1, 100), [(1, 10, 15), (2, 3, 4), (1, 15, 19)], "what is behind a gap waits");
        assert_eq!(places(12, 100), [], "and so does what is before the next run");
        assert_eq!(places(22, 100), [(1, 21, 23)]);
    }
}
