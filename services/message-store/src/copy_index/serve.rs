//! The store that has the index: what it knows at one moment, then the rows from disk, bounded by that.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::oneshot;
use trunkline_ordering::store::LogNo;
use trunkline_ports::{Host, Responder, ScanLimit, Storage, StorageError};
use trunkline_types::limits::PAGE_BYTES_MAX;
use trunkline_types::{Bucket, TopicId};
use trunkline_wire::convert::Malformed;
use trunkline_wire::internal::{
    BootEnded, CopiedLog, CopiedTime, CopiedTopic, CopyIndexRequest, CopyIndexResponse, OrderedRun,
    RecordsOrdered,
};
use trunkline_wire::status::{self, reason};
use trunkline_wire::v1::{Topic, TopicOptions};
use trunkline_wire::{Message, Status};

use crate::handle::{Handle, Input};
use crate::keys::{self, LogRow};
use crate::recover::Rows;
use crate::worker::Worker;
use crate::{cold, convert};

/// Rows of the index in one message: each takes some 40 bytes.
const ROWS_MAX: usize = 2_000;

/// What a store says of some buckets at one moment.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    facts_index: u64,
    logs: Vec<CopiedLog>,
    topics: Vec<CopiedTopic>,
    boots_ended: Vec<BootEnded>,
    /// Logs from here on came later.
    next_log: LogNo,
}

impl Worker {
    /// What is known now, told once the index says so on disk.
    pub(crate) fn copy_snapshot(
        &mut self,
        group: u16,
        buckets: &BTreeSet<Bucket>,
        reply: oneshot::Sender<Result<Snapshot, Status>>,
    ) {
        let whole = |bucket: &Bucket| self.catalog.holds(*bucket) && self.catalog.group_of(*bucket) == group;
        if self.copying.contains_key(&group) {
            let refused = status::unavailable(reason::STALE, "the index is being copied here, too");
            return drop(reply.send(Err(refused)));
        }
        if !buckets.iter().all(whole) {
            let refused = status::failed_precondition(reason::STALE, "a bucket of these is not held here");
            return drop(reply.send(Err(refused)));
        }
        let snapshot = self.snapshot(group, buckets);
        self.commit.tell_after(snapshot, reply);
    }

    fn snapshot(&self, group: u16, buckets: &BTreeSet<Bucket>) -> Snapshot {
        let facts_index = self.catalog.facts_from(group) - 1;
        let open = self.catalog.open_logs(group).map(|no| (no, self.catalog.log(no)));
        let known = open.filter(|(_, log)| buckets.contains(&log.name.bucket) && log.is_named());
        let logs = known.map(|(no, log)| CopiedLog {
            number: no.0,
            log: Some(log.name.into()),
            predecessor: convert::to_predecessor(log.predecessor),
            group_number: log.number().unwrap_or(0),
            ordered: log.staged(),
            closed: log.closed.is_some(),
        });
        let topics = self.catalog.topics().filter(|(id, _)| buckets.contains(&id.bucket()));
        let topics = topics.map(|(id, topic)| CopiedTopic {
            topic: Some(Topic {
                name: topic.name.clone(),
                topic_id: id.0,
                options: TopicOptions::decode(&topic.options[..]).ok(),
            }),
            deleted: topic.deleted,
            next_id: topic.staged_next,
        });
        let ended = self.catalog.boots_ended(group);
        let boots_ended = ended.map(|(node, counter)| BootEnded { node: node.0, counter }).collect();
        let next_log = self.catalog.next_log();
        Snapshot { facts_index, logs: logs.collect(), topics: topics.collect(), boots_ended, next_log }
    }
}

/// Answers `COPY_INDEX`.
pub(crate) async fn serve(
    host: Host,
    handle: Handle,
    storage: Arc<dyn Storage>,
    request: CopyIndexRequest,
    responses: Responder<CopyIndexResponse>,
) -> Result<(), Status> {
    host.check(request.envelope.as_ref())?;
    let group = convert::ordering_group(request.group)?;
    let bucket = |&bucket: &u32| u16::try_from(bucket).map(Bucket).map_err(|_| Malformed("buckets"));
    let buckets = request.buckets.iter().map(bucket).collect::<Result<BTreeSet<_>, _>>()?;
    let (of, asked) = (buckets.clone(), &handle);
    let snapshot = asked.ask(|reply| Input::CopySnapshot { group, buckets: of, reply }).await??;
    let Snapshot { facts_index, mut logs, topics, boots_ended, next_log } = snapshot;
    send(&responses, CopyIndexResponse { facts_index, boots_ended, ..CopyIndexResponse::default() }).await?;
    logs.extend(closed_logs(&*storage, &buckets, &logs, next_log).await.map_err(|e| cold::failed(&e))?);
    let ends: Vec<(LogNo, u64)> = logs.iter().map(|log| (LogNo(log.number), log.ordered)).collect();
    let id = |topic: &CopiedTopic| TopicId(topic.topic.as_ref().map_or(0, |topic| topic.topic_id));
    let indexed: Vec<(TopicId, u64)> = topics.iter().map(|topic| (id(topic), topic.next_id)).collect();
    for topics in pages(topics) {
        send(&responses, CopyIndexResponse { topics, ..CopyIndexResponse::default() }).await?;
    }
    for logs in pages(logs) {
        send(&responses, CopyIndexResponse { logs, ..CopyIndexResponse::default() }).await?;
    }
    send_times(&responses, &*storage, &indexed).await?;
    for (log, ordered) in ends {
        send_orders(&responses, &*storage, log, ordered).await?;
    }
    send(&responses, CopyIndexResponse { done: true, ..CopyIndexResponse::default() }).await
}

