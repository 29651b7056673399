//! Push: one request of messages to one topic, in order.

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};
use trunkline_types::{NodeId, TopicName};
use trunkline_wire::status::{from_message, is_not_stored, reason, reason_of};
use trunkline_wire::v1::{AckLevel, Message, PushRequest, PushResponse, PushResult};
use trunkline_wire::{Code, Status};

use crate::coordinator::Coordinator;
use crate::error;
use crate::handle::{Encoded, Server, answer_by};
use crate::link::{Batch, Outgoing, Told};
use crate::progress::{self, Outcome, Progress, Step};
use crate::topics::Topic;
use crate::trace;
use crate::validate;

/// A push that nothing was stored of is brought to its coordinator so often.
const ATTEMPTS_MAX: usize = 3;
/// Outcomes that one record can have: stored, ordered, everywhere, and the end.
pub(crate) const OUTCOMES_MAX: usize = 4;

/// What is pushed, checked and encoded.
struct Pushed<'a> {
    topic: Topic,
    level: AckLevel,
    records: &'a [Encoded],
    room: std::sync::Arc<crate::admission::Room>,
    until: Instant,
}

impl Server {
    /// Fails as a whole only when none of it was stored.
    pub(crate) async fn push(&self, request: PushRequest, deadline: Instant) -> Result<PushResponse, Status> {
        let _inside = self.admission.enter()?;
        let since = Instant::now();
        let count = request.messages.len();
        let asked = request.ack_level();
        let answer = self.push_messages(request, answer_by(deadline)).await;
        match &answer {
            Ok((level, results)) => results.iter().for_each(|one| self.metrics.answered(*level, one, since)),
            Err(_) => self.metrics.refused(asked, count),
        }
        answer.map(|(_, results)| PushResponse { results })
    }

    async fn push_messages(
        &self,
        request: PushRequest,
        until: Instant,
    ) -> Result<(AckLevel, Vec<PushResult>), Status> {
        let name = validate::topic(request.topic)?;
        let level = validate::ack_level("ack_level", request.ack_level)?;
        validate::messages(&request.messages)?;
        let bytes = request.messages.iter().map(validate::size).sum();
        let room = self.admission.take(request.messages.len(), bytes)?;
        self.metrics.took(bytes);
        let largest = largest(&request.messages);
        let now = self.host.process.wall_clock_ms();
        let records: Vec<_> = request.messages.into_iter().map(|message| self.encode(message, now)).collect();
        let mut instead = None;
        let mut attempts = 1;
        loop {
            let topic = self.topics.find_or_create(&name, until).await?;
            if let Some((index, message)) = &largest {
                validate::payload_of_topic(*index, message, topic.message_bytes_max)?;
            }
            let level = if level == AckLevel::Unspecified { topic.default_level } else { level };
            let coordinator = match instead.take() {
                Some(coordinator) => coordinator,
                None => self.coordinators.of(topic.id.bucket(), until).await?,
            };
            let pushed = Pushed { topic, level, records: &records, room: room.clone(), until };
            let results = self.bring(&coordinator, pushed).await;
            let Some(why) = nothing_stored(&results) else { return Ok((level, results)) };
            let node = coordinator.link.node;
            if attempts >= ATTEMPTS_MAX || !self.worth_another(&name, topic, &why, node, &mut instead) {
                return Err(why);
            }
            attempts += 1;
        }
    }

    /// Whether another attempt may go better than one that nothing was stored by.
    fn worth_another(
        &self,
        name: &TopicName,
        topic: Topic,
        why: &Status,
        node: NodeId,
        instead: &mut Option<Coordinator>,
    ) -> bool {
        match refusal(why) {
            Refusal::TopicEnded => {
                self.topics.forget(name, topic.id);
                true
            }
            Refusal::StoreUnfit => {
                *instead = self.coordinators.instead_of(node, topic.id.bucket());
                instead.is_some()
            }
            Refusal::StoreGone => true,
            Refusal::Final => false,
        }
    }

    /// Gives the records to their coordinator and waits for each to reach the level, until the deadline.
    async fn bring(&self, coordinator: &Coordinator, pushed: Pushed<'_>) -> Vec<PushResult> {
        let count = pushed.records.len();
        let (reply, mut told) = mpsc::channel(count * OUTCOMES_MAX);
        let span = trace::append(&self.host, &coordinator.link.address, progress::name(pushed.level), count);
        let batch = Batch {
            records: outgoing(pushed.topic, 0, pushed.records),
            barrier: None,
            level: pushed.level,
            until: pushed.until,
            reply,
            room: pushed.room,
            writer: coordinator.writer,
            span: span.clone(),
        };
        if timeout_at(pushed.until, coordinator.link.append(batch)).await.is_err() {
            return vec![progress::refused(&error::no_time_left("sending to the coordinator")); count];
        }
        let cluster = self.host.map().cluster;
        let start = |record: &Encoded| Progress::new(cluster, pushed.topic.id, record.checksum, pushed.level);
        let mut waiting =
            Waiting { open: count, entries: pushed.records.iter().map(|r| (start(r), None)).collect() };
        let mut asking = FuturesUnordered::new();
        while waiting.open > 0 {
            tokio::select! {
                biased;
                Some(Told { index, outcome }) = told.recv() => {
                    if let Some(receipt) = waiting.step(index, outcome) {
                        let following = self.follow(receipt, pushed.level, pushed.until);
                        asking.push(async move { (index, following.await) });
                    }
                }
                Some((index, outcomes)) = asking.next() => {
                    for outcome in outcomes.into_iter().flatten() {
                        waiting.step(index, outcome);
                    }
                }
                () = sleep_until(pushed.until) => break,
            }
        }
        waiting.results()
    }
}

