//! What the message stores are asked: local replicas first, their siblings on failure, other datacenters when no
//! local one can serve or what is committed stays unreadable here. `times`: which ID was ordered when.

mod times;

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;
use tracing::warn;
use trunkline_types::limits::{READ_THROUGH_AFTER, SILENCE_MAX};
use trunkline_types::{TopicId, checksum};
use trunkline_wire::convert::timestamp;
use trunkline_wire::internal::store_service::READ;
use trunkline_wire::internal::{ReadRequest, ReadResponse, Record, RecordBody};
use trunkline_wire::{Code, Message, Status, v1};

use crate::error;
use crate::metrics::Metrics;
use crate::nearest::{Candidate, Nearest};
use crate::read_link::{Answer, Ask, ReadLinks};
use crate::trace;

/// An ID above every other, and far from overflowing.
const BEYOND: u64 = 1 << 62;
/// A store that should have waited and did not is not asked again at once.
const PAUSE: Duration = Duration::from_millis(100);

/// What to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) topic: TopicId,
    pub(crate) from: u64,
    pub(crate) messages_max: u64,
    pub(crate) bytes_max: u64,
    /// How long to wait for a first message.
    pub(crate) wait: Duration,
}

/// What was read: consecutive messages, or none.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) first_id: u64,
    pub(crate) messages: Vec<v1::ReceivedMessage>,
    pub(crate) watermark: u64,
    pub(crate) earliest: u64,
}

#[derive(Debug, Error)]
pub(crate) enum ReadError {
    #[error("the topic is deleted")]
    Deleted,
    #[error("message {0} is corrupt on every replica")]
    Damaged(u64),
    #[error("no store could be read")]
    Unreachable(#[source] Option<Status>),
}

/// What one store made of a read.
enum Said {
    Batch(Batch),
    /// Nothing yet, as far as it knows; `indexed` says that there is something that it cannot give.
    Nothing {
        batch: Batch,
        indexed: u64,
    },
    UnknownTopic,
    Deleted,
    /// The first record's checksum is wrong.
    Damaged,
}

pub(crate) struct Stores {
    nearest: Nearest,
    links: ReadLinks,
    metrics: Metrics,
}

impl Stores {
    pub(crate) fn new(nearest: Nearest, metrics: Metrics) -> Arc<Self> {
        let links = ReadLinks::new(nearest.host().clone());
        Arc::new(Self { nearest, links, metrics })
    }

    /// Messages from an ID on, waiting for a first one. An empty batch after the wait; errors when no store answers.
    pub(crate) async fn read(&self, span: Span) -> Result<Batch, ReadError> {
        let until = Instant::now() + span.wait;
        let (mut damaged, mut failed, mut nothing) = (0, None, None);
        let candidates = self.nearest.stores(span.topic.bucket());
        for (index, candidate) in candidates.iter().enumerate() {
            // Only the nearest that answers is asked to wait; the others may have what it lacks.
            let waits = nothing.is_none() && damaged == 0;
            let said = self.read_at(candidate, span, if waits { until } else { Instant::now() }).await;
            match said {
                Ok(Said::Batch(batch)) => {
                    self.count_elsewhere(candidate);
                    return Ok(batch);
                }
                Ok(Said::Nothing { batch, indexed }) => {
                    let is_behind = indexed >= span.from;
                    let is_first = nothing.is_none();
                    nothing.get_or_insert(batch);
                    if !is_behind && is_first && damaged == 0 {
                        break;
                    }
                }
                Ok(Said::UnknownTopic) => {
                    // Where no store here knows the topic yet, it is that young.
                    if !candidates[index + 1..].iter().any(|other| other.is_local) {
                        nothing.get_or_insert(Batch { first_id: span.from, ..Batch::default() });
                    }
                }
                Ok(Said::Deleted) => return Err(ReadError::Deleted),
                Ok(Said::Damaged) => damaged += 1,
                Err(error) => failed = Some(error),
            }
        }
        match nothing {
            Some(batch) if damaged == 0 => {
                self.pace(until).await;
                Ok(batch)
            }
            _ if damaged == candidates.len() && damaged > 0 => Err(ReadError::Damaged(span.from)),
            _ => Err(ReadError::Unreachable(failed)),
        }
    }

    /// The watermark and the earliest ID, by the nearest store that knows the topic; zeros where none does.
    pub(crate) async fn ends(&self, topic: TopicId, deadline: Instant) -> Result<Batch, Status> {
        let (mut failed, mut answered) = (None, false);
        for candidate in self.nearest.stores(topic.bucket()).iter() {
            let until = deadline.min(Instant::now() + SILENCE_MAX);
            match self.beyond(candidate, topic, until).await {
                Ok(response) if response.unknown_topic => answered = true,
                Ok(response) => {
                    let (watermark, earliest) = (response.watermark, response.earliest);
                    return Ok(Batch { watermark, earliest, ..Batch::default() });
                }
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) if !answered && error::is_of_the_way(&error) => {
                Err(error::out_of_time("no store of the topic could be asked"))
            }
            Some(error) if !answered => Err(error),
            _ => Ok(Batch::default()),
        }
    }

    /// The highest watermark that any store knows that answers.
    pub(crate) async fn watermark_highest(&self, topic: TopicId, deadline: Instant) -> u64 {
        let until = deadline.min(Instant::now() + SILENCE_MAX);
        let candidates = self.nearest.stores(topic.bucket());
        let asked = candidates.iter().map(|candidate| self.beyond(candidate, topic, until));
        let answers = futures::future::join_all(asked).await;
        answers.into_iter().flatten().map(|response| response.watermark).max().unwrap_or(0)
    }

