//! What pop servers ask: messages from an ID on, from memory where they are fresh; where a record is.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;
use trunkline_ordering::store::{LogNo, Topic};
use trunkline_types::limits::{READ_BYTES_MAX, READ_MESSAGES_MAX, READ_THROUGH_AFTER, READ_WAITERS_MAX};
use trunkline_types::{LogName, TopicId};
use trunkline_wire::internal::{ReadRequest, ReadResponse, Record};

use super::Worker;
use crate::handle::{Location, ReadAnswer};
use crate::layout::PeerStore;

#[derive(Debug)]
struct Waiter {
    request: ReadRequest,
    reply: oneshot::Sender<ReadAnswer>,
    /// What it asks for is ordered and not readable here: at this time it is told so, and asks elsewhere.
    late_at: Option<Instant>,
}

/// Reads that wait for a topic's watermark.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    waiters: BTreeMap<TopicId, Vec<Waiter>>,
    count: usize,
    /// When waiters of a topic are late, in order of time: at most one entry for each that came within the last
    /// `READ_THROUGH_AFTER`, or was told of more within it.
    late: VecDeque<(Instant, TopicId)>,
}

impl Readers {
    /// `indexed`: what it asks for is ordered already.
    fn wait(&mut self, topic: TopicId, mut waiter: Waiter, indexed: bool) {
        if self.count >= READ_WAITERS_MAX {
            self.sweep();
        }
        // Beyond the bound a reader is not told: it answers by itself when its time is over.
        if self.count < READ_WAITERS_MAX {
            if indexed {
                let late_at = Instant::now() + READ_THROUGH_AFTER;
                waiter.late_at = Some(late_at);
                self.late.push_back((late_at, topic));
            }
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

    /// Takes the waiters of a topic that `which` is true of.
    fn take(&mut self, topic: TopicId, which: impl FnMut(&mut Waiter) -> bool) -> Vec<Waiter> {
        let Some(waiters) = self.waiters.get_mut(&topic) else { return Vec::new() };
        let taken: Vec<Waiter> = waiters.extract_if(.., which).collect();
        if waiters.is_empty() {
            self.waiters.remove(&topic);
        }
        self.count -= taken.len();
        taken
    }

    /// `ids` of a topic are ordered and not readable here: who waits for one of them waits a while longer.
    fn indexed(&mut self, topic: TopicId, ids: &Range<u64>) {
        let late_at = Instant::now() + READ_THROUGH_AFTER;
        let mut any = false;
        for waiter in self.waiters.get_mut(&topic).into_iter().flatten() {
            if waiter.late_at.is_none() && ids.contains(&waiter.request.from) {
                waiter.late_at = Some(late_at);
                any = true;
            }
        }
        if any {
            self.late.push_back((late_at, topic));
        }
    }

    /// When the next waiter is late.
    pub(super) fn due(&self) -> Option<Instant> {
        self.late.front().map(|&(at, _)| at)
    }
}

impl Worker {
    pub(super) fn read(&mut self, request: ReadRequest, wait: bool, reply: oneshot::Sender<ReadAnswer>) {
        let id = TopicId(request.topic_id);
        let waits = wait
            && self.catalog.topic(id).is_some_and(|topic| !topic.deleted && request.from > topic.watermark());
        if waits {
            let indexed = self.catalog.topic(id).is_some_and(|topic| request.from < topic.next());
            self.readers.wait(id, Waiter { request, reply, late_at: None }, indexed);
        } else {
            let answer = self.answer_read(&request);
            let _ = reply.send(answer);
        }
    }

    /// A topic's watermark has moved.
    pub(super) fn readable(&mut self, topic: TopicId) {
        let Some(watermark) = self.catalog.topic(topic).map(Topic::watermark) else { return };
        for waiter in self.readers.take(topic, |waiter| waiter.request.from <= watermark) {
            if !waiter.reply.is_closed() {
                self.read(waiter.request, false, waiter.reply);
            }
        }
    }

    /// More of a topic is ordered, which may be readable here or not.
    pub(super) fn indexed(&mut self, topic: TopicId) {
        if let Some(known) = self.catalog.topic(topic).filter(|known| known.watermark() + 1 < known.next()) {
            self.readers.indexed(topic, &(known.watermark() + 1..known.next()));
        }
    }

    /// Answers reads that have waited long enough for what is ordered and does not come.
    pub(super) fn answer_late_reads(&mut self, now: Instant) {
        while let Some((_, topic)) = self.readers.late.pop_front_if(|(at, _)| *at <= now) {
            let late = |waiter: &mut Waiter| waiter.late_at.is_some_and(|at| at <= now);
            for waiter in self.readers.take(topic, late) {
                self.read(waiter.request, false, waiter.reply);
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