/// The messages of one push that are on their way.
struct Waiting {
    open: usize,
    entries: Vec<(Progress, Option<PushResult>)>,
}

impl Waiting {
    /// Returns the receipt by which replicas are to be asked, if that is what comes next.
    fn step(&mut self, index: u64, outcome: Outcome) -> Option<trunkline_types::Receipt> {
        let entry = usize::try_from(index).ok().and_then(|index| self.entries.get_mut(index));
        let Some((progress, result @ None)) = entry else { return None };
        match progress.step(outcome) {
            Step::Wait => None,
            Step::Ask(receipt) => Some(receipt),
            Step::Done(done) => {
                *result = Some(done);
                self.open -= 1;
                None
            }
        }
    }

    fn results(self) -> Vec<PushResult> {
        let result =
            |(progress, result): (Progress, Option<PushResult>)| result.unwrap_or_else(|| progress.overdue());
        self.entries.into_iter().map(result).collect()
    }
}

/// Records as they go to a link, numbered from `first`.
pub(crate) fn outgoing(topic: Topic, first: u64, records: &[Encoded]) -> Vec<Outgoing> {
    let one = |(index, record): (u64, &Encoded)| Outgoing {
        index,
        topic: topic.id,
        checksum: record.checksum,
        body: record.body.clone(),
        upload: 0,
    };
    (first..).zip(records).map(one).collect()
}

/// The message with the largest payload and its place: the only one that a topic's own limit must be checked for.
fn largest(messages: &[Message]) -> Option<(usize, Message)> {
    let (index, message) = messages.iter().enumerate().max_by_key(|(_, message)| message.payload.len())?;
    Some((index, Message { payload: message.payload.clone(), ..Message::default() }))
}

/// Why it failed, if it is certain that nothing at all was stored.
fn nothing_stored(results: &[PushResult]) -> Option<Status> {
    let mut first = None;
    for result in results {
        let error = from_message(result.error.as_ref()?);
        if !is_not_stored(&error) {
            return None;
        }
        first.get_or_insert(error);
    }
    first
}

/// What a certain refusal means for the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    TopicEnded,
    /// This store cannot take it; its sibling may.
    StoreUnfit,
    /// The link knows it already.
    StoreGone,
    Final,
}

pub(crate) fn refusal(why: &Status) -> Refusal {
    let because = reason_of(why);
    match (why.code(), because.as_deref()) {
        (Code::NotFound, _) => Refusal::TopicEnded,
        (_, Some(reason::DISK_FULL | reason::STALE)) => Refusal::StoreUnfit,
        (Code::Unavailable, Some(reason::LEVEL_NOT_REACHED)) => Refusal::Final,
        (Code::Unavailable, _) => Refusal::StoreGone,
        _ => Refusal::Final,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use trunkline_wire::status::{
        disk_full, failed_precondition, invalid, not_found, not_stored, overloaded, unavailable,
    };

    use super::*;

    #[test]
    fn a_refusal_decides_where_the_next_attempt_goes() {
        let table = [
            (not_found("deleted"), Refusal::TopicEnded),
            (disk_full("full"), Refusal::StoreUnfit),
            (failed_precondition(reason::STALE, "an older map"), Refusal::StoreUnfit),
            (unavailable(reason::UNREACHABLE, "gone"), Refusal::StoreGone),
            (unavailable(reason::DRAINING, "ending"), Refusal::StoreGone),
            (overloaded("queue", Duration::from_millis(1)), Refusal::Final),
            (invalid("topic", "is wrong"), Refusal::Final),
        ];
        for (why, expected) in table {
            assert_eq!(refusal(&not_stored(&why)), expected, "{why:?}");
        }
    }

    #[test]
    fn the_call_fails_as_a_whole_only_when_none_of_it_was_stored() {
        let no = progress::refused(&error::not_handed_over());
        let unknown = progress::refused(&error::coordinator_lost());
        let table = [
            (vec![no.clone(), no.clone()], true),
            (vec![no.clone(), unknown], false),
            (vec![no, PushResult::default()], false),
        ];
        for (results, fails) in table {
            assert_eq!(nothing_stored(&results).is_some(), fails, "{results:?}");
        }
    }
}
