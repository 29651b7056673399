//! What pop servers ask: messages from an ID on, from memory where they are fresh; where a record is.
//!
//! Reads of a Reads stream are looked up only when they can be answered and there is room for the answer: until then a
//! read is no more than its question, so what a slow reader can hold of this store's memory is bounded by its window.

mod streams;
mod turns;
mod waiting;

use std::sync::Arc;

use tokio::sync::oneshot;
use trunkline_ordering::store::LogNo;
use trunkline_types::limits::{READ_BYTES_MAX, READ_MESSAGES_MAX};
use trunkline_types::{LogName, TopicId};
use trunkline_wire::internal::{ReadRequest, ReadResponse, Record};

use super::Worker;
use crate::handle::{Location, ReadAnswer};
use crate::layout::PeerStore;
pub(crate) use streams::Readers;
pub(crate) use turns::Turn;

impl Worker {
    /// What there is, now.
    pub(super) fn answer_read(&self, request: &ReadRequest) -> ReadAnswer {
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

    /// Who else may have a record, the nearest first; `None` if it was dropped here.
    pub(super) fn replicas(&self, log: &LogName, seq: u64) -> Option<Vec<Arc<str>>> {
        let shares = |peer: &&PeerStore| self.layout.shares(peer.node, log.bucket);
        let mut peers: Vec<_> = self.layout.peers.iter().filter(shares).collect();
        peers.sort_by_key(|peer| (!peer.near, peer.round_trip, peer.node));
        let addresses = || peers.into_iter().map(|peer| peer.address.clone()).collect();
        self.is_kept(log, seq).then(addresses)
    }

    /// Writes a record again, unless it was dropped meanwhile.
    pub(super) fn rewrite(
        &mut self,
        log: LogName,
        (no, seq): (LogNo, u64),
        record: &Record,
        reply: oneshot::Sender<()>,
    ) {
        if self.is_kept(&log, seq) {
            self.commit.rewrite(no, seq, record, (log, reply));
        }
    }

    /// A record that was on disk here was not dropped: that happens only to what lies beyond a log's end.
    fn is_kept(&self, log: &LogName, seq: u64) -> bool {
        self.catalog.find_log(log).is_none_or(|log| seq < self.catalog.log(log).durable())
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