/// Logs that are closed and complete, and so not in memory: those below `next_log` that are not `known`.
async fn closed_logs(
    storage: &dyn Storage,
    buckets: &BTreeSet<Bucket>,
    known: &[CopiedLog],
    next_log: LogNo,
) -> Result<Vec<CopiedLog>, StorageError> {
    let known: BTreeSet<u32> = known.iter().map(|log| log.number).collect();
    let mut closed = Vec::new();
    let mut rows = Rows::new(keys::LOGS);
    while let Some((key, value)) = rows.next(storage).await? {
        let corrupt = || StorageError::Corrupt("a row of logs".to_owned());
        let number = keys::log_of(&key).ok_or_else(corrupt)?.0;
        let row: LogRow = keys::decode(&value).ok_or_else(corrupt)?;
        let wanted = row.complete && buckets.contains(&row.name().bucket);
        if let Some(end) = row.closed.filter(|_| wanted && number < next_log.0 && !known.contains(&number)) {
            closed.push(CopiedLog {
                number,
                log: Some(row.name().into()),
                predecessor: convert::to_predecessor(row.predecessor),
                group_number: 0,
                ordered: end,
                closed: true,
            });
        }
    }
    Ok(closed)
}

/// Entries as messages of at most [`PAGE_BYTES_MAX`], at least one in each.
fn pages<M: Message>(entries: Vec<M>) -> Vec<Vec<M>> {
    let mut pages: Vec<Vec<M>> = Vec::new();
    let mut bytes = 0;
    for entry in entries {
        let more = entry.encoded_len();
        bytes += more;
        match pages.last_mut() {
            Some(page) if bytes <= PAGE_BYTES_MAX => page.push(entry),
            _ => {
                bytes = more;
                pages.push(vec![entry]);
            }
        }
    }
    pages
}

/// When messages of topics were ordered, below their next IDs.
async fn send_times(
    responses: &Responder<CopyIndexResponse>,
    storage: &dyn Storage,
    topics: &[(TopicId, u64)],
) -> Result<(), Status> {
    let mut times = Vec::new();
    for &(topic, next) in topics {
        let mut from = 1;
        while from < next {
            let limit = ScanLimit::rows(ROWS_MAX);
            let range = (keys::id_key(topic, from), keys::id_key(topic, next));
            let rows = storage.scan(keys::TIMES, range.0, range.1, limit).await;
            let rows = rows.map_err(|error| cold::failed(&error))?;
            from = if rows.len() < ROWS_MAX { next } else { from };
            for (key, value) in rows {
                let (row, ms) = (keys::id_of(&key), keys::time(&value));
                let ((_, id), order_time_ms) =
                    row.zip(ms).ok_or_else(|| Status::data_loss("a row of times"))?;
                from = from.max(id + 1);
                times.push(CopiedTime { topic_id: topic.0, id, order_time_ms });
            }
            if times.len() >= ROWS_MAX {
                let times = std::mem::take(&mut times);
                send(responses, CopyIndexResponse { times, ..CopyIndexResponse::default() }).await?;
            }
        }
    }
    send(responses, CopyIndexResponse { times, ..CopyIndexResponse::default() }).await
}

async fn send_orders(
    responses: &Responder<CopyIndexResponse>,
    storage: &dyn Storage,
    log: LogNo,
    ordered: u64,
) -> Result<(), Status> {
    let mut from = 1;
    while from < ordered {
        let limit = ScanLimit::rows(ROWS_MAX);
        let rows = storage.scan(keys::ORDERS, keys::place(log, from), keys::place(log, ordered), limit).await;
        let rows = rows.map_err(|error| cold::failed(&error))?;
        let mut runs = Vec::with_capacity(rows.len());
        let mut next = from;
        for (key, value) in rows {
            let run = keys::order_run(&value).ok_or_else(|| Status::data_loss("a row of orders"))?;
            if keys::place_of(&key) != Some((log, next)) {
                return Err(gap());
            }
            next += run.count;
            runs.push(OrderedRun { topic_id: run.topic.0, first_id: run.first_id, count: run.count });
        }
        if next == from {
            return Err(gap());
        }
        let ordered = vec![RecordsOrdered { number: log.0, from, runs }];
        send(responses, CopyIndexResponse { ordered, ..CopyIndexResponse::default() }).await?;
        from = next;
    }
    Ok(())
}

fn gap() -> Status {
    Status::data_loss("the index has a gap")
}

async fn send(responses: &Responder<CopyIndexResponse>, frame: CopyIndexResponse) -> Result<(), Status> {
    responses.send(&frame).await.map_err(|_| Status::unavailable("the stream is closed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_with_many_labels_take_several_messages() {
        let labels = [("team".to_owned(), "x".repeat(16_000))].into();
        let options = Some(TopicOptions { labels, ..TopicOptions::default() });
        let topic = |topic_id| CopiedTopic {
            topic: Some(Topic { name: format!("t{topic_id}"), topic_id, options: options.clone() }),
            ..CopiedTopic::default()
        };
        let paged = pages((0..550).map(topic).collect());
        assert!(paged.len() > 8);
        for page in &paged {
            assert!(page.iter().map(Message::encoded_len).sum::<usize>() <= PAGE_BYTES_MAX);
        }
        assert_eq!(paged.concat().len(), 550);
        let large = vec![Topic { name: "x".repeat(2 * PAGE_BYTES_MAX), ..Topic::default() }; 2];
        assert_eq!(pages(large).len(), 2, "one that is larger goes alone");
    }
}
