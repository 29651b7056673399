//! As coordinator: records of push servers go into this boot's current origin log of their bucket, and are answered as
//! they get further.

mod recorded;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use trunkline_ordering::group::{OrderedRun, Predecessor};
use trunkline_ordering::store::{Answer, Appends, Level, LogNo, Succession};
use trunkline_ports::Span;
use trunkline_types::limits::DEADLINE_MAX;
use trunkline_types::{Bucket, Lane, LogName, Ordinal, TopicId};
use trunkline_wire::Status;
use trunkline_wire::internal::{
    Accepted, AppendRecord, AppendResponse, Appended, Everywhere, Ordered, Record, Stored, appended,
};
use trunkline_wire::status::{self, reason};
use trunkline_wire::v1::AckLevel;

use super::Worker;
use crate::outlet::Outlet;
use recorded::Recorded;

/// Pushes that wait for an answer; beyond it they are refused.
const WAITING_MAX: usize = 1 << 18;
/// Answers that wait for a stream that does not read; beyond it the stream is given up.
const ANSWERS_MAX: usize = 1 << 17;
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// One push: its stream and its tag there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Push {
    stream: u64,
    tag: u64,
}

#[derive(Debug)]
struct AppendStream {
    outlet: Outlet<AppendResponse>,
    answers: Vec<Appended>,
}

/// A coordinator's own logs and the pushes that wait on them.
#[derive(Debug)]
pub(crate) struct Coordinator {
    /// This boot's current log of each bucket.
    current: Vec<Option<LogNo>>,
    successions: Vec<Succession>,
    appends: BTreeMap<LogNo, Appends<Push>>,
    streams: BTreeMap<u64, AppendStream>,
    /// Streams with answers to send.
    answering: BTreeSet<u64>,
    waiting: usize,
    recorded: Recorded,
}

impl Coordinator {
    pub(crate) fn new(buckets: usize) -> Self {
        Self {
            current: vec![None; buckets],
            successions: vec![Succession::default(); buckets],
            appends: BTreeMap::new(),
            streams: BTreeMap::new(),
            answering: BTreeSet::new(),
            waiting: 0,
            recorded: Recorded::default(),
        }
    }

    pub(crate) fn resize(&mut self, buckets: usize) {
        self.current.resize(buckets, None);
        self.successions.resize(buckets, Succession::default());
    }

    /// Pushes that wait for an answer.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    pub(crate) fn is_current(&self, log: LogNo, bucket: Bucket) -> bool {
        self.current.get(usize::from(bucket.0)).copied().flatten() == Some(log)
    }

    /// Whether a push waits on a record of this log below `end`.
    pub(crate) fn waits_below(&self, log: LogNo, end: u64) -> bool {
        self.appends.get(&log).is_some_and(|appends| appends.waits_below(end))
    }

    fn answer(&mut self, push: Push, what: appended::What) {
        if let Some(stream) = self.streams.get_mut(&push.stream) {
            stream.answers.push(Appended { tag: push.tag, what: Some(what) });
            self.answering.insert(push.stream);
        }
    }

    /// Steps the pushes that wait on one log; returns their answers.
    fn step(
        &mut self,
        log: LogNo,
        step: impl FnOnce(&mut Appends<Push>, &mut Vec<Answer<Push>>),
    ) -> Vec<Answer<Push>> {
        let mut answers = Vec::new();
        if let Some(appends) = self.appends.get_mut(&log) {
            let before = appends.len();
            step(appends, &mut answers);
            self.waiting -= before - appends.len();
        }
        answers
    }
}

impl Worker {
    pub(super) fn append_up(&mut self, stream: u64, outlet: Outlet<AppendResponse>) {
        self.coordinator.streams.insert(stream, AppendStream { outlet, answers: Vec::new() });
    }

    pub(super) fn append(&mut self, stream: u64, records: Vec<AppendRecord>, permit: OwnedSemaphorePermit) {
        for record in records {
            let push = Push { stream, tag: record.tag };
            let span = self.host.traces.under(Some(&record.traceparent), "append");
            if let Err(refused) = self.append_one(push, record, span.as_ref()) {
                self.metrics.refused.inc();
                span.inspect(|span| span.attribute("refused", refused.message().to_owned()));
                let refused = appended::What::Refused(status::to_message(&status::not_stored(&refused)));
                self.coordinator.answer(push, refused);
            }
        }
        self.commit.hold(permit);
    }

