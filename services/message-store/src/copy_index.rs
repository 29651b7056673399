//! The index of a group, copied from another store: for one that was away for longer than facts are kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout;
use trunkline_ordering::store::{self, IndexRun, LogNo, Row};
use trunkline_ports::{CallOptions, Class, Host, Peer, Responder, ScanLimit, Storage};
use trunkline_runtime::Backoff;
use trunkline_types::limits::{CONNECT_TIMEOUT, SILENCE_MAX};
use trunkline_types::{LogName, NodeId, TopicId};
use trunkline_wire::convert::Malformed;
use trunkline_wire::internal::follow_service::COPY_INDEX;
use trunkline_wire::internal::{
    BootEnded, CopiedLog, CopiedTopic, CopyIndexRequest, CopyIndexResponse, OrderedRun, RecordsOrdered,
};
use trunkline_wire::v1::{Topic, TopicOptions};
use trunkline_wire::{Message as _, Status};

use crate::follow_stream::silent;
use crate::handle::{Handle, Input};
use crate::worker::Worker;
use crate::{convert, keys};

/// Logs, topics or index rows of one message.
const ENTRIES_MAX: usize = 2_000;
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// What a store says of a group at one moment; the index itself is read from disk, bounded by `ordered`.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    facts_index: u64,
    logs: Vec<(LogNo, CopiedLog)>,
    topics: Vec<CopiedTopic>,
    boots_ended: Vec<BootEnded>,
}

/// A copy that is coming in.
#[derive(Debug, Default)]
pub(crate) struct Copying {
    stream: u64,
    numbers: BTreeMap<u32, LogNo>,
    copied: store::Copied,
}

// ---- The store that has it ---------------------------------------------------------------------------------------

impl Worker {
    /// What is known now, told once the index says so on disk.
    pub(crate) fn copy_snapshot(&mut self, group: u16, reply: oneshot::Sender<Snapshot>) {
        let snapshot = self.snapshot(group);
        self.commit.tell_after(snapshot, reply);
    }

    fn snapshot(&self, group: u16) -> Snapshot {
        let mut snapshot =
            Snapshot { facts_index: self.catalog.facts_from(group) - 1, ..Snapshot::default() };
        for (number, log) in self.catalog.numbers(group) {
            let Some(no) = log else { continue };
            let known = self.catalog.log(no);
            let copied = CopiedLog {
                number: no.0,
                log: Some(known.name.into()),
                predecessor: convert::to_predecessor(known.predecessor),
                group_number: number,
                ordered: known.ordered(),
                closed: known.closed == Some(known.ordered()),
            };
            snapshot.logs.push((no, copied));
        }
        let topics = self.catalog.topics().filter(|(id, _)| self.catalog.group_of(id.bucket()) == group);
        snapshot.topics = topics
            .map(|(id, topic)| CopiedTopic {
                topic: Some(Topic {
                    name: topic.name.clone(),
                    topic_id: id.0,
                    options: TopicOptions::decode(&topic.options[..]).ok(),
                }),
                deleted: topic.deleted,
                next_id: topic.next(),
            })
            .collect();
        let ended = self.catalog.boots_ended(group);
        snapshot.boots_ended = ended.map(|(node, counter)| BootEnded { node: node.0, counter }).collect();
        snapshot
    }
}

/// Answers [`COPY_INDEX`].
pub(crate) async fn serve(
    host: Host,
    handle: Handle,
    storage: Arc<dyn Storage>,
    request: CopyIndexRequest,
    responses: Responder<CopyIndexResponse>,
) -> Result<(), Status> {
    host.check(request.envelope.as_ref())?;
    let group = convert::ordering_group(request.group)?;
    let snapshot = handle.ask(|reply| Input::CopySnapshot { group, reply }).await?;
    let Snapshot { facts_index, logs, topics, boots_ended } = snapshot;
    send(&responses, CopyIndexResponse { facts_index, boots_ended, ..CopyIndexResponse::default() }).await?;
    for topics in topics.chunks(ENTRIES_MAX) {
        send(&responses, CopyIndexResponse { topics: topics.to_vec(), ..CopyIndexResponse::default() })
            .await?;
    }
    for part in logs.chunks(ENTRIES_MAX) {
        let logs = part.iter().map(|(_, log)| *log).collect();
        send(&responses, CopyIndexResponse { logs, ..CopyIndexResponse::default() }).await?;
    }
    for (no, log) in &logs {
        send_orders(&responses, &*storage, *no, log.ordered).await?;
    }
    send(&responses, CopyIndexResponse { done: true, ..CopyIndexResponse::default() }).await
}

async fn send_orders(
    responses: &Responder<CopyIndexResponse>,
    storage: &dyn Storage,
    log: LogNo,
    ordered: u64,
) -> Result<(), Status> {
    let mut from = 1;
    while from < ordered {
        let limit = ScanLimit::rows(ENTRIES_MAX);
        let rows = storage.scan(keys::ORDERS, keys::place(log, from), keys::place(log, ordered), limit).await;
        let rows = rows.map_err(|error| Status::unavailable(error.to_string()))?;
        let mut runs = Vec::with_capacity(rows.len());
        let mut next = from;
        for (_, value) in rows {
            let run = keys::order_run(&value).ok_or_else(|| Status::data_loss("a row of orders"))?;
            next += run.count;
            runs.push(OrderedRun { topic_id: run.topic.0, first_id: run.first_id, count: run.count });
        }
        if next == from {
            return Err(Status::data_loss("the index has a gap"));
        }
        let ordered = vec![RecordsOrdered { number: log.0, from, runs }];
        send(responses, CopyIndexResponse { ordered, ..CopyIndexResponse::default() }).await?;
        from = next;
    }
    Ok(())
}

