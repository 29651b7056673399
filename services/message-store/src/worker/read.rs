//! What pop servers ask: messages from an ID on, from memory where they are fresh; where a record is.

use std::collections::BTreeMap;

use tokio::sync::oneshot;
use trunkline_types::limits::{READ_BYTES_MAX, READ_MESSAGES_MAX, READ_WAITERS_MAX};
use trunkline_types::{LogName, TopicId};
use trunkline_wire::internal::{ReadRequest, ReadResponse};

use super::Worker;
use crate::handle::{Location, ReadAnswer};

#[derive(Debug)]
struct Waiter {
    request: ReadRequest,
    reply: oneshot::Sender<ReadAnswer>,
}

/// Reads that wait for a topic's watermark.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    waiters: BTreeMap<TopicId, Vec<Waiter>>,
    count: usize,
}

impl Readers {
    fn wait(&mut self, topic: TopicId, waiter: Waiter) {
        if self.count >= READ_WAITERS_MAX {
            self.sweep();
        }
        // Beyond the bound a reader is not told: it answers by itself when its time is over.
        if self.count < READ_WAITERS_MAX {
            self.waiters.entry(topic).or_default().push(waiter);
            self.count += 1;
        }
    }

    /// Forgets readers that wait no more.
    pub(super) fn sweep(&mut self) {
        self.waiters.retain(|_, waiters| {
            waiters.retain(|waiter| !waiter.reply.is_closed());
            !waiters.is_empty()
        });
        self.count = self.waiters.values().map(Vec::len).sum();
    }

    fn take(&mut self, topic: TopicId) -> Vec<Waiter> {
        let waiters = self.waiters.remove(&topic).unwrap_or_default();
        self.count -= waiters.len();
        waiters
    }
}

impl Worker {
    pub(super) fn read(&mut self, request: ReadRequest, wait: bool, reply: oneshot::Sender<ReadAnswer>) {
        let id = TopicId(request.topic_id);
        let waits = wait
            && self.catalog.topic(id).is_some_and(|topic| !topic.deleted && request.from > topic.watermark());
        if waits {
            self.readers.wait(id, Waiter { request, reply });
        } else {
            let answer = self.answer_read(&request);
            let _ = reply.send(answer);
        }
    }

    /// A topic's watermark has moved.
    pub(super) fn readable(&mut self, topic: TopicId) {
        for waiter in self.readers.take(topic) {
            if !waiter.reply.is_closed() {
                self.read(waiter.request, true, waiter.reply);
            }
        }
    }

    fn answer_read(&self, request: &ReadRequest) -> ReadAnswer {
        let id = TopicId(request.topic_id);
        let mut response = ReadResponse { first_id: request.from, earliest: 1, ..ReadResponse::default() };
        let Some(topic) = self.catalog.topic(id) else {
            response.unknown_topic = true;
            return ReadAnswer::Ready(response);
        };
        (response.watermark, response.indexed) = (topic.watermark(), topic.next() - 1);
        if topic.deleted {
            response.topic_deleted = true;
            return ReadAnswer::Ready(response);
        }
        let (messages, bytes_max) = bounds(request);
        let mut bytes = 0;
        let mut next = request.from;
        while next <= topic.watermark() && response.records.len() < messages {
            let found = topic.find(next).and_then(|run| self.recent.get(run.log, run.seq_of(next)));
            let Some(record) = found else { break };
            bytes += record.body.len();
            if bytes > bytes_max && !response.records.is_empty() {
                break;
            }
            response.records.push(record.clone());
            next += 1;
        }
        if response.records.is_empty() && request.from <= topic.watermark() {
            self.metrics.cold_reads.inc();
            let (watermark, indexed) = (response.watermark, response.indexed);
            return ReadAnswer::Cold { watermark, indexed, runs: topic.runs_from(request.from, messages) };
        }
        self.metrics.reads.inc();
        ReadAnswer::Ready(response)
    }

    pub(super) fn locate(&self, name: &LogName) -> Option<Location> {
        let log = self.catalog.find_log(name)?;
        let known = self.catalog.log(log);
        Some(Location { log, durable: known.durable(), ordered: known.ordered(), closed: known.closed })
    }
}

/// The messages and bytes that a read may answer with, 0 being the maximum; at least one message comes, whatever its size.
pub(crate) fn bounds(request: &ReadRequest) -> (usize, usize) {
    let messages = match usize::try_from(request.max_messages).unwrap_or(usize::MAX) {
        0 => READ_MESSAGES_MAX,
        messages => messages.min(READ_MESSAGES_MAX),
    };
    let bytes = match usize::try_from(request.max_bytes).unwrap_or(usize::MAX) {
        0 => READ_BYTES_MAX,
        bytes => bytes.min(READ_BYTES_MAX),
    };
    (messages, bytes)
}