    fn append_one(&mut self, push: Push, append: AppendRecord, span: Option<&Span>) -> Result<(), Status> {
        let level = match AckLevel::try_from(append.level) {
            Ok(AckLevel::None) => None,
            Ok(AckLevel::Unspecified | AckLevel::Local) => Some(Level::Stored),
            Ok(AckLevel::Ordered) => Some(Level::Ordered),
            Ok(AckLevel::Everywhere) => Some(Level::Everywhere),
            Err(_) => return Err(status::invalid("level", "is unknown")),
        };
        let record = append.record.ok_or_else(|| status::invalid("record", "is missing"))?;
        let topic = TopicId(record.topic_id);
        self.admit(topic)?;
        let now = self.now();
        let bucket = topic.bucket();
        let log = self.current_log(bucket, now);
        let seq = self.catalog.log(log).accepted();
        self.catalog.accept(log, seq, &[topic]);
        self.store(log, seq, record);
        if self.layout.datacenters() > 1 {
            self.coordinator.successions[usize::from(bucket.0)].appended(now);
        }
        self.metrics.appended.inc();
        match level {
            None => {
                span.inspect(|span| span.event("accepted"));
                self.coordinator.answer(push, appended::What::Accepted(Accepted {}));
            }
            Some(level) => {
                let patience = match append.patience_ms {
                    0 => DEADLINE_MAX,
                    ms => Duration::from_millis(ms.into()).min(DEADLINE_MAX),
                };
                let appends = self.coordinator.appends.entry(log).or_default();
                appends.push(seq, push, level, now + patience);
                self.coordinator.waiting += 1;
                if let Some(span) = span {
                    self.coordinator.recorded.begin(push, span.clone(), level, now + patience);
                }
            }
        }
        Ok(())
    }

    /// Whether a record of this topic may be stored at all. Unknown topics may: what they are, the facts will say.
    fn admit(&self, topic: TopicId) -> Result<(), Status> {
        if self.shutdown.is_draining() {
            return Err(status::unavailable(reason::DRAINING, "the store is draining"));
        }
        if topic.counter() == 0 || !self.catalog.holds(topic.bucket()) {
            return Err(status::failed_precondition(reason::STALE, "the topic's bucket is not held here"));
        }
        if self.catalog.topic(topic).is_some_and(|topic| topic.deleted) {
            return Err(status::not_found("the topic was deleted"));
        }
        if self.coordinator.waiting >= WAITING_MAX {
            return Err(status::overloaded("too many pushes wait for their answers", RETRY_AFTER));
        }
        Ok(())
    }

    /// Takes an accepted record into memory and into the next write.
    pub(super) fn store(&mut self, log: LogNo, seq: u64, record: Record) {
        let name = self.catalog.log(log).name;
        self.commit.record(log, seq, &record, self.layout.is_near(name.node));
        let now = self.now();
        self.recent.push(log, seq, record, now);
        self.grown.insert(log);
    }

    fn current_log(&mut self, bucket: Bucket, now: Duration) -> LogNo {
        let at = usize::from(bucket.0);
        let current = self.coordinator.current[at];
        let overtaking = self.coordinator.successions[at].take_due(now);
        let predecessor = match current {
            Some(log) if !overtaking => return log,
            Some(log) => {
                let (ordinal, end) = (self.catalog.log(log).name.ordinal.0, self.catalog.log(log).accepted());
                Some(Predecessor { ordinal, end, overtaking })
            }
            None => None,
        };
        let ordinal = Ordinal(predecessor.map_or(1, |before| before.ordinal + 1));
        let (node, boot) = (self.me(), self.host.identity.boot);
        let name = LogName { bucket, node, boot, lane: Lane(0), ordinal };
        let mut rows = Vec::new();
        let log = self.catalog.open_log(name, predecessor, &mut rows);
        self.commit.rows(&self.catalog, rows);
        self.coordinator.current[at] = Some(log);
        if predecessor.is_some() {
            tracing::info!(log = %name, "an outage has ended: fresh messages overtake the backlog");
        }
        log
    }