async fn send(responses: &Responder<CopyIndexResponse>, frame: CopyIndexResponse) -> Result<(), Status> {
    responses.send(&frame).await.map_err(|_| Status::unavailable("the stream is closed"))
}

// ---- The store that lacks it -------------------------------------------------------------------------------------

/// Copies from the first of `addresses` that has facts up to `facts_from` or further, and tries again until one has.
pub(crate) async fn copy(host: Host, handle: Handle, group: u16, facts_from: u64, addresses: Vec<Arc<str>>) {
    let mut backoff = Backoff::new(BACKOFF_FIRST, BACKOFF_MAX);
    loop {
        for address in &addresses {
            match copy_once(&host, &handle, group, facts_from, address).await {
                Ok(true) => {
                    let _ = handle.tell(Input::CopyEnded { group }).await;
                    return;
                }
                Ok(false) => {}
                Err(status) => {
                    tracing::debug!(group, %address, %status, "the index could not be copied from here")
                }
            }
        }
        backoff.wait(&host.process).await;
    }
}

async fn copy_once(
    host: &Host,
    handle: &Handle,
    group: u16,
    facts_from: u64,
    address: &Arc<str>,
) -> Result<bool, Status> {
    let peer = Peer::new(address.clone(), Class::Calls);
    let opening = host.network.open(&peer, COPY_INDEX, CallOptions::default());
    let (sender, mut receiver) = timeout(CONNECT_TIMEOUT, opening).await.map_err(|_| silent())??;
    let request = CopyIndexRequest { envelope: Some(host.envelope()), group: convert::packed(group) };
    sender.send(&request).await.map_err(|_| silent())?;
    let stream = handle.stream();
    let mut first = true;
    while let Some(frame) = timeout(SILENCE_MAX * 5, receiver.next()).await.map_err(|_| silent())?? {
        if std::mem::take(&mut first) && frame.facts_index + 1 < facts_from {
            return Ok(false); // It lacks them, too.
        }
        let done = frame.done;
        let permit = handle.follow_room(frame.encoded_len()).await?;
        handle.tell(Input::CopyFrame { group, stream, frame, permit }).await?;
        if done {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Worker {
    pub(crate) fn copy_frame(
        &mut self,
        group: u16,
        stream: u64,
        frame: CopyIndexResponse,
        permit: OwnedSemaphorePermit,
    ) {
        let mut copying =
            self.copying.remove(&group).filter(|copying| copying.stream == stream).unwrap_or_default();
        copying.stream = stream;
        let done = frame.done;
        if let Err(malformed) = self.take_copy(&mut copying, frame) {
            tracing::warn!(group, %malformed, "a copy of the index is given up");
        } else if done {
            let (mut rows, mut settled) = (Vec::new(), Vec::new());
            tracing::debug!(group, "the index was copied");
            self.catalog.stage_copy(group, copying.copied, &mut rows, &mut settled);
            self.take(rows, settled);
        } else {
            self.copying.insert(group, copying);
        }
        self.commit.hold(permit);
    }

    fn take_copy(&mut self, copying: &mut Copying, frame: CopyIndexResponse) -> Result<(), Malformed> {
        copying.copied.facts_index = copying.copied.facts_index.max(frame.facts_index);
        let ended = frame.boots_ended.iter().map(|ended| (NodeId(ended.node), ended.counter));
        copying.copied.boots_ended.extend(ended);
        for copied in frame.topics {
            let topic = copied.topic.ok_or(Malformed("topics.topic"))?;
            copying.copied.topics.push(store::CopiedTopic {
                topic: TopicId(topic.topic_id),
                options: convert::options_bytes(topic.options.as_ref()),
                name: topic.name,
                deleted: copied.deleted,
                next: copied.next_id,
            });
        }
        let mut rows = Vec::new();
        for copied in frame.logs {
            let name: LogName = convert::log_name(copied.log)?;
            if !self.catalog.holds(name.bucket) {
                continue;
            }
            let log = self.catalog.open_log(name, convert::predecessor(copied.predecessor), &mut rows);
            copying.numbers.insert(copied.number, log);
            let (number, ordered, closed) = (copied.group_number, copied.ordered, copied.closed);
            copying.copied.logs.push(store::CopiedLog { log, number, ordered, closed });
        }
        for ordered in frame.ordered {
            let Some(&log) = copying.numbers.get(&ordered.number) else { continue };
            let mut seq = ordered.from;
            for run in convert::ordered_runs(&ordered.runs) {
                rows.push(Row::Order { log, seq, run });
                if run.first_id != 0 {
                    let indexed = IndexRun { first: run.first_id, log, seq, count: run.count };
                    rows.push(Row::Index { topic: run.topic, run: indexed });
                }
                seq += run.count;
            }
        }
        self.write_rows(rows);
        Ok(())
    }
}
