//! The store that has the index: what it knows at one moment, then the rows from disk, bounded by that.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::oneshot;
use trunkline_ordering::store::{GONE, LogNo};
use trunkline_ports::{Host, Responder, ScanLimit, Storage, StorageError};
use trunkline_types::limits::PAGE_BYTES_MAX;
use trunkline_types::{Bucket, TopicId};
use trunkline_wire::convert::{Malformed, from_produced};
use trunkline_wire::internal::{
    BootEnded, CopiedLog, CopiedSequences, CopiedTopic, CopyIndexRequest, CopyIndexResponse, RecordsOrdered,
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
    everywhere: u64,
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
            deleted_at: if topic.deleted { topic.deleted_at.max(1) } else { 0 },
            next_id: topic.staged_next,
            earliest: topic.earliest(),
        });
        // Of those that are gone it is said, too: rows of their index may stand in the logs still.
        let gone = self.catalog.gone().filter(|id| buckets.contains(&id.bucket())).map(|id| CopiedTopic {
            topic: Some(Topic { topic_id: id.0, ..Topic::default() }),
            deleted_at: 1,
            next_id: 1,
            earliest: 1,
        });
        let topics = topics.chain(gone);
        let ended = self.catalog.boots_ended(group);
        let boots_ended = ended.map(|(node, counter)| BootEnded { node: node.0, counter }).collect();
        let next_log = self.catalog.next_log();
        let everywhere = self.catalog.everywhere(group);
        let (logs, topics) = (logs.collect(), topics.collect());
        Snapshot { facts_index, logs, topics, boots_ended, everywhere, next_log }
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
    let Snapshot { facts_index, mut logs, topics, boots_ended, everywhere, next_log } = snapshot;
    let first = CopyIndexResponse { facts_index, boots_ended, everywhere, ..CopyIndexResponse::default() };
    send(&responses, first).await?;
    logs.extend(closed_logs(&*storage, &buckets, &logs, next_log).await.map_err(|e| cold::failed(&e))?);
    let ends: Vec<(LogNo, u64)> = logs.iter().map(|log| (LogNo(log.number), log.ordered)).collect();
    let named = |topic: &CopiedTopic| (topic.topic.as_ref().map_or(0, |topic| topic.topic_id), topic.next_id);
    let next_ids: Vec<(u64, u64)> = topics.iter().map(named).collect();
    for topics in pages(topics) {
        send(&responses, CopyIndexResponse { topics, ..CopyIndexResponse::default() }).await?;
    }
    for (topic, next_id) in next_ids {
        send_sequences(&responses, &*storage, TopicId(topic), next_id).await?;
    }
    for logs in pages(logs) {
        send(&responses, CopyIndexResponse { logs, ..CopyIndexResponse::default() }).await?;
    }
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
            let void = if run.first_id == 0 && run.topic != GONE {
                storage.get(keys::VOIDS, keys::place(log, next)).await.map_err(|e| cold::failed(&e))?
            } else {
                None
            };
            let void_index = void.as_deref().and_then(keys::void).map_or(0, |void| void.index);
            // Records that were no message, and have gone, are just gone.
            let topic = if run.first_id == 0 && void_index == 0 { GONE } else { run.topic };
            next += run.count;
            let ordered = convert::ordered_run(&run);
            runs.push(internal::OrderedRun { topic_id: topic.0, void_index, ..ordered });
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

/// What producers have pushed to a topic, up to the IDs that the snapshot knows.
async fn send_sequences(
    responses: &Responder<CopyIndexResponse>,
    storage: &dyn Storage,
    topic: TopicId,
    next_id: u64,
) -> Result<(), Status> {
    let mut rows = Rows::within(keys::SEQUENCES, keys::topic_key(topic), keys::topic_end(topic));
    let mut sequences = Vec::new();
    while let Some((key, value)) = rows.next(storage).await.map_err(|error| cold::failed(&error))? {
        let corrupt = || Status::data_loss("a row of sequences");
        let (_, of) = keys::sequence_of(&key).ok_or_else(corrupt)?;
        let (first_id, count) = keys::pair(&value).ok_or_else(corrupt)?;
        let count = count.min(next_id.saturating_sub(first_id));
        if count > 0 {
            let (producer_id, producer_sequence) = from_produced(Some(of));
            let topic_id = topic.0;
            sequences.push(CopiedSequences { topic_id, producer_id, producer_sequence, first_id, count });
        }
        if sequences.len() == ROWS_MAX {
            let sequences = std::mem::take(&mut sequences);
            send(responses, CopyIndexResponse { sequences, ..CopyIndexResponse::default() }).await?;
        }
    }
    if sequences.is_empty() {
        return Ok(());
    }
    send(responses, CopyIndexResponse { sequences, ..CopyIndexResponse::default() }).await
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