    /// This store's disk or another's has more of a log: pushes that wait on it may have got further.
    pub(super) fn own_log_moved(&mut self, log: LogNo) {
        let known = self.catalog.log(log);
        let stored = known.stored_end(self.layout.is_alone(known.name.bucket));
        let everywhere = known.everywhere_end(self.layout.here, self.layout.datacenters());
        let answers = self.coordinator.step(log, |appends, answers| {
            appends.stored(stored, answers);
            appends.everywhere(everywhere, answers);
        });
        self.answer(log, answers);
    }

    /// Facts that are on disk here give a log's records their IDs.
    pub(crate) fn own_log_ordered(&mut self, log: LogNo, from: u64, runs: &[OrderedRun]) {
        let answers = self.coordinator.step(log, |appends, answers| appends.ordered(from, runs, answers));
        self.answer(log, answers);
    }

    /// A log is closed: every replica, in every datacenter, has said that it has it to its end on disk.
    pub(super) fn own_log_closed(&mut self, log: LogNo) {
        let answers = self.coordinator.step(log, |appends, answers| appends.everywhere(u64::MAX, answers));
        self.answer(log, answers);
        let waiting = self.coordinator.appends.remove(&log).map_or(0, |appends| appends.len());
        self.coordinator.waiting -= waiting;
    }

    fn answer(&mut self, log: LogNo, answers: Vec<Answer<Push>>) {
        let name = self.catalog.log(log).name;
        for answer in answers {
            self.coordinator.recorded.answered(&answer);
            match answer {
                Answer::Stored { push, seq } => {
                    let stored = Stored { log: Some(name.into()), sequence: seq };
                    self.coordinator.answer(push, appended::What::Stored(stored));
                }
                Answer::Ordered { push, id } => {
                    self.coordinator.answer(push, appended::What::Ordered(Ordered { message_id: id }));
                }
                Answer::Everywhere { push } => {
                    let datacenters =
                        self.layout.map.datacenters.iter().map(|dc| dc.name.0.clone()).collect();
                    self.coordinator.answer(push, appended::What::Everywhere(Everywhere { datacenters }));
                }
            }
        }
    }

    /// A log of this boot is on disk in another datacenter up to a new end.
    pub(super) fn progressed_away(&mut self, log: LogNo) {
        let known = self.catalog.log(log);
        let bucket = known.name.bucket;
        if self.coordinator.is_current(log, bucket) {
            let all = known.away_end(self.layout.here) >= known.accepted();
            let now = self.now();
            self.coordinator.successions[usize::from(bucket.0)].progressed(now, all);
        }
    }

    /// A store of another datacenter follows (again).
    pub(super) fn contact(&mut self, node: trunkline_types::NodeId) {
        let now = self.now();
        for (bucket, succession) in (0u16..).zip(self.coordinator.successions.iter_mut()) {
            if self.layout.shares(node, Bucket(bucket)) {
                succession.contact(now);
            }
        }
    }

    pub(super) fn flush_answers(&mut self) {
        let coordinator = &mut self.coordinator;
        let streams = &mut coordinator.streams;
        coordinator.answering.retain(|id| {
            let Some(stream) = streams.get_mut(id) else { return false };
            if stream.outlet.is_closed() || stream.answers.len() > ANSWERS_MAX {
                streams.remove(id);
                return false;
            }
            if !stream.outlet.has_room() {
                return true;
            }
            let results = std::mem::take(&mut stream.answers);
            stream.outlet.send(AppendResponse { hello: None, results });
            false
        });
    }

    pub(super) fn expire_appends(&mut self) {
        let now = self.now();
        self.coordinator.streams.retain(|_, stream| !stream.outlet.is_closed());
        let streams = &self.coordinator.streams;
        for appends in self.coordinator.appends.values_mut() {
            appends.expire(now, |push| !streams.contains_key(&push.stream));
        }
        self.coordinator.recorded.expire(now, |push| !streams.contains_key(&push.stream));
        self.coordinator.appends.retain(|_, appends| !appends.is_empty());
        self.coordinator.waiting = self.coordinator.appends.values().map(Appends::len).sum();
    }
}