    /// One store: waits until `until`, and not longer than [`READ_THROUGH_AFTER`] for what it says is on its way.
    async fn read_at(&self, candidate: &Candidate, span: Span, until: Instant) -> Result<Said, Status> {
        let mut behind_since: Option<Instant> = None;
        loop {
            let patience = match behind_since {
                Some(since) => (since + READ_THROUGH_AFTER).min(until),
                None => until,
            };
            let asked = Instant::now();
            let wait = patience.saturating_duration_since(asked);
            let response = match self.ask(candidate, span, wait).await {
                // The store itself has found the first record corrupt.
                Err(error) if error.code() == Code::DataLoss => return Ok(Said::Damaged),
                response => response?,
            };
            let indexed = response.indexed;
            match self.decode(span, &response, candidate) {
                Said::Nothing { batch, .. } => {
                    // A store that knows of more answers early only when it has waited as long itself.
                    let waited = behind_since.get_or_insert(asked).elapsed() >= READ_THROUGH_AFTER;
                    if indexed < span.from || waited || Instant::now() >= until {
                        return Ok(Said::Nothing { batch, indexed });
                    }
                }
                said => return Ok(said),
            }
        }
    }

    /// Asks for what there is, waiting so long for a first message.
    async fn ask(&self, to: &Candidate, span: Span, wait: Duration) -> Answer {
        let ask = |waits| Ask {
            topic: span.topic,
            from: span.from,
            messages_max: u32::try_from(span.messages_max).unwrap_or(u32::MAX),
            bytes_max: span.bytes_max,
            waits,
            traceparent: trace::current(),
        };
        let mut answer = Err(Status::deadline_exceeded("not asked yet"));
        if !wait.is_zero() {
            answer = self.links.ask(to.node, &to.peer, ask(true), Instant::now() + wait).await;
        }
        if answer.as_ref().is_err_and(|error| error.code() == Code::DeadlineExceeded) {
            // Nothing has come; the store says how things stand.
            answer = self.links.ask(to.node, &to.peer, ask(false), Instant::now() + SILENCE_MAX).await;
        }
        self.note(to, answer.as_ref().err());
        answer
    }

    /// Where a topic ends: it has nothing beyond.
    async fn beyond(&self, to: &Candidate, topic: TopicId, until: Instant) -> Result<ReadResponse, Status> {
        let host = self.nearest.host();
        let request = ReadRequest {
            envelope: Some(host.envelope()),
            topic_id: topic.0,
            from: BEYOND,
            max_messages: 1,
            max_bytes: 1,
        };
        let answer = host.network.call(&to.peer, READ, &request, trace::until(until)).await;
        self.note(to, answer.as_ref().err());
        answer
    }

    fn note(&self, to: &Candidate, failed: Option<&Status>) {
        if failed.is_some_and(error::is_silence) {
            self.nearest.avoid(to.node);
        }
    }

    fn decode(&self, span: Span, response: &ReadResponse, from: &Candidate) -> Said {
        if response.topic_deleted {
            return Said::Deleted;
        }
        if response.unknown_topic {
            return Said::UnknownTopic;
        }
        let (watermark, indexed, earliest) = (response.watermark, response.indexed, response.earliest);
        let first_id = response.first_id;
        // Who shares an answer may have asked for less.
        let most = usize::try_from(span.messages_max).unwrap_or(usize::MAX);
        let (mut messages, mut bytes) = (Vec::with_capacity(response.records.len().min(most)), 0);
        for (id, record) in (first_id..).zip(&response.records).take(most) {
            bytes += record.body.len() as u64;
            if bytes > span.bytes_max && !messages.is_empty() {
                break;
            }
            let Some(message) = message(id, record) else {
                self.metrics.damaged.inc();
                warn!(topic = %span.topic, id, store = %from.node, "a record is corrupt, another replica is asked");
                if messages.is_empty() {
                    return Said::Damaged;
                }
                break;
            };
            messages.push(message);
        }
        let batch = Batch { first_id, messages, watermark, earliest };
        if batch.messages.is_empty() && earliest <= span.from {
            Said::Nothing { batch, indexed }
        } else {
            Said::Batch(batch)
        }
    }

    fn count_elsewhere(&self, candidate: &Candidate) {
        if !candidate.is_local {
            self.metrics.reads_elsewhere.inc();
        }
    }

    /// An empty answer before its time does not make a busy loop.
    async fn pace(&self, until: Instant) {
        tokio::time::sleep_until(until.min(Instant::now() + PAUSE)).await;
    }
}

/// `None` where the checksum is wrong.
fn message(id: u64, record: &Record) -> Option<v1::ReceivedMessage> {
    if checksum(&record.body) != record.checksum {
        return None;
    }
    let body = RecordBody::decode(record.body.clone()).ok()?;
    let message = v1::Message { payload: body.payload, key: body.key, attributes: body.attributes };
    let push_time = timestamp::from_ms(body.push_time_ms);
    Some(v1::ReceivedMessage { message_id: id, message: Some(message), push_time: Some(push_time) })
}

impl From<ReadError> for Status {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Deleted => trunkline_wire::status::not_found("the topic is deleted"),
            ReadError::Damaged(id) => error::damaged(id),
            ReadError::Unreachable(Some(status)) if status.code() == Code::ResourceExhausted => status,
            ReadError::Unreachable(_) => error::out_of_time("no store could be read"),
        }
    }
}
